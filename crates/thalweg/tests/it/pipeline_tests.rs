//! `thalweg test`.

use crate::support::Folder;

const SCRIPT: &str = "\
CREATE SOURCE r (k TEXT, n BIGINT, at TIMESTAMP WITH TIME ZONE, WATERMARK FOR at AS at - INTERVAL '1' SECOND)
WITH (connector = 'files', path = 'absent.ndjson', format = 'ndjson');
CREATE SINK minutes WITH (connector = 'files', path = 'out', format = 'ndjson') AS
SELECT k, window_start, count(*) AS c FROM TUMBLE(TABLE r, DESCRIPTOR(at), INTERVAL '1' MINUTE)
GROUP BY k, window_start, window_end;
";

const TEST: &str = "\
name: counts by minute, across a restart
given:
  r:
    - {k: a, n: 1, at: 2024-01-01T00:00:01Z}
    - {k: a, n: 2, at: 2024-01-01T00:00:30Z}
steps:
  - checkpoint_and_restore
  - rows: {r: [{k: a, n: 3, at: 2024-01-01T00:00:59Z}, {k: b, n: 4, at: 2024-01-01T00:01:10Z}]}
  - restore_with: {parallelism: 3}
  - rows: {r: [{k: a, n: 5, at: 2024-01-01T00:00:02Z}]}
expect:
  minutes:
    - {k: a, window_start: 2024-01-01T00:00:00Z, c: 3}
    - {k: b, window_start: 2024-01-01T00:01:00Z, c: 1}
  late: 1
";

fn folder(test: &str) -> Folder {
    let folder = Folder::new();
    folder.write("pipeline.sql", SCRIPT);
    folder.write("a.test.yaml", test);
    folder
}

#[test]
fn a_test_passes_across_restarts_and_other_parallelism() {
    let folder = folder(TEST);
    folder.run(&["test", "."]).expect(0).prints("1 passed, 0 failed");
    assert!(!folder.path().join("out").exists() && !folder.path().join("thalweg-data").exists());
}

#[test]
fn a_wrong_row_is_shown_cell_by_cell_and_can_be_updated() {
    let folder = folder(&TEST.replace("c: 3}", "c: 4}").replace("k: b, window", "k: 'b ', window"));
    folder
        .run(&["test", "--junit", "junit.xml"])
        .expect(1)
        .prints("0 passed, 1 failed")
        .prints("[4 -> 3]")
        .prints("[b· -> b]");
    let junit = std::fs::read_to_string(folder.path().join("junit.xml")).expect("the report is there");
    assert!(junit.contains("failures=\"1\"") && junit.contains("[4 -&gt; 3]"), "{junit}");
    folder.run(&["test", "--update"]).expect(1).says("updated 1 expectations");
    folder.run(&["test"]).expect(0).prints("1 passed, 0 failed");
}

#[test]
fn counts_names_and_errors_are_judged() {
    let folder = folder(&TEST.replace("late: 1", "late: 2"));
    folder.run(&["test"]).expect(1).prints("late rows: expected 2, counted 1");
    folder.write("a.test.yaml", &TEST.replace("  minutes:", "  minuts:"));
    folder.run(&["test"]).expect(1).prints("'minuts'").prints("the sinks are minutes");
    folder.write("a.test.yaml", &TEST.replace("n: 2,", "m: 2,"));
    folder.run(&["test"]).expect(1).prints("no column 'm'");
    folder.write("a.test.yaml", "name: bad rows stop it\ngiven: {r: {text: 'x'}}\nexpect: {error: on_error}\n");
    folder.run(&["test"]).expect(0).prints("1 passed");
}

#[test]
fn nothing_to_run_is_not_found() {
    let folder = folder(TEST);
    folder.run(&["test", "-k", "nothing like it"]).expect(4).says("no test");
    folder.run(&["test", "absent"]).expect(4).says("absent");
    folder.write("a.test.yaml", "name: x\nexpekt: {}\n");
    folder.run(&["test"]).expect(3).says("a.test.yaml").says("expekt");
}
