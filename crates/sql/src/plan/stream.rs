//! A translated relation: a node of the graph, and what the planner knows about its columns.
//!
//! Columns of the logical plan map to columns of the node, so renaming and reordering cost nothing until a sink or an
//! operator needs them in place. Each column also carries its *canonical text*: how it is computed from columns of
//! sources, free of aliases, views and positions. State ids are hashes of such texts; that is why they survive
//! reformatting and renaming.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use thalweg_engine::NodeId;

use crate::plan::window_tvf::Window;

/// Where a logical column is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Node(usize),
    /// Of a window that is not assigned yet ([`Pending`]).
    Window(WindowColumn),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowColumn {
    Start,
    End,
    Time,
}

/// What a column means for event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Bound by the watermark: windows may be put over it.
    EventTime,
    Window(WindowColumn),
}

#[derive(Debug, Clone)]
pub(crate) struct StreamColumn {
    pub slot: Slot,
    pub role: Role,
    pub canonical: Arc<str>,
}

/// A window function whose windows nobody has asked for yet: an aggregation above assigns and aggregates in one step.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub window: Window,
    /// Column of the node; 0 and unused for count windows.
    pub time_index: usize,
    pub time_canonical: Arc<str>,
    /// Keys of `PARTITION BY`, over the node.
    pub partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// Filters on the window's columns, to be applied once they exist; columns are named `window_start` and so on.
    pub filters: Vec<Expr>,
    pub place: (u64, u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub source: String,
    pub time: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub node: NodeId,
    pub schema: SchemaRef,
    /// In the order of the logical plan's schema.
    pub columns: Vec<StreamColumn>,
    /// Canonical text of the set of rows.
    pub rows: Arc<str>,
    pub pending: Option<Pending>,
    /// The windows that columns with a window's role belong to.
    pub window: Option<Window>,
    /// Whether rows come out of closed windows.
    pub is_windowed: bool,
    /// The sources it reads and their event-time columns, for messages.
    pub origins: Vec<Origin>,
}

impl Stream {
    pub fn column_with_role(&self, role: Role) -> Option<usize> {
        self.columns.iter().find_map(|column| match column.slot {
            Slot::Node(index) if column.role == role => Some(index),
            _ => None,
        })
    }

    /// Column of the node that carries event time, if one of the visible ones does.
    pub fn time_index(&self) -> Option<usize> {
        let roles = [Role::EventTime, Role::Window(WindowColumn::Time), Role::Window(WindowColumn::End)];
        roles.into_iter().find_map(|role| self.column_with_role(role))
    }

    /// How an expression over the node is computed from columns of sources.
    pub fn canonical(&self, expr: &Arc<dyn PhysicalExpr>) -> Arc<str> {
        let lookup = |index: usize| -> Arc<str> {
            let found = self.columns.iter().find(|column| column.slot == Slot::Node(index));
            match found {
                Some(column) => column.canonical.clone(),
                None => format!("?{}", self.schema.field(index).name()).into(),
            }
        };
        canonical(expr, &lookup)
    }

    pub fn canonical_aggregate(
        &self,
        aggregate: &AggregateFunctionExpr,
        filter: Option<&Arc<dyn PhysicalExpr>>,
    ) -> String {
        let arguments: Vec<Arc<str>> = aggregate.expressions().iter().map(|expr| self.canonical(expr)).collect();
        let order: Vec<String> = aggregate
            .order_bys()
            .iter()
            .map(|sort| format!("{} {:?}", self.canonical(&sort.expr), sort.options))
            .collect();
        let filter = filter.map(|filter| format!(" filter {}", self.canonical(filter))).unwrap_or_default();
        format!(
            "{}{}({}){}{}{filter}:{}",
            aggregate.fun().name(),
            if aggregate.is_distinct() { " distinct" } else { "" },
            arguments.join(", "),
            if aggregate.ignore_nulls() { " ignore nulls" } else { "" },
            if order.is_empty() { String::new() } else { format!(" order by {}", order.join(", ")) },
            aggregate.field().data_type(),
        )
    }
}

/// Text of an expression with its columns replaced. Every part stands in parentheses and every literal has its type, so
/// two expressions with one text are the same.
pub(crate) fn canonical(expr: &Arc<dyn PhysicalExpr>, lookup: &dyn Fn(usize) -> Arc<str>) -> Arc<str> {
    let as_text = |text: String| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(&text, 0)) };
    let replaced = expr.clone().transform_up(|inner| {
        let text = if let Some(column) = inner.downcast_ref::<Column>() {
            lookup(column.index()).to_string()
        } else if let Some(literal) = inner.downcast_ref::<Literal>() {
            format!("{:?}", literal.value())
        } else {
            format!("({inner})")
        };
        Ok(Transformed::yes(as_text(text)))
    });
    match replaced.map(|replaced| replaced.data.downcast_ref::<Column>().map(|column| column.name().to_string())) {
        Ok(Some(text)) => text.into(),
        // An expression that cannot be taken apart has a text of its own, which names positions of columns.
        _ => format!("{expr:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::context::ExecutionProps;
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::plan::physical::physical_expr;

    #[test]
    fn different_expressions_have_different_texts() {
        let schema = Schema::new(["a", "b", "c"].map(|name| Field::new(name, DataType::Int64, true)).to_vec());
        let lookup = |index: usize| -> Arc<str> { ["a", "b", "c"][index].into() };
        let text = |expr: Expr| {
            canonical(&physical_expr(&expr, &schema, &ExecutionProps::new()).expect("a valid expression"), &lookup)
        };
        let exprs = [
            col("a") - (col("b") - col("c")),
            (col("a") - col("b")) - col("c"),
            col("a") + lit(1i64),
            col("a") + lit(2i64),
            col("a").eq(lit(1i64)),
            col("a").in_list(vec![lit(1i64), lit(2i64)], false),
            col("a").in_list(vec![lit(1i64), lit(3i64)], false),
            lit(1i64),
            lit(1i32),
            lit("1"),
        ];
        let texts: Vec<Arc<str>> = exprs.into_iter().map(text).collect();
        for (index, text) in texts.iter().enumerate() {
            assert!(!texts[..index].contains(text), "{text} twice");
        }
    }
}
