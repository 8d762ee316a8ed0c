//! Last pass over the graph: filters before projections, projections in one, no node without use.
//!
//! Translation puts a projection wherever a name or an order is needed; here those that only one node reads melt
//! together, and filters that read just columns move in front of what is computed, so that dropped rows cost nothing.
//! State ids were taken before and do not change: the rows of every remaining node are the same.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use thalweg_engine::{NamedExpr, Node, NodeId, OperatorSpec};

use crate::plan::graph::{NodeNote, display, display_exprs, filter_name, project_name};

pub(crate) fn tidy(mut nodes: Vec<Node>, mut notes: Vec<NodeNote>) -> (Vec<Node>, Vec<NodeNote>) {
    loop {
        let consumers = consumers(&nodes);
        let changed = (0..nodes.len()).any(|index| {
            filter_first(&mut nodes, &mut notes, index, &consumers) || fuse(&mut nodes, &mut notes, index, &consumers)
        });
        if !changed {
            break;
        }
    }
    without_unused(nodes, notes)
}

/// How many inputs of used nodes each node is.
fn consumers(nodes: &[Node]) -> Vec<usize> {
    let used = used(nodes);
    let mut counts = vec![0; nodes.len()];
    for node in nodes.iter().filter(|node| used[node.id.0]) {
        node.inputs.iter().for_each(|edge| counts[edge.from.0] += 1);
    }
    counts
}

/// Nodes that some sink reads from.
fn used(nodes: &[Node]) -> Vec<bool> {
    let mut used = vec![false; nodes.len()];
    for node in nodes.iter().rev() {
        used[node.id.0] |= matches!(node.operator, OperatorSpec::Sink(_));
        if used[node.id.0] {
            node.inputs.iter().for_each(|edge| used[edge.from.0] = true);
        }
    }
    used
}

/// The projection that is the only input of `index` and read by nobody else.
fn own_projection(nodes: &[Node], index: usize, consumers: &[usize]) -> Option<(usize, Vec<NamedExpr>)> {
    let [edge] = &nodes[index].inputs[..] else { return None };
    if edge.exchange.is_some() || consumers[edge.from.0] != 1 || consumers[index] == 0 {
        return None;
    }
    match &nodes[edge.from.0].operator {
        OperatorSpec::Project(exprs) => Some((edge.from.0, exprs.clone())),
        _ => None,
    }
}

/// `filter(project(x))` becomes `project(filter(x))` if the filter reads nothing computed.
fn filter_first(nodes: &mut [Node], notes: &mut [NodeNote], index: usize, consumers: &[usize]) -> bool {
    let OperatorSpec::Filter(predicate) = &nodes[index].operator else { return false };
    let Some((below, exprs)) = own_projection(nodes, index, consumers) else { return false };
    let is_column = |column: &Column| exprs[column.index()].expr.downcast_ref::<Column>().is_some();
    if !collect_columns(predicate).iter().all(is_column) {
        return false;
    }
    let Some(predicate) = substitute(predicate, &exprs) else { return false };
    let input = nodes[below].inputs[0].from.0;
    let (schema, time_column) = (nodes[input].schema.clone(), nodes[input].time_column);
    nodes[index].operator = OperatorSpec::Project(exprs);
    nodes[index].name = nodes[below].name.clone();
    let shown = display(&predicate);
    nodes[below].name = filter_name(&shown);
    nodes[below].operator = OperatorSpec::Filter(predicate);
    nodes[below].schema = schema;
    nodes[below].time_column = time_column;
    notes.swap(index, below);
    notes[below].details = vec![("where", shown)];
    true
}

/// `project(project(x))` becomes one, unless something would be computed twice.
fn fuse(nodes: &mut [Node], notes: &mut [NodeNote], index: usize, consumers: &[usize]) -> bool {
    let OperatorSpec::Project(outer) = &nodes[index].operator else { return false };
    let Some((below, inner)) = own_projection(nodes, index, consumers) else { return false };
    let mut reads = vec![0; inner.len()];
    for named in outer {
        count_reads(&named.expr, &mut reads);
    }
    let is_computed = |named: &NamedExpr| named.expr.downcast_ref::<Column>().is_none();
    if inner.iter().zip(&reads).any(|(named, reads)| is_computed(named) && *reads > 1) {
        return false;
    }
    let substituted =
        outer.iter().map(|named| Some(NamedExpr { expr: substitute(&named.expr, &inner)?, name: named.name.clone() }));
    let Some(exprs) = substituted.collect::<Option<Vec<_>>>() else { return false };
    nodes[index].name = project_name(&exprs);
    notes[index].details = vec![("columns", display_exprs(&exprs))];
    nodes[index].operator = OperatorSpec::Project(exprs);
    nodes[index].inputs = nodes[below].inputs.clone();
    true
}

fn count_reads(expr: &Arc<dyn PhysicalExpr>, reads: &mut [usize]) {
    if let Some(column) = expr.downcast_ref::<Column>() {
        reads[column.index()] += 1;
    }
    expr.children().into_iter().for_each(|child| count_reads(child, reads));
}

/// The expression over the projection's input.
fn substitute(expr: &Arc<dyn PhysicalExpr>, exprs: &[NamedExpr]) -> Option<Arc<dyn PhysicalExpr>> {
    let substituted = expr.clone().transform_down(|inner| match inner.downcast_ref::<Column>() {
        Some(column) => {
            let replacement = exprs[column.index()].expr.clone();
            Ok(Transformed::new(replacement, true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
        }
        None => Ok(Transformed::no(inner)),
    });
    substituted.ok().map(|substituted| substituted.data)
}

/// Drops what no sink reads and numbers the rest anew.
fn without_unused(nodes: Vec<Node>, notes: Vec<NodeNote>) -> (Vec<Node>, Vec<NodeNote>) {
    let used = used(&nodes);
    let mut numbers = vec![NodeId(0); nodes.len()];
    let mut kept = vec![];
    let mut kept_notes = vec![];
    for (mut node, note) in nodes.into_iter().zip(notes) {
        if !used[node.id.0] {
            continue;
        }
        let id = NodeId(kept.len());
        numbers[node.id.0] = id;
        node.id = id;
        node.inputs.iter_mut().for_each(|edge| edge.from = numbers[edge.from.0]);
        kept.push(node);
        kept_notes.push(note);
    }
    (kept, kept_notes)
}
