//! Plans of scripts: what they look like, what is refused, what stays stable.

use thalweg_engine::{NodeId, OperatorSpec, Plan};

use crate::explain;
use crate::plan::{PlannedPipeline, plan_pipeline, plan_query};
use crate::testing::MemoryRegistry;
use crate::{BindContext, Diagnostic, Statement, bind, parse_script};

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
        (
            "SELECT count(DISTINCT (origin, destination)) AS a, count(DISTINCT origin, destination) AS b
             FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY) GROUP BY window_start",
            "COUNT DISTINCT with multiple arguments",
        ),
        (
            "SELECT nth_value(origin, 2 ORDER BY delay_minutes) AS a
             FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY) GROUP BY window_start",
            "needs its whole input sorted",
        ),
        (
            "SELECT tumble(departed_at, INTERVAL '1' DAY) AS w FROM flights GROUP BY tumble(departed_at, INTERVAL '1' DAY)",
            "12:55: tumble(...) stands for a window only in GROUP BY",
        ),
        (
            "SELECT tumble_end(departed_at, INTERVAL '2' DAY) AS w FROM flights GROUP BY tumble(departed_at, INTERVAL '1' DAY)",
            "tumble_end names another window",
        ),
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

/// Names of the nodes, inputs before them.
fn shape(query: &str) -> Vec<String> {
    let plan = planned(&sink(query)).plan;
    plan.nodes.into_iter().map(|node| node.name).collect()
}

#[test]
fn plans_have_the_expected_shape() {
    for (query, expect) in [
        // Renamed columns cost nothing, filters come first, projections melt together.
        (
            "SELECT upper(o) AS o FROM (SELECT origin AS o, delay_minutes AS d FROM flights) AS f WHERE d > 10 AND true",
            &["source flights", "filter (delay_minutes > 10)", "project (o)", "sink out"][..],
        ),
        (
            "SELECT ts, price FROM bids WHERE auction % 123 = 0",
            &["source bids", "filter (auction % 123 = 0)", "project (ts, price)", "sink out"],
        ),
        // A column that the sink takes as it is needs no projection.
        ("SELECT * FROM plain", &["source plain", "sink out"]),
        (
            "SELECT window_start, window_end, count(*) AS n FROM HOP(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' HOUR, INTERVAL '1' DAY)
             WHERE delay_minutes > 0 GROUP BY window_start, window_end HAVING count(*) > 1 AND window_start > TIMESTAMP '2024-01-01'",
            &[
                "source flights",
                "filter (delay_minutes > 0)",
                "window aggregate, local (hop 1 day every 1 hour)",
                "window aggregate (hop 1 day every 1 hour)",
                "filter (window_start > '2024-01-01T00:00:00Z')",
                "filter (count(*) > 1)",
                "project (window_start, window_end, n)",
                "sink out",
            ],
        ),
        // Sessions by the group form; WHERE comes before windows.
        (
            "SELECT bidder, session_end() AS e FROM bids b WHERE price > 1 GROUP BY bidder, session(b.ts, INTERVAL '1' SECOND)",
            &[
                "source bids",
                "filter (price > 1)",
                "project (bidder, price, ts)",
                "session aggregate, local (session gap 1 second per bidder)",
                "session aggregate (session gap 1 second per bidder)",
                "project (bidder, e)",
                "sink out",
            ],
        ),
        (
            "SELECT auction, window_end, sum(price) AS s FROM COUNT_TUMBLE(TABLE bids PARTITION BY auction, 10) GROUP BY auction, window_start, window_end",
            &[
                "source bids",
                "project (auction, price)",
                "count window aggregate (count 10 rows per auction)",
                "project (auction, window_end, s)",
                "sink out",
            ],
        ),
        // Windows that nothing aggregates are assigned row by row.
        (
            "SELECT origin, window_end FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY)",
            &["source flights", "windows (tumble 1 day)", "project (origin, window_end)", "sink out"],
        ),
        // Windows over windows.
        (
            "SELECT window_start, window_end, max(n) AS n FROM TUMBLE((
               SELECT window_time, count(*) AS n FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' HOUR)
               GROUP BY window_start, window_end, window_time), DESCRIPTOR(window_time), INTERVAL '1' DAY)
             GROUP BY window_start, window_end",
            &[
                "source flights",
                "window aggregate, local (tumble 1 hour)",
                "window aggregate (tumble 1 hour)",
                "project (window_start, window_end, count(*), window_time)",
                "window aggregate, local (tumble 1 day)",
                "window aggregate (tumble 1 day)",
                "project (window_start, window_end, n)",
                "sink out",
            ],
        ),
        // The same windows again, grouped by other keys.
        (
            "SELECT window_start, window_end, max(n) AS n FROM (
               SELECT origin, window_start, window_end, count(*) AS n FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' HOUR)
               GROUP BY origin, window_start, window_end) GROUP BY window_start, window_end",
            &[
                "source flights",
                "window aggregate, local (tumble 1 hour per origin)",
                "window aggregate (tumble 1 hour per origin)",
                "project (origin, window_start, window_end, count(*), window_time)",
                "window aggregate, local (tumble 1 hour)",
                "window aggregate (tumble 1 hour)",
                "project (window_start, window_end, n)",
                "sink out",
            ],
        ),
        (
            "SELECT k, v FROM plain UNION ALL SELECT origin, distance_miles FROM flights",
            &["source flights", "source plain", "project (k, v)", "union", "sink out"],
        ),
    ] {
        assert_eq!(shape(query), expect, "{query}");
    }
}

#[test]
fn hopping_windows_grouped_again_keep_their_starts() {
    let planned = planned(&sink(
        "SELECT window_start, window_end, max(n) AS n FROM (
           SELECT auction, window_start, window_end, count(*) AS n
           FROM HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)
           GROUP BY auction, window_start, window_end) GROUP BY window_start, window_end",
    ));
    let text = explain::text(&planned);
    assert!(text.contains("keys        inner_window_start := window_start"), "{text}");
    assert!(text.contains("window_start := inner_window_start, window_end, n := max(count(*))"), "{text}");
    let kinds: Vec<_> = planned
        .plan
        .nodes
        .iter()
        .filter_map(|node| match &node.operator {
            OperatorSpec::WindowAggregate(spec) => Some(spec.kind),
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds[2],
        thalweg_engine::WindowKind::Tumble { size: 2_000_000, offset: 0 },
        "panes as long as the slide"
    );
}

#[test]
fn count_windows_read_their_source_in_order_and_carry_no_event_time() {
    let planned = planned(&sink(
        "SELECT auction, window_end, sum(price) AS s FROM COUNT_TUMBLE(TABLE bids PARTITION BY auction, 10) GROUP BY auction, window_start, window_end",
    ));
    assert!(of_source(&planned.plan, "bids")[0].ordered);
    assert_eq!(planned.plan.nodes.last().expect("a sink").time_column, None);
    assert!(planned.warnings[0].contains("state grows with the number of keys"), "{:?}", planned.warnings);
}

#[test]
fn dead_letters_reach_their_sink() {
    let script = "CREATE SOURCE s (a BIGINT) WITH (connector = 'memory', on_error = 'dlq', dlq = 'bad');
        CREATE SINK bad WITH (connector = 'memory');
        CREATE SINK good WITH (connector = 'memory') AS SELECT a FROM s;";
    let names: Vec<String> = planned(script).plan.nodes.into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["source s", "dead letters of s", "sink bad", "sink good"]);
    let mixed = script.replace("bad WITH (connector = 'memory')", "bad WITH (connector = 'memory') AS SELECT a FROM s");
    assert!(errors(&mixed)[0].contains("queries into sink 'bad' differ"), "{:?}", errors(&mixed));
}

#[test]
fn several_queries_into_one_sink_are_one_stream() {
    let script = "CREATE SINK all_of_them WITH (connector = 'memory');
        INSERT INTO all_of_them SELECT k, v FROM plain;
        INSERT INTO all_of_them SELECT origin, delay_minutes FROM flights;";
    let plan = planned(script).plan;
    let sink = plan.nodes.last().expect("a sink");
    assert_eq!(sink.name, "sink all_of_them");
    let names: Vec<&str> = sink.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["k", "v"], "the first query names the columns");
    let wrong = script.replace("origin, delay", "distance_miles, delay");
    assert!(errors(&wrong)[0].contains("is Utf8 in one query and Int64 in another"), "{:?}", errors(&wrong));
}

#[test]
fn a_query_of_the_shell_is_planned_alone() {
    let sql = format!(
        "{FLIGHTS} CREATE VIEW late AS SELECT * FROM flights WHERE delay_minutes > 60; {}",
        sink("SELECT k FROM plain")
    );
    let registry = MemoryRegistry::default();
    let script = parse_script(&sql).expect("parses");
    let bound = bind(&script, &BindContext::new("test", ".", &registry)).expect("binds");
    let parsed = parse_script("SELECT origin FROM late").expect("parses");
    let Statement::Query(query) = &parsed.statements[0].node else { panic!("a query") };
    let planned = plan_query(&bound, &query.query, bound.sinks[0].sink.clone()).expect("plans");
    let names: Vec<String> = planned.plan.nodes.into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["source flights", "filter (delay_minutes > 60)", "project (origin)", "sink result"]);
}

#[test]
fn explain_shows_what_the_planner_knows() {
    let planned = planned(&sink(DAILY));
    let expect = "\
pipeline test

#0 source flights
   reads       memory
   columns     departed_at, origin, delay_minutes (3 of 5)
   event time  departed_at
   watermark   departed_at - INTERVAL '1 hour'
   bad rows    fail
   output      append-only, event time departed_at

#1 window aggregate, local (tumble 1 day per origin)
   input       #0
   window      tumble 1 day
   keys        origin
   aggregates  count(*), avg(delay_minutes)
   output      append-only

#2 window aggregate (tumble 1 day per origin)
   input       #1, exchanged by origin
   window      tumble 1 day
   keys        origin
   aggregates  count(*), avg(delay_minutes)
   output      append-only, event time window_end
   unique by   origin, window_start, window_end
   state       partial aggregates per key and pane, until the watermark passes the last window of the pane
   state id    STATE

#3 project (origin, window_start, window_end, flights, delay)
   input       #2
   columns     origin, window_start, window_end, flights := count(*), delay := avg(delay_minutes)
   output      append-only, event time window_end

#4 sink out
   input       #3
   writes      memory
   delivery    exactly once
   output      append-only, event time window_end
";
    let state_id = planned.plan.nodes[2].state_id.clone().expect("a state id");
    assert_eq!(explain::text(&planned), expect.replace("STATE", &state_id));
    let dot = explain::dot(&planned);
    assert!(dot.contains("n1 -> n2 [style=dashed, label=\"by origin\"];"), "{dot}");
    let json = explain::json(&planned);
    assert_eq!(json["nodes"][2]["state"]["is_bounded"], true);
    assert_eq!(json["nodes"][2]["inputs"][0]["exchange"]["keys"][0], "origin");
    assert_eq!(json["nodes"][2]["unique_key"][2], "window_end");
}

#[test]
fn fingerprints_tell_pipelines_apart() {
    let expect = planned(&sink(DAILY)).fingerprint;
    assert_eq!(planned(&sink(&DAILY.replace('\n', " ").to_lowercase())).fingerprint.len(), 32);
    assert_ne!(
        planned(&sink(&DAILY.replace("AS flights", "AS n"))).fingerprint,
        expect,
        "the output has another column"
    );
    assert_eq!(planned(&sink(&DAILY.replace("  FROM", "\n\nFROM"))).fingerprint, expect);
}
