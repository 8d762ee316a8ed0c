//! `ORDER BY 2` over a grouped query, written out.
//!
//! Why: DataFusion 55 resolves the number to the name of the output column, then looks for that name among the grouping
//! columns and refuses `SELECT upper(k), count(*) FROM t GROUP BY k ORDER BY 1`. The expression itself it understands.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
};

/// Rewrites every grouped `SELECT` of the query that is ordered by numbers.
pub(super) fn write_out(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut Writer);
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
