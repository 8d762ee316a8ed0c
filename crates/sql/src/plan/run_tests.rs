//! Plans fed with rows, node by node on one thread: planner and operators mean the same columns.
//!
//! Not here: workers, lateness, checkpoints; the engine tests those. Every batch must have its node's schema.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use thalweg_engine::{Barrier, BarrierKind, Batch, EventTime, OperatorContext, OperatorSpec, Plan, build_operator};

use crate::plan::plan_pipeline;
use crate::testing::MemoryRegistry;
use crate::{BindContext, bind, parse_script};

const MINUTE: i64 = 60_000_000;

/// Columns `k TEXT, v BIGINT, d DOUBLE, ts TIMESTAMP`: minutes 0, 1, 2, ... with keys a, b, a, b, ...
fn rows() -> RecordBatch {
    let count = 12;
    let schema = Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("d", DataType::Float64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values((0..count).map(|row| if row % 2 == 0 { "a" } else { "b" }))),
        Arc::new(Int64Array::from_iter((0..count).map(|row| (row != 5).then_some(row)))),
        Arc::new(Float64Array::from_iter_values((0..count).map(|row| row as f64 / 2.0))),
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..count).map(|row| row * MINUTE))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns of equal length")
}

fn run(query: &str) -> Vec<String> {
    let sql = format!(
        "CREATE SOURCE t (k TEXT, v BIGINT, d DOUBLE, ts TIMESTAMP, twice AS v * 2,
           WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) WITH (connector = 'memory');
         CREATE SINK out WITH (connector = 'memory') AS {query};"
    );
    let registry = MemoryRegistry::default();
    let script = parse_script(&sql).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let bound = bind(&script, &BindContext::new("test", ".", &registry)).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let planned = plan_pipeline(&bound, &sql).unwrap_or_else(|errors| panic!("{errors:#?}"));
    sorted_lines(&interpret(&planned.plan))
}

/// Runs every node over all its input; returns what reaches the sink.
fn interpret(plan: &Plan) -> Vec<RecordBatch> {
    let mut outputs: Vec<Vec<Batch>> = vec![];
    for node in &plan.nodes {
        let out = match &node.operator {
            OperatorSpec::Source(source) => {
                let read = rows().project(&source.projection).expect("columns exist");
                (0..read.num_rows())
                    .step_by(5)
                    .map(|at| Batch::new(read.slice(at, 5.min(read.num_rows() - at))))
                    .collect()
            }
            OperatorSpec::Sink(_) => {
                return outputs[node.inputs[0].from.0].iter().map(|batch| batch.rows.clone()).collect();
            }
            spec => {
                let schemas: Vec<_> = node.inputs.iter().map(|edge| plan.nodes[edge.from.0].schema.clone()).collect();
                let context = OperatorContext { worker: 0, workers: 1, batch_rows: 100 };
                let mut operator = build_operator(spec, node.schema.clone(), &schemas, &context).expect("builds");
                let mut out: Vec<Batch> = vec![];
                for (port, edge) in node.inputs.iter().enumerate() {
                    for batch in outputs[edge.from.0].clone() {
                        operator.batch(port, batch, &mut out).expect("takes a batch");
                    }
                }
                operator.watermark(EventTime::MAX, &mut out).expect("takes a watermark");
                while operator.poll_more(&mut out).expect("continues") {}
                let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Stop };
                operator.epoch_end(barrier, &mut out).expect("ends the epoch");
                out
            }
        };
        assert!(out.iter().all(|batch| batch.schema() == node.schema), "{} keeps to its schema", node.name);
        outputs.push(out);
    }
    vec![]
}

/// Rows as `a|1|...`, sorted.
fn sorted_lines(batches: &[RecordBatch]) -> Vec<String> {
    let Some(first) = batches.first() else { return vec![] };
    let all = concat_batches(&first.schema(), batches).expect("batches of one schema");
    let table = pretty_format_batches(&[all]).expect("printable").to_string();
    let lines = table.lines().skip(3).filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace("1970-01-01T", ""))
            .collect::<Vec<_>>()
            .join("|")
    });
    let mut lines: Vec<String> = cells.collect();
    lines.sort();
    lines
}

/// Queries and the rows they give.
const CASES: &[(&str, &[&str])] = &[
        ("SELECT upper(k) || '!' AS k, twice FROM t WHERE v > 9", &["A!|20", "B!|22"]),
        (
            "SELECT k, window_start, window_end, count(*) AS n, sum(v) AS s, max(twice) FILTER (WHERE d > 2) AS m
             FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '6' MINUTE) GROUP BY k, window_start, window_end",
            &[
                "a|00:00:00|00:06:00|3|6|",
                "a|00:06:00|00:12:00|3|24|20",
                "b|00:00:00|00:06:00|3|4|",
                "b|00:06:00|00:12:00|3|27|22",
            ],
        ),
        (
            "SELECT window_end, count(v) AS n, avg(d) AS a FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '4' MINUTE, INTERVAL '8' MINUTE)
             GROUP BY window_start, window_end HAVING count(v) > 3",
            &["00:08:00|7|1.75", "00:12:00|7|3.75", "00:16:00|4|4.75", "00:04:00|4|0.75"],
        ),
        (
            "SELECT window_start, window_end, count(*) AS n FROM CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '3' MINUTE, INTERVAL '6' MINUTE)
             GROUP BY window_start, window_end",
            &["00:00:00|00:03:00|3", "00:00:00|00:06:00|6", "00:06:00|00:09:00|3", "00:06:00|00:12:00|6"],
        ),
        (
            "SELECT k, session_start() AS s, session_end() AS e, count(DISTINCT v) AS n FROM t WHERE v IS NULL OR v <> 6
             GROUP BY k, session(ts, INTERVAL '2' MINUTE)",
            &["a|00:00:00|00:06:00|3", "a|00:08:00|00:12:00|2", "b|00:01:00|00:13:00|5"],
        ),
        (
            "SELECT k, window_start, window_end, sum(d) AS s FROM COUNT_TUMBLE(TABLE t PARTITION BY k, 4) GROUP BY k, window_start, window_end",
            &["a|0|4|6.0", "b|0|4|8.0"],
        ),
        (
            "SELECT window_start, window_end, max(n) AS most, count(*) AS groups FROM (
               SELECT k, window_start, window_end, count(v) AS n
               FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '4' MINUTE, INTERVAL '8' MINUTE) GROUP BY k, window_start, window_end)
             WHERE n > 0 GROUP BY window_start, window_end",
            &[
                "00:00:00|00:08:00|4|2",
                "00:04:00|00:12:00|4|2",
                "00:08:00|00:16:00|2|2",
                "1969-12-31T23:56:00|00:04:00|2|2",
            ],
        ),
        (
            "SELECT window_end, sum(n) AS n FROM TUMBLE((
               SELECT window_time, count(*) AS n FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '2' MINUTE)
               GROUP BY window_start, window_end, window_time), DESCRIPTOR(window_time), INTERVAL '10' MINUTE)
             GROUP BY window_start, window_end",
            &["00:10:00|10", "00:20:00|2"],
        ),
        (
            "SELECT v, window_start, window_time FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE)
             WHERE window_start > TIMESTAMP '1970-01-01' AND v > 10",
            &["11|00:10:00|00:19:59.999999"],
        ),
        (
            "SELECT extract(minute FROM window_start) AS m, max(window_end) AS e, count(*) AS n
             FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '6' MINUTE) GROUP BY window_start, extract(minute FROM window_start)",
            &["0|00:06:00|6", "6|00:12:00|6"],
        ),
        (
            "WITH u AS (SELECT 'big' AS x, ts FROM t WHERE v > 5 UNION ALL SELECT k, ts FROM t WHERE v < 2)
             SELECT x, window_end, count(*) AS n FROM TUMBLE(TABLE u, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY x, window_start, window_end",
            &["a|01:00:00|1", "b|01:00:00|1", "big|01:00:00|6"],
        ),
];

#[test]
fn plans_run() {
    for (query, expect) in CASES {
        let mut expect: Vec<&str> = expect.to_vec();
        expect.sort_unstable();
        assert_eq!(run(query), expect, "{query}");
    }
}
