//! Builds the dataflow graph node by node; equal subplans become one node.
//!
//! Two ways to be equal: the same operator over the same inputs, and, for nodes that keep state, the same canonical text,
//! since two states with one id would overwrite each other.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use thalweg_engine::{
    Aggregate, ChangelogMode, Edge, NamedExpr, Node, NodeId, OperatorSpec, Plan, WindowAggregateSpec,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::plan::interval;
use crate::plan::tidy::tidy;

/// Raised when the meaning of stored state changes; old state is then not taken for new.
const STATE_VERSION: u32 = 1;

/// What a node keeps between rows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StateNote {
    /// E.g. `partial aggregates per key and window`.
    pub kept: String,
    /// When a part of it is forgotten.
    pub until: String,
    pub is_bounded: bool,
}

/// What the planner knows about a node beyond what the runtime needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeNote {
    /// Columns that identify a row, if known.
    pub unique_key: Option<Vec<String>>,
    pub state: Option<StateNote>,
    /// Lines for EXPLAIN: label and text.
    pub details: Vec<(&'static str, String)>,
}

/// A node about to be added.
pub(crate) struct Draft {
    pub name: String,
    pub operator: OperatorSpec,
    pub inputs: Vec<Edge>,
    pub schema: SchemaRef,
    pub time_column: Option<usize>,
    /// Of nodes with state: the canonical text that their state id is the hash of.
    pub state: Option<String>,
    pub note: NodeNote,
}

#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    notes: Vec<NodeNote>,
    by_state: HashMap<String, NodeId>,
}

impl Graph {
    pub fn add(&mut self, draft: Draft) -> NodeId {
        if let Some(shared) = self.find(&draft) {
            return shared;
        }
        let id = NodeId(self.nodes.len());
        let state_id = draft.state.as_ref().map(|canonical| state_id(canonical));
        if let Some(state) = draft.state {
            self.by_state.insert(state, id);
        }
        self.nodes.push(Node {
            id,
            name: draft.name,
            state_id,
            operator: draft.operator,
            inputs: draft.inputs,
            schema: draft.schema,
            time_column: draft.time_column,
            changelog: ChangelogMode::AppendOnly,
        });
        self.notes.push(draft.note);
        id
    }

    fn find(&self, draft: &Draft) -> Option<NodeId> {
        if let OperatorSpec::Sink(_) = draft.operator {
            return None;
        }
        let same = |node: &&Node| {
            same_inputs(&node.inputs, &draft.inputs)
                && node.schema == draft.schema
                && same_operator(&node.operator, &draft.operator)
        };
        self.nodes.iter().find(same).map(|node| node.id)
    }

    /// The node whose state has this canonical text.
    pub fn with_state(&self, canonical: &str) -> Option<NodeId> {
        self.by_state.get(canonical).copied()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub fn operator_mut(&mut self, id: NodeId) -> &mut OperatorSpec {
        &mut self.nodes[id.0].operator
    }

    pub fn inputs_of(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes[id.0].inputs.iter().map(|edge| edge.from).collect()
    }

    /// A projection of `input`, or `input` itself if nothing would change.
    pub fn project(&mut self, input: NodeId, exprs: Vec<NamedExpr>, time_column: Option<usize>) -> NodeId {
        let node = self.node(input);
        let is_column = |(index, named): (usize, &NamedExpr)| {
            named.name == *node.schema.field(index).name()
                && named.expr.downcast_ref::<Column>().is_some_and(|column| column.index() == index)
        };
        if exprs.len() == node.schema.fields().len() && exprs.iter().enumerate().all(is_column) {
            return input;
        }
        let schema = projected_schema(&node.schema, &exprs);
        let name = project_name(&exprs);
        let details = vec![("columns", display_exprs(&exprs))];
        self.add(Draft {
            name,
            operator: OperatorSpec::Project(exprs),
            inputs: vec![Edge { from: input, exchange: None }],
            schema,
            time_column,
            state: None,
            note: NodeNote { details, ..NodeNote::default() },
        })
    }

    pub fn finish(self, name: &str) -> (Plan, Vec<NodeNote>) {
        let (nodes, notes) = tidy(self.nodes, self.notes);
        (Plan { name: name.to_string(), nodes }, notes)
    }
}

pub(crate) fn state_id(canonical: &str) -> String {
    format!("{:016x}", xxh3_64(format!("v{STATE_VERSION}|{canonical}").as_bytes()))
}

pub(crate) fn column(schema: &Schema, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(index).name(), index))
}

pub(crate) fn local(from: NodeId) -> Edge {
    Edge { from, exchange: None }
}

/// Fields of a projection. Expressions were type-checked when they were made, so their types are known.
pub(crate) fn projected_schema(input: &Schema, exprs: &[NamedExpr]) -> SchemaRef {
    let field = |named: &NamedExpr| {
        let data_type = named.expr.data_type(input).expect("a planned expression has a type");
        let nullable = named.expr.nullable(input).unwrap_or(true);
        Field::new(&named.name, data_type, nullable)
    };
    Arc::new(Schema::new(exprs.iter().map(field).collect::<Vec<_>>()))
}

/// `name` or the first of `name_2`, `name_3`, ... that is not taken.
pub(crate) fn unique_name(name: &str, taken: &[String]) -> String {
    let is_free = |candidate: &String| !taken.contains(candidate);
    std::iter::once(name.to_string())
        .chain((2..).map(|number| format!("{name}_{number}")))
        .find(is_free)
        .expect("one of endless names is free")
}

pub(crate) fn project_name(exprs: &[NamedExpr]) -> String {
    let names: Vec<&str> = exprs.iter().map(|named| named.name.as_str()).collect();
    format!("project ({})", names.join(", "))
}

pub(crate) fn filter_name(shown: &str) -> String {
    format!("filter ({shown})")
}

pub(crate) fn display_exprs(exprs: &[NamedExpr]) -> String {
    let shown = exprs.iter().map(|named| match named.expr.downcast_ref::<Column>() {
        Some(column) if column.name() == named.name => named.name.clone(),
        _ => format!("{} := {}", named.name, display(&named.expr)),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// An expression as a person would write it: no positions of columns, literals as in SQL.
pub(crate) fn display(expr: &Arc<dyn PhysicalExpr>) -> String {
    let as_text = |text: &str| Transformed::yes(Arc::new(Column::new(text, 0)) as Arc<dyn PhysicalExpr>);
    let plain = expr.clone().transform_up(|inner| {
        if let Some(text) = inner.downcast_ref::<Literal>().and_then(|literal| literal_text(literal.value())) {
            return Ok(as_text(&text));
        }
        match inner.downcast_ref::<BinaryExpr>().and_then(right_in_parentheses) {
            Some(parenthesised) => Ok(Transformed::yes(parenthesised)),
            None => Ok(Transformed::no(inner)),
        }
    });
    let text = plain.map_or_else(|_| expr.to_string(), |plain| plain.data.to_string());
    without_positions(&text)
}

/// `a / (b * c)`: the right side keeps the parentheses that its operator needs.
fn right_in_parentheses(expr: &BinaryExpr) -> Option<Arc<dyn PhysicalExpr>> {
    let right = expr.right().downcast_ref::<BinaryExpr>()?;
    let is_free = right.op() == expr.op()
        && matches!(expr.op(), Operator::And | Operator::Or | Operator::Plus | Operator::Multiply);
    if right.op().precedence() != expr.op().precedence() || is_free {
        return None;
    }
    let text: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&format!("({right})"), 0));
    Some(Arc::new(BinaryExpr::new(expr.left().clone(), *expr.op(), text)))
}

/// An aggregate call as in SQL.
pub(crate) fn display_aggregate(expr: &AggregateFunctionExpr, filter: Option<&Arc<dyn PhysicalExpr>>) -> String {
    let function = expr.fun().name();
    // Casts that only fit an argument to the function would hide it.
    let argument = |expr: &Arc<dyn PhysicalExpr>| match expr.downcast_ref::<CastExpr>() {
        Some(cast) => display(cast.expr()),
        None => display(expr),
    };
    let arguments: Vec<String> = expr.expressions().iter().map(argument).collect();
    let is_count_of_rows = function == "count" && arguments == ["1"] && !expr.is_distinct();
    let arguments = if is_count_of_rows { "*".to_string() } else { arguments.join(", ") };
    let distinct = if expr.is_distinct() { "DISTINCT " } else { "" };
    let order = expr.order_bys().iter().map(|sort| {
        let descending = if sort.options.descending { " DESC" } else { "" };
        format!("{}{descending}", display(&sort.expr))
    });
    let order: Vec<String> = order.collect();
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
    let filter = filter.map(|filter| format!(" FILTER (WHERE {})", display(filter))).unwrap_or_default();
    format!("{function}({distinct}{arguments}{order}){filter}")
}

fn literal_text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) => Some(format!("'{text}'")),
        ScalarValue::IntervalMonthDayNano(Some(length)) => {
            interval::micros(*length).ok().map(|micros| format!("INTERVAL '{}'", interval::display(micros)))
        }
        ScalarValue::DurationMicrosecond(Some(micros)) => Some(format!("INTERVAL '{}'", interval::display(*micros))),
        value if value.data_type().is_temporal() => match value.cast_to(&DataType::Utf8) {
            Ok(ScalarValue::Utf8(Some(text))) => Some(format!("'{text}'")),
            _ => None,
        },
        _ => None,
    }
}

fn without_positions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let follows_name = out.chars().last().is_some_and(|last| last.is_alphanumeric() || "_)]'".contains(last));
        if character == '@' && follows_name && characters.peek().is_some_and(char::is_ascii_digit) {
            while characters.peek().is_some_and(char::is_ascii_digit) {
                characters.next();
            }
        } else {
            out.push(character);
        }
    }
    out
}

fn same_inputs(left: &[Edge], right: &[Edge]) -> bool {
    let same = |(a, b): (&Edge, &Edge)| {
        let keys = |edge: &Edge| edge.exchange.as_ref().map(|exchange| exchange.key_columns.clone());
        a.from == b.from && keys(a) == keys(b)
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

fn same_operator(left: &OperatorSpec, right: &OperatorSpec) -> bool {
    use OperatorSpec::*;
    match (left, right) {
        (Source(a), Source(b)) => a.name == b.name,
        (DeadLetters, DeadLetters) | (Union, Union) => true,
        (Project(a), Project(b)) => same_exprs(a, b),
        (Filter(a), Filter(b)) => a == b,
        (WindowAssign(a), WindowAssign(b)) => a.kind == b.kind && a.time_column == b.time_column,
        (WindowAggregate(a), WindowAggregate(b)) => same_window_aggregate(a, b),
        (Session(a), Session(b)) => {
            a.stage == b.stage
                && a.gap == b.gap
                && a.time_column == b.time_column
                && same_exprs(&a.keys, &b.keys)
                && same_aggregates(&a.aggregates, &b.aggregates)
        }
        (CountWindow(a), CountWindow(b)) => {
            a.size == b.size && same_exprs(&a.keys, &b.keys) && same_aggregates(&a.aggregates, &b.aggregates)
        }
        _ => false,
    }
}

fn same_window_aggregate(left: &WindowAggregateSpec, right: &WindowAggregateSpec) -> bool {
    left.stage == right.stage
        && left.kind == right.kind
        && left.time_column == right.time_column
        && same_exprs(&left.keys, &right.keys)
        && same_aggregates(&left.aggregates, &right.aggregates)
}

fn same_exprs(left: &[NamedExpr], right: &[NamedExpr]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.name == b.name && a.expr.eq(&b.expr))
}

fn same_aggregates(left: &[Aggregate], right: &[Aggregate]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.expr == b.expr && a.filter == b.filter)
}
