//! The files sink: formats, rolling, folders, and that every crash is survived once and exactly.

use thalweg_engine::{Barrier, BarrierKind, Batch};

use crate::harness::*;

fn expect(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    let mut lines: Vec<String> = ndjson(numbers).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn only_committed_files_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = Run::new(sink(dir.path(), &[("path", "out")]).unwrap());
    run.recover(None).unwrap();
    let staged = run.stage(3, &[numbers(0..5), numbers(5..10)]).unwrap();
    assert!(files(&out).is_empty());
    run.commit(3, &staged).unwrap();
    assert_eq!(files(&out), ["part-00000000000000000003-00-000.ndjson", "part-00000000000000000003-01-000.ndjson"]);
    assert_eq!(lines(&out), expect(0..10));
    assert_eq!(std::fs::read_dir(out.join("_thalweg/staged")).map(Iterator::count).unwrap_or(0), 0);
    assert_eq!(run.sink.describe(), "files: out (ndjson)");
}

#[test]
fn a_publish_barrier_stages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(sink(dir.path(), &[("path", "out")]).unwrap());
    run.recover(None).unwrap();
    let mut writer = run.sink.writer(run.context(0), numbers([]).schema()).unwrap();
    writer.write(Batch::new(numbers(0..3))).unwrap();
    let publish = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Publish };
    assert!(run.io.block_on(writer.epoch_end(publish).unwrap()).unwrap().is_empty());
    writer.write(Batch::new(numbers(3..5))).unwrap();
    let stop = Barrier { checkpoint_epoch: 2, kind: BarrierKind::Stop };
    let staged = run.io.block_on(writer.epoch_end(stop).unwrap()).unwrap();
    assert_eq!(staged.len(), 1);
    run.commit(2, &staged).unwrap();
    assert_eq!(lines(&dir.path().join("out")), expect(0..5));
}

#[test]
fn every_format_reads_back() {
    for pairs in [
        vec![("format", "ndjson"), ("compression", "gzip")],
        vec![("format", "ndjson"), ("compression", "zstd")],
        vec![("format", "csv")],
        vec![("format", "csv"), ("compression", "gzip"), ("header", "true"), ("delimiter", ",")],
        vec![("format", "parquet")],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let all = [vec![("path", "out")], pairs.clone()].concat();
        let run = Run::new(sink(dir.path(), &all).unwrap());
        run.recover(None).unwrap();
        let staged = run.stage(1, &[numbers(0..1000), numbers(1000..2000)]).unwrap();
        run.commit(1, &staged).unwrap();
        let got = read_all(dir.path(), &[("path", "out")]);
        assert_eq!(got.numbers("n"), (0..2000).collect::<Vec<_>>(), "{pairs:?}");
        assert_eq!(got.texts("k")[1999].as_deref(), Some("k1"));
    }
}

#[test]
fn files_roll_by_size_and_go_into_folders() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = Run::new(sink(dir.path(), &[("path", "out"), ("partition_by", "k"), ("roll_bytes", "100")]).unwrap());
    run.recover(None).unwrap();
    let mut writer = run.sink.writer(run.context(0), numbers([]).schema()).unwrap();
    for first in [0, 30] {
        writer.write(Batch::new(numbers(first..first + 30))).unwrap();
    }
    let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Savepoint };
    let staged = run.io.block_on(writer.epoch_end(barrier).unwrap()).unwrap();
    run.commit(1, &staged).unwrap();
    assert_eq!(files(&out).len(), 6, "{:?}", files(&out));
    assert!(files(&out).iter().all(|name| name.starts_with("k=k")));
    assert_eq!(lines(&out), expect(0..60));
    assert_eq!(read_all(dir.path(), &[("path", "out")]).row_count(), 60);
}

#[test]
fn many_folders_get_one_file_each() {
    for pairs in [[("format", "parquet"), ("header", "")], [("format", "ndjson"), ("compression", "zstd")]] {
        let dir = tempfile::tempdir().unwrap();
        let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let all: Vec<_> = [("path", "out"), ("partition_by", "n")].into_iter().chain(pairs).collect();
        let run = Run::new(sink(dir.path(), &all).unwrap());
        run.recover(None).unwrap();
        let mut writer = run.sink.writer(run.context(0), numbers([]).schema()).unwrap();
        for _ in 0..3 {
            writer.write(Batch::new(numbers(0..300))).unwrap();
        }
        let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Checkpoint };
        let staged = run.io.block_on(writer.epoch_end(barrier).unwrap()).unwrap();
        assert_eq!(staged.len(), 300);
        run.commit(1, &staged).unwrap();
        assert_eq!(read_all(dir.path(), &[("path", "out")]).row_count(), 900);
    }
}

#[test]
fn parquet_of_many_row_groups_is_written_as_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(sink(dir.path(), &[("path", "out"), ("format", "parquet")]).unwrap());
    run.recover(None).unwrap();
    let mut writer = run.sink.writer(run.context(0), numbers([]).schema()).unwrap();
    let staged_bytes = || {
        let staged = std::fs::read_dir(dir.path().join("out/_thalweg/staged")).unwrap();
        staged.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    for first in 0..40 {
        writer.write(Batch::new(numbers(first * 10_000..(first + 1) * 10_000))).unwrap();
    }
    assert!(staged_bytes() > 100_000, "whole row groups have left memory: {}", staged_bytes());
    let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Checkpoint };
    let staged = run.io.block_on(writer.epoch_end(barrier).unwrap()).unwrap();
    assert_eq!(staged.len(), 1);
    run.commit(1, &staged).unwrap();
    assert!(read_all(dir.path(), &[("path", "out")]).numbers("n").into_iter().eq(0..400_000));
}

#[test]
fn a_crash_at_any_step_of_a_commit_is_made_good() {
    // What a commit does to the folder, cut off after every step, then a restart that reads the manifest.
    for crash in 0..7 {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut run = Run::new(sink(dir.path(), &[("path", "out")]).unwrap());
        run.recover(None).unwrap();
        let first = run.stage(1, &[numbers(0..3)]).unwrap();
        run.commit(1, &first).unwrap();
        let staged = run.stage(2, &[numbers(3..6), numbers(6..9)]).unwrap();
        let part = |worker: usize, key: &str| out.join(staged[worker][key].as_str().unwrap());
        let link = |worker: usize| std::fs::hard_link(part(worker, "staged"), part(worker, "file")).unwrap();
        match crash {
            0 => {}
            1 => link(0),
            2 => (link(0), link(1)).0,
            3 => {
                link(0);
                link(1);
                std::fs::remove_file(part(0, "staged")).unwrap();
            }
            4 => run.commit(2, &staged).unwrap(),
            // The next epoch was staged, but its manifest never written.
            5 => drop(run.stage(3, &[numbers(100..110)]).unwrap()),
            // A writer was in the middle of a file.
            _ => {
                let mut writer = run.sink.writer(run.context(7), numbers([]).schema()).unwrap();
                writer.write(Batch::new(numbers(0..100_000))).unwrap();
            }
        }
        run.generation += 1;
        run.recover(Some((2, &staged))).unwrap();
        assert_eq!(lines(&out), expect(0..9), "crash {crash}");
        assert_eq!(std::fs::read_dir(out.join("_thalweg/staged")).map(Iterator::count).unwrap_or(0), 0);
        run.recover(Some((2, &staged))).unwrap();
        let next = run.stage(3, &[numbers(9..12)]).unwrap();
        run.commit(3, &next).unwrap();
        run.commit(3, &next).unwrap();
        assert_eq!(lines(&out), expect(0..12), "crash {crash}");
    }
}

#[test]
fn folders_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "out/mine.txt", "x");
    let mut run = Run::new(sink(dir.path(), &[("path", "out")]).unwrap());
    let error = run.recover(None).unwrap_err().message;
    assert_eq!(
        error,
        "out holds files that were not written by p/out (mine.txt); choose an empty folder, or move them away"
    );
    std::fs::remove_file(dir.path().join("out/mine.txt")).unwrap();
    write(dir.path(), "out/.gitkeep", "");
    run.recover(None).unwrap();
    run.recover(None).unwrap();
    let staged = run.stage(1, &[numbers(0..3)]).unwrap();
    run.commit(1, &staged).unwrap();
    let error = run.recover(None).unwrap_err().message;
    assert!(error.contains("output of an earlier run of p/out") && error.contains("--restart"), "{error}");
    run.owner = "q/other".into();
    let error = run.recover(None).unwrap_err().message;
    assert!(error.contains("out holds output of p/out, and q/other cannot write there"), "{error}");
    assert!(run.reset().is_err(), "nor remove it");
    assert_eq!(lines(&dir.path().join("out")).len(), 3);
}

#[test]
fn reset_removes_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = Run::new(sink(dir.path(), &[("path", "out"), ("partition_by", "k")]).unwrap());
    run.reset().unwrap();
    run.recover(None).unwrap();
    let staged = run.stage(1, &[numbers(0..9)]).unwrap();
    run.commit(1, &staged).unwrap();
    drop(run.stage(2, &[numbers(0..9)]).unwrap());
    write(&out, "k=k0/mine.txt", "x");
    run.reset().unwrap();
    assert_eq!(files(&out), ["k=k0/mine.txt"]);
    std::fs::remove_file(out.join("k=k0/mine.txt")).unwrap();
    run.recover(None).unwrap();
    let staged = run.stage(1, &[numbers(0..9)]).unwrap();
    run.commit(1, &staged).unwrap();
    assert_eq!(lines(&out), expect(0..9));
}

#[test]
fn committed_files_may_be_moved_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = Run::new(sink(dir.path(), &[("path", "out")]).unwrap());
    run.recover(None).unwrap();
    let first = run.stage(1, &[numbers(0..3)]).unwrap();
    run.commit(1, &first).unwrap();
    let second = run.stage(2, &[numbers(3..6)]).unwrap();
    run.commit(2, &second).unwrap();
    for name in files(&out) {
        std::fs::remove_file(out.join(name)).unwrap();
    }
    run.recover(Some((2, &second))).unwrap();
    run.recover(Some((3, &[]))).unwrap();
    let error = run.recover(Some((1, &first))).unwrap_err().message;
    assert!(error.contains("out holds output up to checkpoint 2, but checkpoint 1 is restored"), "{error}");
    assert!(files(&out).is_empty());
}

#[test]
fn a_target_that_was_tampered_with_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let run = Run::new(sink(dir.path(), &[("path", "out")]).unwrap());
    run.recover(None).unwrap();
    let staged = run.stage(1, &[numbers(0..3)]).unwrap();
    write(&out, staged[0]["file"].as_str().unwrap(), "something else");
    let error = run.commit(1, &staged).unwrap_err().message;
    assert!(error.contains("a file of that name with other content is there already"), "{error}");
    std::fs::remove_dir_all(&out).unwrap();
    let error = run.recover(Some((1, &staged))).unwrap_err().message;
    assert!(error.contains("out was emptied or moved since the last checkpoint of p/out"), "{error}");
    let error = run.commit(1, &staged).unwrap_err().message;
    assert!(error.contains("is gone; if the folder was emptied, start with --restart"), "{error}");
    write(&out, "_thalweg/owner.json", "{\"version\":2,\"owner\":\"p/out\"}");
    let error = run.recover(None).unwrap_err().message;
    assert!(error.contains("was written by a newer version (2, this one knows 1)"), "{error}");
    write(&out, "_thalweg/owner.json", "{\"vers");
    let error = run.recover(None).unwrap_err().message;
    assert!(error.contains("owner.json is damaged"), "{error}");
}

#[test]
fn what_cannot_be_written_is_refused_before_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let plain = sink(dir.path(), &[("path", "out"), ("partition_by", "kk")]).unwrap();
    let error = plain.accept(&numbers([]).schema()).unwrap_err().message;
    assert_eq!(error, "partition_by: the query has no column kk; did you mean 'k'?");
    assert!(!dir.path().join("out").exists(), "nothing is touched before recovery");
    let errors = sink(dir.path(), &[("path", "o*"), ("format", "parquet"), ("compression", "gzip"), ("header", "no")]);
    let keys: Vec<_> = errors.unwrap_err().into_iter().filter_map(|error| error.key).collect();
    assert_eq!(keys, ["path", "compression", "header"]);
    write(dir.path(), "a_file", "x");
    let run = Run::new(sink(dir.path(), &[("path", "a_file")]).unwrap());
    let error = run.recover(None).unwrap_err().message;
    assert!(error.contains("a_file") && error.contains("check the path"), "{error}");
}
