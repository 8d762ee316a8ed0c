//! Queries that run to their end: `thalweg sql -c`, the shell, and the batch side of tests.
//!
//! Plain DataFusion over the same sources, decoders, functions and types that pipelines use, so what a query shows is
//! what a pipeline would read. Every query opens what it reads anew and sees the data as it is then.

mod catalog;
mod spelling;
mod table;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, RecordBatch, StringBuilder};
use arrow::compute::cast as cast_array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, col};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{self, ExprWithAlias, Ident, ObjectName, Spanned as _};
use datafusion::sql::sqlparser::tokenizer::Span;
use futures::TryStreamExt;
use thalweg_connect::{OptionError, Options, SourceRequest};
use thalweg_engine::OnError;

use self::catalog::Catalog;
use self::table::SourceTable;
use self::windows::BatchWindows;
use crate::bind::{bind_sources, relations_of};
use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::group_windows;
use crate::statement::{Explain, Script, Spanned, Statement, fold};
use crate::{BindContext, BoundSource, ConnectorRegistry, parse_script};

/// Declarations that queries can use, and how queries run.
pub struct QuerySession {
    registry: Arc<dyn ConnectorRegistry>,
    working_dir: PathBuf,
    /// `CREATE SOURCE` and `CREATE VIEW`, one per name, in order.
    declarations: Vec<Spanned<Statement>>,
    parallelism: usize,
    batch_rows: usize,
}

/// A running query.
pub struct QueryResult {
    pub schema: SchemaRef,
    /// Its errors are made readable by [`query_error`].
    pub rows: SendableRecordBatchStream,
    skipped: Arc<AtomicU64>,
}

impl QueryResult {
    /// Bad rows passed over so far, because their source says `on_error = 'drop'` or `'dlq'`.
    pub fn skipped_rows(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// All rows at once.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, Vec<Diagnostic>> {
        self.rows.try_collect().await.map_err(|error| diagnostics_of(&error, Span::empty()))
    }
}

/// What an error in the middle of a query says, without the planner's prefixes.
pub fn query_error(error: &DataFusionError) -> String {
    let found = diagnostics_of(error, Span::empty());
    found.first().map_or_else(|| error.to_string(), |first| first.message.clone())
}

/// Runs the one query of `sql`; declarations in front of it hold for this query only.
pub async fn query_batch(session: &QuerySession, sql: &str) -> Result<QueryResult, Vec<Diagnostic>> {
    let script = parse_script(sql)?;
    let mut own = session.fork();
    let mut query = None;
    for statement in &script.statements {
        match &statement.node {
            Statement::Query(_) | Statement::Explain(_) if query.is_some() => {
                return Err(vec![Diagnostic::error(statement.span, "one query at a time")]);
            }
            Statement::Query(_) | Statement::Explain(_) => query = Some(statement),
            _ => own.declare(statement).await?,
        }
    }
    match query.map(|statement| &statement.node) {
        Some(Statement::Query(query)) => own.query(&query.query).await,
        Some(Statement::Explain(explain)) => own.explain(explain).await,
        _ => Err(vec![Diagnostic::error(Span::empty(), "there is no query to run").with_hint("write SELECT ...")]),
    }
}

impl QuerySession {
    pub fn new(registry: Arc<dyn ConnectorRegistry>, working_dir: impl Into<PathBuf>) -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        Self { registry, working_dir: working_dir.into(), declarations: vec![], parallelism, batch_rows: 8192 }
    }

    /// Threads' worth of work a query is split into; at least 1.
    pub fn with_parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = parallelism.max(1);
        self
    }

    fn fork(&self) -> Self {
        Self {
            registry: self.registry.clone(),
            working_dir: self.working_dir.clone(),
            declarations: self.declarations.clone(),
            parallelism: self.parallelism,
            batch_rows: self.batch_rows,
        }
    }

    /// Adds a `CREATE SOURCE` or `CREATE VIEW` after checking it; one with the same name is replaced. `SET` is passed over.
    pub async fn declare(&mut self, statement: &Spanned<Statement>) -> Result<(), Vec<Diagnostic>> {
        let name = match &statement.node {
            Statement::CreateSource(_) | Statement::CreateView(_) => declared_name(&statement.node).unwrap_or_default(),
            Statement::Set(_) => return Ok(()),
            _ => {
                let message = "only CREATE SOURCE and CREATE VIEW can be declared for queries";
                return Err(vec![
                    Diagnostic::error(statement.span, message).with_hint("run pipelines with `thalweg run`"),
                ]);
            }
        };
        let mut with = self.fork();
        with.forget(&name);
        with.declarations.push(statement.clone());
        with.catalog(vec![name], true).await?;
        *self = with;
        Ok(())
    }

    /// Removes a declaration; false if there is none of that name.
    pub fn forget(&mut self, name: &str) -> bool {
        let before = self.declarations.len();
        self.declarations.retain(|statement| declared_name(&statement.node).as_deref() != Some(name));
        self.declarations.len() < before
    }

    /// Declared names with `source` or `view`, in order of declaration.
    pub fn names(&self) -> Vec<(String, &'static str)> {
        let kind =
            |statement: &Statement| if matches!(statement, Statement::CreateSource(_)) { "source" } else { "view" };
        let declared = self.declarations.iter();
        declared.filter_map(|statement| Some((declared_name(&statement.node)?, kind(&statement.node)))).collect()
    }

    /// Columns of a declared source or view, or of a file.
    pub async fn columns(&self, name: &str) -> Result<SchemaRef, Vec<Diagnostic>> {
        let known = self.names().iter().any(|(declared, _)| declared == name);
        let quote = if known { '"' } else { '\'' };
        let table = ObjectName::from(vec![Ident::with_quote(quote, name)]);
        let query = parse_script(&format!("SELECT * FROM {table}"))?;
        let Some(Statement::Query(query)) = query.statements.first().map(|statement| &statement.node) else {
            return Err(vec![Diagnostic::error(Span::empty(), format!("'{name}' is not the name of a table"))]);
        };
        let (_, plan) = self.plan(&query.query).await?;
        Ok(plan.schema().inner().clone())
    }

    /// Starts a query.
    pub async fn query(&self, query: &ast::Query) -> Result<QueryResult, Vec<Diagnostic>> {
        let (planned, plan) = self.plan(query).await?;
        self.run(planned, plan, query.span(), Ok).await
    }

    /// The plan of a query, a line per row; with ANALYZE the query runs.
    pub async fn explain(&self, explain: &Explain) -> Result<QueryResult, Vec<Diagnostic>> {
        let (planned, plan) = self.plan(&explain.query).await?;
        let skipped = planned.skipped.clone();
        let change = |frame: DataFrame| frame.explain(explain.verbose, explain.analyze);
        let batches = self.run(planned, plan, explain.query.span(), change).await?.collect().await?;
        let lines = plan_lines(&batches).map_err(|error| diagnostics_of(&error.into(), explain.query.span()))?;
        let schema = lines.schema();
        let rows = futures::stream::once(async move { Ok(lines) });
        let rows = RecordBatchStreamAdapter::new(schema.clone(), rows);
        Ok(QueryResult { schema, rows: Box::pin(rows), skipped })
    }

    async fn run(
        &self,
        planned: Planned,
        plan: LogicalPlan,
        span: Span,
        change: impl FnOnce(DataFrame) -> datafusion::error::Result<DataFrame>,
    ) -> Result<QueryResult, Vec<Diagnostic>> {
        let started = async {
            let frame = change(DataFrame::new(planned.catalog.state.clone(), plan))?;
            frame.execute_stream().await
        };
        let rows = started.await.map_err(|error| diagnostics_of(&error, span))?;
        Ok(QueryResult { schema: rows.schema(), rows, skipped: planned.skipped })
    }

    async fn plan(&self, query: &ast::Query) -> Result<(Planned, LogicalPlan), Vec<Diagnostic>> {
        let relations = relations_of(query);
        let names: Vec<String> = relations.tables.iter().filter_map(table_name).collect();
        let mut planned = self.catalog(names, false).await?;
        let plan = planned.plan(&self.files(), query)?;
        Ok((planned, plan))
    }

    /// A catalog with these names and all that they read. With `own` findings keep their places, because the text of the
    /// declarations is the one being looked at.
    async fn catalog(&self, names: Vec<String>, own: bool) -> Result<Planned, Vec<Diagnostic>> {
        let needed = self.needed(names);
        let declared: Vec<&Spanned<Statement>> = self
            .declarations
            .iter()
            .filter(|statement| declared_name(&statement.node).is_some_and(|name| needed.contains(&name)))
            .collect();
        let found = self.bind_and_plan(&declared);
        found.map_err(|found| if own { found } else { found.into_iter().map(placeless).collect() })
    }

    /// The names, and what the views among them read, and so on.
    fn needed(&self, mut names: Vec<String>) -> BTreeSet<String> {
        let mut needed = BTreeSet::new();
        while let Some(name) = names.pop() {
            if !needed.insert(name.clone()) {
                continue;
            }
            for statement in &self.declarations {
                if let Statement::CreateView(view) = &statement.node
                    && view.name.value == name
                {
                    names.extend(relations_of(&view.query).tables.iter().filter_map(table_name));
                }
            }
        }
        needed
    }

    fn bind_and_plan(&self, declared: &[&Spanned<Statement>]) -> Result<Planned, Vec<Diagnostic>> {
        let script = Script { statements: declared.iter().map(|statement| (*statement).clone()).collect() };
        let context = BindContext::new("query", &self.working_dir, self.registry.as_ref());
        let sources = bind_sources(&script, &context)?;
        let config = SessionConfig::new().with_target_partitions(self.parallelism).with_batch_size(self.batch_rows);
        let state =
            crate::functions::session_state_with(config).map_err(|error| diagnostics_of(&error, Span::empty()))?;
        let names = self.names().into_iter().map(|(name, _)| name).collect();
        let mut planned =
            Planned { catalog: Catalog::new(state, vec![Arc::new(BatchWindows)], names), skipped: Arc::default() };
        for statement in declared {
            let result = match &statement.node {
                Statement::CreateSource(create) => match sources.get(&create.name.value) {
                    Some(source) => planned.add_source(source).map_err(|error| diagnostics_of(&error, statement.span)),
                    None => Ok(()),
                },
                Statement::CreateView(create) => {
                    let columns: Vec<&str> = create.columns.iter().map(|column| column.value.as_str()).collect();
                    planned.add_view(&self.files(), &create.name.value, &columns, &create.query)
                }
                _ => Ok(()),
            };
            result?;
        }
        Ok(planned)
    }

    fn files(&self) -> Files<'_> {
        Files { registry: self.registry.as_ref(), working_dir: &self.working_dir }
    }
}

/// Kind and text of plans, as the planner gives them, line by line.
fn plan_lines(batches: &[RecordBatch]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let mut lines = StringBuilder::new();
    for batch in batches {
        let column = |index: usize| cast_array(batch.column(index), &DataType::Utf8);
        let (kinds, plans) = (column(0)?, column(1)?);
        for (kind, plan) in kinds.as_string::<i32>().iter().zip(plans.as_string::<i32>()) {
            lines.append_value(format!("{}:", kind.unwrap_or_default().replace('_', " ")));
            for line in plan.unwrap_or_default().lines() {
                lines.append_value(format!("  {line}"));
            }
        }
    }
    let schema = Schema::new(vec![Field::new("plan", DataType::Utf8, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(lines.finish())])
}

fn declared_name(statement: &Statement) -> Option<String> {
    match statement {
        Statement::CreateSource(create) => Some(create.name.value.clone()),
        Statement::CreateView(create) => Some(create.name.value.clone()),
        _ => None,
    }
}

fn table_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(fold),
        _ => None,
    }
}

/// A finding about text that is not in front of the user.
fn placeless(found: Diagnostic) -> Diagnostic {
    Diagnostic { line: 0, column: 0, ..found }
}

/// Opens files that queries name.
struct Files<'a> {
    registry: &'a dyn ConnectorRegistry,
    working_dir: &'a PathBuf,
}

impl Files<'_> {
    fn open(&self, path: &str) -> Result<Arc<dyn thalweg_engine::Source>, Vec<OptionError>> {
        self.registry.open_source(&SourceRequest {
            name: path.to_string(),
            connector: "files".to_string(),
            options: Options::from([("path".to_string(), path.to_string())]),
            columns: None,
            metadata: vec![],
            working_dir: self.working_dir.clone(),
        })
    }
}

/// A catalog under construction, or done.
struct Planned {
    catalog: Catalog,
    skipped: Arc<AtomicU64>,
}

impl Planned {
    fn table(&self, name: &str, source: Arc<dyn thalweg_engine::Source>, on_error: OnError) -> SourceTable {
        SourceTable { name: name.to_string(), source, on_error, skipped: self.skipped.clone() }
    }

    /// The source's own columns, computed ones added, in the declared order.
    fn add_source(&mut self, bound: &BoundSource) -> datafusion::error::Result<()> {
        let table = provider_as_source(Arc::new(self.table(&bound.name, bound.source.clone(), bound.on_error)));
        if bound.computed.is_empty() {
            self.catalog.add_table(&bound.name, table);
            return Ok(());
        }
        let mut plan = LogicalPlanBuilder::scan(&bound.name, table, None)?;
        for column in &bound.computed {
            let unqualified = DFSchema::try_from(plan.schema().as_arrow().clone())?;
            let expr = ExprWithAlias { expr: column.expr.clone(), alias: None };
            let expr = self.catalog.state.create_logical_expr_from_sql_expr(expr, &unqualified)?;
            let expr = match &column.data_type {
                Some(data_type) => cast(expr, data_type.clone()),
                None => expr,
            };
            let kept: Vec<_> = unqualified
                .fields()
                .iter()
                .map(|field| col(Ident::with_quote('"', field.name()).to_string()))
                .collect();
            plan = plan.project(kept.into_iter().chain([expr.alias(&column.name)]))?;
        }
        let ordered = bound.column_order.iter().map(|name| col(Ident::with_quote('"', name).to_string()));
        let plan = plan.project(ordered)?.build()?;
        self.catalog.add_plan(&bound.name, plan);
        Ok(())
    }

    fn add_view(
        &mut self,
        files: &Files<'_>,
        name: &str,
        columns: &[&str],
        query: &ast::Query,
    ) -> Result<(), Vec<Diagnostic>> {
        let plan = self.plan(files, query)?;
        let found = plan.schema().fields().len();
        if columns.is_empty() {
            self.catalog.add_plan(name, plan);
            return Ok(());
        }
        if columns.len() != found {
            let message = format!("view '{name}' names {} columns, but its query has {found}", columns.len());
            return Err(vec![Diagnostic::error(query.span(), message)]);
        }
        let renamed: Vec<_> = plan
            .schema()
            .columns()
            .into_iter()
            .zip(columns)
            .map(|(column, name)| datafusion::logical_expr::Expr::Column(column).alias(*name))
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(renamed).and_then(LogicalPlanBuilder::build);
        let plan = plan.map_err(|error| diagnostics_of(&error, query.span()))?;
        self.catalog.add_plan(name, plan);
        Ok(())
    }

    fn plan(&mut self, files: &Files<'_>, query: &ast::Query) -> Result<LogicalPlan, Vec<Diagnostic>> {
        self.open_files(files, query)?;
        let mut query = query.clone();
        group_windows::rewrite(&mut query)?;
        spelling::write_out_numbers(&mut query);
        spelling::name_columns(&mut query);
        let statement = ast::Statement::Query(Box::new(query.clone()));
        let plan = SqlToRel::new(&self.catalog).sql_statement_to_plan(statement).and_then(windows::expand);
        plan.map_err(|error| diagnostics_of(&error, query.span()))
    }

    /// Adds every file that the query names.
    fn open_files(&mut self, files: &Files<'_>, query: &ast::Query) -> Result<(), Vec<Diagnostic>> {
        let mut found = Vec::new();
        let mut opened: BTreeMap<String, ()> = BTreeMap::new();
        for name in relations_of(query).tables {
            let [part] = name.0.as_slice() else { continue };
            let Some(ident) = part.as_ident().filter(|ident| ident.quote_style.is_some()) else { continue };
            let is_file = ident.quote_style == Some('\'') || self.looks_like_a_file(&ident.value);
            if !is_file || opened.insert(ident.value.clone(), ()).is_some() {
                continue;
            }
            match files.open(&ident.value) {
                Ok(source) => {
                    let table = self.table(&ident.value, source, OnError::Fail);
                    self.catalog.add_table(&ident.value, provider_as_source(Arc::new(table)));
                }
                Err(errors) => found.extend(
                    errors
                        .into_iter()
                        .map(|error| Diagnostic::error(ident.span, error.message).with_hint_if(error.hint)),
                ),
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    /// A name in double quotes may be either; names that are declared are tables.
    fn looks_like_a_file(&self, name: &str) -> bool {
        !self.catalog.contains(name) && name.contains(['/', '.', '*'])
    }
}

#[cfg(test)]
mod tests;
