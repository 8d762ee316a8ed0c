//! What the SQL planner may look up: sources and views of one pipeline, and the functions of the session.
//!
//! A source is a leaf without rows; the translator finds it again by its name. A view is its query, inlined wherever it is
//! read, so views cost nothing and leave no trace in state ids.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};

use crate::suggest;
use crate::types::CastTypes;

/// A source as SQL sees it.
#[derive(Debug)]
pub(crate) struct SourceTable {
    pub schema: SchemaRef,
}

impl TableSource for SourceTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// A view, planned but not optimised.
struct ViewTable {
    plan: LogicalPlan,
}

impl TableSource for ViewTable {
    fn schema(&self) -> SchemaRef {
        self.plan.schema().inner().clone()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

pub(crate) struct Catalog {
    pub state: SessionState,
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
}

impl Catalog {
    pub fn new(state: SessionState, window_functions: Arc<dyn RelationPlanner>) -> Self {
        let relation_planners =
            std::iter::once(window_functions).chain(state.relation_planners().iter().cloned()).collect();
        Self { state, tables: BTreeMap::new(), relation_planners }
    }

    pub fn add_source(&mut self, name: &str, schema: SchemaRef) {
        self.tables.insert(name.to_string(), Arc::new(SourceTable { schema }));
    }

    pub fn add_view(&mut self, name: &str, plan: LogicalPlan) {
        self.tables.insert(name.to_string(), Arc::new(ViewTable { plan }));
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if let Some(table) = self.tables.get(name.table()) {
            return Ok(table.clone());
        }
        let hint = suggest::hint(name.table(), self.tables.keys().map(String::as_str), "declared here");
        let hint = hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
        Err(plan_datafusion_err!("unknown source or view '{}'{hint}", name.table()))
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

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
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
