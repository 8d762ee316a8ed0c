//! Plans of scripts: what they look like, what is refused, what stays stable.

use thalweg_engine::{NodeId, OperatorSpec, Plan};

use crate::explain;
use crate::plan::{PlannedPipeline, plan_pipeline};
use crate::testing::MemoryRegistry;
use crate::{BindContext, Diagnostic, bind, parse_script};

const FLIGHTS: &str = "
CREATE SOURCE flights (
  departed_at TIMESTAMP WITH TIME ZONE, origin TEXT, destination TEXT, delay_minutes BIGINT, distance_miles BIGINT,
  WATERMARK FOR departed_at AS departed_at - INTERVAL '1' HOUR
) WITH (connector = 'memory');
CREATE SOURCE plain (k TEXT, v BIGINT, at TIMESTAMP) WITH (connector = 'memory');
CREATE SOURCE bids (
  auction BIGINT, bidder BIGINT, price DOUBLE, millis BIGINT,
  ts AS to_timestamp_micros(millis * 1000),
  WATERMARK FOR ts AS ts - INTERVAL '4' SECOND
) WITH (connector = 'memory');
";

fn plan(script: &str) -> Result<PlannedPipeline, Vec<Diagnostic>> {
    let sql = format!("{FLIGHTS}{script}");
    let registry = MemoryRegistry::default();
    let bound = bind(&parse_script(&sql)?, &BindContext::new("test", ".", &registry))?;
    plan_pipeline(&bound, &sql)
}

#[track_caller]
fn planned(script: &str) -> PlannedPipeline {
    plan(script).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn sink(query: &str) -> String {
    format!("CREATE SINK out WITH (connector = 'memory') AS {query};")
}

fn errors(script: &str) -> Vec<String> {
    match plan(script) {
        Ok(planned) => panic!("planned:\n{}", explain::text(&planned)),
        Err(errors) => {
            errors.iter().map(|error| format!("{}:{}: {}", error.line, error.column, error.message)).collect()
        }
    }
}

#[track_caller]
fn refuses(query: &str, expect: &str) {
    let found = errors(&sink(query));
    assert!(found.iter().any(|message| message.contains(expect)), "{query}\nexpected: {expect}\nfound: {found:#?}");
}

fn state_ids(script: &str) -> Vec<String> {
    planned(script).plan.nodes.into_iter().filter_map(|node| node.state_id).collect()
}

fn of_source<'a>(plan: &'a Plan, name: &str) -> Vec<&'a thalweg_engine::SourceSpec> {
    let sources = plan.nodes.iter().filter_map(|node| match &node.operator {
        OperatorSpec::Source(source) if source.name == name => Some(source),
        _ => None,
    });
    sources.collect()
}

const DAILY: &str = "SELECT origin, window_start, window_end, count(*) AS flights, avg(delay_minutes) AS delay
  FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY) GROUP BY origin, window_start, window_end";

/// Prints plan or findings for the query in the environment; for work on the planner.
#[test]
fn probe() {
    let Ok(query) = std::env::var("PROBE") else { return };
    let script = if query.contains("CREATE") { query } else { sink(&query) };
    match plan(&script) {
        Ok(planned) => println!("{}\n{}", explain::text(&planned), planned.fingerprint),
        Err(errors) => {
            errors.iter().for_each(|error| println!("{}", error.render("p.sql", &format!("{FLIGHTS}{script}"))));
        }
    }
}

#[test]
fn sources_are_read_once_with_just_the_needed_columns() {
    let script = format!(
        "CREATE VIEW late AS SELECT * FROM flights WHERE delay_minutes > 60;
         CREATE SINK a WITH (connector = 'memory') AS {DAILY};
         CREATE SINK b WITH (connector = 'memory') AS SELECT destination FROM late;"
    );
    let plan = planned(&script).plan;
    let sources = of_source(&plan, "flights");
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0].projection, [0, 1, 2, 3], "distance_miles is not read");
    assert!(plan.nodes.iter().enumerate().all(|(index, node)| node.id == NodeId(index)));
    assert!(plan.nodes.iter().all(|node| node.inputs.iter().all(|edge| edge.from < node.id)), "topological order");
}

#[test]
fn equal_aggregations_are_one_node() {
    let script = format!(
        "CREATE SINK a WITH (connector = 'memory') AS {DAILY};
         CREATE SINK b WITH (connector = 'memory') AS SELECT delay, origin, window_end, flights FROM ({DAILY}) WHERE flights > 10;"
    );
    assert_eq!(state_ids(&script).len(), 1);
}

#[test]
fn state_ids_survive_reformatting_and_renaming() {
    let expect = state_ids(&sink(DAILY));
    assert_eq!(expect.len(), 1);
    for same in [
        "select f.origin as airport, window_end, count(*), avg(f.delay_minutes)
         from tumble(table flights, descriptor(departed_at), interval '24' hour) f
         group by f.origin, window_start, window_end",
        "SELECT o, tumble_end(t, INTERVAL '1' DAY) AS e, count(*) AS n, avg(d) AS m
         FROM (SELECT origin AS o, departed_at AS t, delay_minutes AS d FROM flights) GROUP BY o, tumble(t, INTERVAL '1' DAY)",
    ] {
        assert_eq!(state_ids(&sink(same)), expect, "{same}");
    }
    let more = format!("{} CREATE SINK more WITH (connector = 'memory') AS SELECT * FROM flights;", sink(DAILY));
    assert_eq!(state_ids(&more), expect, "another query must not change the state of this one");
}

#[test]
fn state_ids_change_with_what_is_computed() {
    let expect = state_ids(&sink(DAILY));
    for (from, to) in [
        ("origin", "destination"),
        ("'1' DAY", "'2' DAY"),
        ("avg(", "max("),
        ("TABLE flights", "TABLE late"),
        ("count(*)", "count(*) FILTER (WHERE delay_minutes > 1)"),
        ("count(*)", "count(*) FILTER (WHERE delay_minutes > 2)"),
    ] {
        let view = "CREATE VIEW late AS SELECT * FROM flights WHERE delay_minutes > 60;";
        let other = format!("{view}{}", sink(&DAILY.replace(from, to)));
        assert_ne!(state_ids(&other), expect, "{from} -> {to}");
    }
}

#[test]
fn a_computed_time_column_is_evaluated_in_the_source() {
    let planned = planned(&sink(
        "SELECT bidder, count(*) AS n FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY bidder, window_start",
    ));
    let source = of_source(&planned.plan, "bids")[0];
    assert_eq!(source.projection, [1, 3], "bidder and millis");
    let watermark = source.watermark.as_ref().expect("a watermark");
    assert_eq!(super::graph::display(&watermark.time), "to_timestamp_micros(millis * 1000)");
}

#[test]
fn what_streams_cannot_do_is_refused() {
    for (query, expect) in [
        ("SELECT origin, count(*) FROM flights GROUP BY origin", "12:94: an aggregation without a time window"),
        ("SELECT count(*) FROM flights", "an aggregation without a time window"),
        ("SELECT DISTINCT origin FROM flights", "12:64: SELECT DISTINCT over a whole stream"),
        ("SELECT * FROM flights ORDER BY origin", "12:79: ORDER BY on a stream"),
        ("SELECT * FROM flights LIMIT 3", "LIMIT on a stream"),
        ("SELECT f.* FROM flights f JOIN plain p ON f.origin = p.k", "joins of streams"),
        ("SELECT f.* FROM flights f, plain p WHERE f.origin = p.k", "joins of streams"),
        ("SELECT row_number() OVER (PARTITION BY origin ORDER BY departed_at) AS n FROM flights", "with OVER"),
        ("SELECT k FROM plain EXCEPT SELECT origin FROM flights", "EXCEPT on streams"),
        ("SELECT k FROM plain UNION SELECT origin FROM flights", "UNION removes duplicates"),
        ("SELECT k FROM plain WHERE k IN (SELECT origin FROM flights)", "subqueries in expressions"),
        ("SELECT k, now() AS t FROM plain", "12:58: now() is not allowed"),
        ("SELECT k FROM plain WHERE at > CURRENT_TIMESTAMP", "is not allowed in a streaming query"),
        ("SELECT k, random() AS r FROM plain", "random() is not allowed"),
        ("SELECT * FROM TUMBLE(TABLE plain, DESCRIPTOR(at), INTERVAL '1' DAY)", "source 'plain' has no watermark"),
        ("SELECT 1 AS one", "a query without FROM"),
        ("SELECT origin, origin FROM flights", "two columns"),
        ("SELECT nope FROM flights", "12:55: unknown column 'nope'"),
        (
            "SELECT count(*) AS n FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY)",
            "does not group by its windows",
        ),
        (
            "SELECT count(*) AS n FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' MONTH) GROUP BY window_start",
            "months and years have no fixed length",
        ),
        (
            "SELECT count(*) AS n FROM HOP(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '2' DAY, INTERVAL '1' DAY) GROUP BY window_start",
            "HOP slides by 2 days",
        ),
        (
            "SELECT origin, count(*) AS n FROM SESSION(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' HOUR) GROUP BY origin, window_start",
            "SESSION is partitioned by none but grouped by origin",
        ),
    ] {
        refuses(query, expect);
    }
}

#[test]
fn emit_on_window_close_needs_a_window() {
    let script = "CREATE SINK out WITH (connector = 'memory') AS SELECT origin FROM flights EMIT ON WINDOW CLOSE;";
    assert!(errors(script)[0].contains("EMIT ON WINDOW CLOSE needs an aggregation"), "{:?}", errors(script));
    planned(&format!("CREATE SINK out WITH (connector = 'memory') AS {DAILY} EMIT ON WINDOW CLOSE;"));
}

#[test]
fn all_mistakes_are_reported() {
    let script = "CREATE SINK a WITH (connector = 'memory') AS SELECT nope FROM flights;
        CREATE VIEW v AS SELECT wrong FROM flights;
        CREATE SINK b WITH (connector = 'memory') AS SELECT * FROM v;
        CREATE SINK c WITH (connector = 'memory') AS SELECT origin FROM flights ORDER BY 1 LIMIT 2;";
    assert_eq!(errors(script).len(), 4, "{:#?}", errors(script));
}
