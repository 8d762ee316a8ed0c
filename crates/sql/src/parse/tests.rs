use super::*;

/// Findings as `line:column+length message (hint)`.
fn findings(sql: &str) -> String {
    match parse_script(sql) {
        Ok(script) => format!("ok, {} statements", script.statements.len()),
        Err(found) => {
            let lines = found.iter().map(|found| {
                let length = if found.length == usize::MAX { "*".to_string() } else { found.length.to_string() };
                let hint = found.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{}:{}+{length} {}{hint}", found.line, found.column, found.message)
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[track_caller]
fn check(sql: &str, expect: &str) {
    assert_eq!(findings(sql), expect, "{sql}");
}

/// The only query of the script, as sqlparser prints it.
fn query_text(sql: &str) -> String {
    let script = parse_script(sql).unwrap_or_else(|found| panic!("{sql}: {found:?}"));
    match &script.statements[0].node {
        Statement::Query(query) => query.query.to_string(),
        other => panic!("not a query: {other:?}"),
    }
}

const FLIGHTS: &str = "
CREATE SOURCE flights (
  departed_at TIMESTAMP WITH TIME ZONE, origin TEXT, destination TEXT, delay_minutes BIGINT, distance_miles BIGINT,
  WATERMARK FOR departed_at AS departed_at - INTERVAL '1' HOUR
) WITH (connector = 'files', path = 'examples/flights/flights.ndjson', format = 'ndjson');

CREATE SINK daily_delays WITH (connector = 'files', path = 'out/daily_delays', format = 'ndjson') AS
SELECT origin, window_start, window_end, count(*) AS flights, avg(delay_minutes) AS average_delay
FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY)
GROUP BY origin, window_start, window_end;
";

#[test]
fn parses_the_flights_script() {
    let script = parse_script(FLIGHTS).expect("it is valid");
    let Statement::CreateSource(source) = &script.statements[0].node else { panic!("a source first") };
    assert_eq!(source.columns.len(), 5);
    assert_eq!(source.watermarks[0].column.value, "departed_at");
    assert_eq!(source.watermarks[0].expr.to_string(), "departed_at - INTERVAL '1' HOUR");
    assert_eq!(source.options[1].key.value, "path");
    assert_eq!(source.options[1].key.span.start, Location { line: 5, column: 30 });
    let Statement::CreateSink(sink) = &script.statements[1].node else { panic!("a sink second") };
    let query = sink.query.as_ref().expect("a query").to_string();
    assert!(query.contains("FROM TUMBLE(flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY)"), "{query}");
}

#[test]
fn window_calls_have_one_form() {
    let expect = "SELECT * FROM TUMBLE(t, DESCRIPTOR(ts), INTERVAL '1' DAY)";
    for sql in [
        "SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY)",
        "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY))",
        "SELECT * FROM TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' DAY)",
        "SELECT * FROM TUMBLE(SIZE => INTERVAL '1' DAY, DATA => TABLE t, TIMECOL => DESCRIPTOR(ts))",
    ] {
        assert_eq!(query_text(sql), expect, "{sql}");
    }
    for (sql, expect) in [
        (
            "SELECT * FROM hop(t, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) AS w",
            "SELECT * FROM hop(t, ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) AS w",
        ),
        (
            "SELECT * FROM SESSION(TABLE t PARTITION BY k, l, DESCRIPTOR(ts), INTERVAL '5' MINUTE)",
            "SELECT * FROM SESSION(__table(t, k, l), DESCRIPTOR(ts), INTERVAL '5' MINUTE)",
        ),
        (
            "SELECT * FROM SESSION(DATA => TABLE t PARTITION BY (k), TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '5' MINUTE)",
            "SELECT * FROM SESSION(__table(t, k), DESCRIPTOR(ts), INTERVAL '5' MINUTE)",
        ),
        ("SELECT * FROM COUNT_TUMBLE(TABLE t PARTITION BY k, 10)", "SELECT * FROM COUNT_TUMBLE(__table(t, k), 10)"),
    ] {
        assert_eq!(query_text(sql), expect, "{sql}");
    }
    check(
        "SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts))",
        "1:15+6 TUMBLE lacks its argument 'size' (write TUMBLE(TABLE t, DESCRIPTOR(time), size))",
    );
    check(
        "SELECT * FROM HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SLIDES => INTERVAL '1' DAY, SIZE => INTERVAL '1' DAY)",
        "1:63+6 unknown argument 'SLIDES' (did you mean 'slide'?)",
    );
}

#[test]
fn queries_are_left_to_the_base_dialect() {
    for sql in [
        "SELECT a -> 'b' ->> 'c', x::BIGINT, d @> '[1]' FROM t",
        "SELECT * FROM 'flights.ndjson' LIMIT 5",
        "SELECT * FROM \"s3://bucket/a/*.parquet\"",
        "WITH a AS (SELECT 1) SELECT * FROM a ORDER BY 1",
        "SELECT count(*) FILTER (WHERE x > 1) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY)",
        "SELECT ARRAY[1, 2], t.s.f, EXTRACT(HOUR FROM ts) FROM t",
        "VALUES (1), (2)",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT emit FROM t emit",
    ] {
        check(sql, "ok, 1 statements");
    }
}

#[test]
fn printed_queries_read_the_same() {
    for sql in [
        "SELECT a -> 'b' ->> 'c', x::BIGINT FROM t WHERE d @> '[1]'",
        "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY)) AS w",
        "SELECT k, count(*) FILTER (WHERE x > 1) FROM 'f.json' GROUP BY k, hop(ts, INTERVAL '1' HOUR, INTERVAL '1' DAY)",
        "WITH a AS (SELECT 1) SELECT * FROM a UNION ALL SELECT 2 ORDER BY 1 LIMIT 3",
    ] {
        let once = query_text(sql);
        assert_eq!(query_text(&once), once, "{sql}");
    }
}

#[test]
fn columns_of_all_kinds() {
    let script = parse_script(
        "CREATE SOURCE IF NOT EXISTS \"Odd\" (a BIGINT NOT NULL, b TEXT METADATA FROM 'Path', line BIGINT METADATA,
           c TIMESTAMP GENERATED ALWAYS AS (to_timestamp(a)) STORED, d AS a + 1, e ROW<x ARRAY<ARRAY<INT>>, y MAP<TEXT, INT>>,
           f DECIMAL(10, 2)[], g STRUCT(z INT), WATERMARK FOR c AS c,) WITH ('connector' = 'files', a.b = 5, c = true)",
    );
    let script = script.expect("it is valid");
    let Statement::CreateSource(source) = &script.statements[0].node else { panic!("a source") };
    assert_eq!((source.name.value.as_str(), source.if_not_exists), ("Odd", true));
    let kinds: Vec<String> = source.columns.iter().map(|column| kind_text(column)).collect();
    let expect = [
        "a BIGINT not null",
        "b TEXT from path",
        "line BIGINT from line",
        "c TIMESTAMP = (to_timestamp(a))",
        "d ? = a + 1",
        "e STRUCT<\"x\" ARRAY<ARRAY<INT>>, \"y\" Map(TEXT, INT)>",
        "f DECIMAL(10,2)[]",
        "g STRUCT(\"z\" INT)",
    ];
    assert_eq!(kinds, expect);
    let options: Vec<(&str, &str)> =
        source.options.iter().map(|option| (option.key.value.as_str(), option.value.node.as_str())).collect();
    assert_eq!(options, [("connector", "files"), ("a.b", "5"), ("c", "true")]);
}

fn kind_text(column: &crate::statement::ColumnDefinition) -> String {
    use crate::statement::ColumnKind;
    let name = &column.name.value;
    match &column.kind {
        ColumnKind::Physical { data_type, not_null } => {
            format!("{name} {}{}", data_type.node, if *not_null { " not null" } else { "" })
        }
        ColumnKind::Metadata { data_type, key } => format!("{name} {} from {}", data_type.node, key.value),
        ColumnKind::Computed { data_type: Some(data_type), expr, .. } => format!("{name} {} = {expr}", data_type.node),
        ColumnKind::Computed { data_type: None, expr, .. } => format!("{name} ? = {expr}"),
    }
}

#[test]
fn emit_is_taken_off() {
    let script = parse_script("INSERT INTO k SELECT a FROM t EMIT ON WINDOW CLOSE").expect("it is valid");
    let Statement::Insert(insert) = &script.statements[0].node else { panic!("an insert") };
    assert_eq!(insert.emit, EmitPolicy::OnWindowClose);
    assert_eq!(insert.query.to_string(), "SELECT a FROM t");
    check(
        "SELECT a FROM t\nEMIT ON UPDATE",
        "2:1+14 EMIT ON UPDATE is not supported yet: results that change later need an updating sink (write EMIT ON WINDOW CLOSE, or leave EMIT out)",
    );
    check("SET a = 1 EMIT ON WINDOW CLOSE", "1:11+20 EMIT belongs behind a query");
    check("EMIT ON WINDOW CLOSE", "1:1+4 EMIT belongs behind a query");
}

#[test]
fn errors_say_where_and_what() {
    for (sql, expect) in [
        ("SELEC 1", "1:1+5 expected a statement, found SELEC (did you mean SELECT?)"),
        ("SELECT a FORM t", "1:15+1 expected the end of the statement, found t (did you mean FROM instead of FORM?)"),
        (
            "CREATE SURCE a",
            "1:8+5 expected SOURCE, VIEW, MATERIALIZED VIEW or SINK, found SURCE (did you mean SOURCE?)",
        ),
        (
            "CREATE TABLE a (b INT)",
            "1:8+5 CREATE TABLE is not supported (declare where rows come from with CREATE SOURCE, and where they go with CREATE SINK)",
        ),
        (
            "DELETE FROM t",
            "1:1+6 DELETE is not supported: there are no stored tables to change (write changed rows into a sink with INSERT INTO sink SELECT ...)",
        ),
        ("SELECT (1", "1:10+1 expected ), found the end of the statement"),
        ("SELECT 'abc", "1:8+1 unterminated string literal"),
        (
            "CREATE SOURCE s (a BIGINT) WITH (a = )",
            "1:38+1 expected a value, found ) (write the value in single quotes)",
        ),
        ("CREATE SOURCE s (a BIGINT) WITH (a = '1', a = '2')", "1:43+1 option 'a' is given twice"),
        (
            "CREATE SOURCE s (a BIGINT)",
            "1:27+1 expected WITH (...), found the end of the statement (every source names its connector, e.g. WITH (connector = 'files', path = 'in.ndjson'))",
        ),
        (
            "CREATE SOURCE s (a BIGINT PRIMARY KEY) WITH ()",
            "1:27+7 PRIMARY is not supported on a column of a source (a column takes NOT NULL, METADATA [FROM 'key'] or GENERATED ALWAYS AS (expr) STORED)",
        ),
        (
            "SELECT 1;\n\nSELEC 2;\nSELECT 3;\nSELEC 4",
            "3:1+5 expected a statement, found SELEC (did you mean SELECT?)\n5:1+5 expected a statement, found SELEC (did you mean SELECT?)",
        ),
        (
            "INSERT INTO k (a) SELECT 1",
            "1:15+1 a column list is not supported in INSERT INTO (name the columns in the SELECT, in the order they shall have)",
        ),
        (
            "SELECT a, TABLE t FROM t",
            "1:11+5 TABLE does not belong here (it names the input of a window function, as in TUMBLE(TABLE t, ...))",
        ),
        (
            "SELECT * FROM f(TABLE t)",
            "1:15+1 unknown window function 'f' (window functions: count_tumble, cumulate, hop, session, tumble)",
        ),
        ("", "ok, 0 statements"),
        (";;-- nothing\n;", "ok, 0 statements"),
    ] {
        check(sql, expect);
    }
}

#[test]
fn deep_nesting_is_refused_not_fatal() {
    let sql = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(findings(&sql).contains("nested too deeply"), "{}", findings(&sql));
    let types = format!("CREATE SOURCE s (a {}INT{}) WITH ()", "ARRAY<".repeat(200), ">".repeat(200));
    assert!(findings(&types).contains("types nest at most"), "{}", findings(&types));
}

mod soup {
    use super::parse_script;
    use proptest::prelude::*;

    fn word() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "CREATE",
            "SOURCE",
            "SINK",
            "VIEW",
            "MATERIALIZED",
            "WITH",
            "(",
            ")",
            ",",
            ";",
            "AS",
            "SELECT",
            "FROM",
            "WHERE",
            "GROUP",
            "BY",
            "TUMBLE",
            "TABLE",
            "t",
            "DESCRIPTOR",
            "INTERVAL",
            "'1'",
            "DAY",
            "EMIT",
            "ON",
            "CLOSE",
            "WINDOW",
            "INSERT",
            "INTO",
            "SET",
            "=",
            "=>",
            "a",
            "\"b\"",
            "1",
            "-",
            "*",
            ".",
            "::",
            "->",
            "BIGINT",
            "ROW",
            "<",
            ">",
            ">>",
            "ARRAY",
            "[",
            "]",
            "METADATA",
            "GENERATED",
            "ALWAYS",
            "WATERMARK",
            "FOR",
            "PARTITION",
            "EXPLAIN",
            "'x",
            "$$",
            "NOT",
            "NULL",
            "JOIN",
            "UNION",
            "CASE",
            "END",
            "--",
            "/*",
            "\n",
            "MAP",
            "é",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn never_panics(words in prop::collection::vec(word(), 0..40)) {
            let sql = words.join(" ");
            if let Err(found) = parse_script(&sql) {
                prop_assert!(!found.is_empty());
                for finding in found {
                    let _ = finding.render("p.sql", &sql);
                }
            }
        }

        #[test]
        fn never_panics_on_any_text(sql in "\\PC{0,80}") {
            let _ = parse_script(&sql);
        }
    }
}
