//! Rewrites the group form of windows into the table form.
//!
//! `SELECT k, tumble_start(ts, i), count(*) FROM t GROUP BY k, tumble(ts, i)` becomes
//! `SELECT k, window_start, count(*) FROM TUMBLE(t, DESCRIPTOR(ts), i) GROUP BY k, window_start, window_end`, so the planner knows
//! one form only. `hop(ts, slide, size)`, `cumulate(ts, step, size)` and `session(ts, gap)` likewise; the functions
//! `*_start`, `*_end` and `*_rowtime` name the window's columns.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident,
    ObjectName, Query, Select, SelectItem, Spanned, TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
    visit_expressions_mut,
};

use crate::diagnostic::Diagnostic;
use crate::plan::window_tvf::{SESSION_BY_GROUP, WINDOW_END, WINDOW_START, WINDOW_TIME};

/// Rewrites every `SELECT` of the query in place.
pub(crate) fn rewrite(query: &mut Query) -> Result<(), Vec<Diagnostic>> {
    let mut rewriter = Rewriter { found: vec![] };
    let _ = query.visit(&mut rewriter);
    if rewriter.found.is_empty() { Ok(()) } else { Err(rewriter.found) }
}

struct Rewriter {
    found: Vec<Diagnostic>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Err(diagnostic) = rewrite_select(select) {
            self.found.push(diagnostic);
        }
        ControlFlow::Continue(())
    }
}

/// A window call of `GROUP BY`: `tumble(ts, INTERVAL '1' DAY)`.
struct GroupWindow {
    name: String,
    call: Function,
    arguments: Vec<Expr>,
}

fn rewrite_select(select: &mut Select) -> Result<(), Diagnostic> {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return Ok(()) };
    let windows: Vec<(usize, GroupWindow)> =
        groups.iter().enumerate().filter_map(|(index, expr)| Some((index, group_window(expr)?))).collect();
    let Some((index, window)) = windows.first() else { return Ok(()) };
    if let Some((_, second)) = windows.get(1) {
        return Err(
            Diagnostic::error(second.call.name.span(), "GROUP BY has two windows").with_hint("keep one of them")
        );
    }
    groups.remove(*index);
    let column = |name: &str| Expr::Identifier(Ident::with_span(window.call.name.span(), name));
    groups.push(column(WINDOW_START));
    groups.push(column(WINDOW_END));
    if rewrite_accessors(select, window)? {
        let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return Ok(()) };
        groups.push(column(WINDOW_TIME));
    }
    rewrite_from(select, window)
}

fn group_window(expr: &Expr) -> Option<GroupWindow> {
    let Expr::Function(call) = expr else { return None };
    let name = call.name.to_string().to_lowercase();
    if !matches!(name.as_str(), "tumble" | "hop" | "cumulate" | "session") {
        return None;
    }
    Some(GroupWindow { name, call: call.clone(), arguments: arguments(call)? })
}

fn arguments(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// Replaces `tumble_start(...)` and its kin by the window's columns; true if `window_time` is among them.
fn rewrite_accessors(select: &mut Select, window: &GroupWindow) -> Result<bool, Diagnostic> {
    let mut uses_time = false;
    let mut replace = |expr: &mut Expr| -> ControlFlow<Diagnostic> {
        let Expr::Function(call) = &*expr else { return ControlFlow::Continue(()) };
        let name = call.name.to_string().to_lowercase();
        let Some(suffix) = name.strip_prefix(&window.name) else { return ControlFlow::Continue(()) };
        let column = match suffix {
            "_start" => WINDOW_START,
            "_end" => WINDOW_END,
            "_rowtime" | "_time" => WINDOW_TIME,
            "" => {
                let message = format!("{name}(...) stands for a window only in GROUP BY");
                let hint = format!("select {name}_start(...) and {name}_end(...)");
                return ControlFlow::Break(Diagnostic::error(call.name.span(), message).with_hint(hint));
            }
            _ => return ControlFlow::Continue(()),
        };
        let given = arguments(call).unwrap_or_default();
        let same = |left: &Expr, right: &Expr| unqualified(left).to_string() == unqualified(right).to_string();
        let agrees = given.is_empty()
            || (given.len() == window.arguments.len() && given.iter().zip(&window.arguments).all(|(a, b)| same(a, b)));
        if !agrees {
            return ControlFlow::Break(
                Diagnostic::error(call.name.span(), format!("{name} names another window than GROUP BY"))
                    .with_hint(format!("GROUP BY has {}", window.call)),
            );
        }
        uses_time |= column == WINDOW_TIME;
        *expr = Expr::Identifier(Ident::with_span(call.name.span(), column));
        ControlFlow::Continue(())
    };
    for item in &mut select.projection {
        let visited = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                visit_expressions_mut(expr, &mut replace)
            }
            _ => ControlFlow::Continue(()),
        };
        if let ControlFlow::Break(diagnostic) = visited {
            return Err(diagnostic);
        }
    }
    if let Some(having) = &mut select.having
        && let ControlFlow::Break(diagnostic) = visit_expressions_mut(having, &mut replace)
    {
        return Err(diagnostic);
    }
    Ok(uses_time)
}

fn rewrite_from(select: &mut Select, window: &GroupWindow) -> Result<(), Diagnostic> {
    let span = window.call.name.span();
    let [from] = &mut select.from[..] else {
        return Err(Diagnostic::error(span, format!("{} needs one source in FROM", window.name)));
    };
    let (table, alias) = match &from.relation {
        TableFactor::Table { name, args: None, alias, .. } => (crate::plan::name_expr(name), alias.clone()),
        TableFactor::Derived { subquery, alias, .. } => (Expr::Subquery(subquery.clone()), alias.clone()),
        other => {
            return Err(Diagnostic::error(other.span(), format!("{} cannot group this relation", window.name))
                .with_hint("put it into a view or a subquery first"));
        }
    };
    let [time, lengths @ ..] = &window.arguments[..] else {
        return Err(Diagnostic::error(span, format!("{} lacks arguments", window.name))
            .with_hint(format!("write {}(ts, INTERVAL '1' HOUR)", window.name)));
    };
    // The alias moves outside of the function, so the column is named without it.
    let time = unqualified(time);
    let function = if window.name == "session" { SESSION_BY_GROUP } else { &window.name };
    let unnamed = |expr: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let mut args = vec![unnamed(table), unnamed(descriptor(time))];
    args.extend(lengths.iter().cloned().map(unnamed));
    from.relation = TableFactor::Table {
        name: ObjectName::from(vec![Ident::with_span(span, function)]),
        alias,
        args: Some(TableFunctionArgs { args, settings: None }),
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    Ok(())
}

fn unqualified(expr: &Expr) -> Expr {
    match expr {
        Expr::CompoundIdentifier(parts) => parts.last().map_or(expr.clone(), |last| Expr::Identifier(last.clone())),
        other => other.clone(),
    }
}

fn descriptor(column: Expr) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("descriptor")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(column))],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
