//! Window table functions: `TUMBLE`, `HOP`, `CUMULATE`, `SESSION` and `COUNT_TUMBLE` in `FROM`, as a node of the logical
//! plan.
//!
//! The node adds `window_start`, `window_end` and `window_time` (the last instant of the window, what event time is after
//! an aggregation) to the columns of its input. Filters and projections pass through it unless they touch these three.
//! Columns of the input that already have one of the names get the prefix `inner_`.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use datafusion::common::{
    DFSchema, DFSchemaRef, Diagnostic as PlannerDiagnostic, Result, ScalarValue, Span as PlannerSpan,
    plan_datafusion_err,
};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::plan::interval;

pub(crate) const WINDOW_START: &str = "window_start";
pub(crate) const WINDOW_END: &str = "window_end";
pub(crate) const WINDOW_TIME: &str = "window_time";
/// `SESSION` whose keys are those of the `GROUP BY` above it; only the rewritten group form has it.
pub(crate) const SESSION_BY_GROUP: &str = "__session_by_group";
const PARTITIONED_TABLE: &str = "__table";
const WINDOW_COLUMNS: [&str; 3] = [WINDOW_START, WINDOW_END, WINDOW_TIME];

/// Lengths in microseconds, or rows for `Count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Window {
    Tumble {
        size: i64,
        offset: i64,
    },
    Hop {
        size: i64,
        slide: i64,
        offset: i64,
    },
    Cumulate {
        size: i64,
        step: i64,
        offset: i64,
    },
    Session {
        gap: i64,
        keys: SessionKeys,
    },
    Count {
        size: u64,
    },
    /// Of several kinds (after a union): nothing is known but the columns.
    Irregular,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SessionKeys {
    /// `PARTITION BY` of the function; none means one session for all rows.
    Partition,
    /// All keys of the aggregation.
    Group,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = interval::display;
        let shifted = |offset: i64| match offset {
            0 => String::new(),
            _ => format!(" offset {}", length(offset)),
        };
        match *self {
            Self::Tumble { size, offset } => write!(f, "tumble {}{}", length(size), shifted(offset)),
            Self::Hop { size, slide, offset } => {
                write!(f, "hop {} every {}{}", length(size), length(slide), shifted(offset))
            }
            Self::Cumulate { size, step, offset } => {
                write!(f, "cumulate up to {} by {}{}", length(size), length(step), shifted(offset))
            }
            Self::Session { gap, .. } => write!(f, "session gap {}", length(gap)),
            Self::Count { size } => write!(f, "count {size} rows"),
            Self::Irregular => write!(f, "given windows"),
        }
    }
}

/// Logical node of a window table function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WindowTvf {
    pub window: Window,
    /// Event-time column; `None` for count windows.
    pub time: Option<Expr>,
    pub partition_by: Vec<Expr>,
    pub input: LogicalPlan,
    schema: DFSchemaRef,
    /// Line and column of the function in the script.
    pub place: (u64, u64),
}

impl WindowTvf {
    pub fn try_new(
        window: Window,
        time: Option<Expr>,
        partition_by: Vec<Expr>,
        input: LogicalPlan,
        place: (u64, u64),
    ) -> Result<Self> {
        let schema = Arc::new(output_schema(&input, time.as_ref())?);
        Ok(Self { window, time, partition_by, input, schema, place })
    }

    /// How many of the last columns of the schema are the window's.
    pub fn window_columns(&self) -> usize {
        self.schema.fields().len() - self.input.schema().fields().len()
    }
}

fn output_schema(input: &LogicalPlan, time: Option<&Expr>) -> Result<DFSchema> {
    use datafusion::logical_expr::ExprSchemable;
    let mut fields: Vec<_> =
        input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    let (names, data_type) = match time {
        Some(time) => (&WINDOW_COLUMNS[..], time.get_type(input.schema())?),
        None => (&WINDOW_COLUMNS[..2], DataType::Int64),
    };
    fields.extend(names.iter().map(|name| (None, Arc::new(Field::new(*name, data_type.clone(), false)))));
    DFSchema::new_with_metadata(fields, input.schema().metadata().clone())
}

impl PartialOrd for WindowTvf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        match self.window.cmp(&other.window) {
            Ordering::Equal => self.input.partial_cmp(&other.input).filter(|ordering| *ordering != Ordering::Equal),
            different => Some(different),
        }
    }
}

impl UserDefinedLogicalNodeCore for WindowTvf {
    fn name(&self) -> &str {
        "WindowTvf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.time.iter().chain(&self.partition_by).cloned().collect()
    }

    /// `WHERE` comes before windows of every kind: it decides which rows sessions and counts see.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.iter().map(|name| name.to_string()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WindowTvf: {}", self.window)
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop().ok_or_else(|| plan_datafusion_err!("a window function has one input"))?;
        let time = self.time.as_ref().map(|_| exprs.remove(0));
        Self::try_new(self.window, time, exprs, input, self.place)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema();
        let mut needed: Vec<usize> =
            output_columns.iter().copied().filter(|index| *index < input.fields().len()).collect();
        for expr in self.time.iter().chain(&self.partition_by) {
            for column in expr.column_refs() {
                needed.push(input.maybe_index_of_column(column)?);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// Plans the window table functions; leaves every other relation alone.
#[derive(Debug)]
pub(crate) struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::Table { name, args: Some(arguments), alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = name.to_string().to_lowercase();
        if !is_window_function(&function) {
            return Err(located(
                relation.span(),
                format!("unknown table function '{function}'"),
                "window functions are TUMBLE, HOP, CUMULATE, SESSION and COUNT_TUMBLE",
            ));
        }
        let call = Call { function: &function, span: name.span(), arguments: plain_arguments(&arguments.args, name)? };
        let plan = call.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

pub(crate) fn is_window_function(name: &str) -> bool {
    matches!(name, "tumble" | "hop" | "cumulate" | "session" | "count_tumble" | SESSION_BY_GROUP)
}

fn plain_arguments(arguments: &[FunctionArg], name: &ObjectName) -> Result<Vec<ast::Expr>> {
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
        other => Err(located(
            name.span(),
            format!("cannot take '{other}' as an argument of {name}"),
            "write the value alone",
        )),
    };
    arguments.iter().map(plain).collect()
}

/// An error with its place and next step.
pub(crate) fn located(span: Span, message: impl Into<String>, hint: impl Into<String>) -> DataFusionError {
    let message = message.into();
    let inner = DataFusionError::Plan(message.clone());
    let diagnostic =
        PlannerDiagnostic::new_error(message, PlannerSpan::try_from_sqlparser_span(span)).with_help(hint.into(), None);
    DataFusionError::Diagnostic(Box::new(diagnostic), Box::new(inner))
}

struct Call<'a> {
    function: &'a str,
    span: Span,
    arguments: Vec<ast::Expr>,
}

impl Call<'_> {
    fn plan(&self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let is_count = self.function == "count_tumble";
        let leading = if is_count { 1 } else { 2 };
        if self.arguments.len() <= leading {
            return Err(self.error(format!("{} lacks arguments", self.shown())));
        }
        let (relation, keys) = self.relation()?;
        let input = context.plan(relation)?;
        let keys = keys.into_iter().map(|key| context.sql_to_expr(key, input.schema())).collect::<Result<Vec<_>>>()?;
        let takes_keys = matches!(self.function, "session" | "count_tumble");
        if !keys.is_empty() && !takes_keys {
            return Err(located(
                self.span,
                format!("PARTITION BY has no meaning in {}", self.shown()),
                "write the keys in GROUP BY",
            ));
        }
        let time = if is_count { None } else { Some(self.time_column(&input, context)?) };
        let lengths = self.arguments[leading..].iter().map(|argument| self.length(argument, context));
        let lengths = lengths.collect::<Result<Vec<_>>>()?;
        let window = self.window(&lengths)?;
        let (input, time, keys) = hide_window_columns(input, time, keys)?;
        let place = (self.span.start.line, self.span.start.column);
        let node = WindowTvf::try_new(window, time, keys, input, place)?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn shown(&self) -> String {
        match self.function {
            SESSION_BY_GROUP => "session".to_string(),
            name => name.to_uppercase(),
        }
    }

    fn usage(&self) -> &'static str {
        match self.function {
            "tumble" => "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR [, offset])",
            "hop" => {
                "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '1' HOUR [, offset]): slide, then size"
            }
            "cumulate" => {
                "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY [, offset]): step, then size"
            }
            "count_tumble" => "COUNT_TUMBLE(TABLE t [PARTITION BY k], 100)",
            SESSION_BY_GROUP => "session(ts, INTERVAL '10' MINUTE)",
            _ => "SESSION(TABLE t [PARTITION BY k], DESCRIPTOR(ts), INTERVAL '10' MINUTE)",
        }
    }

    fn error(&self, message: String) -> DataFusionError {
        located(self.span, message, format!("use {}", self.usage()))
    }

    /// The relation to read and its `PARTITION BY` keys.
    fn relation(&self) -> Result<(TableFactor, Vec<ast::Expr>)> {
        match &self.arguments[0] {
            ast::Expr::Function(call) if call.name.to_string() == PARTITIONED_TABLE => {
                let FunctionArguments::List(list) = &call.args else {
                    return Err(self.error("PARTITION BY names no table".to_string()));
                };
                let mut parts = plain_arguments(&list.args, &call.name)?;
                let keys = parts.split_off(1);
                Ok((self.table(&parts[0])?, keys))
            }
            other => Ok((self.table(other)?, vec![])),
        }
    }

    fn table(&self, table: &ast::Expr) -> Result<TableFactor> {
        let name = match table {
            ast::Expr::Identifier(name) => ObjectName::from(vec![name.clone()]),
            ast::Expr::CompoundIdentifier(parts) => ObjectName::from(parts.clone()),
            ast::Expr::Subquery(query) => {
                return Ok(TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None });
            }
            other => return Err(self.error(format!("{} reads a table, not '{other}'", self.shown()))),
        };
        Ok(TableFactor::Table {
            name,
            alias: None,
            args: None,
            with_hints: vec![],
            version: None,
            with_ordinality: false,
            partitions: vec![],
            json_path: None,
            sample: None,
            index_hints: vec![],
        })
    }

    fn time_column(&self, input: &LogicalPlan, context: &mut dyn RelationPlannerContext) -> Result<Expr> {
        let argument = match &self.arguments[1] {
            ast::Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("descriptor") => match &call.args {
                FunctionArguments::List(list) if list.args.len() == 1 => {
                    plain_arguments(&list.args, &call.name)?.remove(0)
                }
                _ => return Err(self.error("DESCRIPTOR takes one column".to_string())),
            },
            other => other.clone(),
        };
        let span = argument.span();
        let written = argument.to_string();
        match context.sql_to_expr(argument, input.schema())? {
            column @ Expr::Column(_) => Ok(column),
            _ => Err(located(
                if span == Span::empty() { self.span } else { span },
                format!("{} needs a column for event time, not '{written}'", self.shown()),
                "compute it in CREATE SOURCE (ts AS ...) and declare WATERMARK FOR it",
            )),
        }
    }

    /// Microseconds, or a number of rows.
    fn length(&self, argument: &ast::Expr, context: &mut dyn RelationPlannerContext) -> Result<i64> {
        let expr = context.sql_to_expr(argument.clone(), &DFSchema::empty())?;
        let wrong = || self.error(format!("'{argument}' is not a length that {} takes", self.shown()));
        let value = literal(&expr).ok_or_else(wrong)?;
        if self.function == "count_tumble" {
            let DataType::Int64 = value.data_type() else { return Err(wrong()) };
            return i64::try_from(value).map_err(|_| wrong());
        }
        let interval = value.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano)).map_err(|_| wrong())?;
        match interval {
            ScalarValue::IntervalMonthDayNano(Some(interval)) => interval::micros(interval).map_err(|message| {
                located(self.span, format!("{message} in {}", self.shown()), "use days, hours, minutes or seconds")
            }),
            _ => Err(wrong()),
        }
    }

    fn window(&self, lengths: &[i64]) -> Result<Window> {
        let window = match (self.function, lengths) {
            ("tumble", [size]) => Window::Tumble { size: *size, offset: 0 },
            ("tumble", [size, offset]) => Window::Tumble { size: *size, offset: offset.rem_euclid((*size).max(1)) },
            ("hop", [slide, size]) => Window::Hop { size: *size, slide: *slide, offset: 0 },
            ("hop", [slide, size, offset]) => {
                Window::Hop { size: *size, slide: *slide, offset: offset.rem_euclid((*slide).max(1)) }
            }
            ("cumulate", [step, size]) => Window::Cumulate { size: *size, step: *step, offset: 0 },
            ("cumulate", [step, size, offset]) => {
                Window::Cumulate { size: *size, step: *step, offset: offset.rem_euclid((*size).max(1)) }
            }
            ("session", [gap]) => Window::Session { gap: *gap, keys: SessionKeys::Partition },
            (SESSION_BY_GROUP, [gap]) => Window::Session { gap: *gap, keys: SessionKeys::Group },
            ("count_tumble", [size]) if *size > 0 => Window::Count { size: *size as u64 },
            ("count_tumble", [_]) => return Err(self.error("a count window holds at least one row".to_string())),
            _ => return Err(self.error(format!("{} has the wrong number of arguments", self.shown()))),
        };
        self.check(window)?;
        Ok(window)
    }

    fn check(&self, window: Window) -> Result<()> {
        let lengths = match window {
            Window::Tumble { size, .. } => [size, size],
            Window::Hop { size, slide, .. } => [size, slide],
            Window::Cumulate { size, step, .. } => [size, step],
            Window::Session { gap, .. } => [gap, gap],
            Window::Count { .. } | Window::Irregular => return Ok(()),
        };
        if lengths.iter().any(|length| *length <= 0) {
            return Err(self.error(format!("lengths of {} must be positive", self.shown())));
        }
        match window {
            Window::Hop { size, slide, .. } if slide > size => Err(self.error(format!(
                "HOP slides by {} but its windows are only {} long",
                interval::display(slide),
                interval::display(size)
            ))),
            Window::Cumulate { size, step, .. } if size % step != 0 => Err(self.error(format!(
                "CUMULATE must reach its size of {} in whole steps, not steps of {}",
                interval::display(size),
                interval::display(step)
            ))),
            _ => Ok(()),
        }
    }
}

fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Negative(inner) => literal(inner)?.arithmetic_negate().ok(),
        Expr::Cast(cast) => literal(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => None,
    }
}

/// Renames columns of the input that stand in the way of the window's own.
fn hide_window_columns(
    input: LogicalPlan,
    time: Option<Expr>,
    keys: Vec<Expr>,
) -> Result<(LogicalPlan, Option<Expr>, Vec<Expr>)> {
    let is_hidden = |name: &str| WINDOW_COLUMNS.contains(&name);
    if !input.schema().fields().iter().any(|field| is_hidden(field.name())) {
        return Ok((input, time, keys));
    }
    let rename = |expr: Expr| match expr {
        Expr::Column(column) if is_hidden(&column.name) => {
            Expr::Column(datafusion::common::Column::new_unqualified(format!("inner_{}", column.name)))
        }
        other => other,
    };
    let columns = input.schema().columns().into_iter().map(|column| match is_hidden(&column.name) {
        true => {
            let name = format!("inner_{}", column.name);
            Expr::Column(column).alias(name)
        }
        false => Expr::Column(column),
    });
    let columns: Vec<Expr> = columns.collect();
    let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    Ok((input, time.map(rename), keys.into_iter().map(rename).collect()))
}
