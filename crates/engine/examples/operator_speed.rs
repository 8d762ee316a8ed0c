//! How fast the operators are on one core, without IO: rows per CPU second of each half of an aggregation.
//!
//! `cargo run --profile quick -p thalweg-engine --example operator_speed`
//!
//! Input: batches of 8192 rows, event time rising by 10 us per row with a little disorder, keys as in Nexmark (a few hot
//! ones) or uniform. The watermark moves every 16 batches, an epoch ends every 64.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::functions_aggregate as functions;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{cast, col, lit};
use thalweg_engine::{
    Aggregate, Barrier, BarrierKind, Batch, EventTime, NamedExpr, Operator, OperatorContext, OperatorSpec, SessionSpec,
    WindowAggregateSpec, WindowKind, WindowStage, build_operator,
};

const BATCH_ROWS: usize = 8192;
const BATCHES: usize = 1024;
const SECOND: i64 = 1_000_000;

fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("key", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Int64, true),
    ]))
}

#[derive(Clone, Copy)]
enum KeyShape {
    Uniform(i64),
    /// Three of four rows belong to the newest of keys that change all the time.
    Hot,
}

fn batches(shape: KeyShape, us_per_row: i64) -> Vec<(RecordBatch, i64)> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut row = 0;
    let mut made = Vec::new();
    for _ in 0..BATCHES {
        let (mut times, mut keys, mut names, mut prices) = (vec![], vec![], vec![], vec![]);
        for _ in 0..BATCH_ROWS {
            row += 1;
            times.push(row * us_per_row + random.i64(0..1000));
            let key = match shape {
                KeyShape::Uniform(count) => random.i64(0..count),
                KeyShape::Hot if random.u8(..4) > 0 => row / 50 / 100 * 100,
                KeyShape::Hot => (row / 50 - random.i64(0..1000)).max(0),
            };
            keys.push(key);
            names.push(format!("key number {key}"));
            prices.push(random.i64(0..1_000_000));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(times)),
            Arc::new(Int64Array::from(keys)),
            Arc::new(StringArray::from(names)),
            Arc::new(Int64Array::from(prices)),
        ];
        made.push((RecordBatch::try_new(input_schema(), columns).expect("columns fit the schema"), row * us_per_row));
    }
    made
}

fn aggregate(function: Arc<AggregateUDF>, argument: &str) -> Aggregate {
    let args = match argument {
        "*" => vec![lit(1_i64)],
        name => {
            let column = col(name, &input_schema()).expect("a column");
            vec![cast(column, &input_schema(), DataType::Float64).expect("a number")]
        }
    };
    let expr = AggregateExprBuilder::new(function, args).schema(input_schema()).alias(argument).build();
    Aggregate { expr: Arc::new(expr.expect("an aggregate")), filter: None }
}

fn count_star() -> Vec<Aggregate> {
    vec![aggregate(functions::count::count_udaf(), "*")]
}

fn several() -> Vec<Aggregate> {
    vec![
        aggregate(functions::count::count_udaf(), "*"),
        aggregate(functions::sum::sum_udaf(), "price"),
        aggregate(functions::min_max::max_udaf(), "price"),
        aggregate(functions::average::avg_udaf(), "price"),
    ]
}

enum Windows {
    Time(WindowKind),
    Session(i64),
}

/// Local and global operator of an aggregation.
fn operators(windows: &Windows, key: &str, aggregates: &[Aggregate]) -> [Box<dyn Operator>; 2] {
    let input = input_schema();
    let keys = vec![NamedExpr { expr: col(key, &input).expect("a column"), name: key.to_string() }];
    let key_field = input.field_with_name(key).expect("a column").clone();
    let bounds: &[&str] = if matches!(windows, Windows::Time(_)) { &["__pane"] } else { &["__start", "__end"] };
    let mut local = vec![Arc::new(key_field.clone())];
    local.extend(bounds.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, false))));
    local.extend(aggregates.iter().flat_map(|aggregate| aggregate.expr.state_fields().expect("state fields")));
    let mut global = vec![Arc::new(key_field)];
    let time = input.field(0).data_type().clone();
    global.extend(["window_start", "window_end"].map(|name| Arc::new(Field::new(name, time.clone(), false))));
    global.extend(aggregates.iter().map(|aggregate| aggregate.expr.field()));
    let (local, global) = (Arc::new(Schema::new(local)), Arc::new(Schema::new(global)));
    let spec = |stage| {
        let (input_schema, keys, aggregates) = (input.clone(), keys.clone(), aggregates.to_vec());
        match *windows {
            Windows::Time(kind) => OperatorSpec::WindowAggregate(WindowAggregateSpec {
                stage,
                kind,
                input_schema,
                time_column: 0,
                keys,
                aggregates,
            }),
            Windows::Session(gap) => {
                OperatorSpec::Session(SessionSpec { stage, gap, input_schema, time_column: 0, keys, aggregates })
            }
        }
    };
    let context = OperatorContext { worker: 0, workers: 1, batch_rows: BATCH_ROWS };
    let build = |stage, schema, input: &SchemaRef| {
        build_operator(&spec(stage), schema, std::slice::from_ref(input), &context).expect("an operator")
    };
    [build(WindowStage::Local, local.clone(), &input), build(WindowStage::Global, global, &local)]
}

/// Time spent in each half, and in snapshots.
#[derive(Default)]
struct Spent {
    local: Duration,
    global: Duration,
    snapshot: Duration,
    longest_snapshot: Duration,
}

/// CPU time of this thread, so that other processes do not count.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which lives on this stack.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every Linux and macOS has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = cpu_time();
    let result = work();
    *total += cpu_time() - start;
    result
}

fn measure(name: &str, windows: Windows, key: &str, aggregates: &[Aggregate], shape: KeyShape, us_per_row: i64) {
    let input = batches(shape, us_per_row);
    let [mut local, mut global] = operators(&windows, key, aggregates);
    let (mut spent, mut partials, mut results) = (Spent::default(), 0, 0);
    let (mut middle, mut out) = (Vec::<Batch>::new(), Vec::<Batch>::new());
    let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Checkpoint };
    for (index, (rows, now)) in input.into_iter().enumerate() {
        timed(&mut spent.local, || local.batch(0, Batch::new(rows), &mut middle)).expect("no bad rows");
        let mut forwarded = None;
        if index % 16 == 15 {
            let watermark = EventTime(now - SECOND / 100);
            forwarded = timed(&mut spent.local, || local.watermark(watermark, &mut middle)).expect("no bad rows");
        }
        let epoch_ends = index % 64 == 63;
        if epoch_ends {
            let held = timed(&mut spent.local, || local.epoch_end(barrier, &mut middle)).expect("no bad rows");
            forwarded = forwarded.max(held);
        }
        partials += middle.iter().map(Batch::num_rows).sum::<usize>();
        timed(&mut spent.global, || {
            for batch in middle.drain(..) {
                global.batch(0, batch, &mut out).expect("no bad rows");
            }
            if let Some(forwarded) = forwarded {
                global.watermark(forwarded, &mut out).expect("no bad rows");
            }
            while global.poll_more(&mut out).expect("no bad rows") {}
            if epoch_ends {
                global.epoch_end(barrier, &mut out).expect("no bad rows");
            }
        });
        if epoch_ends {
            let mut one = Duration::ZERO;
            timed(&mut one, || global.snapshot()).expect("no bad rows");
            spent.longest_snapshot = spent.longest_snapshot.max(one);
            spent.snapshot += one;
        }
        results += out.drain(..).map(|batch| batch.num_rows()).sum::<usize>();
    }
    let rows = (BATCHES * BATCH_ROWS) as f64;
    let rate = |spent: Duration| rows / spent.as_secs_f64() / 1e6;
    println!(
        "{name:36} local {:6.1} M rows/s  global {:7.1}  both {:6.1}  partials {partials:8}  results {results:8}  \
         snapshots {:6.1} ms, longest {:5.1} ms  state {:6.1} MB",
        rate(spent.local),
        rate(spent.global + spent.snapshot),
        rate(spent.local + spent.global + spent.snapshot),
        spent.snapshot.as_secs_f64() * 1e3,
        spent.longest_snapshot.as_secs_f64() * 1e3,
        global.state_bytes() as f64 / 1e6,
    );
}

fn main() {
    let tumble = |seconds: i64| Windows::Time(WindowKind::Tumble { size: seconds * SECOND, offset: 0 });
    let hop = Windows::Time(WindowKind::Hop { size: 10 * SECOND, slide: 2 * SECOND, offset: 0 });
    let long_hop = Windows::Time(WindowKind::Hop { size: 60 * SECOND, slide: SECOND, offset: 0 });
    let count = count_star();
    measure("tumble 10 s, count, 100 keys", tumble(10), "key", &count, KeyShape::Uniform(100), 10);
    measure("tumble 10 s, count, 10 k keys", tumble(10), "key", &count, KeyShape::Uniform(10_000), 10);
    measure("tumble 10 s, count, 1 M keys", tumble(10), "key", &count, KeyShape::Uniform(1_000_000), 10);
    measure("tumble 10 s, 4 aggregates, 10 k keys", tumble(10), "key", &several(), KeyShape::Uniform(10_000), 10);
    measure("tumble 10 s, count, 10 k texts", tumble(10), "name", &count, KeyShape::Uniform(10_000), 10);
    measure("hop 10 s by 2 s, count, hot keys", hop, "key", &count, KeyShape::Hot, 10);
    measure("hop 60 s by 1 s, count, 10 k keys", long_hop, "key", &count, KeyShape::Uniform(10_000), 100);
    measure("session 10 s, count, hot keys", Windows::Session(10 * SECOND), "key", &count, KeyShape::Hot, 100);
    measure(
        "session 10 s, count, 1 M keys",
        Windows::Session(10 * SECOND),
        "key",
        &count,
        KeyShape::Uniform(1_000_000),
        10,
    );
}
