//! From the optimised logical plan to nodes of the graph, bottom-up.
//!
//! Window functions stay *pending* until an aggregation above takes them over; filters and projections between the two
//! move below the window where their meaning allows it. Only if something else needs the window's columns they are
//! materialised by a `WindowAssign` node.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as LogicalColumn, DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, TableScan, Union};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use thalweg_engine::{NamedExpr, NodeId, OperatorSpec};

use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::graph::{Draft, Graph, NodeNote, column, display, filter_name, local, unique_name};
use crate::plan::physical::physical_expr;
use crate::plan::stream::{Role, Slot, Stream, StreamColumn, WindowColumn};
use crate::plan::window_tvf::{WINDOW_END, WINDOW_START, WINDOW_TIME, Window, WindowTvf};

pub(crate) type Planned<T> = Result<T, Vec<Diagnostic>>;

/// Which of the window's columns an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowUse {
    None,
    Only,
    Mixed,
}

pub(crate) struct Translator<'a> {
    pub graph: &'a mut Graph,
    /// Every source the pipeline reads, with all columns that any query needs, by name.
    pub sources: &'a BTreeMap<String, SourceStream>,
    pub props: &'a ExecutionProps,
    pub span: Span,
    /// Where the query groups, for messages about aggregates.
    pub group_span: Span,
    pub warnings: Vec<String>,
}

/// A source node with what SQL sees of it; columns no query needs are `None`.
pub(crate) struct SourceStream {
    /// The source node itself; the stream may stand on a projection behind it.
    pub source: NodeId,
    pub stream: Stream,
    pub columns: Vec<Option<StreamColumn>>,
}

impl Translator<'_> {
    pub fn translate(&mut self, plan: &LogicalPlan) -> Planned<Stream> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.translate(&alias.input),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<WindowTvf>() {
                Some(window) => self.window(window),
                None => Err(self.error(format!("{} is not supported on streams", extension.node.name()), None)),
            },
            other => Err(self.unsupported(other)),
        }
    }

    fn unsupported(&self, plan: &LogicalPlan) -> Vec<Diagnostic> {
        let (what, hint) = match plan {
            LogicalPlan::Distinct(_) => ("DISTINCT over a whole stream", "group by a time window"),
            LogicalPlan::Sort(_) => ("ORDER BY on a stream", "leave it out"),
            LogicalPlan::Limit(_) => ("LIMIT on a stream", "leave it out"),
            LogicalPlan::Window(_) => ("OVER", "aggregate in a time window"),
            LogicalPlan::Join(_) => ("joining streams", "read one source or view; joins come in a later version"),
            LogicalPlan::Subquery(_) => ("a correlated subquery", "read the inner query in FROM"),
            LogicalPlan::Unnest(_) => ("unnest", "unnesting comes in a later version"),
            LogicalPlan::RecursiveQuery(_) => ("WITH RECURSIVE", "write a plain WITH"),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => {
                ("a query without FROM", "read a declared source")
            }
            _ => ("this form of query", "write it with SELECT ... FROM a source or view"),
        };
        self.error(format!("{what} is not supported"), Some(hint))
    }

    pub(crate) fn error(&self, message: String, hint: Option<&str>) -> Vec<Diagnostic> {
        vec![Diagnostic::error(self.span, message).with_hint_if(hint.map(str::to_string))]
    }

    pub(crate) fn failed(&self, error: DataFusionError) -> Vec<Diagnostic> {
        diagnostics_of(&error, self.span)
    }

    fn scan(&mut self, scan: &TableScan) -> Planned<Stream> {
        let name = scan.table_name.table();
        let Some(source) = self.sources.get(name) else {
            return Err(self.error(format!("unknown source '{name}'"), None));
        };
        let all: Vec<usize> = (0..source.columns.len()).collect();
        let chosen = scan.projection.as_ref().unwrap_or(&all);
        let columns =
            chosen.iter().map(|index| source.columns[*index].clone().expect("every read column is collected"));
        Ok(Stream { columns: columns.collect(), ..source.stream.clone() })
    }

    fn projection(&mut self, projection: &Projection) -> Planned<Stream> {
        let mut stream = self.translate(&projection.input)?;
        let schema = projection.input.schema();
        let computes_window = |stream: &Stream| {
            projection.expr.iter().any(|expr| {
                !matches!(expr.clone().unalias_nested().data, Expr::Column(_))
                    && window_use(stream, schema, expr) != WindowUse::None
            })
        };
        if stream.pending.is_some() && computes_window(&stream) {
            stream = self.materialise(stream)?;
        }
        self.project(stream, schema, &projection.expr)
    }

    /// Columns are taken over, everything else is computed by one `Project` node.
    pub(crate) fn project(&mut self, stream: Stream, schema: &DFSchema, exprs: &[Expr]) -> Planned<Stream> {
        let mut computed: Vec<(Arc<dyn PhysicalExpr>, String)> = vec![];
        let mut outputs: Vec<Result<StreamColumn, usize>> = vec![];
        for expr in exprs {
            let name = expr.schema_name().to_string();
            let inner = expr.clone().unalias_nested().data;
            if let Expr::Column(column) = &inner {
                outputs.push(Ok(self.stream_column(&stream, schema, column)?));
                continue;
            }
            let physical = self.physical(&stream, schema, &inner)?;
            let position = computed.iter().position(|(known, _)| known.eq(&physical)).unwrap_or_else(|| {
                computed.push((physical, name));
                computed.len() - 1
            });
            outputs.push(Err(position));
        }
        if computed.is_empty() {
            let columns = outputs.into_iter().filter_map(Result::ok).collect();
            return Ok(Stream { columns, ..stream });
        }
        Ok(self.add_computed(stream, outputs, computed))
    }

    pub(crate) fn add_computed(
        &mut self,
        mut stream: Stream,
        outputs: Vec<Result<StreamColumn, usize>>,
        computed: Vec<(Arc<dyn PhysicalExpr>, String)>,
    ) -> Stream {
        let mut kept: Vec<usize> = outputs
            .iter()
            .filter_map(|output| match output {
                Ok(StreamColumn { slot: Slot::Node(index), .. }) => Some(*index),
                _ => None,
            })
            .collect();
        if let Some(pending) = stream.pending.as_ref() {
            let columns = pending.partition_by.iter().flat_map(|key| columns_of(key));
            kept.extend(columns.chain((pending.window_has_time()).then_some(pending.time_index)));
        }
        kept.sort_unstable();
        kept.dedup();
        let mut names: Vec<String> = vec![];
        let mut exprs: Vec<NamedExpr> = vec![];
        for index in &kept {
            names.push(stream.schema.field(*index).name().clone());
            exprs.push(NamedExpr { expr: column(&stream.schema, *index), name: names[names.len() - 1].clone() });
        }
        let canonicals: Vec<Arc<str>> = computed.iter().map(|(expr, _)| stream.canonical(expr)).collect();
        for (expr, name) in computed {
            let name = unique_name(name.rsplit('.').next().unwrap_or(&name), &names);
            names.push(name.clone());
            exprs.push(NamedExpr { expr, name });
        }
        let moved = |index: usize| kept.binary_search(&index).expect("kept columns stay");
        let columns = outputs.into_iter().map(|output| match output {
            Ok(StreamColumn { slot: Slot::Node(index), role, canonical }) => {
                StreamColumn { slot: Slot::Node(moved(index)), role, canonical }
            }
            Ok(window) => window,
            Err(position) => StreamColumn {
                slot: Slot::Node(kept.len() + position),
                role: Role::Plain,
                canonical: canonicals[position].clone(),
            },
        });
        let columns: Vec<StreamColumn> = columns.collect();
        let time_index = stream.pending.as_ref().filter(|p| p.window_has_time()).map(|p| moved(p.time_index));
        let time_index = time_index.or_else(|| Stream { columns: columns.clone(), ..stream.clone() }.time_index());
        let node = self.graph.project(stream.node, exprs, time_index);
        let schema = self.graph.node(node).schema.clone();
        if let Some(pending) = stream.pending.as_mut() {
            pending.move_columns(&schema, &moved);
        }
        Stream { node, schema, columns, ..stream }
    }

    fn filter(&mut self, filter: &Filter) -> Planned<Stream> {
        let mut stream = self.translate(&filter.input)?;
        let schema = filter.input.schema();
        let predicates = split_conjunction_owned(filter.predicate.clone());
        let is_true = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
        let predicates: Vec<Expr> = predicates.into_iter().filter(|expr| !is_true(expr)).collect();
        let is_mixed = |stream: &Stream, expr: &Expr| window_use(stream, schema, expr) == WindowUse::Mixed;
        if predicates.iter().any(|expr| is_mixed(&stream, expr)) {
            stream = self.materialise(stream)?;
        }
        let (later, now): (Vec<Expr>, Vec<Expr>) =
            predicates.into_iter().partition(|expr| window_use(&stream, schema, expr) == WindowUse::Only);
        let later = later.into_iter().map(|expr| name_window_columns(&stream, schema, expr)).collect::<Vec<_>>();
        if let Some(pending) = stream.pending.as_mut() {
            pending.filters.extend(later);
        }
        match conjunction(now) {
            Some(predicate) => {
                let predicate = self.physical(&stream, schema, &predicate)?;
                Ok(self.add_filter(stream, predicate))
            }
            None => Ok(stream),
        }
    }

    pub(crate) fn add_filter(&mut self, stream: Stream, predicate: Arc<dyn PhysicalExpr>) -> Stream {
        let mut texts: Vec<Arc<str>> = datafusion::physical_expr::split_conjunction(&predicate)
            .into_iter()
            .map(|part| stream.canonical(part))
            .collect();
        texts.sort_unstable();
        let rows = format!("filter[{}]({})", texts.join(" and "), stream.rows).into();
        let shown = display(&predicate);
        let input = self.graph.node(stream.node);
        let (schema, time_column) = (input.schema.clone(), input.time_column);
        let node = self.graph.add(Draft {
            name: filter_name(&shown),
            operator: OperatorSpec::Filter(predicate),
            inputs: vec![local(stream.node)],
            schema,
            time_column,
            state: None,
            note: NodeNote { details: vec![("where", shown)], ..NodeNote::default() },
        });
        Stream { node, rows, ..stream }
    }

    fn union(&mut self, union: &Union) -> Planned<Stream> {
        let names: Vec<String> = union.schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut streams = vec![];
        for input in &union.inputs {
            let stream = self.translate(input)?;
            streams.push(self.materialise(stream)?);
        }
        self.unite(streams, &names)
    }

    /// `UNION ALL` of streams with equal types, column by column.
    pub(crate) fn unite(&mut self, streams: Vec<Stream>, names: &[String]) -> Planned<Stream> {
        let streams: Vec<Stream> = streams.into_iter().map(|stream| self.arrange(stream, names)).collect();
        if streams.len() == 1 {
            return Ok(streams.into_iter().next().expect("one stream"));
        }
        let first = &streams[0];
        let mut fields: Vec<arrow::datatypes::Field> = vec![];
        for (index, field) in first.schema.fields().iter().enumerate() {
            for other in &streams[1..] {
                let (left, right) = (field.data_type(), other.schema.field(index).data_type());
                if left != right {
                    return Err(self.error(
                        format!(
                            "column {} ('{}') is {left} in one query and {right} in another",
                            index + 1,
                            field.name()
                        ),
                        Some("add a CAST so that the types are equal"),
                    ));
                }
            }
            let nullable = streams.iter().any(|stream| stream.schema.field(index).is_nullable());
            fields.push(field.as_ref().clone().with_nullable(nullable));
        }
        let columns: Vec<StreamColumn> = (0..fields.len())
            .map(|index| {
                let texts: Vec<&str> = streams.iter().map(|stream| stream.columns[index].canonical.as_ref()).collect();
                let role = first.columns[index].role;
                let same = streams.iter().all(|stream| stream.columns[index].role == role);
                StreamColumn {
                    slot: Slot::Node(index),
                    role: if same { role } else { Role::Plain },
                    canonical: format!("union({})", texts.join(" | ")).into(),
                }
            })
            .collect();
        let rows: Vec<&str> = streams.iter().map(|stream| stream.rows.as_ref()).collect();
        let windows: Vec<Window> = streams.iter().filter_map(|stream| stream.window).collect();
        let same_window = windows.windows(2).all(|pair| pair[0] == pair[1]) && windows.len() == streams.len();
        let mut stream = Stream {
            node: first.node,
            schema: Arc::new(arrow::datatypes::Schema::new(fields)),
            rows: format!("union({})", rows.join(" | ")).into(),
            pending: None,
            window: windows.first().map(|window| if same_window { *window } else { Window::Irregular }),
            is_windowed: streams.iter().all(|stream| stream.is_windowed),
            origins: streams.iter().flat_map(|stream| stream.origins.clone()).collect(),
            columns,
        };
        stream.node = self.graph.add(Draft {
            name: "union".to_string(),
            operator: OperatorSpec::Union,
            inputs: streams.iter().map(|stream| local(stream.node)).collect(),
            schema: stream.schema.clone(),
            time_column: stream.time_index(),
            state: None,
            note: NodeNote::default(),
        });
        Ok(stream)
    }

    /// Puts the columns into the logical order under the given names.
    pub(crate) fn arrange(&mut self, stream: Stream, names: &[String]) -> Stream {
        let exprs = stream.columns.iter().zip(names).map(|(found, name)| match found.slot {
            Slot::Node(index) => NamedExpr { expr: column(&stream.schema, index), name: name.clone() },
            Slot::Window(_) => unreachable!("windows are materialised before columns are arranged"),
        });
        let exprs: Vec<NamedExpr> = exprs.collect();
        let columns: Vec<StreamColumn> = stream
            .columns
            .iter()
            .enumerate()
            .map(|(index, found)| StreamColumn { slot: Slot::Node(index), ..found.clone() })
            .collect();
        let arranged = Stream { columns, ..stream };
        let node = self.graph.project(arranged.node, exprs, arranged.time_index());
        Stream { node, schema: self.graph.node(node).schema.clone(), ..arranged }
    }

    pub(crate) fn stream_column(
        &self,
        stream: &Stream,
        schema: &DFSchema,
        column: &LogicalColumn,
    ) -> Planned<StreamColumn> {
        let index = schema.index_of_column(column).map_err(|error| self.failed(error))?;
        Ok(stream.columns[index].clone())
    }

    /// A logical expression over `schema`, evaluated on the node of the stream.
    pub(crate) fn physical(&self, stream: &Stream, schema: &DFSchema, expr: &Expr) -> Planned<Arc<dyn PhysicalExpr>> {
        let expr = self.rename_columns(stream, schema, expr)?;
        self.over_node(stream, &expr)
    }

    /// An expression whose columns are those of the node.
    pub(crate) fn over_node(&self, stream: &Stream, expr: &Expr) -> Planned<Arc<dyn PhysicalExpr>> {
        physical_expr(expr, &stream.schema, self.props).map_err(|error| self.failed(error))
    }

    /// Names columns as the node does.
    pub(crate) fn rename_columns(&self, stream: &Stream, schema: &DFSchema, expr: &Expr) -> Planned<Expr> {
        let renamed = expr.clone().transform_up(|inner| match &inner {
            Expr::Column(column) => match stream.columns[schema.index_of_column(column)?].slot {
                Slot::Node(index) => {
                    let name = stream.schema.field(index).name();
                    Ok(Transformed::yes(Expr::Column(LogicalColumn::new_unqualified(name))))
                }
                Slot::Window(_) => Err(DataFusionError::Internal("a window's column is not there yet".to_string())),
            },
            _ => Ok(Transformed::no(inner)),
        });
        renamed.map(|renamed| renamed.data).map_err(|error| self.failed(error))
    }
}

fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    datafusion::physical_expr::utils::collect_columns(expr).iter().map(|column| column.index()).collect()
}

pub(crate) fn place((line, column): (u64, u64)) -> Span {
    let start = Location { line, column };
    Span { start, end: start }
}

pub(crate) fn window_use(stream: &Stream, schema: &DFSchema, expr: &Expr) -> WindowUse {
    let slots = expr.column_refs().into_iter().filter_map(|column| {
        let index = schema.maybe_index_of_column(column)?;
        Some(matches!(stream.columns[index].slot, Slot::Window(_)))
    });
    let slots: Vec<bool> = slots.collect();
    match (slots.iter().any(|window| *window), slots.iter().all(|window| *window)) {
        (false, _) => WindowUse::None,
        (true, true) => WindowUse::Only,
        (true, false) => WindowUse::Mixed,
    }
}

/// Renames the window's columns to their plain names, for use once they exist.
pub(crate) fn name_window_columns(stream: &Stream, schema: &DFSchema, expr: Expr) -> Expr {
    let renamed = expr.transform_up(|inner| match &inner {
        Expr::Column(column) => {
            let slot = schema.maybe_index_of_column(column).map(|index| stream.columns[index].slot);
            match slot {
                Some(Slot::Window(part)) => {
                    Ok(Transformed::yes(Expr::Column(LogicalColumn::new_unqualified(part.name()))))
                }
                _ => Ok(Transformed::no(inner)),
            }
        }
        _ => Ok(Transformed::no(inner)),
    });
    renamed.expect("renaming columns cannot fail").data
}

impl WindowColumn {
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => WINDOW_START,
            Self::End => WINDOW_END,
            Self::Time => WINDOW_TIME,
        }
    }
}
