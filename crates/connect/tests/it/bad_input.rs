//! Bad input of the files source: each with a message that names the thing and the next step.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use thalweg_connect::{check_source, open_source};
use thalweg_engine::{EngineError, Source};

use crate::harness::*;

fn declared(dir: &std::path::Path, pairs: &[(&str, &str)]) -> Arc<dyn Source> {
    let mut request = source_request(dir, pairs);
    request.columns = Some(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])));
    open_source(&request).unwrap()
}

/// Opening or reading it fails with this.
#[track_caller]
fn fails(dir: &std::path::Path, pairs: &[(&str, &str)], expect: &[&str]) {
    let error = match Reading::open(&declared(dir, pairs), Open::default()) {
        Ok(mut reading) => reading.fail(),
        Err(error) => error,
    };
    says(&error, expect);
}

#[track_caller]
fn says(error: &EngineError, expect: &[&str]) {
    for part in expect {
        assert!(error.message.contains(part), "{:?} does not say {part:?}", error.message);
    }
}

#[test]
fn nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    fails(dir.path(), &[("path", "no.ndjson")], &["cannot read no.ndjson", "does not exist", "working directory"]);
    fails(dir.path(), &[("path", "no/*.ndjson")], &["no file matches", "check the glob"]);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    fails(dir.path(), &[("path", "empty"), ("format", "ndjson")], &["the folder has no files", "--watch"]);
    write(dir.path(), "other/a.txt", "x");
    fails(
        dir.path(),
        &[("path", "other"), ("format", "csv")],
        &["no file in this folder has the extension of csv", "other/a.txt", "other/*"],
    );
    write(dir.path(), "mixed/a.csv", "n\n1\n");
    write(dir.path(), "mixed/b.ndjson", "{\"n\":1}\n");
    fails(dir.path(), &[("path", "mixed")], &["mixed/a.csv is csv and mixed/b.ndjson is not", "format = 'csv'"]);
    fails(dir.path(), &[("path", "other/a.txt")], &["the extension does not tell the format"]);
}

#[test]
fn empty_files_have_no_rows() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.ndjson", "a.csv", "a.ndjson.gz", "a.ndjson.zst"] {
        write(dir.path(), name, "");
        let got = Reading::open(&declared(dir.path(), &[("path", name)]), Open::default()).unwrap().drain().unwrap();
        assert_eq!((got.row_count(), got.errors.len()), (0, 0), "{name}");
    }
    write(dir.path(), "header.csv", "n\n");
    assert_eq!(read_all(dir.path(), &[("path", "header.csv")]).row_count(), 0);
    let error = source(dir.path(), &[("path", "a.ndjson")]).unwrap_err().remove(0);
    assert_eq!(error.message, "a.ndjson: there is no row to infer columns from");
    assert_eq!(error.hint.as_deref(), Some("declare them in CREATE SOURCE"));
}

#[test]
fn truncated_and_corrupt_compression() {
    let dir = tempfile::tempdir().unwrap();
    let text = ndjson(0..10_000);
    let gz = gzip(text.as_bytes());
    write(dir.path(), "a.ndjson.gz", &gz[..gz.len() / 2]);
    let at = format!("{}", gz.len() / 2);
    fails(dir.path(), &[("path", "a.ndjson.gz")], &["a.ndjson.gz", "cut off", &at]);
    let zst = zstd::encode_all(text.as_bytes(), 1).unwrap();
    write(dir.path(), "a.ndjson.zst", &zst[..zst.len() / 2]);
    fails(dir.path(), &[("path", "a.ndjson.zst")], &["a.ndjson.zst", "cut off", "fetch it again"]);
    write(dir.path(), "b.ndjson.gz", &text);
    fails(dir.path(), &[("path", "b.ndjson.gz")], &["b.ndjson.gz", "corrupt"]);
}

#[test]
fn not_parquet() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.parquet", ndjson(0..100));
    fails(dir.path(), &[("path", "a.parquet")], &["a.parquet", "cannot be read as parquet", "write it again"]);
    write(dir.path(), "b.parquet", "");
    fails(dir.path(), &[("path", "b.parquet")], &["b.parquet", "empty and so not a parquet file"]);
}

#[test]
fn files_that_change_under_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let text = ndjson(0..300_000);
    let check = |change: &dyn Fn(), expect: &[&str]| {
        write(dir.path(), "a.ndjson", &text);
        let source = declared(dir.path(), &[("path", "a.ndjson")]);
        let mut reading = Reading::open(&source, Open::default()).unwrap();
        reading.next().unwrap().unwrap();
        let positions = reading.feed.positions();
        drop(reading);
        change();
        let error = match Reading::open(&source, Open { positions, ..Default::default() }) {
            Ok(mut reading) => reading.fail(),
            Err(error) => error,
        };
        says(&error, &["a.ndjson", "--restart"]);
        says(&error, expect);
    };
    check(&|| write(dir.path(), "a.ndjson", "{}\n"), &["the file shrank"]);
    check(&|| write(dir.path(), "a.ndjson", ndjson(1..300_001)), &["another file has taken this name"]);
    // The path itself is gone: one file is named, so that is what the message says.
    let gone = || std::fs::rename(dir.path().join("a.ndjson"), dir.path().join("b.ndjson")).unwrap();
    write(dir.path(), "a.ndjson", &text);
    let source = declared(dir.path(), &[("path", "*.ndjson")]);
    let mut reading = Reading::open(&source, Open::default()).unwrap();
    reading.next().unwrap().unwrap();
    let positions = reading.feed.positions();
    gone();
    let error = Reading::open(&source, Open { positions, ..Default::default() }).err().unwrap();
    says(&error, &["a.ndjson: the file is gone", "put it back"]);
}

#[test]
fn a_file_cut_while_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.ndjson", ndjson(0..1_000_000));
    let source = declared(dir.path(), &[("path", "a.ndjson")]);
    let mut reading = Reading::open(&source, Open::default()).unwrap();
    reading.next().unwrap().unwrap();
    std::fs::OpenOptions::new().write(true).open(dir.path().join("a.ndjson")).unwrap().set_len(100).unwrap();
    says(&reading.fail(), &["a.ndjson: the file shrank", "put the old file back"]);
}

#[test]
fn a_position_of_another_version() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.ndjson", ndjson(0..10));
    let source = declared(dir.path(), &[("path", "a.ndjson")]);
    let position = thalweg_engine::SplitPosition {
        split: "a.ndjson".into(),
        position: serde_json::json!({ "offset": 1 }),
        finished: false,
    };
    let error = Reading::open(&source, Open { positions: vec![position], ..Default::default() }).err().unwrap();
    says(&error, &["cannot read the position of a.ndjson", "--restart"]);
}

#[test]
fn checking_options_does_no_io() {
    let dir = tempfile::tempdir().unwrap();
    assert!(check_source(&source_request(dir.path(), &[("path", "absent.ndjson")])).is_empty());
    let errors = check_source(&source_request(dir.path(), &[("pth", "x"), ("format", "jsn"), ("header", "maybe")]));
    let keys: Vec<_> = errors.iter().filter_map(|error| error.key.as_deref()).collect();
    assert_eq!(keys, ["format", "header", "pth", "path"]);
    assert!(errors.iter().all(|error| error.hint.is_some()));
}
