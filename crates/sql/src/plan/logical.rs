//! From syntax to an optimised logical plan, with only those optimiser rules that hold for endless input.
//!
//! Left out on purpose: rules that fold the present time, push limits, drop "empty" relations, or turn one distinct
//! aggregate into two groupings; each assumes that a query sees all its input.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr as LogicalExpr, LogicalPlan, Volatility};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, Spanned, Statement, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::catalog::Catalog;
use crate::plan::{group_windows, refuse};

/// Plans a query as written; names are resolved, nothing is optimised.
pub(crate) fn plan(catalog: &Catalog, query: &Query) -> Result<LogicalPlan, Vec<Diagnostic>> {
    let refused = refuse::refused(query);
    if !refused.is_empty() {
        return Err(refused);
    }
    let span = query.span();
    let mut query = query.clone();
    group_windows::rewrite(&mut query)?;
    name_results(&mut query);
    let planner = SqlToRel::new(catalog);
    let plan =
        planner.sql_statement_to_plan(Statement::Query(Box::new(query))).map_err(|error| explained(&error, span))?;
    check_volatility(&plan).map_err(|error| diagnostics_of(&error, span))?;
    Ok(plan)
}

/// The planner's findings, in our words where its own are hard to read.
fn explained(error: &DataFusionError, span: Span) -> Vec<Diagnostic> {
    let mut found = diagnostics_of(error, span);
    for diagnostic in &mut found {
        if diagnostic.message.contains("require unique expression names") {
            let name = diagnostic.message.split('"').nth(1).unwrap_or_default();
            let name = name.rsplit('.').next().unwrap_or(name).to_string();
            diagnostic.message = format!("two columns of the result are named '{name}'");
            diagnostic.hint = Some("rename one with AS".to_string());
        }
    }
    found
}

/// Results without a name are called what was written: `avg(delay)` and not `avg(flights.delay)`.
fn name_results(query: &mut Query) {
    struct Names;
    impl VisitorMut for Names {
        type Break = ();

        fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            for item in &mut select.projection {
                let SelectItem::UnnamedExpr(expr) = &*item else { continue };
                if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. })
                {
                    continue;
                }
                let alias = Ident { value: expr.to_string(), quote_style: Some('"'), span: expr.span() };
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Names);
}

/// Types coerced, filters and projections pushed down.
pub(crate) fn optimize(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    let context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()))
        .without_query_execution_start_time()
        .with_skip_failing_rules(false);
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

/// Refuses functions whose value depends on more than their arguments; catches those that have no syntax of their own.
fn check_volatility(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| node.apply_expressions(|expr| expr.apply(|inner| check_function(inner))))
        .map(|_| ())
}

fn check_function(expr: &LogicalExpr) -> Result<TreeNodeRecursion> {
    if let LogicalExpr::ScalarFunction(call) = expr
        && call.func.signature().volatility != Volatility::Immutable
    {
        let (why, hint) = refuse::volatile(call.func.name())
            .unwrap_or(("its value is not fixed by its arguments", "compute it from columns"));
        return Err(DataFusionError::Plan(format!(
            "{}() is not allowed in a streaming query: {why}\n{hint}",
            call.func.name()
        )));
    }
    Ok(TreeNodeRecursion::Continue)
}
