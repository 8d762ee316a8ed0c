use arrow::util::pretty::pretty_format_batches;

use super::query_session;

/// Values of the first column of a query in our dialect.
async fn values(sql: &str) -> Vec<String> {
    let context = query_session().expect("a session");
    let plan = match context.sql(sql).await {
        Ok(frame) => frame,
        Err(error) => return vec![format!("error: {}", error.strip_backtrace())],
    };
    match plan.collect().await {
        Ok(batches) => {
            let text = pretty_format_batches(&batches).expect("printable").to_string();
            text.lines()
                .filter(|line| line.starts_with('|'))
                .skip(1)
                .map(|line| line.trim_matches(['|', ' ']).to_string())
                .collect()
        }
        Err(error) => vec![format!("error: {}", error.strip_backtrace())],
    }
}

async fn check(expr: &str, expect: &str) {
    // Once with literals, which the planner folds, and once over a column, which takes the fast path.
    assert_eq!(values(&format!("SELECT coalesce(({expr})::TEXT, 'NULL')")).await, [expect], "{expr}");
    let (before, rest) = expr.split_once('(').expect("a call");
    let (first, after) = rest.split_once(", ").or_else(|| rest.split_once(')')).expect("an argument");
    let after = if rest.contains(", ") { format!(", {after}") } else { ")".to_string() };
    let over_column =
        format!("SELECT coalesce({before}(c{after}::TEXT, 'NULL') FROM (VALUES ({first}), ({first})) AS t(c)");
    assert_eq!(values(&over_column).await, [expect, expect], "{over_column}");
}

#[tokio::test]
async fn split_index() {
    for (expr, expect) in [
        ("split_index('https://a.b/c/d?e', '/', 3)", "c"),
        ("split_index('https://a.b/c/d?e', '/', 1)", ""),
        ("split_index('https://a.b/c/d?e', '/', 9)", "NULL"),
        ("split_index('a,b', ',', -1)", "NULL"),
        ("split_index('a--b--c', '--', 2)", "c"),
        ("split_index('', ',', 0)", "NULL"),
        ("split_index('a b\tc', '', 2)", "c"),
        ("split_index('é,è', ',', 1)", "è"),
        ("split_index(CAST(NULL AS TEXT), ',', 0)", "NULL"),
        ("split_index('a,b', CAST(NULL AS TEXT), 0)", "NULL"),
    ] {
        check(expr, expect).await;
    }
}

#[tokio::test]
async fn count_char() {
    for (expr, expect) in [
        ("count_char('abcabc', 'c')", "2"),
        ("count_char('', 'c')", "0"),
        ("count_char('éàé', 'é')", "2"),
        ("count_char(CAST(NULL AS TEXT), 'c')", "NULL"),
    ] {
        check(expr, expect).await;
    }
    let error = values("SELECT count_char(c, 'ab') FROM (VALUES ('abab')) AS t(c)").await;
    assert_eq!(error, ["error: Execution error: count_char() counts one character, not 'ab'"]);
}

#[tokio::test]
async fn regexp_extract() {
    for (expr, expect) in [
        ("regexp_extract('a=1&channel_id=77&b=2', '(&|^)channel_id=([^&]*)', 2)", "77"),
        ("regexp_extract('channel_id=8', '(&|^)channel_id=([^&]*)', 2)", "8"),
        ("regexp_extract('a=1', '(&|^)channel_id=([^&]*)', 2)", "NULL"),
        ("regexp_extract('foo7bar', '[0-9]+')", "7"),
        ("regexp_extract('foo7bar', '([a-z]+)([0-9])', 5)", "NULL"),
        ("regexp_extract('foo7bar', '([a-z]+)([0-9])', -1)", "NULL"),
        ("regexp_extract('foo', '(a)|foo', 1)", "NULL"),
        ("regexp_extract(CAST(NULL AS TEXT), 'a')", "NULL"),
    ] {
        check(expr, expect).await;
    }
    let error = values("SELECT regexp_extract(c, '(') FROM (VALUES ('a')) AS t(c)").await;
    assert_eq!(error, ["error: Execution error: '(' is not a regular expression: unclosed group"]);
}

#[tokio::test]
async fn calendar_fields() {
    for (expr, expect) in [
        ("hour(TIMESTAMP '2024-02-29 23:59:58.5')", "23"),
        ("hour(TIMESTAMP '1969-12-31 23:00:00')", "23"),
        ("minute(TIMESTAMP '2024-02-29 23:59:58.5')", "59"),
        ("second(TIMESTAMP '2024-02-29 23:59:58.5')", "58"),
        ("year(DATE '2024-02-29')", "2024"),
        ("quarter(DATE '2024-05-29')", "2"),
        ("dayofyear(DATE '2024-02-29')", "60"),
        ("dayofweek(DATE '2024-02-25')", "1"),
        ("dayofmonth(DATE '2024-02-29')", "29"),
        ("hour(TIMESTAMPTZ '2024-02-29 05:00:00Z')", "5"),
    ] {
        check(expr, expect).await;
    }
    let error = values("SELECT hour(5)").await;
    assert!(error[0].contains("hour() takes a TIMESTAMP or DATE, not BIGINT"), "{error:?}");
}

#[tokio::test]
async fn flink_times() {
    for (expr, expect) in [
        ("date_format(TIMESTAMP '2024-02-29 05:06:07.089', 'yyyy-MM-dd')", "2024-02-29"),
        ("date_format(TIMESTAMP '2024-02-29 05:06:07.089', 'yy/MM/dd HH:mm:ss.SSS')", "24/02/29 05:06:07.089"),
        ("date_format(TIMESTAMP '1969-12-31 23:59:59', 'yyyy-MM-dd''T''HH')", "1969-12-31T23"),
        ("date_format(TIMESTAMP '1600-03-01 00:00:00', 'yyyy-MM-dd')", "1600-03-01"),
        ("date_format(DATE '2024-12-31', 'HH:mm')", "00:00"),
        ("date_format(TIMESTAMP '2024-02-29 05:06:07', CAST(NULL AS TEXT))", "NULL"),
        ("to_timestamp_ltz(1700000000123, 3)", "2023-11-14T22:13:20.123Z"),
        ("to_timestamp_ltz(1700000000, 0)", "2023-11-14T22:13:20Z"),
        ("to_timestamp_ltz(CAST(NULL AS BIGINT), 0)", "NULL"),
    ] {
        check(expr, expect).await;
    }
    let error = values("SELECT date_format(c, 'EEEE') FROM (VALUES (DATE '2024-01-01')) AS t(c)").await;
    assert!(error[0].contains("date_format() does not know 'EEEE'"), "{error:?}");
    let error = values("SELECT to_timestamp_ltz(c, 9) FROM (VALUES (1)) AS t(c)").await;
    assert!(error[0].contains("precision of to_timestamp_ltz() is 0, 3 or 6, not 9"), "{error:?}");
}

/// The dialect's promise: what declared columns and casts are called means the same.
#[tokio::test]
async fn casts_follow_the_type_table() {
    for (sql, expect) in [
        ("SELECT arrow_typeof('2024-01-01'::TIMESTAMP)", "Timestamp(µs)"),
        ("SELECT arrow_typeof('2024-01-01'::TIMESTAMPTZ)", "Timestamp(µs, \"UTC\")"),
        ("SELECT arrow_typeof('a'::TEXT)", "Utf8"),
        ("SELECT arrow_typeof(1::STRING)", "Utf8"),
        ("SELECT '{\"a\": {\"b\": 7}}' -> 'a' ->> 'b'", "7"),
        ("SELECT ('{\"a\": {\"b\": 7}}' -> 'a' -> 'b')::BIGINT + 1", "8"),
        ("SELECT split_part('a/b', '/', 2)", "b"),
        ("SELECT date_part('hour', TIMESTAMP '2024-01-01 05:00:00')", "5"),
        ("SELECT (regexp_match('ab12', '[0-9]+'))[1]", "12"),
        ("SELECT TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '1' HOUR", "2024-01-01T01:00:00"),
    ] {
        assert_eq!(values(sql).await, [expect], "{sql}");
    }
}
