//! Window table functions in queries that end: the planner's window node becomes plain relational algebra.
//!
//! Windows are computed with integers on microseconds since the epoch, exactly as the streaming operators do, so both
//! give a row the same windows. Rows without a time have none and are left out. There are no late rows here.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Diagnostic, Location, Result, ScalarValue, Span, plan_err};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::functions_window::expr_fn::lag;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprFunctionExt, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, cast, lit, when,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use crate::plan::window_tvf::{
    SessionKeys, WINDOW_END, WINDOW_START, Window, WindowFunctions, WindowTvf, is_window_function,
};

/// Windows that one row may lie in: more is most likely a slip in the units.
const WINDOWS_MAX: i64 = 100_000;
/// Columns of ours inside a plan; nothing outside sees them.
const MICROS: &str = "__us";
const SHIFT: &str = "__shift";
const IS_NEW: &str = "__new";
const SESSION: &str = "__session";

/// Plans window functions as the pipeline planner does, and leaves other table functions to DataFusion.
#[derive(Debug)]
pub(super) struct BatchWindows;

impl RelationPlanner for BatchWindows {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match &relation {
            TableFactor::Table { name, args: Some(_), .. } if is_window_function(&name.to_string().to_lowercase()) => {
                WindowFunctions.plan_relation(relation, context)
            }
            _ => Ok(RelationPlanning::Original(Box::new(relation))),
        }
    }
}

/// Replaces every window node.
pub(super) fn expand(plan: LogicalPlan) -> Result<LogicalPlan> {
    // Sessions by the keys of an aggregation first: they need the aggregation above them.
    let plan = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => expand_group_session(aggregate),
        other => Ok(Transformed::no(other)),
    })?;
    let plan = plan.data.transform_up_with_subqueries(|node| match window_of(&node) {
        Some(window) => {
            let expanded = expand_window(window).map_err(|error| at_place(error, window.place));
            Ok(Transformed::yes(expanded?))
        }
        None => Ok(Transformed::yes(node.recompute_schema()?)),
    })?;
    Ok(plan.data)
}

/// The error, pointing at the window's function.
fn at_place(error: DataFusionError, (line, column): (u64, u64)) -> DataFusionError {
    let place = Location { line, column };
    let message = error.strip_backtrace();
    error.with_diagnostic(Diagnostic::new_error(message, Some(Span::new(place, place))))
}

fn window_of(node: &LogicalPlan) -> Option<&WindowTvf> {
    match node {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<WindowTvf>(),
        _ => None,
    }
}

fn expand_window(tvf: &WindowTvf) -> Result<LogicalPlan> {
    let Some(time) = &tvf.time else {
        return plan_err!(
            "count windows depend on the order in which rows arrive, which a query that ends does not have\n\
             run it as a pipeline"
        );
    };
    match tvf.window {
        Window::Tumble { size, offset } => {
            let base = with_micros(tvf, time)?;
            let start = floor(micros(), size, offset);
            finish(base, tvf, start.clone(), start + lit(size))
        }
        Window::Hop { size, slide, offset } => {
            let shifts = (0..windows(size, slide)?).map(|index| index * slide);
            let base = with_shifts(with_micros(tvf, time)?, shifts)?;
            let start = floor(micros(), slide, offset) - own(SHIFT);
            let covers = micros().lt(start.clone() + lit(size));
            finish(base.filter(covers)?, tvf, start.clone(), start + lit(size))
        }
        Window::Cumulate { size, step, offset } => {
            let shifts = (1..=windows(size, step)?).map(|index| (index * step).min(size));
            let base = with_shifts(with_micros(tvf, time)?, shifts)?;
            let start = floor(micros(), size, offset);
            let end = start.clone() + own(SHIFT);
            finish(base.filter(micros().lt(end.clone()))?, tvf, start, end)
        }
        Window::Session { gap, keys: SessionKeys::Partition } => session(tvf, time, gap, &tvf.partition_by),
        Window::Session { keys: SessionKeys::Group, .. } => plan_err!(
            "session() in GROUP BY reads one table, perhaps with WHERE, in a query that ends\n\
             write SESSION(TABLE t PARTITION BY key, DESCRIPTOR(time), gap) in FROM"
        ),
        Window::Count { .. } | Window::Irregular => plan_err!("this window cannot be computed in a query that ends"),
    }
}

/// How many windows of length `size` that begin every `slide` cover an instant.
fn windows(size: i64, slide: i64) -> Result<i64> {
    if size <= 0 || slide <= 0 {
        return plan_err!("lengths of windows must be more than zero");
    }
    let count = (size + slide - 1) / slide;
    if count > WINDOWS_MAX {
        return plan_err!("every row would lie in {count} windows; at most {WINDOWS_MAX} are allowed");
    }
    Ok(count)
}

fn own(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn micros() -> Expr {
    own(MICROS)
}

/// The last multiple of `length` (shifted by `offset`) at or before `at`; `%` keeps the sign, hence twice.
fn floor(at: Expr, length: i64, offset: i64) -> Expr {
    let shifted = at.clone() - lit(offset);
    at - ((shifted % lit(length)) + lit(length)) % lit(length)
}

fn columns_of(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

/// The input without rows that have no time, with the time in microseconds.
fn with_micros(tvf: &WindowTvf, time: &Expr) -> Result<LogicalPlanBuilder> {
    let zone = match time.get_type(tvf.input.schema())? {
        DataType::Timestamp(_, zone) => zone,
        _ => None,
    };
    let instant = cast(cast(time.clone(), DataType::Timestamp(TimeUnit::Microsecond, zone)), DataType::Int64);
    let columns = columns_of(&tvf.input).into_iter().chain([instant.alias(MICROS)]);
    LogicalPlanBuilder::from(tvf.input.clone()).filter(time.clone().is_not_null())?.project(columns)
}

/// Every row once per shift.
fn with_shifts(base: LogicalPlanBuilder, shifts: impl Iterator<Item = i64>) -> Result<LogicalPlanBuilder> {
    let rows = shifts.map(|shift| vec![lit(shift)]).collect();
    let values = LogicalPlanBuilder::values(rows)?.project(vec![own("column1").alias(SHIFT)])?.build()?;
    base.cross_join(values)
}

/// The columns of the node: the input's, then start, end and last instant of the window.
fn finish(base: LogicalPlanBuilder, tvf: &WindowTvf, start: Expr, end: Expr) -> Result<LogicalPlan> {
    let time_type = match &tvf.time {
        Some(time) => time.get_type(tvf.input.schema())?,
        None => DataType::Timestamp(TimeUnit::Microsecond, None),
    };
    let zone = match &time_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let as_time =
        |at: Expr| cast(cast(at, DataType::Timestamp(TimeUnit::Microsecond, zone.clone())), time_type.clone());
    let mut columns = columns_of(&tvf.input);
    columns.push(as_time(start).alias(WINDOW_START));
    columns.push(as_time(end.clone()).alias(WINDOW_END));
    if tvf.window_columns() > 2 {
        columns.push(as_time(end - lit(1_i64)).alias(crate::plan::window_tvf::WINDOW_TIME));
    }
    base.project(columns)?.build()
}

/// Rows of equal keys that are at most `gap` apart, directly or through others, are one session.
fn session(tvf: &WindowTvf, time: &Expr, gap: i64, keys: &[Expr]) -> Result<LogicalPlan> {
    let base = with_micros(tvf, time)?;
    let before =
        lag(micros(), Some(1), None).partition_by(keys.to_vec()).order_by(vec![micros().sort(true, true)]).build()?;
    let continues = (micros() - before_name(&before)?).lt_eq(lit(gap));
    let is_new = when(continues, lit(0_i64)).otherwise(lit(1_i64))?;
    let base = add_column(base.window(vec![before])?, tvf, &[micros()], is_new.alias(IS_NEW))?;

    let running = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::CurrentRow,
    );
    let number = over(sum(own(IS_NEW)))?
        .partition_by(keys.to_vec())
        .order_by(vec![micros().sort(true, true)])
        .window_frame(running)
        .build()?;
    let number_name = before_name(&number)?;
    let base = add_column(base.window(vec![number])?, tvf, &[micros()], number_name.alias(SESSION))?;

    let whole: Vec<Expr> = keys.iter().cloned().chain([own(SESSION)]).collect();
    let first = over(min(micros()))?.partition_by(whole.clone()).build()?;
    let last = over(max(micros()))?.partition_by(whole).build()?;
    let (start, end) = (before_name(&first)?, before_name(&last)?);
    finish(base.window(vec![first, last])?, tvf, start, end + lit(gap))
}

/// An aggregate call as a window function.
fn over(call: Expr) -> Result<Expr> {
    let Expr::AggregateFunction(call) = call else { return plan_err!("not an aggregate: {call}") };
    let function = WindowFunctionDefinition::AggregateUDF(call.func);
    Ok(Expr::from(datafusion::logical_expr::expr::WindowFunction::new(function, call.params.args)))
}

/// The column that a window expression becomes.
fn before_name(expr: &Expr) -> Result<Expr> {
    Ok(own(&expr.schema_name().to_string()))
}

/// The input's columns, `kept`, and one more.
fn add_column(base: LogicalPlanBuilder, tvf: &WindowTvf, kept: &[Expr], new: Expr) -> Result<LogicalPlanBuilder> {
    base.project(columns_of(&tvf.input).into_iter().chain(kept.iter().cloned()).chain([new]))
}

/// `GROUP BY key, session(ts, gap)`: the keys of the aggregation are the session's, and `WHERE` goes before it.
fn expand_group_session(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut filters = Vec::new();
    let mut below = aggregate.input.as_ref();
    while let LogicalPlan::Filter(filter) = below {
        filters.push(filter.predicate.clone());
        below = &filter.input;
    }
    let aliased = match below {
        LogicalPlan::SubqueryAlias(alias) => Some((alias.alias.clone(), alias.input.as_ref())),
        _ => None,
    };
    let Some(tvf) = window_of(aliased.as_ref().map_or(below, |(_, input)| input)) else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let Window::Session { gap, keys: SessionKeys::Group } = tvf.window else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let time = tvf.time.clone();
    // Below the alias columns carry the names they have there, so the input takes the alias instead.
    let input = match &aliased {
        Some((alias, _)) => LogicalPlanBuilder::from(tvf.input.clone()).alias(alias.clone())?.build()?,
        None => tvf.input.clone(),
    };
    let time = match (time, &aliased) {
        (Some(Expr::Column(column)), Some((alias, _))) => {
            Some(Expr::Column(Column::new(Some(alias.clone()), column.name)))
        }
        (time, _) => time,
    };
    let input = filters.into_iter().try_fold(input, |input, predicate| -> Result<LogicalPlan> {
        Ok(LogicalPlan::Filter(Filter::try_new(before_window(predicate)?, Arc::new(input))?))
    })?;
    let keys: Vec<Expr> = aggregate.group_expr.iter().filter(|expr| !reads_window(expr)).cloned().collect();
    let window = Window::Session { gap, keys: SessionKeys::Partition };
    let node = WindowTvf::try_new(window, time, keys, input, tvf.place)?;
    let mut expanded = match &node.time {
        Some(time) => session(&node, time, gap, &node.partition_by)?,
        None => return plan_err!("a session needs a time"),
    };
    if let Some((alias, _)) = aliased {
        expanded = LogicalPlanBuilder::from(expanded).alias(alias)?.build()?;
    }
    let aggregate = Aggregate::try_new(Arc::new(expanded), aggregate.group_expr, aggregate.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn reads_window(expr: &Expr) -> bool {
    let names: HashSet<&str> = [WINDOW_START, WINDOW_END, crate::plan::window_tvf::WINDOW_TIME].into();
    expr.column_refs().iter().any(|column| names.contains(column.name.as_str()))
}

/// The predicate as it reads in front of the window; one about the window itself cannot.
fn before_window(predicate: Expr) -> Result<Expr> {
    if reads_window(&predicate) {
        return plan_err!("WHERE cannot ask for the window of session() in GROUP BY\nask in HAVING");
    }
    Ok(predicate)
}
