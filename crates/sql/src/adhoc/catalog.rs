//! What an ad-hoc query can name: declared sources, views and files, with the functions of a session.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};

use crate::suggest;
use crate::types::CastTypes;

pub(super) struct Catalog {
    pub(super) state: SessionState,
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    /// Names of the session that this query does not use, for hints.
    others: Vec<String>,
}

impl Catalog {
    pub(super) fn new(
        state: SessionState,
        relation_planners: Vec<Arc<dyn RelationPlanner>>,
        others: Vec<String>,
    ) -> Self {
        Self { state, tables: BTreeMap::new(), relation_planners, others }
    }

    pub(super) fn add_table(&mut self, name: &str, table: Arc<dyn TableSource>) {
        self.tables.insert(name.to_string(), table);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }

    pub(super) fn add_plan(&mut self, name: &str, plan: LogicalPlan) {
        self.add_table(name, Arc::new(PlannedTable(plan)));
    }
}

/// A table that stands for its plan.
struct PlannedTable(LogicalPlan);

impl TableSource for PlannedTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema().inner().clone()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.0))
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if let (TableReference::Bare { table }, known) = (&name, &self.tables)
            && let Some(table) = known.get(table.as_ref())
        {
            return Ok(table.clone());
        }
        let text = name.to_string();
        let names = self.tables.keys().chain(&self.others).map(String::as_str);
        let hint = match suggest::nearest(&text, names) {
            Some(near) => format!("did you mean '{near}'?"),
            None if text.contains(['.', '/']) => {
                "write the name of a file in single quotes: FROM 'flights.ndjson'".to_string()
            }
            None => "declare it with CREATE SOURCE, or write the name of a file in single quotes".to_string(),
        };
        Err(plan_datafusion_err!("unknown table '{text}'\n{hint}"))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let functions = self.state.table_functions();
        let Some(function) = functions.get(name) else {
            let hint = suggest::nearest(name, functions.keys().map(String::as_str));
            let hint = hint.map(|near| format!("\ndid you mean '{near}'?")).unwrap_or_default();
            return Err(plan_datafusion_err!("unknown table function '{name}'{hint}"));
        };
        let table = function.create_table_provider_with_args(TableFunctionArgs::new(&args, &self.state))?;
        Ok(provider_as_source(table))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(CastTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
