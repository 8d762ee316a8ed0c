//! Small rewrites of a query in front of the planner.
//!
//! - `ORDER BY 2` over a grouped query is written out: DataFusion 55 resolves the number to the name of the output column,
//!   then looks for that name among the grouping columns and refuses `SELECT upper(k), count(*) FROM t GROUP BY k ORDER BY 1`.
//! - Columns without a name are called what they were written as: `avg(delay)`, not `avg(the/path/of/flights.ndjson.delay)`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
};

/// Writes out the numbers in `ORDER BY` of every grouped `SELECT`.
pub(super) fn write_out_numbers(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut Writer);
}

/// Gives the unnamed columns of the result their text as name.
pub(super) fn name_columns(query: &mut Query) {
    name_columns_of(&mut query.body);
}

fn name_columns_of(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => select.projection.iter_mut().for_each(name_column),
        // The first part gives a union its names.
        SetExpr::SetOperation { left, .. } => name_columns_of(left),
        SetExpr::Query(query) => name_columns_of(&mut query.body),
        _ => {}
    }
}

fn name_column(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else { return };
    if !matches!(
        expr,
        Expr::Function(_) | Expr::BinaryOp { .. } | Expr::Nested(_) | Expr::UnaryOp { .. } | Expr::Case { .. }
    ) {
        return;
    }
    // A set-returning function becomes several rows or columns; its names are its own.
    let text = expr.to_string();
    if text.to_lowercase().contains("unnest(") {
        return;
    }
    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', text) };
}

struct Writer;

impl VisitorMut for Writer {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let (SetExpr::Select(select), Some(order_by)) = (query.body.as_ref(), &mut query.order_by) else {
            return ControlFlow::Continue(());
        };
        let OrderByKind::Expressions(exprs) = &mut order_by.kind else { return ControlFlow::Continue(()) };
        if !is_grouped(select) {
            return ControlFlow::Continue(());
        }
        for order in exprs {
            if let Some(item) = number(&order.expr).and_then(|number| select.projection.get(number.checked_sub(1)?)) {
                match item {
                    SelectItem::UnnamedExpr(expr) if number(expr).is_none() => order.expr = expr.clone(),
                    SelectItem::ExprWithAlias { alias, .. } => order.expr = Expr::Identifier(alias.clone()),
                    _ => {}
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// With a `GROUP BY`, and without a `*` that would shift the numbers.
fn is_grouped(select: &Select) -> bool {
    let has_keys = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if !keys.is_empty());
    let plain = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    has_keys && select.projection.iter().all(plain)
}

fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
