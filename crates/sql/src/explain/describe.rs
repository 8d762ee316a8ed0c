//! Words for parts of a plan that all forms of EXPLAIN use.

use thalweg_engine::{ChangelogMode, Edge, Node, OperatorSpec};

use crate::PlannedPipeline;

pub(super) fn changelog(mode: ChangelogMode) -> &'static str {
    match mode {
        ChangelogMode::AppendOnly => "append-only",
        ChangelogMode::Updating => "updating",
    }
}

/// Short name of the kind of operator, stable for programs.
pub(super) fn kind(operator: &OperatorSpec) -> &'static str {
    match operator {
        OperatorSpec::Source(_) => "source",
        OperatorSpec::DeadLetters => "dead_letters",
        OperatorSpec::Project(_) => "project",
        OperatorSpec::Filter(_) => "filter",
        OperatorSpec::Union => "union",
        OperatorSpec::WindowAssign(_) => "window_assign",
        OperatorSpec::WindowAggregate(_) => "window_aggregate",
        OperatorSpec::Session(_) => "session",
        OperatorSpec::CountWindow(_) => "count_window",
        OperatorSpec::Sink(_) => "sink",
    }
}

/// Names of the columns that rows are exchanged by; `None` if they stay on their worker.
pub(super) fn exchange_keys(pipeline: &PlannedPipeline, edge: &Edge) -> Option<Vec<String>> {
    let exchange = edge.exchange.as_ref()?;
    let schema = &pipeline.plan.nodes[edge.from.0].schema;
    Some(exchange.key_columns.iter().map(|index| schema.field(*index).name().clone()).collect())
}

pub(super) fn exchange(keys: &[String]) -> String {
    if keys.is_empty() { "all rows to one worker".to_string() } else { format!("by {}", keys.join(", ")) }
}

pub(super) fn time_column(node: &Node) -> Option<&str> {
    node.time_column.map(|index| node.schema.field(index).name().as_str())
}
