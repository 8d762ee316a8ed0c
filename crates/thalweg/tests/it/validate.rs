//! `thalweg validate` and `thalweg explain`.

use crate::support::Folder;

const GOOD: &str = "\
CREATE SOURCE r (k TEXT, n BIGINT, at TIMESTAMP WITH TIME ZONE, WATERMARK FOR at AS at - INTERVAL '1' SECOND)
WITH (connector = 'files', path = 'absent.ndjson', format = 'ndjson');
CREATE SINK s WITH (connector = 'files', path = 'out', format = 'ndjson') AS
SELECT k, window_start, count(*) AS c FROM TUMBLE(TABLE r, DESCRIPTOR(at), INTERVAL '1' MINUTE)
GROUP BY k, window_start, window_end;
";

#[test]
fn every_mistake_is_told_at_once() {
    let folder = Folder::new();
    folder.write(
        "p.sql",
        "CREATE SOURCE r (k TEXT) WITH (connector = 'filez', path = 'x');\n\
         CREATE SINK s WITH (connector = 'blackhole', colour = 'red') AS SELECT k FROM rr;\n",
    );
    folder
        .run(&["validate", "p.sql"])
        .expect(3)
        .says("p.sql:1:")
        .says("did you mean 'files'?")
        .says("p.sql:2:")
        .says("colour")
        .says("unknown table 'rr'");
    let found = folder.run(&["validate", "-o", "json", "p.sql"]).expect(3).json();
    assert_eq!(found["valid"], false);
    let findings = found["files"][0]["findings"].as_array().expect("findings");
    assert!(findings.len() >= 3, "{found:#}");
    assert!(findings.iter().all(|finding| finding["line"].as_u64().is_some_and(|line| line > 0)), "{found:#}");
}

#[test]
fn a_good_script_is_valid_without_its_files() {
    let folder = Folder::new();
    folder.write("p.sql", GOOD);
    folder.run(&["validate", "p.sql"]).expect(0).prints("p.sql is valid");
    assert_eq!(folder.run(&["validate", "-o", "json", "p.sql"]).expect(0).json()["valid"], true);
    assert!(!folder.path().join("out").exists() && !folder.path().join("thalweg-data").exists());
}

#[test]
fn an_unread_source_is_a_warning() {
    let folder = Folder::new();
    folder.write(
        "p.sql",
        &format!("{GOOD}CREATE SOURCE unread (a TEXT) WITH (connector = 'files', path = 'x', format = 'csv');\n"),
    );
    folder.run(&["validate", "p.sql"]).expect(0).says("'unread' is never read");
    folder.run(&["validate", "--deny-warnings", "p.sql"]).expect(3);
}

#[test]
fn updating_results_are_refused_with_a_reason() {
    let folder = Folder::new();
    folder.write(
        "p.sql",
        "CREATE SOURCE r (k TEXT) WITH (connector = 'files', path = 'x', format = 'csv');\n\
         CREATE SINK s WITH (connector = 'blackhole') AS SELECT k, count(*) AS c FROM r GROUP BY k;\n",
    );
    folder.run(&["validate", "p.sql"]).expect(3).says("p.sql:2:").says("window");
}

#[test]
fn files_that_are_not_there_are_not_found() {
    let folder = Folder::new();
    for command in ["validate", "explain", "run"] {
        folder.run(&[command, "absent.sql"]).expect(4).says("absent.sql");
    }
    folder.write("d/pipeline.sql", GOOD);
    folder.run(&["explain", "d"]).expect(4).says("d/pipeline.sql");
}

#[test]
fn explain_tells_keys_watermark_and_state() {
    let folder = Folder::new();
    folder.write("p.sql", GOOD);
    folder.run(&["explain", "p.sql"]).expect(0).prints("watermark").prints("append-only").prints("exchanged by k");
    let graph = folder.run(&["explain", "p.sql", "--graph", "json"]).expect(0).json();
    assert!(graph.to_string().contains("source"), "{graph:#}");
    folder.run(&["explain", "p.sql", "--graph", "dot"]).expect(0).prints("digraph");
}
