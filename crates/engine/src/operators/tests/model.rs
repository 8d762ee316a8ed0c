//! Rows with their lateness, and what a batch computation over all of them yields.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate as functions;
use datafusion::logical_expr::{AggregateUDF, Operator as Comparison};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{BinaryExpr, cast, col, lit};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use crate::{Aggregate, NamedExpr};

/// One input row: event time, key columns, value.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub time: i64,
    pub key: Option<i64>,
    pub name: String,
    pub value: Option<i64>,
}

/// A row with the watermark of its partition just before it.
#[derive(Debug, Clone)]
pub struct Judged {
    pub row: Row,
    pub watermark: i64,
}

/// A partition: rows in order; the watermark after a row is the highest time so far minus `delay`.
pub type Partition = Vec<Judged>;

pub fn input_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("at", time, false),
        Field::new("key", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

pub fn batch_of(rows: &[&Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.key))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.name))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.value))),
    ];
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

/// Random rows whose time mostly rises, starting below zero.
pub fn random_partition(random: &mut fastrand::Rng, rows: usize, delay: i64, disorder: i64) -> Partition {
    let (mut now, mut highest) = (-200, i64::MIN);
    let mut partition = Vec::new();
    for _ in 0..rows {
        now += if random.u8(..10) == 0 { random.i64(0..60) } else { random.i64(0..4) };
        let time = now - if random.u8(..3) == 0 { random.i64(0..=disorder) } else { 0 };
        let key = (random.u8(..12) > 0).then(|| if random.bool() { 1 } else { random.i64(0..9) });
        let value = (random.u8(..8) > 0).then(|| random.i64(-20..20));
        let row = Row { time, key, name: format!("n{}", random.u8(..3)), value };
        let watermark = if highest == i64::MIN { i64::MIN } else { highest - delay };
        highest = highest.max(time);
        partition.push(Judged { row, watermark });
    }
    partition
}

pub fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, &input_schema()).unwrap()
}

pub fn keys(names: &[&str]) -> Vec<NamedExpr> {
    names.iter().map(|name| NamedExpr { expr: column(name), name: name.to_string() }).collect()
}

fn aggregate(
    function: Arc<AggregateUDF>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    alias: &str,
    build: impl FnOnce(AggregateExprBuilder) -> AggregateExprBuilder,
) -> Aggregate {
    let builder = AggregateExprBuilder::new(function, args).schema(input_schema()).alias(alias);
    Aggregate { expr: Arc::new(build(builder).build().unwrap()), filter: None }
}

pub fn count_star() -> Aggregate {
    aggregate(functions::count::count_udaf(), vec![lit(1_i64)], "count", |b| b)
}

/// Aggregates of every sort: native, through the adapter, distinct, ordered, filtered.
pub fn aggregates() -> Vec<Aggregate> {
    let value = || vec![column("value")];
    let order = |name: &str| PhysicalSortExpr { expr: column(name), options: Default::default() };
    let mut filtered = aggregate(functions::sum::sum_udaf(), value(), "positive", |b| b);
    filtered.filter = Some(Arc::new(BinaryExpr::new(column("value"), Comparison::Gt, lit(0_i64))));
    let strings = vec![column("name"), lit("-")];
    vec![
        count_star(),
        aggregate(functions::sum::sum_udaf(), value(), "sum", |b| b),
        aggregate(functions::min_max::min_udaf(), vec![column("name")], "min", |b| b),
        aggregate(functions::min_max::max_udaf(), value(), "max", |b| b),
        aggregate(functions::count::count_udaf(), value(), "distinct", |b| b.distinct()),
        filtered,
        aggregate(functions::approx_distinct::approx_distinct_udaf(), value(), "approx", |b| b),
        aggregate(functions::string_agg::string_agg_udaf(), strings, "joined", |b| b.order_by(vec![order("name")])),
        aggregate(functions::array_agg::array_agg_udaf(), value(), "all", |b| b.order_by(vec![order("value")])),
        aggregate(functions::median::median_udaf(), value(), "median", |b| b),
    ]
}

/// Every aggregate function of DataFusion that merges, over fitting arguments; ordered by value where it may be.
pub fn every_aggregate() -> Vec<Aggregate> {
    let number = || cast(column("value"), &input_schema(), DataType::Float64).unwrap();
    let by_value = || vec![PhysicalSortExpr { expr: column("value"), options: Default::default() }];
    let one = |function: Arc<AggregateUDF>| {
        let name = function.name().to_string();
        let two_numbers = name.starts_with("regr") || name.starts_with("cov") || name == "corr";
        let args = match name.as_str() {
            "string_agg" => vec![column("name"), lit("-")],
            "nth_value" => vec![column("value"), lit(2_i64)],
            "percentile_cont" | "approx_percentile_cont" => vec![number(), lit(0.5)],
            "approx_percentile_cont_with_weight" => vec![number(), lit(1.0), lit(0.5)],
            "bool_and" | "bool_or" => {
                vec![Arc::new(BinaryExpr::new(column("value"), Comparison::Gt, lit(-19_i64))) as _]
            }
            "array_agg" | "first_value" | "last_value" | "any_value" | "count" => vec![column("value")],
            "bit_and" | "bit_or" | "bit_xor" | "approx_distinct" => vec![column("value")],
            _ if two_numbers => vec![number(), cast(column("key"), &input_schema(), DataType::Float64).unwrap()],
            _ => vec![number()],
        };
        let is_ordered = matches!(name.as_str(), "nth_value" | "array_agg" | "first_value" | "last_value");
        aggregate(function, args, &name, |builder| if is_ordered { builder.order_by(by_value()) } else { builder })
    };
    // `grouping` is rewritten by the planner; any value, and text in order of arrival, differ from run to run.
    let left_out = ["grouping", "any_value", "string_agg"];
    let all = functions::all_default_aggregate_functions().into_iter();
    all.filter(|function| !left_out.contains(&function.name())).map(one).collect()
}

/// Whether two lines are equal but for what sums of floats in another order may differ by.
pub fn nearly_equal(left: &str, right: &str) -> bool {
    let (left, right): (Vec<_>, Vec<_>) = (left.split('|').collect(), right.split('|').collect());
    let same = |(left, right): (&&str, &&str)| match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(l), Ok(r)) => left == right || (l - r).abs() <= 1e-6 * l.abs().max(r.abs()).max(1.0),
        _ => left == right,
    };
    left.len() == right.len() && left.iter().zip(&right).all(same)
}

/// What a window of one key holds: key columns as text, bounds, rows.
pub type Group<'a> = BTreeMap<(Vec<String>, i64, i64), Vec<&'a Row>>;

pub fn key_text(row: &Row, names: &[&str]) -> Vec<String> {
    let text = |name: &&str| match *name {
        "key" => ScalarValue::Int64(row.key).to_string(),
        "name" => row.name.clone(),
        other => panic!("no key column {other}"),
    };
    names.iter().map(text).collect()
}

/// Every group evaluated by one plain accumulator per aggregate, as sorted text lines.
pub fn evaluate(groups: &Group<'_>, aggregates: &[Aggregate]) -> Vec<String> {
    let mut lines = Vec::new();
    for ((key, start, end), rows) in groups {
        let batch = batch_of(rows);
        let mut line: Vec<String> = key.clone();
        line.extend([start.to_string(), end.to_string()]);
        line.extend(aggregates.iter().map(|aggregate| evaluate_one(aggregate, &batch)));
        lines.push(line.join("|"));
    }
    lines.sort();
    lines
}

fn evaluate_one(aggregate: &Aggregate, batch: &RecordBatch) -> String {
    let orders = aggregate.expr.order_bys();
    let mut batch = batch.clone();
    if let Some(filter) = &aggregate.filter {
        let keep = filter.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap();
        let keep = arrow::array::AsArray::as_boolean(&keep);
        batch = arrow::compute::filter_record_batch(&batch, keep).unwrap();
    }
    if let Some(order) = orders.first() {
        let by = order.expr.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap();
        let order = arrow::compute::sort_to_indices(&by, Some(order.options), None).unwrap();
        batch = arrow::compute::take_record_batch(&batch, &order).unwrap();
    }
    let mut args = aggregate.expr.expressions();
    args.extend(orders.iter().map(|order| order.expr.clone()));
    let values = args.iter().map(|arg| arg.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap());
    let values: Vec<_> = values.collect();
    let mut accumulator = aggregate.expr.create_accumulator().unwrap();
    if batch.num_rows() > 0 {
        accumulator.update_batch(&values).unwrap();
    }
    accumulator.evaluate().unwrap().to_string()
}

/// Output rows as text lines like those of [`evaluate`]; time columns become plain microseconds.
pub fn lines_of(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| match ScalarValue::try_from_array(column, row).unwrap() {
                ScalarValue::TimestampMicrosecond(Some(time), _) => time.to_string(),
                scalar => scalar.to_string(),
            };
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}
