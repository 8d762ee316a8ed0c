//! Refuses what streams cannot do (yet), with the place in the text, before anything is planned.
//!
//! Why on the syntax tree: only there every construct still has its position, and all of them are found at once.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, GroupByExpr, Join, Query, Select, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::diagnostic::Diagnostic;

const LATER: &str = "updating results come in a later version";

/// Everything in `query` that a streaming plan cannot hold.
pub(crate) fn refused(query: &Query) -> Vec<Diagnostic> {
    let mut refusal = Refusal { found: vec![], inputs: vec![] };
    let _ = query.visit(&mut refusal);
    refusal.found
}

struct Refusal {
    found: Vec<Diagnostic>,
    /// Queries that window functions read: the one place in expressions where they belong.
    inputs: Vec<Span>,
}

impl Refusal {
    fn refuse(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Diagnostic::error(span, message).with_hint(hint));
    }

    fn set_expression(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let is_all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
                match op {
                    SetOperator::Union if is_all => {}
                    SetOperator::Union => self.refuse(
                        right.span(),
                        "UNION removes duplicates over the whole stream, which is not supported",
                        format!("write UNION ALL; {LATER}"),
                    ),
                    other => self.refuse(right.span(), format!("{other} on streams is not supported"), LATER),
                }
                self.set_expression(left);
                self.set_expression(right);
            }
            SetExpr::Values(values) => {
                self.refuse(values.span(), "VALUES is not a stream", "read a declared source");
            }
            _ => {}
        }
    }

    fn joins(&mut self, select: &Select) {
        let hint = "read one source or view; joins come in a later version";
        for table in &select.from {
            if let Some(Join { relation, .. }) = table.joins.first() {
                self.refuse(relation.span(), "joins of streams are not supported", hint);
            }
        }
        if let Some(second) = select.from.get(1) {
            self.refuse(second.relation.span(), "joins of streams are not supported", hint);
        }
    }

    fn function(&mut self, function: &Function) {
        let span = function.name.span();
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() {
            self.refuse(
                span,
                format!("window functions with OVER ({name}) are not supported on streams"),
                "aggregate in a time window: FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY window_start, window_end",
            );
        }
        if let Some((what, hint)) = volatile(&name) {
            self.refuse(span, format!("{name}() is not allowed in a streaming query: {what}"), hint);
        }
    }
}

/// Why a function would make results depend on when or how often a query runs, and what to use instead.
pub(crate) fn volatile(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "now"
        | "current_timestamp"
        | "current_date"
        | "current_time"
        | "today"
        | "localtimestamp"
        | "localtime"
        | "transaction_timestamp"
        | "statement_timestamp"
        | "clock_timestamp" => Some((
            "a restart would give other results than the run before it",
            "use the event-time column of the source; queries on the present time come in a later version",
        )),
        "random" | "uuid" | "gen_random_uuid" | "uuidv4" | "uuidv7" | "input_file_name" | "file_row_index" => Some((
            "a restart would give other results than the run before it",
            "derive the value from columns, e.g. md5(...) of a key, or declare a METADATA column",
        )),
        _ => None,
    }
}

impl Visitor for Refusal {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            self.refuse(with.with_token.0.span, "WITH RECURSIVE is not supported on streams", "write a plain WITH");
        }
        if let Some(order_by) = &query.order_by {
            self.refuse(
                order_by.span(),
                "ORDER BY on a stream is not supported: it has no end to sort up to",
                "leave it out; windows are emitted in the order of their ends",
            );
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            let span = query.limit_clause.as_ref().map_or(query.span(), Spanned::span);
            self.refuse(span, "LIMIT on a stream is not supported", format!("leave it out; {LATER}"));
        }
        self.set_expression(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        match &select.distinct {
            None | Some(Distinct::All) => {}
            Some(_) => self.refuse(
                select.projection.first().map_or(select.span(), Spanned::span),
                "SELECT DISTINCT over a whole stream is not supported",
                format!("group by a time window: GROUP BY ..., window_start, window_end; {LATER}"),
            ),
        }
        if let Some(qualify) = &select.qualify {
            self.refuse(qualify.span(), "QUALIFY is not supported on streams", LATER);
        }
        if let GroupByExpr::Expressions(_, modifiers) = &select.group_by
            && !modifiers.is_empty()
        {
            self.refuse(
                select.group_by.span(),
                "ROLLUP, CUBE and GROUPING SETS are not supported",
                "write one query per grouping",
            );
        }
        self.joins(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (what, hint) = match factor {
            TableFactor::UNNEST { .. } => ("UNNEST", "unnesting comes in a later version"),
            TableFactor::NestedJoin { .. } => ("joins in parentheses", "joins come in a later version"),
            TableFactor::Derived { lateral: true, .. } | TableFactor::Function { lateral: true, .. } => {
                ("LATERAL", "joins come in a later version")
            }
            TableFactor::Table { args: Some(arguments), .. } => {
                for argument in &arguments.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(query @ Expr::Subquery(_))) = argument {
                        self.inputs.push(query.span());
                    }
                }
                return ControlFlow::Continue(());
            }
            TableFactor::MatchRecognize { .. } => ("MATCH_RECOGNIZE", "it comes in a later version"),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => {
                ("PIVOT", "write the columns with FILTER (WHERE ...)")
            }
            _ => return ControlFlow::Continue(()),
        };
        self.refuse(factor.span(), format!("{what} on streams is not supported"), hint);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::Subquery(_) if self.inputs.contains(&expr.span()) => {}
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => self.refuse(
                expr.span(),
                "subqueries in expressions are not supported on streams",
                "read the inner query in FROM; joins come in a later version",
            ),
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => self.refuse(
                expr.span(),
                "ROLLUP, CUBE and GROUPING SETS are not supported",
                "write one query per grouping",
            ),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
