//! `thalweg run`: results, summary, going on after a stop, one process at a time.

use std::process::Stdio;

use crate::support::Folder;

const SCRIPT: &str = "\
CREATE SOURCE r (k TEXT, n BIGINT, at TIMESTAMP WITH TIME ZONE, WATERMARK FOR at AS at - INTERVAL '1' SECOND)
WITH (connector = 'files', path = 'rows.ndjson', format = 'ndjson');
CREATE SINK minutes WITH (connector = 'files', path = 'out/minutes', format = 'ndjson') AS
SELECT k, window_start, count(*) AS c FROM TUMBLE(TABLE r, DESCRIPTOR(at), INTERVAL '1' MINUTE)
GROUP BY k, window_start, window_end;
";

fn folder() -> Folder {
    let folder = Folder::new();
    let row = |i: u32| {
        let (minute, second) = (i / 60, i % 60);
        format!("{{\"k\":\"k{}\",\"n\":{i},\"at\":\"2024-01-01T00:{minute:02}:{second:02}Z\"}}\n", i % 3)
    };
    folder.write("rows.ndjson", &(0..600).map(row).collect::<String>());
    folder.write("p.sql", SCRIPT);
    folder
}

/// All committed rows of a sink, sorted.
fn rows(folder: &Folder, sink: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder.path().join(sink)) else { return rows };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_file() && !name.starts_with(['.', '_']) {
            rows.extend(std::fs::read_to_string(&path).expect("a readable file").lines().map(str::to_string));
        }
    }
    rows.sort();
    rows
}

#[test]
fn a_bounded_pipeline_runs_to_its_end_once() {
    let folder = folder();
    let done = folder.run(&["run", "p.sql", "-o", "json", "--parallelism", "2"]).expect(0);
    let summary = done.json();
    assert_eq!(summary["rows_in"], 600);
    assert_eq!(summary["rows_out"], 30);
    assert_eq!(summary["late"], 0);
    assert_eq!(summary["complete"], true);
    let once = rows(&folder, "out/minutes");
    assert_eq!(once.len(), 30);
    folder.run(&["run", "p.sql"]).expect(0).says("already complete").says("--restart");
    assert_eq!(rows(&folder, "out/minutes"), once);
    folder.run(&["run", "p.sql", "--restart"]).expect(0).says("rows in 600").says("out/minutes");
    assert_eq!(rows(&folder, "out/minutes"), once);
    folder.run(&["checkpoints", "list"]).expect(0).prints("p ").prints("yes");
    folder.run(&["checkpoints", "show", "p"]).expect(0).prints("rows in 600");
    folder.run(&["checkpoints", "show", "absent"]).expect(4);
}

#[test]
fn rows_of_a_select_go_to_stdout() {
    let folder = folder();
    folder.write("q.sql", &format!("{SCRIPT}\nSELECT k, n FROM r WHERE n < 3;\n"));
    let done = folder.run(&["run", "q.sql"]).expect(0);
    let mut lines: Vec<&str> = done.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["{\"k\":\"k0\",\"n\":0}", "{\"k\":\"k1\",\"n\":1}", "{\"k\":\"k2\",\"n\":2}"]);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_other_sinks() {
    let folder = folder();
    folder.write("q.sql", &format!("{SCRIPT}\nSELECT n FROM r;\n"));
    let mut command = folder.command(&["run", "q.sql"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the binary ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.contains("complete"), "{:?}: {err}", output.status);
    assert_eq!(rows(&folder, "out/minutes").len(), 30);
}

#[cfg(unix)]
#[test]
fn one_process_at_a_time_and_a_stop_that_can_be_continued() {
    use std::io::{BufRead, BufReader};
    let folder = folder();
    folder.write("q.sql", &format!("{SCRIPT}\nSELECT n FROM r;\n"));
    let mut command = folder.command(&["run", "q.sql", "--watch"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // A row on stdout: it runs and holds the lock.
    let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a first row");
    folder.run(&["run", "q.sql"]).expect(6).says("already being run").says("--data-dir");
    // SAFETY: a signal to the child that was started above and not yet waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut rest).expect("the rest of stdout");
    let output = child.wait_with_output().expect("the binary ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {err}", output.status);
    assert!(err.contains("stopped"), "{err}");
    folder.run(&["run", "q.sql"]).expect(0).says("complete");
    assert_eq!(rows(&folder, "out/minutes").len(), 30);
}

#[test]
fn a_savepoint_starts_another_pipeline() {
    let folder = folder();
    folder.run(&["run", "p.sql", "--savepoint", "kept"]).expect(0).says("savepoint").says("kept");
    folder.run(&["checkpoints", "show", "kept"]).expect(0).prints("savepoint");
    folder.run(&["run", "p.sql", "--data-dir", "other", "--from", "kept"]).expect(0).says("already complete");
    folder.run(&["run", "p.sql", "--data-dir", "third", "--from", "absent"]).expect(3).says("savepoint");
}

#[test]
fn wrong_flags_are_usage_errors() {
    let folder = folder();
    folder.run(&["run", "p.sql", "--checkpoint-interval", "soon"]).expect(2).says("'soon' is no duration");
    folder.run(&["run", "p.sql", "--parallelism", "0"]).expect(2);
    folder.run(&["run", "p.sql", "--restart", "--from", "x"]).expect(2);
}
