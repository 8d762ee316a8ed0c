//! EXPLAIN for Graphviz.

use std::fmt::Write;

use super::describe;
use crate::PlannedPipeline;

/// A digraph: one box per operator, exchanges as dashed edges.
pub fn dot(pipeline: &PlannedPipeline) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "digraph \"{}\" {{", escape(&pipeline.plan.name));
    let _ = writeln!(out, "  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];");
    for (node, note) in pipeline.plan.nodes.iter().zip(&pipeline.notes) {
        let mut label = escape(&node.name);
        if let Some(state) = &note.state {
            let _ = write!(label, "\\nstate: {}", escape(&state.kept));
        }
        let style = if note.state.is_some() { ", style=bold" } else { "" };
        let _ = writeln!(out, "  n{} [label=\"{label}\"{style}];", node.id.0);
    }
    for node in &pipeline.plan.nodes {
        for edge in &node.inputs {
            let attributes = match describe::exchange_keys(pipeline, edge) {
                Some(keys) => format!(" [style=dashed, label=\"{}\"]", escape(&describe::exchange(&keys))),
                None => String::new(),
            };
            let _ = writeln!(out, "  n{} -> n{}{attributes};", edge.from.0, node.id.0);
        }
    }
    out.push_str("}\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
