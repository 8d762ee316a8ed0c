//! From a bound script to the dataflow plan that the engine runs.
//!
//! Views are inlined, every source is read once for all queries, equal subplans become one node. Each node gets what a
//! restart and EXPLAIN need: changelog mode, event-time column, unique key, and a state id that hashes how its rows are
//! computed from sources. Reformatting, renaming columns and adding queries leave state ids as they are; other keys,
//! windows, aggregates or filters change them.

mod aggregate;
mod catalog;
mod graph;
pub(crate) mod group_windows;
mod interval;
mod logical;
mod physical;
mod refuse;
#[cfg(test)]
mod run_tests;
mod sources;
mod stream;
#[cfg(test)]
mod tests;
mod tidy;
mod translate;
mod window_nodes;
pub(crate) mod window_tvf;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::expressions::cast;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{self, GroupByExpr, ObjectName, Select, Spanned, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Span;
use thalweg_engine::{NamedExpr, NodeId, OperatorSpec, Plan, Sink, SinkSpec, dead_letter_schema};
use xxhash_rust::xxh3::xxh3_128;

use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::catalog::Catalog;
use crate::plan::graph::{Draft, Graph, column, local};
pub use crate::plan::graph::{NodeNote, StateNote};
use crate::plan::sources::{SourceTable, collect_reads};
use crate::plan::stream::{Role, Slot, Stream, StreamColumn};
use crate::plan::translate::{Planned, SourceStream, Translator};
use crate::plan::window_tvf::WindowFunctions;
use crate::statement::fold;
use crate::{BoundPipeline, BoundSink, EmitPolicy, functions};

/// A plan with what is known about it.
#[derive(Debug, Clone)]
pub struct PlannedPipeline {
    pub plan: Plan,
    /// One per node of the plan, in the same order.
    pub notes: Vec<NodeNote>,
    /// Hash of what the pipeline computes and where it writes; equal for scripts that mean the same.
    pub fingerprint: String,
    /// What a user should know before running it, e.g. state that grows without bound.
    pub warnings: Vec<String>,
    /// The script it was planned from.
    pub sql: String,
}

/// Plans all sinks of a script. Reports every mistake it finds, not only the first.
pub fn plan_pipeline(bound: &BoundPipeline, sql: &str) -> Result<PlannedPipeline, Vec<Diagnostic>> {
    let state = planning_session().map_err(|error| diagnostics_of(&error, Span::empty()))?;
    let mut catalog = Catalog::new(state, Arc::new(WindowFunctions));
    let tables = resolve_sources(bound, &mut catalog)?;
    let mut found = vec![];
    let broken = add_views(bound, &mut catalog, &mut found);
    let mut planned: Vec<(&BoundSink, Vec<PlannedQuery>)> = vec![];
    for sink in &bound.sinks {
        let mut queries = vec![];
        for query in sink.queries.iter().filter(|query| !mentions(query, &broken)) {
            match PlannedQuery::plan(&catalog, query) {
                Ok(query) => queries.push(query),
                Err(errors) => found.extend(errors),
            }
        }
        planned.push((sink, queries));
    }
    let mut builder = Builder { bound, catalog: &catalog, graph: Graph::default(), warnings: vec![], identity: vec![] };
    let sources = builder.add_sources(&tables, &planned)?;
    for (sink, queries) in &planned {
        if let Err(errors) = builder.add_sink(sink, queries, &sources) {
            found.extend(errors);
        }
    }
    if !found.is_empty() {
        return Err(crate::diagnostic::sorted(found));
    }
    Ok(builder.finish(sql))
}

/// Plans one continuous query over the sources and views of `bound`; its rows go to `sink`. The sinks of `bound` take part
/// only as far as sources send dead letters to them.
pub fn plan_query(
    bound: &BoundPipeline,
    query: &ast::Query,
    sink: Arc<dyn Sink>,
) -> Result<PlannedPipeline, Vec<Diagnostic>> {
    let mut alone = bound.clone();
    let mut read = BTreeSet::new();
    collect_relations(query, &mut read);
    for (name, _, view) in bound.views.iter().rev() {
        if read.contains(name) {
            collect_relations(view, &mut read);
        }
    }
    alone.sources.retain(|name, _| read.contains(name));
    let letters: BTreeSet<String> =
        alone.sources.values().filter_map(|source| source.dead_letter_sink.clone()).collect();
    alone.sinks.retain(|sink| letters.contains(&sink.name));
    alone.sinks.iter_mut().for_each(|sink| sink.queries.clear());
    alone.views.retain(|(name, _, _)| read.contains(name));
    let result =
        BoundSink { name: "result".to_string(), sink, queries: vec![query.clone()], emit: EmitPolicy::Default };
    alone.sinks.push(result);
    plan_pipeline(&alone, &query.to_string())
}

/// Functions and settings of the dialect. `ORDER BY` in subqueries is kept, so that it is refused and not dropped silently.
fn planning_session() -> datafusion::error::Result<SessionState> {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
    functions::session_state_with(config)
}

fn resolve_sources<'a>(
    bound: &'a BoundPipeline,
    catalog: &mut Catalog,
) -> Result<BTreeMap<&'a str, SourceTable<'a>>, Vec<Diagnostic>> {
    let mut tables = BTreeMap::new();
    let mut found = vec![];
    for (name, source) in &bound.sources {
        match SourceTable::resolve(source, catalog) {
            Ok(table) => {
                catalog.add_source(name, table.schema.clone());
                tables.insert(name.as_str(), table);
            }
            Err(errors) => found.extend(errors),
        }
    }
    if found.is_empty() { Ok(tables) } else { Err(found) }
}

/// Adds the views to the catalog; returns the names of those that could not be planned.
fn add_views(bound: &BoundPipeline, catalog: &mut Catalog, found: &mut Vec<Diagnostic>) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for (name, columns, query) in &bound.views {
        if mentions(query, &broken) {
            broken.insert(name.clone());
            continue;
        }
        let planned = logical::plan(catalog, query).and_then(|plan| name_columns(plan, name, columns, query.span()));
        match planned {
            Ok(plan) => catalog.add_view(name, plan),
            Err(errors) => {
                found.extend(errors);
                broken.insert(name.clone());
            }
        }
    }
    broken
}

fn name_columns(plan: LogicalPlan, view: &str, names: &[String], span: Span) -> Planned<LogicalPlan> {
    if names.is_empty() {
        return Ok(plan);
    }
    let columns = plan.schema().columns();
    if columns.len() != names.len() {
        let message = format!("view '{view}' names {} columns, but its query has {}", names.len(), columns.len());
        return Err(vec![Diagnostic::error(span, message).with_hint("name all of them or none")]);
    }
    let exprs = columns.into_iter().zip(names).map(|(column, name)| Expr::Column(column).alias(name));
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| diagnostics_of(&error, span))
}

/// Names of the relations that a query reads.
fn collect_relations(query: &ast::Query, names: &mut BTreeSet<String>) {
    struct Relations<'a>(&'a mut BTreeSet<String>);
    impl Visitor for Relations<'_> {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            if let Some(name) = relation.0.last().and_then(|part| part.as_ident()) {
                self.0.insert(fold(name));
            }
            ControlFlow::Continue(())
        }

        /// Arguments of window functions name relations, too.
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            match expr {
                ast::Expr::Identifier(name) => {
                    self.0.insert(fold(name));
                }
                ast::Expr::CompoundIdentifier(parts) => {
                    self.0.extend(parts.last().map(fold));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Relations(names));
}

fn mentions(query: &ast::Query, names: &BTreeSet<String>) -> bool {
    let mut read = BTreeSet::new();
    if !names.is_empty() {
        collect_relations(query, &mut read);
    }
    !read.is_disjoint(names)
}

/// A name as an expression.
pub(crate) fn name_expr(name: &ObjectName) -> ast::Expr {
    let mut parts: Vec<ast::Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    match parts.len() {
        1 => ast::Expr::Identifier(parts.remove(0)),
        _ => ast::Expr::CompoundIdentifier(parts),
    }
}

/// A query of a sink, optimised.
struct PlannedQuery {
    plan: LogicalPlan,
    names: Vec<String>,
    span: Span,
    group_span: Span,
}

impl PlannedQuery {
    fn plan(catalog: &Catalog, query: &ast::Query) -> Planned<Self> {
        let span = query.span();
        let plan = logical::plan(catalog, query)?;
        let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut seen = BTreeSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(vec![
                Diagnostic::error(span, format!("two columns of the result are named '{name}'"))
                    .with_hint("rename one with AS"),
            ]);
        }
        let plan = logical::optimize(&catalog.state, plan).map_err(|error| diagnostics_of(&error, span))?;
        Ok(Self { plan, names, span, group_span: group_span(query) })
    }
}

/// Where the query groups, or else where it begins.
fn group_span(query: &ast::Query) -> Span {
    struct Groups(Option<Span>);
    impl Visitor for Groups {
        type Break = ();

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            if let GroupByExpr::Expressions(groups, _) = &select.group_by
                && let Some(first) = groups.first()
                && self.0.is_none()
            {
                self.0 = Some(first.span());
            }
            ControlFlow::Continue(())
        }
    }
    let mut groups = Groups(None);
    let _ = query.visit(&mut groups);
    groups.0.unwrap_or_else(|| query.span())
}

struct Builder<'a> {
    bound: &'a BoundPipeline,
    catalog: &'a Catalog,
    graph: Graph,
    warnings: Vec<String>,
    /// What the fingerprint is made of.
    identity: Vec<String>,
}

impl Builder<'_> {
    fn add_sources(
        &mut self,
        tables: &BTreeMap<&str, SourceTable<'_>>,
        planned: &[(&BoundSink, Vec<PlannedQuery>)],
    ) -> Planned<BTreeMap<String, SourceStream>> {
        let mut reads: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for query in planned.iter().flat_map(|(_, queries)| queries) {
            collect_reads(&query.plan, &mut reads);
        }
        let mut sources = BTreeMap::new();
        for (name, needed) in reads {
            let table = tables.get(name.as_str()).expect("scans are of declared sources");
            let stream = table.add(&needed, self.catalog, &mut self.graph)?;
            sources.insert(name, stream);
        }
        Ok(sources)
    }

    fn add_sink(
        &mut self,
        sink: &BoundSink,
        queries: &[PlannedQuery],
        sources: &BTreeMap<String, SourceStream>,
    ) -> Planned<()> {
        let mut streams = vec![];
        for query in queries {
            streams.push(self.add_query(sink, query, sources)?);
        }
        streams.extend(self.dead_letters(sink, sources));
        let span = queries.first().map_or(Span::empty(), |query| query.span);
        let letters = || dead_letter_schema().fields().iter().map(|field| field.name().clone()).collect();
        let names: Vec<String> = queries.first().map_or_else(letters, |query| query.names.clone());
        if streams.is_empty() {
            self.warnings.push(format!("nothing is written to sink '{}'", sink.name));
            return Ok(());
        }
        if let Some(other) = streams.iter().find(|stream| stream.columns.len() != names.len()) {
            let message = format!(
                "queries into sink '{}' differ: {} columns and {} columns",
                sink.name,
                names.len(),
                other.columns.len()
            );
            return Err(vec![Diagnostic::error(span, message).with_hint("write them to sinks of their own")]);
        }
        let props = self.catalog.state.execution_props();
        let mut translator =
            Translator { graph: &mut self.graph, sources, props, span, group_span: span, warnings: vec![] };
        let stream = translator.unite(streams, &names)?;
        let stream = self.to_sink_types(stream, &names, span)?;
        self.finish_sink(sink, stream, span)
    }

    fn add_query(
        &mut self,
        sink: &BoundSink,
        query: &PlannedQuery,
        sources: &BTreeMap<String, SourceStream>,
    ) -> Planned<Stream> {
        let mut translator = Translator {
            graph: &mut self.graph,
            sources,
            props: self.catalog.state.execution_props(),
            span: query.span,
            group_span: query.group_span,
            warnings: vec![],
        };
        let stream = translator.translate(&query.plan)?;
        let stream = translator.materialise(stream)?;
        for warning in translator.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        if sink.emit == EmitPolicy::OnWindowClose && !stream.is_windowed {
            return Err(vec![
                Diagnostic::error(query.span, "EMIT ON WINDOW CLOSE needs an aggregation in a time window").with_hint(
                    "group by window_start, window_end of TUMBLE, HOP, CUMULATE or SESSION, or leave EMIT out",
                ),
            ]);
        }
        Ok(stream)
    }

    /// One stream of dead letters per source that sends them to this sink.
    fn dead_letters(&mut self, sink: &BoundSink, sources: &BTreeMap<String, SourceStream>) -> Vec<Stream> {
        let mut streams = vec![];
        for (name, source) in sources {
            if self.bound.sources[name].dead_letter_sink.as_ref() != Some(&sink.name) {
                continue;
            }
            let schema = dead_letter_schema();
            let node = self.graph.add(Draft {
                name: format!("dead letters of {name}"),
                operator: OperatorSpec::DeadLetters,
                inputs: vec![local(source.source)],
                schema: schema.clone(),
                time_column: None,
                state: None,
                note: NodeNote::default(),
            });
            let text = |index: usize| format!("dead letters of {name}: {}", schema.field(index).name()).into();
            let columns = (0..schema.fields().len()).map(|index| StreamColumn {
                slot: Slot::Node(index),
                role: Role::Plain,
                canonical: text(index),
            });
            streams.push(Stream {
                node,
                columns: columns.collect(),
                rows: format!("dead letters({name})").into(),
                pending: None,
                window: None,
                is_windowed: false,
                origins: vec![],
                schema: schema.clone(),
            });
        }
        streams
    }

    /// Sinks see microseconds and plain strings, whatever an expression returned.
    fn to_sink_types(&mut self, stream: Stream, names: &[String], span: Span) -> Planned<Stream> {
        let mut exprs = vec![];
        for (index, name) in names.iter().enumerate() {
            let field = stream.schema.field(index);
            let wanted = match field.data_type() {
                DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                DataType::Utf8View => DataType::Utf8,
                DataType::BinaryView => DataType::Binary,
                DataType::Null => {
                    return Err(vec![
                        Diagnostic::error(span, format!("column '{name}' is always NULL and has no type"))
                            .with_hint("give it one: CAST(NULL AS TEXT)"),
                    ]);
                }
                other => other.clone(),
            };
            let expr = column(&stream.schema, index);
            let expr = if wanted == *field.data_type() {
                expr
            } else {
                cast(expr, &stream.schema, wanted).map_err(|error| diagnostics_of(&error, span))?
            };
            exprs.push(NamedExpr { expr, name: name.clone() });
        }
        let node = self.graph.project(stream.node, exprs, stream.time_index());
        Ok(Stream { node, schema: self.graph.node(node).schema.clone(), ..stream })
    }

    fn finish_sink(&mut self, sink: &BoundSink, stream: Stream, span: Span) -> Planned<()> {
        if let Err(error) = sink.sink.accept(&stream.schema) {
            return Err(vec![Diagnostic::error(span, format!("sink '{}': {error}", sink.name))]);
        }
        let texts = stream.columns.iter().zip(stream.schema.fields());
        let texts: Vec<String> = texts.map(|(found, field)| format!("{}={}", field.name(), found.canonical)).collect();
        self.identity.push(format!("{}|{}|{}|{}", sink.name, sink.sink.describe(), texts.join(","), stream.rows));
        let guarantee = if sink.sink.is_exactly_once() { "exactly once" } else { "at least once" };
        let details = vec![("writes", sink.sink.describe()), ("delivery", guarantee.to_string())];
        self.graph.add(Draft {
            name: format!("sink {}", sink.name),
            operator: OperatorSpec::Sink(SinkSpec { name: sink.name.clone(), sink: sink.sink.clone() }),
            inputs: vec![local(stream.node)],
            time_column: stream.time_index(),
            schema: stream.schema.clone(),
            state: None,
            note: NodeNote { details, ..NodeNote::default() },
        });
        Ok(())
    }

    fn finish(self, sql: &str) -> PlannedPipeline {
        let mut identity = self.identity;
        identity.sort_unstable();
        let fingerprint = format!("{:032x}", xxh3_128(identity.join("\n").as_bytes()));
        let (plan, notes) = self.graph.finish(&self.bound.name);
        debug_assert!(plan.nodes.iter().enumerate().all(|(index, node)| node.id == NodeId(index)));
        PlannedPipeline { plan, notes, fingerprint, warnings: self.warnings, sql: sql.to_string() }
    }
}
