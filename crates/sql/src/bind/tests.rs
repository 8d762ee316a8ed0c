use std::time::Duration;

use super::*;
use crate::parse_script;
use crate::testing::MemoryRegistry;

fn bound(sql: &str) -> Result<(BoundPipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
    let registry = MemoryRegistry::default();
    let context = BindContext::new("p", "/nowhere", &registry);
    bind_with_warnings(&parse_script(sql)?, &context)
}

/// Findings as `line:column message (hint)`; warnings marked.
fn findings(sql: &str) -> String {
    let found = bound(sql).map_or_else(|found| found, |(_, warnings)| warnings);
    let lines = found.iter().map(|found| {
        let hint = found.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let warning = if found.is_error() { "" } else { "warning: " };
        format!("{}:{} {warning}{}{hint}", found.line, found.column, found.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Behind a valid source `s(ts TIMESTAMP, k TEXT, n BIGINT)` on line 1.
#[track_caller]
fn check(statements: &str, expect: &str) {
    let source =
        "CREATE SOURCE s (ts TIMESTAMP, k TEXT, n BIGINT, WATERMARK FOR ts AS ts) WITH (connector = 'memory');\n";
    assert_eq!(findings(&format!("{source}{statements}")), expect, "{statements}");
}

/// A source with these columns and options, and a sink that reads it.
#[track_caller]
fn check_source(columns: &str, options: &str, expect: &str) {
    let sql = format!(
        "CREATE SOURCE s ({columns})\nWITH (connector = 'memory'{options});\nCREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s;"
    );
    assert_eq!(findings(&sql), expect, "{columns} {options}");
}

#[test]
fn binds_a_pipeline() {
    let (pipeline, warnings) = bound(
        "SET parallelism = 3; SET checkpoint_interval = '10s'; SET publish_interval = INTERVAL '200' MILLISECOND;
         CREATE SOURCE s (ts TIMESTAMP, line BIGINT METADATA, n BIGINT, d AS n * 2, e TEXT GENERATED ALWAYS AS (n) STORED,
           WATERMARK FOR ts AS ts - INTERVAL '1' HOUR)
         WITH (connector = 'memory', path = 'x', on_error = 'dlq', dlq = 'bad', watermark.idle_timeout = '5s', watermark.max_drift = '1h');
         CREATE VIEW v (a) AS SELECT n FROM s;
         CREATE SINK bad WITH (connector = 'memory');
         CREATE SINK k WITH (connector = 'memory') AS SELECT a FROM v EMIT ON WINDOW CLOSE;
         INSERT INTO k SELECT d FROM s;",
    )
    .expect("it is valid");
    assert_eq!(warnings, vec![]);
    let source = &pipeline.sources["s"];
    assert_eq!(source.column_order, ["ts", "line", "n", "d", "e"]);
    assert_eq!(source.computed.len(), 2);
    assert_eq!(source.idle_timeout, Some(Duration::from_secs(5)));
    assert_eq!(source.max_drift, Some(Duration::from_secs(3600)));
    assert_eq!(source.dead_letter_sink.as_deref(), Some("bad"));
    assert_eq!(source.watermark.as_ref().map(|(column, _)| column.as_str()), Some("ts"));
    assert_eq!(pipeline.views[0].1, ["a"]);
    let sinks: Vec<(&str, usize)> =
        pipeline.sinks.iter().map(|sink| (sink.name.as_str(), sink.queries.len())).collect();
    assert_eq!(sinks, [("bad", 0), ("k", 2)]);
    assert_eq!(pipeline.sinks[1].emit, crate::EmitPolicy::OnWindowClose);
    assert_eq!(pipeline.settings.parallelism, Some(3));
    assert_eq!(pipeline.settings.publish_interval, Some(Duration::from_millis(200)));
}

#[test]
fn infers_columns() {
    let (pipeline, _) = bound(
        "CREATE SOURCE s (WATERMARK FOR when AS when, m AS n + 1) WITH (connector = 'memory');
         CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s",
    )
    .expect("it is valid");
    assert_eq!(pipeline.sources["s"].column_order, ["when", "n", "m"]);
    assert_eq!(pipeline.sources["s"].idle_timeout, Some(Duration::from_secs(30)));
}

#[test]
fn source_findings() {
    for (columns, options, expect) in [
        ("a BIGNIT", "", "1:20 unknown type BIGNIT (did you mean BIGINT?)"),
        ("a BIGINT, a TEXT", "", "1:28 column 'a' is declared twice"),
        (
            "__w BIGINT",
            "",
            "1:18 column '__w' has a reserved name (names that begin with two underscores are the engine's own)",
        ),
        (
            "ts TIMESTAMP, WATERMARK FOR t AS ts",
            "",
            "1:46 unknown column 't' in WATERMARK FOR (columns of this source: ts)",
        ),
        (
            "ms BIGINT, WATERMARK FOR ms AS ms",
            "",
            "1:43 column 'ms' is BIGINT; event time must be a TIMESTAMP (add a column: ms_time TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(ms)) STORED)",
        ),
        (
            "ts TIMESTAMP, WATERMARK FOR ts AS 5",
            "",
            "1:52 the watermark is BIGINT; it must be a TIMESTAMP (write ts - INTERVAL '5' SECOND)",
        ),
        ("ts TIMESTAMP, WATERMARK FOR ts AS tz", "", "1:52 unknown column 'tz' (did you mean 'ts'?)"),
        ("a BIGINT, b AS lowr(a)", "", "1:33 unknown function 'lowr' (did you mean 'lower'?)"),
        (
            "a BIGINT, line TEXT METADATA",
            "",
            "1:28 metadata 'line' of source 's' is BIGINT, not TEXT (declare the column as BIGINT)",
        ),
        ("a BIGINT", ", pth = 'x'", "2:29 unknown option 'pth' (did you mean 'path'?)"),
        ("a BIGINT", ", on_error = 'skip'", "2:40 on_error cannot be 'skip' (it is 'fail', 'drop' or 'dlq')"),
        (
            "a BIGINT",
            ", on_error = 'dlq'",
            "1:15 source 's' has on_error = 'dlq' but no dlq (add dlq = 'name of a sink')",
        ),
        ("a BIGINT", ", on_error = 'dlq', dlq = 'kk'", "2:53 unknown sink 'kk' (did you mean 'k'?)"),
        ("a BIGINT", ", dlq = 'k'", "2:29 dlq is given, but bad rows do not go there (add on_error = 'dlq')"),
        (
            "a BIGINT",
            ", watermark.idle_timeout = '5s'",
            "2:29 watermark.idle_timeout means nothing without a watermark (add WATERMARK FOR column AS column - INTERVAL '5' SECOND)",
        ),
        (
            "ts TIMESTAMP, WATERMARK FOR ts AS ts",
            ", watermark.idle_timeot = '5s'",
            "2:29 unknown option 'watermark.idle_timeot' (did you mean 'watermark.idle_timeout'?)",
        ),
        (
            "ts TIMESTAMP, WATERMARK FOR ts AS ts",
            ", watermark.max_drift = 'soon'",
            "2:51 'soon' is not a duration; write a number and a unit, such as '500ms', '30s', '5m', '1h' or '1d'",
        ),
        (
            "a BIGNIT, b TXT",
            ", pth = 'x'",
            "1:20 unknown type BIGNIT (did you mean BIGINT?)\n1:30 unknown type TXT (did you mean TEXT?)\n2:29 unknown option 'pth' (did you mean 'path'?)",
        ),
    ] {
        check_source(columns, options, expect);
    }
}

#[test]
fn script_findings() {
    for (statements, expect) in [
        (
            "INSERT INTO kk SELECT * FROM s; CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s",
            "2:13 unknown sink 'kk' (did you mean 'k'?)",
        ),
        (
            "CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM ss",
            "2:60 unknown table 'ss' (did you mean 's'?)",
        ),
        (
            "CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY)",
            "2:73 unknown table 't' (sources and views of this script: s)",
        ),
        (
            "CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM TUMBEL(TABLE s, DESCRIPTOR(ts), INTERVAL '1' DAY)",
            "2:60 unknown window function 'TUMBEL' (did you mean 'tumble'?)",
        ),
        (
            "CREATE SINK k WITH (connector = 'memory')",
            "2:13 nothing is written into sink 'k' (add AS SELECT ..., or INSERT INTO it, or name it as dlq of a source)",
        ),
        (
            "CREATE SINK k WITH (path = 'x') AS SELECT * FROM s",
            "2:13 sink 'k' names no connector (add connector = 'files' (or another) to WITH (...))",
        ),
        (
            "CREATE SINK k WITH (connector = 'kafak') AS SELECT * FROM s",
            "2:21 unknown connector 'kafak' (connectors: memory)",
        ),
        (
            "CREATE SINK s WITH (connector = 'memory') AS SELECT * FROM s",
            "2:13 's' is already the name of a source (it is declared on line 1; choose another name)",
        ),
        (
            "CREATE VIEW __v AS SELECT * FROM s; CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM __v",
            "2:13 '__v' cannot be the name of a view (names that begin with two underscores are the engine's own)",
        ),
        ("CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM v; CREATE VIEW v AS SELECT * FROM s", ""),
        (
            "CREATE VIEW w AS SELECT * FROM v; CREATE VIEW v AS SELECT * FROM s; CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM w",
            "2:32 view 'v' is used before it is declared (move its CREATE VIEW up)",
        ),
        (
            "SELECT * FROM s",
            "2:1 a SELECT on its own writes nowhere in a pipeline (write CREATE SINK name WITH (...) AS SELECT ... or INSERT INTO sink SELECT ...)",
        ),
        (
            "CREATE SINK k WITH (connector = 'memory') AS WITH x AS (SELECT * FROM s) SELECT * FROM x, (SELECT n FROM s) y",
            "",
        ),
        (
            "CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM 'a.json', s",
            "2:60 the file 'a.json' cannot be read directly in a pipeline (declare it: CREATE SOURCE name (...) WITH (connector = 'files', path = '...'))",
        ),
        (
            "SET paralelism = 2; CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s",
            "2:5 unknown setting 'paralelism' (did you mean 'parallelism'?)",
        ),
        (
            "SET parallelism = 0; CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s",
            "2:19 parallelism is a number from 1 to 1024, not '0'",
        ),
        (
            "CREATE SOURCE r (a BIGINT) WITH (connector = 'memory'); CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s",
            "2:15 warning: source 'r' is never read",
        ),
        (
            "SET parallelism = 2",
            "2:1 the script has no sink, so there is nothing to run (add CREATE SINK name WITH (connector = 'stdout') AS SELECT ...)",
        ),
    ] {
        check(statements, expect);
    }
}

#[test]
fn offline_sources_are_not_opened() {
    let sql = "CREATE SOURCE s (a BIGINT) WITH (connector = 'memory'); CREATE SINK k WITH (connector = 'memory') AS SELECT * FROM s";
    let registry = MemoryRegistry::default();
    let context = BindContext { offline: true, ..BindContext::new("p", "/nowhere", &registry) };
    let pipeline = bind(&parse_script(sql).expect("it is valid"), &context).expect("it is valid");
    assert_eq!(pipeline.sources["s"].source.describe(), "memory");
    assert_eq!(pipeline.sources["s"].source.schema().fields().len(), 1);
}

/// Every example is a script that binds with the real connectors, without findings.
#[test]
fn examples_bind() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let scripts: Vec<_> = std::fs::read_dir(root.join("examples"))
        .expect("the examples are there")
        .filter_map(|entry| Some(entry.ok()?.path().join("pipeline.sql")))
        .filter(|path| path.exists())
        .collect();
    assert!(scripts.len() >= 3, "{scripts:?}");
    for path in scripts {
        let sql = std::fs::read_to_string(&path).expect("readable");
        let context = BindContext::new("example", &root, &crate::Connectors);
        let bound = parse_script(&sql).and_then(|script| bind_with_warnings(&script, &context));
        match bound {
            Ok((pipeline, warnings)) => {
                assert_eq!(warnings, vec![], "{path:?}");
                assert!(!pipeline.sinks.is_empty() && !pipeline.sources.is_empty(), "{path:?}");
            }
            Err(found) => {
                panic!("{}", found.iter().map(|found| found.render("pipeline.sql", &sql)).collect::<String>())
            }
        }
    }
}

#[test]
fn connectors_complain_at_the_column() {
    let sql = "CREATE SOURCE s (a BIGINT, p TEXT METADATA FROM 'pth')
        WITH (connector = 'files', path = 'a.ndjson', formt = 'ndjson');
        CREATE SINK k WITH (connector = 'stdout') AS SELECT * FROM s";
    let context = BindContext { offline: true, ..BindContext::new("p", "/nowhere", &crate::Connectors) };
    let found = parse_script(sql).and_then(|script| bind(&script, &context)).expect_err("two mistakes");
    let places: Vec<(usize, usize)> = found.iter().map(|found| (found.line, found.column)).collect();
    assert_eq!(places, [(1, 28), (2, 55)], "{found:?}");
    assert!(found.iter().all(|found| found.hint.is_some()), "{found:?}");
}

mod soup {
    use super::*;
    use proptest::prelude::*;

    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "CREATE SOURCE s (ts TIMESTAMP, k TEXT, WATERMARK FOR ts AS ts) WITH (connector = 'memory');",
            "CREATE SOURCE t (c AS 1, WATERMARK FOR c AS d) WITH (connector = 'memory', on_error = 'dlq', dlq = 's');",
            "CREATE VIEW v AS SELECT * FROM s;",
            "CREATE OR REPLACE VIEW v (a) AS WITH v AS (SELECT 1) SELECT * FROM v;",
            "CREATE SINK k WITH (connector = 'memory')",
            "AS SELECT * FROM v",
            "AS SELECT * FROM TUMBLE(TABLE s PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' DAY)",
            "EMIT ON WINDOW CLOSE",
            ";",
            "INSERT INTO k SELECT count(*) FROM 'x.json';",
            "SET parallelism = 'x';",
            "EXPLAIN SELECT 1;",
            "SELECT 1;",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn never_panics_and_findings_have_places(pieces in prop::collection::vec(piece(), 0..8)) {
            let sql = pieces.join("\n");
            if let Err(found) = bound(&sql) {
                prop_assert!(found.iter().any(Diagnostic::is_error));
                for finding in &found {
                    prop_assert!(finding.line <= sql.lines().count().max(1), "{finding:?} in {sql}");
                    let _ = finding.render("p.sql", &sql);
                }
            }
        }
    }
}
