use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;

use super::*;
use crate::testing::MemoryRegistry;

/// Rows `(ts, k, n)`: `ts` in seconds.
fn rows(values: &[(i64, &str, i64)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]);
    let times: Vec<i64> = values.iter().map(|(second, ..)| second * 1_000_000).collect();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(times)),
        Arc::new(StringArray::from_iter_values(values.iter().map(|(_, k, _)| k))),
        Arc::new(Int64Array::from_iter_values(values.iter().map(|(.., n)| *n))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns fit the schema")
}

const SOURCE: &str = "CREATE SOURCE s (ts TIMESTAMP, k TEXT, n BIGINT) WITH (connector = 'memory');";

async fn session() -> QuerySession {
    let batches = vec![rows(&[(0, "a", 1), (5, "b", 2)]), rows(&[(61, "a", 3)]), rows(&[(130, "a", 4), (131, "c", 5)])];
    let registry = MemoryRegistry { rows: BTreeMap::from([("s".to_string(), batches)]) };
    let mut session = QuerySession::new(Arc::new(registry), "/nowhere").with_parallelism(3);
    for statement in parse_script(SOURCE).expect("it is valid").statements {
        session.declare(&statement).await.expect("it is valid");
    }
    session
}

/// Rows joined by `/`, values by `,`; or the findings.
async fn answer(sql: &str) -> String {
    render(async { query_batch(&session().await, sql).await?.collect().await }.await)
}

fn render(outcome: Result<Vec<RecordBatch>, Vec<Diagnostic>>) -> String {
    match outcome {
        Ok(batches) => {
            let table = pretty_format_batches(&batches).expect("printable").to_string();
            let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
            lines
                .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(","))
                .collect::<Vec<_>>()
                .join("/")
        }
        Err(found) => {
            let text = |found: &Diagnostic| {
                let hint = found.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{}:{} {}{hint}", found.line, found.column, found.message)
            };
            found.iter().map(text).collect::<Vec<_>>().join("; ")
        }
    }
}

#[tokio::test]
async fn queries_declared_sources() {
    for (sql, expect) in [
        ("SELECT count(*) FROM s", "5"),
        ("SELECT k, sum(n) AS total FROM s GROUP BY k ORDER BY total DESC LIMIT 2", "a,8/c,5"),
        ("SELECT n, k FROM s ORDER BY ts LIMIT 2", "1,a/2,b"),
        ("SELECT n FROM s LIMIT 1", "1"),
        ("CREATE VIEW v (key, twice) AS SELECT k, n * 2 FROM s; SELECT twice FROM v WHERE key = 'c'", "10"),
        ("CREATE VIEW v AS SELECT k FROM s; CREATE VIEW w AS SELECT count(*) AS c FROM v; SELECT c FROM w", "5"),
        ("WITH x AS (SELECT n FROM s) SELECT max(n) FROM x, (SELECT 1) y", "5"),
        ("SELECT sum(value) FROM generate_series(1, 4)", "10"),
        ("SELECT upper(k), count(*) AS c FROM s GROUP BY k ORDER BY 2 DESC, 1 LIMIT 2", "A,3/B,1"),
        ("SELECT upper(k), sum(n) FROM s GROUP BY 1 ORDER BY 1 DESC LIMIT 1", "C,5"),
        ("SELECT a.n, b.n FROM s a JOIN s b ON a.n + 1 = b.n ORDER BY 1 LIMIT 2", "1,2/2,3"),
    ] {
        assert_eq!(answer(sql).await, expect, "{sql}");
    }
}

#[tokio::test]
async fn computed_columns_are_there() {
    let sql = "CREATE SOURCE s (ts TIMESTAMP, twice AS n * 2, k TEXT, n BIGINT, t TEXT GENERATED ALWAYS AS (twice + 1) STORED)
               WITH (connector = 'memory'); SELECT * FROM s ORDER BY n LIMIT 1";
    assert_eq!(answer(sql).await, "1970-01-01T00:00:00,2,a,1,3");
}

#[tokio::test]
async fn findings_have_places() {
    for (sql, expect) in [
        ("SELECT kk FROM s", "1:8 unknown column 'kk' (did you mean 'k'?)"),
        ("SELECT x.k FROM s", "1:8 unknown column 'x.k' (did you mean 'k'?)"),
        ("SELECT *\nFROM ss", "2:6 unknown table 'ss' (did you mean 's'?)"),
        (
            "SELECT * FROM a.ndjson",
            "1:15 unknown table 'a.ndjson' (write the name of a file in single quotes: FROM 'flights.ndjson')",
        ),
        ("SELECT lowre(k) FROM s", "1:8 unknown function 'lowre' (did you mean 'lower'?)"),
        (
            "SELECT k, count(*) FROM s",
            "1:8 column 'k' is neither in GROUP BY nor inside an aggregate function (add it to GROUP BY, or choose one value with an aggregate such as max or first_value)",
        ),
        ("SELECT * FROM 'a.ndjson'", "1:15 unknown connector 'files' (connectors: memory)"),
        ("SELECT 1; SELECT 2", "1:11 one query at a time"),
        ("CREATE VIEW v AS SELECT nn FROM s; SELECT 1", "1:25 unknown column 'nn' (did you mean 'n'?)"),
        (
            "CREATE SINK k WITH (connector = 'memory') AS SELECT 1",
            "1:1 only CREATE SOURCE and CREATE VIEW can be declared for queries (run pipelines with `thalweg run`)",
        ),
        ("", "0:0 there is no query to run (write SELECT ...)"),
        ("SELECT 1 / (n - n) FROM s", "0:0 divide by zero error"),
    ] {
        assert_eq!(answer(sql).await, expect, "{sql}");
    }
}

#[tokio::test]
async fn sessions_remember_and_forget() {
    let mut session = session().await;
    assert_eq!(session.names(), [("s".to_string(), "source")]);
    assert_eq!(session.columns("s").await.expect("declared").fields().len(), 3);
    assert!(session.forget("s"));
    assert!(!session.forget("s"));
    assert!(query_batch(&session, "SELECT * FROM s").await.is_err());
}

#[tokio::test]
async fn unnamed_columns_are_called_as_written() {
    let session = session().await;
    for (sql, expect) in [
        ("SELECT k, avg(n), count(*), n + 1, s.n FROM s GROUP BY k, n", "k avg(n) count(*) n + 1 n"),
        ("SELECT k, sum(n) FROM s GROUP BY k HAVING sum(n) > 1 ORDER BY sum(n), 2 LIMIT 1", "k sum(n)"),
        ("SELECT max(n) FROM s UNION ALL SELECT 1", "max(n)"),
        ("SELECT sum(n) OVER (PARTITION BY k ORDER BY ts) FROM s", "sum(n) OVER (PARTITION BY k ORDER BY ts)"),
        ("SELECT unnest(ARRAY[1, 2]), n FROM s", "UNNEST(make_array(Int64(1),Int64(2))) n"),
    ] {
        let result = query_batch(&session, sql).await.unwrap_or_else(|found| panic!("{sql}: {found:?}"));
        let names: Vec<String> = result.schema.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names.join(" "), expect, "{sql}");
        result.collect().await.unwrap_or_else(|found| panic!("{sql}: {found:?}"));
    }
}

#[tokio::test]
async fn explains() {
    let text = answer("EXPLAIN SELECT k FROM s").await;
    assert!(text.contains("physical plan:/") && text.contains("SourceExec: s (memory), columns=[k]"), "{text}");
}

/// Windows as `start second-end second`, with a sum.
#[tokio::test]
async fn windows_as_in_pipelines() {
    let window = "concat((date_part('epoch', window_start))::BIGINT, '-', (date_part('epoch', window_end))::BIGINT)";
    for (from, expect) in [
        ("TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)", "0-60,3/60-120,3/120-180,9"),
        ("TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '3' SECOND)", "-57-3,1/3-63,5/123-183,9"),
        ("TUMBLE(s, ts, INTERVAL '1' MINUTE) AS t", "0-60,3/60-120,3/120-180,9"),
        (
            "HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTE)",
            "-60-60,3/0-120,6/60-180,12/120-240,9",
        ),
        (
            "HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '90' SECOND)",
            "-60-30,3/0-90,6/60-150,12/120-210,9",
        ),
        ("CUMULATE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '3' MINUTE)", "0-60,3/0-120,6/0-180,15"),
        ("SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ts), INTERVAL '69' SECOND)", "0-199,8/5-74,2/131-200,5"),
        ("SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ts), INTERVAL '68' SECOND)", "0-129,4/5-73,2/130-198,4/131-199,5"),
        ("SESSION(TABLE s, DESCRIPTOR(ts), INTERVAL '60' SECOND)", "0-121,6/130-191,9"),
    ] {
        let sql = format!(
            "SELECT {window}, sum(n) FROM {from} GROUP BY window_start, window_end ORDER BY window_start, window_end"
        );
        assert_eq!(answer(&sql).await, expect, "{from}");
    }
}

#[tokio::test]
async fn windows_in_group_by() {
    for (sql, expect) in [
        (
            "SELECT k, tumble_start(ts, INTERVAL '1' MINUTE), sum(n) FROM s GROUP BY k, tumble(ts, INTERVAL '1' MINUTE) ORDER BY 2, 1 LIMIT 3",
            "a,1970-01-01T00:00:00,1/b,1970-01-01T00:00:00,2/a,1970-01-01T00:01:00,3",
        ),
        (
            "SELECT k, date_part('second', session_start(ts, INTERVAL '68' SECOND)), sum(n) FROM s WHERE n > 1
             GROUP BY k, session(ts, INTERVAL '68' SECOND) ORDER BY 1, 2",
            "a,1,3/a,10,4/b,5,2/c,11,5",
        ),
        (
            "SELECT x.k, sum(x.n) FROM s AS x WHERE x.n > 1 GROUP BY x.k, session(x.ts, INTERVAL '69' SECOND) ORDER BY 1",
            "a,7/b,2/c,5",
        ),
        (
            "SELECT k, count(*) FROM (SELECT k, max(n) AS m FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MINUTE)
             GROUP BY k, window_start) GROUP BY k ORDER BY 1",
            "a,3/b,1/c,1",
        ),
        (
            "SELECT window_time FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' DAY) LIMIT 1",
            "1970-01-01T23:59:59.999999",
        ),
        (
            "SELECT count(*) FROM COUNT_TUMBLE(TABLE s, 2)",
            "1:22 count windows depend on the order in which rows arrive, which a query that ends does not have (run it as a pipeline)",
        ),
        (
            "SELECT count(*) FROM HOP(TABLE s, DESCRIPTOR(ts), INTERVAL '1' MILLISECOND, INTERVAL '1' DAY)",
            "1:22 every row would lie in 86400000 windows; at most 100000 are allowed",
        ),
        (
            "SELECT count(*) FROM TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '1' DAY)",
            "1:49 unknown column 't' (columns here: k, n, ts)",
        ),
        (
            "SELECT count(*) FROM TUMBLE(TABLE q, DESCRIPTOR(t), INTERVAL '1' DAY)",
            "1:35 unknown table 'q' (declare it with CREATE SOURCE, or write the name of a file in single quotes)",
        ),
    ] {
        assert_eq!(answer(sql).await, expect, "{sql}");
    }
}

mod files {
    use std::io::Write;

    use super::*;
    use crate::Connectors;

    async fn answer_in(dir: &std::path::Path, sql: &str) -> String {
        let session = QuerySession::new(Arc::new(Connectors), dir).with_parallelism(2);
        render(async { query_batch(&session, sql).await?.collect().await }.await)
    }

    fn write(dir: &std::path::Path, name: &str, text: &str) {
        std::fs::File::create(dir.join(name)).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    }

    #[tokio::test]
    async fn are_tables() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        write(dir, "a.ndjson", "{\"k\": \"x\", \"n\": 1}\n{\"k\": \"y\", \"n\": 2}\n{\"k\": \"x\", \"n\": 3}\n");
        write(dir, "b.csv", "k,n\nx,10\nz,20\n");
        for (sql, expect) in [
            ("SELECT k, sum(n) FROM 'a.ndjson' GROUP BY 1 ORDER BY 2 DESC LIMIT 5", "x,4/y,2"),
            ("SELECT count(*) FROM 'a.ndjson'", "3"),
            ("SELECT k FROM \"a.ndjson\" LIMIT 1", "x"),
            ("SELECT a.n, b.n FROM 'a.ndjson' a JOIN 'b.csv' b ON a.k = b.k ORDER BY 1", "1,10/3,10"),
            ("CREATE VIEW v AS SELECT max(n) AS m FROM 'b.csv'; SELECT m FROM v", "20"),
            ("SELECT count(*) FROM (SELECT n FROM 'a.ndjson' UNION ALL SELECT n FROM 'b.csv')", "5"),
            ("SELECT x FROM 'a.ndjson'", "1:8 unknown column 'x' (columns here: k, n)"),
        ] {
            assert_eq!(answer_in(dir, sql).await, expect, "{sql}");
        }
        let missing = answer_in(dir, "SELECT * FROM 'c.ndjson'").await;
        assert!(missing.starts_with("1:15 ") && missing.contains("c.ndjson"), "{missing}");
    }

    #[tokio::test]
    async fn bad_rows_follow_the_source() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        write(dir, "a.ndjson", "{\"n\": 1}\nnonsense\n{\"n\": 3}\n");
        let declared = |policy: &str| {
            format!(
                "CREATE SOURCE s (n BIGINT) WITH (connector = 'files', path = 'a.ndjson'{policy}); SELECT sum(n) FROM s"
            )
        };
        let failed = answer_in(dir, &declared("")).await;
        assert!(failed.contains("a.ndjson, line 2"), "{failed}");
        assert_eq!(answer_in(dir, &declared(", on_error = 'drop'")).await, "4");
    }
}
