//! Physical expressions, with one improvement: adding a fixed length to a timestamp.
//!
//! `ts - INTERVAL '5' SECOND` arrives as calendar arithmetic, which is evaluated row by row with calendars and zones. If
//! the interval has no months and the timestamp no zone of its own (or UTC), it is a plain subtraction of microseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::plan::interval;

/// An expression whose columns are those of `schema`.
pub(crate) fn physical_expr(expr: &Expr, schema: &Schema, props: &ExecutionProps) -> Result<Arc<dyn PhysicalExpr>> {
    let over = DFSchema::try_from(schema.clone())?;
    let physical = create_physical_expr(expr, &over, props, &PhysicalPlanningContext::default())?;
    physical.transform_up(|inner| with_exact_interval(inner, schema)).map(|changed| changed.data)
}

fn with_exact_interval(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    let Some(binary) = expr.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(expr)) };
    if !matches!(binary.op(), Operator::Plus | Operator::Minus) {
        return Ok(Transformed::no(expr));
    }
    let data_type = expr.data_type(schema)?;
    if !is_exact(&data_type) || !is_exact(&binary.left().data_type(schema)?) {
        return Ok(Transformed::no(expr));
    }
    let literal = binary.right().downcast_ref::<Literal>().map(|literal| literal.value());
    let Some(ScalarValue::IntervalMonthDayNano(Some(length))) = literal else { return Ok(Transformed::no(expr)) };
    let Ok(micros) = interval::micros(*length) else { return Ok(Transformed::no(expr)) };
    let duration = Arc::new(Literal::new(ScalarValue::DurationMicrosecond(Some(micros))));
    let exact: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(binary.left().clone(), *binary.op(), duration));
    match exact.data_type(schema)? == data_type {
        true => Ok(Transformed::yes(exact)),
        false => Ok(Transformed::no(expr)),
    }
}

/// Timestamps whose days all have 24 hours.
fn is_exact(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => true,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => matches!(zone.as_ref(), "UTC" | "+00:00" | "Z"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{RecordBatch, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, IntervalMonthDayNano};
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::plan::graph::display;

    fn minus(zone: Option<&str>, months: i32) -> (Schema, Arc<dyn PhysicalExpr>) {
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let schema = Schema::new(vec![Field::new("ts", data_type, true)]);
        let interval = IntervalMonthDayNano::new(months, 1, 5_000_000_000);
        let expr = col("ts") - lit(ScalarValue::IntervalMonthDayNano(Some(interval)));
        let physical = physical_expr(&expr, &schema, &ExecutionProps::new()).expect("a valid expression");
        (schema, physical)
    }

    #[test]
    fn fixed_lengths_become_plain_subtraction() {
        let is_plain = |zone, months| format!("{:?}", minus(zone, months).1).contains("DurationMicrosecond");
        for (zone, months, expect) in
            [(None, 0, true), (Some("UTC"), 0, true), (Some("Europe/Berlin"), 0, false), (None, 1, false)]
        {
            assert_eq!(is_plain(zone, months), expect, "{zone:?} {months}");
        }
        assert_eq!(display(&minus(None, 0).1), "ts - INTERVAL '86405 seconds'");
    }

    #[test]
    fn the_result_is_the_same() {
        let (schema, expr) = minus(None, 0);
        let times = TimestampMicrosecondArray::from(vec![Some(90_000_000_000), None, Some(0)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(times)]).expect("a batch");
        let result = expr.evaluate(&batch).and_then(|value| value.into_array(3)).expect("evaluates");
        let expect = TimestampMicrosecondArray::from(vec![Some(3_595_000_000), None, Some(-86_405_000_000)]);
        assert_eq!(result.as_ref(), &expect as &dyn arrow::array::Array);
    }
}
