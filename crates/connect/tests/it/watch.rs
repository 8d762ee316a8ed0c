//! Files that grow, folders that fill.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use thalweg_connect::open_source;
use thalweg_engine::Source;

use crate::harness::*;

fn source(dir: &std::path::Path, path: &str) -> Arc<dyn Source> {
    let mut request = source_request(dir, &[("path", path), ("format", "ndjson"), ("watch_interval", "5 ms")]);
    request.columns = Some(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])));
    open_source(&request).unwrap()
}

fn watch(source: &Arc<dyn Source>, positions: Vec<thalweg_engine::SplitPosition>) -> Reading {
    Reading::open(source, Open { watch: true, positions, ..Default::default() }).unwrap()
}

#[test]
fn growth_and_new_files_are_followed_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.ndjson", ndjson(0..10));
    let source = source(dir.path(), "in");
    let mut reading = watch(&source, vec![]);
    assert_eq!(reading.rows(10).unwrap().numbers("n"), (0..10).collect::<Vec<_>>());
    append(dir.path(), "in/a.ndjson", "{\"n\":1");
    append(dir.path(), "in/a.ndjson", "0}\n{\"n\":11}\n{\"n\":");
    assert_eq!(reading.rows(2).unwrap().numbers("n"), [10, 11], "the last line waits for its line break");
    write(dir.path(), "in/b.ndjson", ndjson(100..103));
    assert_eq!(reading.rows(3).unwrap().numbers("n"), [100, 101, 102]);
    let positions = reading.feed.positions();
    drop(reading);
    append(dir.path(), "in/a.ndjson", "12}\n");
    let mut reading = watch(&source, positions);
    assert_eq!(reading.rows(1).unwrap().numbers("n"), [12]);
    assert_eq!(reading.feed.progress().1, None, "there is no end");
    assert!(reading.feed.splits().iter().all(|split| !split.finished));
}

#[test]
fn an_empty_folder_waits_for_its_first_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let mut reading = watch(&source(dir.path(), "in"), vec![]);
    write(dir.path(), "in/.a.ndjson", "{\"n\":");
    append(dir.path(), "in/.a.ndjson", "7}\n");
    std::fs::rename(dir.path().join("in/.a.ndjson"), dir.path().join("in/a.ndjson")).unwrap();
    assert_eq!(reading.rows(1).unwrap().numbers("n"), [7]);
}

#[test]
fn a_growing_gzip_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (gzip(ndjson(0..10).as_bytes()), gzip(ndjson(10..20).as_bytes()));
    write(dir.path(), "a.ndjson.gz", &first);
    let mut reading = watch(&source(dir.path(), "a.ndjson.gz"), vec![]);
    reading.rows(10).unwrap();
    let (begin, rest) = second.split_at(second.len() / 2);
    append(dir.path(), "a.ndjson.gz", begin);
    append(dir.path(), "a.ndjson.gz", rest);
    assert_eq!(reading.rows(10).unwrap().numbers("n"), (10..20).collect::<Vec<_>>());
}

#[test]
fn shrinking_replacing_and_removing_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ndjson");
    let check = |change: &dyn Fn(), expect: &str| {
        write(dir.path(), "a.ndjson", ndjson(0..10));
        let mut reading = watch(&source(dir.path(), "a.ndjson"), vec![]);
        reading.rows(10).unwrap();
        change();
        let error = reading.fail();
        assert!(error.message.contains("a.ndjson") && error.message.contains(expect), "{}", error.message);
        assert!(error.message.contains("--restart"));
    };
    check(&|| std::fs::write(&path, ndjson(0..5)).unwrap(), "the file shrank");
    let replace = || {
        write(dir.path(), "b.ndjson", ndjson(5..50));
        std::fs::rename(dir.path().join("b.ndjson"), &path).unwrap();
    };
    check(&replace, "another file has taken this name");
    check(&|| std::fs::remove_file(&path).unwrap(), "the file is gone");
}

#[test]
fn a_file_that_was_read_may_leave_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.ndjson", ndjson(0..10));
    let source = source(dir.path(), "in");
    let mut reading = watch(&source, vec![]);
    reading.rows(10).unwrap();
    std::fs::remove_file(dir.path().join("in/a.ndjson")).unwrap();
    write(dir.path(), "in/b.ndjson", ndjson(10..12));
    assert_eq!(reading.rows(2).unwrap().numbers("n"), [10, 11]);
    let positions = reading.feed.positions();
    drop(reading);
    append(dir.path(), "in/b.ndjson", ndjson(12..13));
    assert_eq!(watch(&source, positions).rows(1).unwrap().numbers("n"), [12]);
}
