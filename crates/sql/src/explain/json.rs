//! EXPLAIN for programs.

use serde_json::{Map, Value, json as value};

use super::describe;
use crate::PlannedPipeline;

/// `{pipeline, fingerprint, nodes: [...], warnings: [...]}`; field names are a contract.
pub fn json(pipeline: &PlannedPipeline) -> Value {
    let nodes: Vec<Value> = (0..pipeline.plan.nodes.len()).map(|index| node(pipeline, index)).collect();
    value!({
        "pipeline": pipeline.plan.name,
        "fingerprint": pipeline.fingerprint,
        "nodes": nodes,
        "warnings": pipeline.warnings,
    })
}

fn node(pipeline: &PlannedPipeline, index: usize) -> Value {
    let (node, note) = (&pipeline.plan.nodes[index], &pipeline.notes[index]);
    let inputs = node.inputs.iter().map(|edge| {
        let exchange = describe::exchange_keys(pipeline, edge);
        value!({ "from": edge.from.0, "exchange": exchange.map(|keys| value!({ "keys": keys })) })
    });
    let columns = node.schema.fields().iter().map(|field| {
        value!({ "name": field.name(), "type": field.data_type().to_string(), "nullable": field.is_nullable() })
    });
    let details: Map<String, Value> =
        note.details.iter().map(|(label, text)| (label.replace(' ', "_"), Value::from(text.as_str()))).collect();
    value!({
        "id": node.id.0,
        "kind": describe::kind(&node.operator),
        "name": node.name,
        "inputs": inputs.collect::<Vec<_>>(),
        "columns": columns.collect::<Vec<_>>(),
        "changelog": describe::changelog(node.changelog),
        "event_time": describe::time_column(node),
        "unique_key": note.unique_key,
        "state": note.state,
        "state_id": node.state_id,
        "details": details,
    })
}
