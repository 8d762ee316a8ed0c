//! Windowed counts over disordered splits with late rows: same answer as the oracle, whatever happens on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{binary, col, lit};
use thalweg_engine::*;
use thalweg_state::{CheckpointStore, StoreLocation};

use crate::doubles::{RowsSource, TargetSink};

const SECOND: i64 = 1_000_000;
const SIZE: i64 = 10 * SECOND;
const DELAY: i64 = 5 * SECOND;

type Row = (i64, Option<String>, Option<i64>);
type Answer = BTreeMap<(Option<String>, i64), (i64, Option<i64>)>;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn random_split(random: &mut fastrand::Rng, rows: usize) -> Vec<Row> {
    let mut now = random.i64(-50..50) * SECOND;
    (0..rows)
        .map(|_| {
            now += random.i64(0..SECOND);
            let behind = match random.u32(..20) {
                0 => random.i64(0..30 * SECOND),
                _ => random.i64(0..DELAY),
            };
            let key = (random.u32(..10) > 0).then(|| format!("k{}", random.u32(..7).min(random.u32(..7))));
            (now - behind, key, (random.u32(..8) > 0).then(|| random.i64(-100..100)))
        })
        .collect()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|r| Some(r.0)).collect();
    let keys: StringArray = rows.iter().map(|r| r.1.clone()).collect();
    let values: Int64Array = rows.iter().map(|r| r.2).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(times), Arc::new(keys), Arc::new(values)]).unwrap()
}

/// The batch answer: a row is late iff its window's end is not above the largest watermark before it in its split.
fn oracle(splits: &[Vec<Row>]) -> (Answer, u64) {
    let (mut answer, mut late) = (Answer::new(), 0);
    for split in splits {
        let mut watermark = i64::MIN;
        for (time, key, value) in split {
            let start = time.div_euclid(SIZE) * SIZE;
            if start + SIZE <= watermark {
                late += 1;
            } else {
                let entry = answer.entry((key.clone(), start)).or_default();
                entry.0 += 1;
                if let Some(value) = value {
                    entry.1 = Some(entry.1.unwrap_or(0) + value);
                }
            }
            watermark = watermark.max(time - DELAY);
        }
    }
    (answer, late)
}

fn plan(splits: &[Vec<Row>], chunk_rows: usize, target: &TargetSink) -> Plan {
    let schema = schema();
    let source = RowsSource { schema: schema.clone(), splits: splits.iter().map(|s| batch(s)).collect(), chunk_rows };
    let time = col("ts", &schema).unwrap();
    let delay = lit(ScalarValue::new_interval_mdn(0, 0, DELAY * 1000));
    let watermark = binary(time.clone(), Op::Minus, delay, &schema).unwrap();
    let aggregate = |fun, args: Vec<Arc<dyn PhysicalExpr>>, name: &str| Aggregate {
        expr: Arc::new(AggregateExprBuilder::new(fun, args).schema(schema.clone()).alias(name).build().unwrap()),
        filter: None,
    };
    let aggregates = vec![
        aggregate(count_udaf(), vec![lit(1i64)], "rows"),
        aggregate(sum_udaf(), vec![col("value", &schema).unwrap()], "total"),
    ];
    let window = |stage| WindowAggregateSpec {
        stage,
        kind: WindowKind::Tumble { size: SIZE, offset: 0 },
        input_schema: schema.clone(),
        time_column: 0,
        keys: vec![NamedExpr { expr: col("key", &schema).unwrap(), name: "key".into() }],
        aggregates: aggregates.clone(),
    };
    let stamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let local = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("__pane", DataType::Int64, false),
        Field::new("rows[count]", DataType::Int64, true),
        Field::new("total[sum]", DataType::Int64, true),
    ]));
    let global = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("window_start", stamp.clone(), false),
        Field::new("window_end", stamp, false),
        Field::new("rows", DataType::Int64, true),
        Field::new("total", DataType::Int64, true),
    ]));
    let node = |id: usize, name: &str, operator, inputs: Vec<Edge>, schema: &SchemaRef| Node {
        id: NodeId(id),
        name: name.into(),
        state_id: (id == 2).then(|| "window-counts".into()),
        operator,
        inputs,
        schema: schema.clone(),
        time_column: None,
        changelog: ChangelogMode::AppendOnly,
    };
    let edge = |from, exchange| Edge { from: NodeId(from), exchange };
    let spec = SourceSpec {
        name: "rows".into(),
        source: Arc::new(source),
        projection: vec![0, 1, 2],
        watermark: Some(WatermarkSpec { time, expr: watermark, idle_timeout: None, max_drift: None }),
        on_error: OnError::Fail,
        ordered: false,
    };
    Plan {
        name: "counts".into(),
        nodes: vec![
            node(0, "source", OperatorSpec::Source(spec), vec![], &schema),
            node(1, "local", OperatorSpec::WindowAggregate(window(WindowStage::Local)), vec![edge(0, None)], &local),
            node(
                2,
                "global",
                OperatorSpec::WindowAggregate(window(WindowStage::Global)),
                vec![edge(1, Some(Exchange { key_columns: vec![0] }))],
                &global,
            ),
            node(
                3,
                "sink",
                OperatorSpec::Sink(SinkSpec { name: "out".into(), sink: Arc::new(target.clone()) }),
                vec![edge(2, None)],
                &global,
            ),
        ],
    }
}

fn answer_in(target: &TargetSink) -> Answer {
    let mut answer = Answer::new();
    for rows in target.rows() {
        let keys = rows.column(0).as_string::<i32>();
        let starts = rows.column(1).as_primitive::<TimestampMicrosecondType>();
        let counts = rows.column(3).as_primitive::<Int64Type>();
        let totals = rows.column(4).as_primitive::<Int64Type>();
        for row in 0..rows.num_rows() {
            use arrow::array::Array;
            let key = keys.is_valid(row).then(|| keys.value(row).to_string());
            let total = totals.is_valid(row).then(|| totals.value(row));
            let before = answer.insert((key.clone(), starts.value(row)), (counts.value(row), total));
            assert!(before.is_none(), "window {key:?} {} came twice", starts.value(row));
        }
    }
    answer
}

fn options(workers: usize, batch_rows: usize) -> RunOptions {
    RunOptions { batch_rows, fingerprint: "f".into(), ..RunOptions::new(workers, tokio::runtime::Handle::current()) }
}

fn splits_of(seed: u64) -> Vec<Vec<Row>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let splits = random.usize(1..4);
    (0..splits)
        .map(|_| {
            let rows = random.usize(0..1500);
            random_split(&mut random, rows)
        })
        .collect()
}

#[tokio::test]
async fn the_answer_does_not_depend_on_batches_workers_or_scheduling() {
    let mut seed = 0;
    for batch_rows in [1, 7, 512, 8192] {
        for workers in [1, 2, 3, 8] {
            seed += 1;
            let splits = splits_of(seed);
            let (expected, late) = oracle(&splits);
            let target = TargetSink::default();
            let run = simulate(plan(&splits, 1 + seed as usize * 13, &target), options(workers, batch_rows), seed);
            let run = run.await.unwrap();
            assert_eq!(answer_in(&target), expected, "seed {seed}");
            assert_eq!(run.late, late, "late rows, seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_give_the_same_answer() {
    for seed in 0..60 {
        let splits = splits_of(1000 + seed);
        let (expected, late) = oracle(&splits);
        let target = TargetSink::default();
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::parse(folder.path().to_str().unwrap()).unwrap();
        let options = RunOptions {
            store: Some(CheckpointStore::open(&location, "counts").await.unwrap()),
            checkpoint_interval: std::time::Duration::from_millis(1),
            publish_interval: std::time::Duration::from_millis(1),
            ..options(1 + seed as usize % 4, 64)
        };
        let Started::Running(mut run) = start(plan(&splits, 16, &target), options).await.unwrap() else {
            panic!("nothing has run before")
        };
        let summary = run.wait().await.unwrap();
        assert!(summary.finished);
        assert_eq!(answer_in(&target), expected, "seed {seed}");
        assert_eq!(summary.totals.late, late, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stops_when_its_state_passes_the_limit() {
    let splits = vec![random_split(&mut fastrand::Rng::with_seed(7), 20_000)];
    let options = RunOptions { state_bytes_max: Some(1), ..options(2, 64) };
    let options = RunOptions { publish_interval: std::time::Duration::from_millis(1), ..options };
    let Started::Running(mut run) = start(plan(&splits, 1, &TargetSink::default()), options).await.unwrap() else {
        panic!("nothing has run before")
    };
    let error = run.wait().await.unwrap_err();
    assert!(error.message.contains("run.state_limit_mib"), "{error}");
}

/// Crashes at a random fault point or inside a commit, then goes on with another parallelism, until it gets through.
#[tokio::test]
async fn crashes_and_rescaling_change_nothing() {
    let mut crashes = 0;
    for seed in 0..80u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let splits = splits_of(2000 + seed);
        let (expected, late) = oracle(&splits);
        let target = TargetSink::default();
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::parse(folder.path().to_str().unwrap()).unwrap();
        for attempt in 0.. {
            assert!(attempt < 200, "seed {seed} never gets through");
            let store = CheckpointStore::open(&location, "counts").await.unwrap();
            let left = AtomicU32::new(random.u32(1..12));
            let faults: FaultHook = Arc::new(move |point| match left.fetch_sub(1, Ordering::SeqCst) {
                1 => Err(EngineError::new(ErrorKind::Retry, format!("crash at {point:?}"))),
                _ => Ok(()),
            });
            target.0.lock().unwrap().fail_in = (random.u32(..3) == 0).then(|| random.u32(1..4));
            let options = RunOptions { store: Some(store), faults: Some(faults), ..options(random.usize(1..5), 64) };
            match simulate(plan(&splits, random.usize(1..40), &target), options, random.u64(..)).await {
                Ok(run) => {
                    assert!(run.finished);
                    assert_eq!(run.late, late, "late rows, seed {seed}");
                    break;
                }
                Err(error) => {
                    assert!(error.message.contains("crash"), "seed {seed}: {error}");
                    crashes += 1;
                }
            }
        }
        assert_eq!(answer_in(&target), expected, "seed {seed}");
    }
    assert!(crashes > 60, "the test must crash runs, it crashed {crashes}");
}
