//! `thalweg sql` without a terminal: statements, formats, shell commands, exit codes.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Done, Folder, finish};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write(
        "rows.ndjson",
        "{\"k\":\"a\",\"n\":1,\"at\":\"2024-01-01T00:00:00Z\"}\n{\"k\":\"b\",\"n\":2,\"at\":\"2024-01-01T00:00:30Z\"}\n\
         {\"k\":\"a\",\"n\":3,\"at\":\"2024-01-01T00:01:10Z\"}\n",
    );
    folder
}

fn piped(folder: &Folder, input: &str, args: &[&str]) -> Done {
    let mut command = folder.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).expect("write statements");
    let output = child.wait_with_output().expect("the binary ends");
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_file_is_a_table_in_every_format() {
    let folder = folder();
    let query = "SELECT k, sum(n) AS total FROM 'rows.ndjson' GROUP BY k ORDER BY k";
    for (format, expect) in [
        ("csv", "k,total\na,4\nb,2\n"),
        ("jsonl", "{\"k\":\"a\",\"total\":4}\n{\"k\":\"b\",\"total\":2}\n"),
        ("json", "[\n  {\"k\":\"a\",\"total\":4},\n  {\"k\":\"b\",\"total\":2}\n]\n"),
        ("yaml", "- k: a\n  total: 4\n- k: b\n  total: 2\n"),
        ("markdown", "| k | total |\n| --- | ---: |\n| a | 4 |\n| b | 2 |\n"),
        ("table", "k  total\n─  ─────\na      4\nb      2\n(2 rows)\n"),
    ] {
        assert_eq!(folder.run(&["sql", "-o", format, "-c", query]).expect(0).out, expect, "{format}");
    }
}

#[test]
fn mistakes_point_at_the_place_and_end_with_3() {
    let folder = folder();
    folder.run(&["sql", "-c", "SELECT kk FROM 'rows.ndjson'"]).expect(3).says("sql:1:8").says("did you mean");
    folder.run(&["sql", "-c", "SELEC 1"]).expect(3).says("SELEC");
    let absent = folder.run(&["sql", "-c", "SELECT * FROM 'absent.ndjson'"]);
    assert!([3, 4].contains(&absent.code), "{absent:?}");
    absent.says("absent.ndjson");
    folder.run(&["sql", "-c", "SELECT 1", "-f", "x.sql"]).expect(2);
}

#[test]
fn statements_come_from_a_pipe_and_declarations_last() {
    let folder = folder();
    let done = piped(
        &folder,
        "CREATE SOURCE r (k TEXT, n BIGINT) WITH (connector = 'files', path = 'rows.ndjson', format = 'ndjson');\n\
         CREATE VIEW big AS SELECT * FROM r WHERE n > 1;\n\
         \\f csv\n\
         SELECT count(*) AS c FROM big; -- the last one needs no semicolon\n\
         SELECT max(n) AS m FROM big",
        &["sql"],
    );
    assert_eq!(done.expect(0).out, "c\n2\nm\n3\n");
}

#[test]
fn the_first_mistake_ends_a_script() {
    let folder = folder();
    let done = piped(&folder, "SELECT 1 AS a; SELECT nope; SELECT 2 AS b;", &["sql", "-o", "csv"]);
    assert_eq!(done.expect(3).out, "a\n1\n");
}

#[test]
fn shell_commands_describe_and_write_files() {
    let folder = folder();
    let done = piped(
        &folder,
        "\\d 'rows.ndjson'\n\\l\n\\df date_trunc\n\\o out.csv\n.mode csv\nSELECT 1 AS a;\n\\o\nSELECT 2 AS b;\n\\q\nSELECT 98765;",
        &["sql"],
    );
    let done = done.expect(0).prints("TIMESTAMP").prints("generator").prints("date_trunc").prints("b\n2");
    assert!(!done.out.contains("98765"), "nothing is answered behind \\q: {}", done.out);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.csv")).expect("the file is there"), "a\n1\n");
}

#[test]
fn files_include_files() {
    let folder = folder();
    folder.write("inner.sql", "CREATE VIEW v AS SELECT 7 AS seven;");
    folder.write("outer.sql", "\\i inner.sql\nSELECT seven FROM v;");
    assert_eq!(folder.run(&["sql", "-o", "csv", "-f", "outer.sql"]).expect(0).out, "seven\n7\n");
    folder.run(&["sql", "-f", "absent.sql"]).expect(4).says("absent.sql");
}

#[test]
fn a_windowed_query_runs_in_the_engine() {
    let folder = folder();
    let query = "CREATE SOURCE r (k TEXT, n BIGINT, at TIMESTAMP WITH TIME ZONE, WATERMARK FOR at AS at) \
                 WITH (connector = 'files', path = 'rows.ndjson', format = 'ndjson'); \
                 SELECT k, window_start, count(*) AS c FROM TUMBLE(TABLE r, DESCRIPTOR(at), INTERVAL '1' MINUTE) \
                 GROUP BY k, window_start, window_end";
    let done = folder.run(&["sql", "-o", "csv", "-c", query]).expect(0);
    let mut lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.remove(0), "k,window_start,c");
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{}", done.out);
    assert!(lines[0].starts_with("a,2024-01-01T00:00:00") && lines[0].ends_with(",1"), "{}", done.out);
}

#[test]
fn an_endless_query_is_json_lines_when_piped_and_ends_with_its_reader() {
    let folder = Folder::new();
    let query = "CREATE SOURCE bid WITH (connector = 'generator', events = 'nexmark', type = 'bid'); \
                 SELECT auction, price FROM bid";
    let mut command = folder.command(&["sql", "-c", query]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut first = String::new();
    {
        use std::io::BufRead;
        let mut out = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
        out.read_line(&mut first).expect("a first row");
    }
    let row: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert!(row["auction"].is_u64(), "{row}");
    // The reader is gone: the query ends by itself, quietly.
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{:?}", output.status);
}

#[test]
fn timing_is_talk() {
    let folder = folder();
    let done = folder.run(&["sql", "--timing", "-o", "csv", "-c", "SELECT 1 AS a"]).expect(0).says("time: ");
    assert_eq!(done.out, "a\n1\n");
    let mut command = folder.command(&["sql", "-c", "SELECT 1 AS a"]);
    command.env("THALWEG__SQL__OUTPUT", "csv");
    assert_eq!(finish(command).expect(0).out, "a\n1\n");
}
