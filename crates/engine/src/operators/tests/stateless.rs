//! Projection, filter, union and window assignment, a batch at a time.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use datafusion::logical_expr::Operator as Comparison;
use datafusion::physical_expr::expressions::{BinaryExpr, lit};

use super::model::{Row, batch_of, column, input_schema};
use crate::operators::build_operator;
use crate::{Batch, EventTime, OperatorContext, OperatorSpec, WindowAssignSpec, WindowKind};

const CONTEXT: OperatorContext = OperatorContext { worker: 0, workers: 1, batch_rows: 100 };

fn rows(times: &[i64]) -> Vec<Row> {
    let row = |&time: &i64| Row { time, key: Some(time % 3), name: "n".into(), value: (time % 2 == 0).then_some(time) };
    times.iter().map(row).collect()
}

fn batch(times: &[i64], row_watermark: Option<Vec<Option<i64>>>) -> Batch {
    let rows = rows(times);
    Batch::with_row_watermark(batch_of(&rows.iter().collect::<Vec<_>>()), row_watermark.map(Int64Array::from))
}

#[test]
fn filter_drops_false_and_null_and_keeps_watermarks_in_step() {
    let predicate = Arc::new(BinaryExpr::new(column("value"), Comparison::Gt, lit(2_i64)));
    let mut filter = build_operator(&OperatorSpec::Filter(predicate), input_schema(), &[], &CONTEXT).unwrap();
    let mut out = Vec::new();
    filter.batch(0, batch(&[1, 2, 4, 6], Some(vec![None, Some(9), None, Some(8)])), &mut out).unwrap();
    assert_eq!(out[0].rows.column(3).as_primitive::<Int64Type>().values().as_ref(), &[4, 6]);
    assert_eq!(out[0].row_watermark, Some(Int64Array::from(vec![None, Some(8)])));
    filter.batch(0, batch(&[4, 5], Some(vec![None, Some(9)])), &mut out).unwrap();
    assert_eq!(out[1].row_watermark, None, "no row that is left is behind");
    filter.batch(0, batch(&[1, 3], None), &mut out).unwrap();
    assert_eq!(out.len(), 2, "nothing passed, nothing is emitted");
}

#[test]
fn filter_hands_on_a_batch_that_passes_whole() {
    let predicate = Arc::new(BinaryExpr::new(column("key"), Comparison::GtEq, lit(0_i64)));
    let mut filter = build_operator(&OperatorSpec::Filter(predicate), input_schema(), &[], &CONTEXT).unwrap();
    let (whole, mut out) = (batch(&[1, 2, 3], None), Vec::new());
    let address = whole.rows.column(1).to_data().buffers()[0].as_ptr();
    filter.batch(0, whole, &mut out).unwrap();
    assert_eq!(out[0].rows.column(1).to_data().buffers()[0].as_ptr(), address);
}

#[test]
fn project_computes_columns_and_keeps_rows_without_any() {
    let doubled = Arc::new(BinaryExpr::new(column("key"), Comparison::Plus, column("key")));
    let schema = Arc::new(Schema::new(vec![Field::new("doubled", DataType::Int64, true)]));
    let named = crate::NamedExpr { expr: doubled, name: "doubled".into() };
    let mut project = build_operator(&OperatorSpec::Project(vec![named]), schema, &[], &CONTEXT).unwrap();
    let mut out = Vec::new();
    project.batch(0, batch(&[1, 2], Some(vec![Some(7), None])), &mut out).unwrap();
    assert_eq!(out[0].rows.column(0).as_primitive::<Int64Type>().values().as_ref(), &[2, 4]);
    assert_eq!(out[0].row_watermark, Some(Int64Array::from(vec![Some(7), None])));
    let empty = Arc::new(Schema::empty());
    let mut project = build_operator(&OperatorSpec::Project(Vec::new()), empty, &[], &CONTEXT).unwrap();
    project.batch(0, batch(&[1, 2], None), &mut out).unwrap();
    assert_eq!(out[1].num_rows(), 2);
}

#[test]
fn union_takes_every_port_and_names_columns_anew() {
    let fields: Vec<_> = input_schema().fields().iter().map(|f| f.as_ref().clone().with_name("x")).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut union = build_operator(&OperatorSpec::Union, schema.clone(), &[], &CONTEXT).unwrap();
    let mut out = Vec::new();
    union.batch(0, batch(&[1], None), &mut out).unwrap();
    union.batch(1, batch(&[2], None), &mut out).unwrap();
    assert!(out.len() == 2 && out.iter().all(|batch| batch.schema() == schema));
}

fn assign(kind: WindowKind, batch: Batch, watermark: Option<i64>) -> (Vec<(i64, i64)>, u64) {
    let mut fields: Vec<_> = input_schema().fields().iter().cloned().collect();
    let time = input_schema().field(0).data_type().clone();
    fields.extend(["window_start", "window_end"].map(|name| Arc::new(Field::new(name, time.clone(), false))));
    let spec = OperatorSpec::WindowAssign(WindowAssignSpec { kind, time_column: 0 });
    let schema = Arc::new(Schema::new(fields));
    let mut assign = build_operator(&spec, schema, &[input_schema()], &CONTEXT).unwrap();
    let mut out = Vec::new();
    if let Some(watermark) = watermark {
        assign.watermark(EventTime(watermark), &mut out).unwrap();
    }
    assign.batch(0, batch, &mut out).unwrap();
    let mut pairs = Vec::new();
    for batch in &out {
        let times = batch.rows.column(0).as_primitive::<TimestampMicrosecondType>();
        let starts = batch.rows.column(4).as_primitive::<TimestampMicrosecondType>();
        pairs.extend(times.values().iter().copied().zip(starts.values().iter().copied()));
    }
    (pairs, assign.late_rows())
}

#[test]
fn assign_repeats_rows_and_leaves_closed_windows_out() {
    let tumble = WindowKind::Tumble { size: 10, offset: 0 };
    assert_eq!(assign(tumble, batch(&[-1, 12], None), None), (vec![(-1, -10), (12, 10)], 0));
    assert_eq!(assign(tumble, batch(&[-1, 12], None), Some(0)), (vec![(12, 10)], 1));
    let hop = WindowKind::Hop { size: 10, slide: 5, offset: 0 };
    assert_eq!(assign(hop, batch(&[7], None), None), (vec![(7, 0), (7, 5)], 0));
    assert_eq!(assign(hop, batch(&[7], Some(vec![Some(10)])), None), (vec![(7, 5)], 0));
    assert_eq!(assign(hop, batch(&[7], Some(vec![Some(15)])), None), (vec![], 1));
}
