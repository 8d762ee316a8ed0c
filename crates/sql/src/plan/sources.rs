//! Source nodes: one per source and pipeline, decoding just the columns that some query reads.
//!
//! Computed columns are evaluated once, right behind the source, for all queries. The watermark is evaluated in the
//! source node itself, before that; its expressions therefore have every computed column replaced by what computes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as LogicalColumn, DFSchema, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Spanned};
use datafusion::sql::sqlparser::tokenizer::Span;
use thalweg_engine::{NamedExpr, OnError, OperatorSpec, SourceSpec, WatermarkSpec};

use crate::BoundSource;
use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::catalog::Catalog;
use crate::plan::graph::{Draft, Graph, NodeNote, column, display};
use crate::plan::physical::physical_expr;
use crate::plan::refuse;
use crate::plan::stream::{Origin, Role, Slot, Stream, StreamColumn, canonical};
use crate::plan::translate::{Planned, SourceStream};

/// A source whose declaration has been understood.
pub(crate) struct SourceTable<'a> {
    bound: &'a BoundSource,
    /// What SQL sees.
    pub schema: SchemaRef,
    columns: Vec<ColumnOrigin>,
    /// Event time and watermark over the source's own columns, with the position of the time column in `schema`.
    watermark: Option<(usize, Expr, Expr)>,
}

enum ColumnOrigin {
    /// Index in the source's own schema.
    Read(usize),
    /// Over the source's own columns.
    Computed(Expr),
}

impl<'a> SourceTable<'a> {
    pub fn resolve(bound: &'a BoundSource, catalog: &Catalog) -> Planned<Self> {
        let own = bound.source.schema();
        let resolver = Resolver { catalog, own: own.clone() };
        let mut computed: BTreeMap<String, Expr> = BTreeMap::new();
        let mut known = own.fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
        // Whatever unit a file has, SQL sees microseconds.
        for field in &mut known {
            let micros = in_micros(field.data_type());
            if micros != *field.data_type() {
                let read = Expr::Column(LogicalColumn::new_unqualified(field.name()));
                computed.insert(field.name().clone(), cast(read, micros.clone()));
                *field = field.clone().with_data_type(micros);
            }
        }
        let mut found = vec![];
        for column in &bound.computed {
            match resolver.expr(&column.expr, &known, &computed) {
                Ok((expr, natural)) => {
                    let data_type = column.data_type.clone().unwrap_or_else(|| in_micros(&natural));
                    let expr = if data_type == natural { expr } else { cast(expr, data_type.clone()) };
                    known.push(Field::new(&column.name, data_type, true));
                    computed.insert(column.name.clone(), expr);
                }
                Err(errors) => {
                    found.extend(errors);
                    // Later columns may use it; one mistake is reported once.
                    known.push(Field::new(&column.name, column.data_type.clone().unwrap_or(DataType::Null), true));
                    computed.insert(column.name.clone(), Expr::Literal(ScalarValue::Null, None));
                }
            }
        }
        if !found.is_empty() {
            return Err(found);
        }
        let (schema, columns) = sql_columns(bound, &own, &known, computed.clone())?;
        let mut table = Self { bound, schema, columns, watermark: None };
        if let Some((time, expr)) = &bound.watermark {
            table.watermark = Some(table.resolve_watermark(&resolver, time, expr, &known, &computed)?);
        }
        Ok(table)
    }

    fn resolve_watermark(
        &self,
        resolver: &Resolver<'_>,
        time: &str,
        expr: &ast::Expr,
        known: &[Field],
        computed: &BTreeMap<String, Expr>,
    ) -> Planned<(usize, Expr, Expr)> {
        let span = expr.span();
        let Ok(index) = self.schema.index_of(time) else {
            return Err(vec![Diagnostic::error(span, format!("WATERMARK FOR names no column: '{time}'"))]);
        };
        let time_type = self.schema.field(index).data_type().clone();
        if !matches!(time_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return Err(vec![
                Diagnostic::error(span, format!("event time '{time}' of source '{}' is {time_type}", self.bound.name))
                    .with_hint("declare it as TIMESTAMP, or add a computed column: ts AS to_timestamp_millis(...)"),
            ]);
        }
        let time_expr = match &self.columns[index] {
            ColumnOrigin::Read(position) => {
                Expr::Column(LogicalColumn::new_unqualified(self.bound.source.schema().field(*position).name()))
            }
            ColumnOrigin::Computed(expr) => expr.clone(),
        };
        let (expr, found) = resolver.expr(expr, known, computed)?;
        if !matches!(found, DataType::Timestamp(_, _)) {
            return Err(vec![
                Diagnostic::error(span, format!("the watermark of '{time}' is {found}, not a timestamp"))
                    .with_hint(format!("write WATERMARK FOR {time} AS {time} - INTERVAL '5' SECOND")),
            ]);
        }
        let expr = if found == time_type { expr } else { cast(expr, time_type) };
        Ok((index, time_expr, expr))
    }

    /// Adds the source node, and a projection if columns are computed. `needed` are positions in `schema`.
    pub fn add(&self, needed: &BTreeSet<usize>, catalog: &Catalog, graph: &mut Graph) -> Planned<SourceStream> {
        let own = self.bound.source.schema();
        let projection = self.projection(needed, &own);
        let node_schema = Arc::new(own.project(&projection).expect("projected columns exist"));
        let builder = NodeBuilder { table: self, catalog, schema: node_schema.clone() };
        let watermark = builder.watermark()?;
        let time_column = watermark.as_ref().and_then(|spec| column_index(&spec.time));
        let mut details = vec![
            ("reads", self.bound.source.describe()),
            ("columns", format!("{} ({} of {})", names(&node_schema), projection.len(), own.fields().len())),
        ];
        if let Some(spec) = &watermark {
            details.push(("event time", display(&spec.time)));
            details.push(("watermark", display(&spec.expr)));
        }
        details.push(("bad rows", on_error(self.bound)));
        let source = graph.add(Draft {
            name: format!("source {}", self.bound.name),
            operator: OperatorSpec::Source(SourceSpec {
                name: self.bound.name.clone(),
                source: self.bound.source.clone(),
                projection: projection.clone(),
                watermark,
                on_error: self.bound.on_error,
                ordered: false,
            }),
            inputs: vec![],
            schema: node_schema.clone(),
            time_column,
            state: None,
            note: NodeNote { details, ..NodeNote::default() },
        });
        builder.stream(source, needed, &projection, graph)
    }

    /// The source's own columns that some query, computed column or the watermark reads.
    fn projection(&self, needed: &BTreeSet<usize>, own: &Schema) -> Vec<usize> {
        let mut read = BTreeSet::new();
        let mut add = |expr: &Expr| {
            read.extend(expr.column_refs().iter().filter_map(|column| own.index_of(&column.name).ok()));
        };
        for index in needed {
            match &self.columns[*index] {
                ColumnOrigin::Read(position) => {
                    add(&Expr::Column(LogicalColumn::new_unqualified(own.field(*position).name())))
                }
                ColumnOrigin::Computed(expr) => add(expr),
            }
        }
        if let Some((_, time, expr)) = &self.watermark {
            add(time);
            add(expr);
        }
        // A batch without columns could not say how many rows it has.
        if read.is_empty() && !own.fields().is_empty() {
            read.insert(0);
        }
        read.into_iter().collect()
    }
}

/// Columns in the order of declaration.
fn sql_columns(
    bound: &BoundSource,
    own: &Schema,
    known: &[Field],
    mut computed: BTreeMap<String, Expr>,
) -> Planned<(SchemaRef, Vec<ColumnOrigin>)> {
    let mut fields = vec![];
    let mut columns = vec![];
    let undeclared: Vec<String> = known.iter().map(|field| field.name().clone()).collect();
    let order = if bound.column_order.is_empty() { &undeclared } else { &bound.column_order };
    for name in order {
        let Some(field) = known.iter().find(|field| field.name() == name) else {
            return Err(vec![Diagnostic::error(
                Span::empty(),
                format!("source '{}' does not deliver its column '{name}'", bound.name),
            )]);
        };
        fields.push(field.clone());
        columns.push(match computed.remove(name) {
            Some(expr) => ColumnOrigin::Computed(expr),
            None => ColumnOrigin::Read(own.index_of(name).expect("known columns are read or computed")),
        });
    }
    Ok((Arc::new(Schema::new(fields)), columns))
}

/// Timestamps in the unit that streams keep them in; other types as they are.
fn in_micros(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}

fn on_error(bound: &BoundSource) -> String {
    match (bound.on_error, &bound.dead_letter_sink) {
        (OnError::Fail, _) => "fail".to_string(),
        (OnError::Drop, _) => "dropped and counted".to_string(),
        (OnError::DeadLetter, Some(sink)) => format!("to sink {sink}"),
        (OnError::DeadLetter, None) => "dead letters".to_string(),
    }
}

fn column_index(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<datafusion::physical_expr::expressions::Column>().map(|column| column.index())
}

/// Understands expressions of a `CREATE SOURCE`.
struct Resolver<'a> {
    catalog: &'a Catalog,
    own: SchemaRef,
}

impl Resolver<'_> {
    /// The expression over the source's own columns, and its type.
    fn expr(&self, expr: &ast::Expr, known: &[Field], computed: &BTreeMap<String, Expr>) -> Planned<(Expr, DataType)> {
        let span = expr.span();
        let failed = |error| diagnostics_of(&error, span);
        let schema = DFSchema::try_from(Schema::new(known.to_vec())).map_err(failed)?;
        let planner = SqlToRel::new(self.catalog);
        let logical = planner.sql_to_expr(expr.clone(), &schema, &mut PlannerContext::new()).map_err(failed)?;
        self.check(&logical, span)?;
        let data_type_schema = Arc::new(schema);
        let context = SimplifyContext::builder()
            .with_schema(data_type_schema.clone())
            .with_config_options(Arc::clone(self.catalog.state.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let coerced = simplifier.coerce(logical, &data_type_schema).map_err(failed)?;
        let data_type = coerced.get_type(&data_type_schema).map_err(failed)?;
        let replaced = coerced
            .transform_up(|inner| match &inner {
                Expr::Column(column) => Ok(match computed.get(&column.name) {
                    Some(definition) => Transformed::yes(definition.clone()),
                    None => Transformed::yes(Expr::Column(LogicalColumn::new_unqualified(&column.name))),
                }),
                _ => Ok(Transformed::no(inner)),
            })
            .map_err(failed)?
            .data;
        let own = Arc::new(DFSchema::try_from(self.own.as_ref().clone()).map_err(failed)?);
        let context = SimplifyContext::builder()
            .with_schema(own)
            .with_config_options(Arc::clone(self.catalog.state.config_options()))
            .build();
        let simplified = ExprSimplifier::new(context).simplify(replaced).map_err(failed)?;
        Ok((simplified, data_type))
    }

    fn check(&self, expr: &Expr, span: Span) -> Planned<()> {
        let mut found = vec![];
        let visited = expr.apply(|inner| {
            if let Expr::ScalarFunction(call) = inner
                && let Some((why, hint)) = refuse::volatile(call.func.name())
            {
                let message = format!("{}() is not allowed in a source: {why}", call.func.name());
                found.push(Diagnostic::error(span, message).with_hint(hint));
            }
            if matches!(inner, Expr::AggregateFunction(_) | Expr::WindowFunction(_)) {
                found.push(Diagnostic::error(span, "columns of a source are computed row by row, without aggregates"));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        visited.map_err(|error| diagnostics_of(&error, span))?;
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
}

/// Evaluates the declaration on the projected columns of the node.
struct NodeBuilder<'a> {
    table: &'a SourceTable<'a>,
    catalog: &'a Catalog,
    schema: SchemaRef,
}

impl NodeBuilder<'_> {
    fn physical(&self, expr: &Expr) -> Planned<Arc<dyn PhysicalExpr>> {
        let failed = |error| diagnostics_of(&error, Span::empty());
        physical_expr(expr, &self.schema, self.catalog.state.execution_props()).map_err(failed)
    }

    fn watermark(&self) -> Planned<Option<WatermarkSpec>> {
        let Some((_, time, expr)) = &self.table.watermark else { return Ok(None) };
        Ok(Some(WatermarkSpec {
            time: self.physical(time)?,
            expr: self.physical(expr)?,
            idle_timeout: self.table.bound.idle_timeout,
            max_drift: self.table.bound.max_drift,
        }))
    }

    /// What SQL sees, on the source node or on a projection behind it.
    fn stream(
        &self,
        source: thalweg_engine::NodeId,
        needed: &BTreeSet<usize>,
        projection: &[usize],
        graph: &mut Graph,
    ) -> Planned<SourceStream> {
        let name = &self.table.bound.name;
        let source_text = |index: usize| -> Arc<str> {
            let field = self.schema.field(index);
            format!("{name}.{}:{}", field.name(), field.data_type()).into()
        };
        let time = self.table.watermark.as_ref().map(|(index, _, _)| *index);
        let has_computed = needed.iter().any(|index| matches!(self.table.columns[*index], ColumnOrigin::Computed(_)));
        let mut columns: Vec<Option<StreamColumn>> = self.table.columns.iter().map(|_| None).collect();
        let mut exprs: Vec<NamedExpr> = vec![];
        for index in needed {
            let expr = match &self.table.columns[*index] {
                ColumnOrigin::Read(position) => {
                    column(&self.schema, projection.binary_search(position).expect("needed columns are read"))
                }
                ColumnOrigin::Computed(expr) => self.physical(expr)?,
            };
            let slot = if has_computed { exprs.len() } else { column_index(&expr).expect("a column that is read") };
            columns[*index] = Some(StreamColumn {
                slot: Slot::Node(slot),
                role: if time == Some(*index) { Role::EventTime } else { Role::Plain },
                canonical: canonical(&expr, &source_text),
            });
            exprs.push(NamedExpr { expr, name: self.table.schema.field(*index).name().clone() });
        }
        let time_column = needed.iter().position(|index| time == Some(*index));
        let node = if has_computed { graph.project(source, exprs, time_column) } else { source };
        let stream = Stream {
            node,
            schema: graph.node(node).schema.clone(),
            columns: vec![],
            rows: format!("source({name}; {})", self.table.bound.source.describe()).into(),
            pending: None,
            window: None,
            is_windowed: false,
            origins: vec![Origin {
                source: name.clone(),
                time: time.map(|index| self.table.schema.field(index).name().clone()),
            }],
        };
        Ok(SourceStream { source, stream, columns })
    }
}

/// Positions of the columns that `plan` reads, per source.
pub(crate) fn collect_reads(plan: &LogicalPlan, reads: &mut BTreeMap<String, BTreeSet<usize>>) {
    let visited = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let columns = reads.entry(scan.table_name.table().to_string()).or_default();
            match &scan.projection {
                Some(projection) => columns.extend(projection),
                None => columns.extend(0..scan.source.schema().fields().len()),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.expect("visiting a plan cannot fail");
}
