//! EXPLAIN for people.

use std::fmt::Write;

use super::describe;
use crate::PlannedPipeline;

/// Every operator with what it needs, in the order rows pass them.
pub fn text(pipeline: &PlannedPipeline) -> String {
    let mut out = String::new();
    let plan = &pipeline.plan;
    let _ = writeln!(out, "pipeline {}", plan.name);
    for (node, note) in plan.nodes.iter().zip(&pipeline.notes) {
        let _ = writeln!(out, "\n#{} {}", node.id.0, node.name);
        let mut line = |label: &str, text: &str| {
            let _ = writeln!(out, "   {label:<11} {text}");
        };
        for edge in &node.inputs {
            let exchanged = describe::exchange_keys(pipeline, edge);
            let exchanged = exchanged.map(|keys| format!(", exchanged {}", describe::exchange(&keys)));
            line("input", &format!("#{}{}", edge.from.0, exchanged.unwrap_or_default()));
        }
        for (label, text) in &note.details {
            line(label, text);
        }
        let time = describe::time_column(node).map(|time| format!(", event time {time}")).unwrap_or_default();
        line("output", &format!("{}{time}", describe::changelog(node.changelog)));
        if let Some(key) = &note.unique_key {
            line("unique by", &key.join(", "));
        }
        if let Some(state) = &note.state {
            let growth = if state.is_bounded { "" } else { "; grows without bound" };
            line("state", &format!("{}, until {}{growth}", state.kept, state.until));
        }
        if let Some(id) = &node.state_id {
            line("state id", id);
        }
    }
    for warning in &pipeline.warnings {
        let _ = writeln!(out, "\nwarning: {warning}");
    }
    out
}
