//! From the optimised logical plan to nodes of the graph, bottom-up.
//!
//! Window functions stay *pending* until an aggregation above takes them over; filters and projections between the two
//! move below the window where their meaning allows it. Only if something else needs the window's columns they are
//! materialised by a `WindowAssign` node.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as LogicalColumn, DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator, Projection, TableScan, Union};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use thalweg_engine::{NamedExpr, NodeId, OperatorSpec, WindowAssignSpec, WindowKind};

use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::graph::{Draft, Graph, NodeNote, column, display, filter_name, local, unique_name};
use crate::plan::physical::physical_expr;
use crate::plan::stream::{Pending, Role, Slot, Stream, StreamColumn, WindowColumn};
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
            unwatermarked: streams.iter().flat_map(|stream| stream.unwatermarked.clone()).collect(),
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

    fn window(&mut self, tvf: &WindowTvf) -> Planned<Stream> {
        let stream = self.translate(&tvf.input)?;
        let mut stream = self.materialise(stream)?;
        let schema = tvf.input.schema();
        let (time_index, time_canonical) = match &tvf.time {
            Some(Expr::Column(time)) => self.event_time(&stream, schema, time, tvf.place)?,
            Some(_) => return Err(self.error("event time must be a column".to_string(), None)),
            None => (0, "arrival".into()),
        };
        let partition_by = tvf.partition_by.iter().map(|key| self.physical(&stream, schema, key));
        let partition_by = partition_by.collect::<Planned<Vec<_>>>()?;
        // Windows of the input are plain columns from here on; its event time stays event time.
        for found in &mut stream.columns {
            let is_time = tvf.time.is_some() && found.slot == Slot::Node(time_index);
            found.role = if is_time { Role::EventTime } else { Role::Plain };
        }
        let all = [WindowColumn::Start, WindowColumn::End, WindowColumn::Time];
        let canonical: Arc<str> = format!("{}({time_canonical}; {})", tvf.window, stream.rows).into();
        for part in &all[..tvf.window_columns()] {
            stream.columns.push(StreamColumn {
                slot: Slot::Window(*part),
                role: Role::Window(*part),
                canonical: format!("{part:?} of {canonical}").into(),
            });
        }
        stream.pending = Some(Pending {
            window: tvf.window,
            time_index,
            time_canonical,
            partition_by,
            filters: vec![],
            place: tvf.place,
        });
        Ok(stream)
    }

    fn event_time(
        &self,
        stream: &Stream,
        schema: &DFSchema,
        time: &LogicalColumn,
        at: (u64, u64),
    ) -> Planned<(usize, Arc<str>)> {
        let found = self.stream_column(stream, schema, time)?;
        let refuse = |message: String, hint: String| Err(vec![Diagnostic::error(place(at), message).with_hint(hint)]);
        let Slot::Node(index) = found.slot else {
            return Err(self.error("event time must be a column of the input".to_string(), None));
        };
        let name = &time.name;
        let is_time = match found.role {
            Role::EventTime => true,
            Role::Window(part) => part != WindowColumn::Start,
            Role::Plain => false,
        };
        if !is_time && !stream.unwatermarked.is_empty() && stream.time_index().is_none() {
            let source = stream.unwatermarked.join("', '");
            return refuse(
                format!("a window over '{name}' would never close: source '{source}' has no watermark"),
                format!("add WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND to CREATE SOURCE {source}"),
            );
        }
        if !is_time {
            let known = stream.time_index().map(|index| stream.schema.field(index).name().clone());
            let hint = known.map_or("keep the event-time column unchanged in the inner query".to_string(), |known| {
                format!("use '{known}', which carries the watermark")
            });
            return refuse(format!("'{name}' is not an event-time column, so windows over it would never close"), hint);
        }
        match stream.schema.field(index).data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => Ok((index, found.canonical)),
            other => refuse(
                format!("event time '{name}' is {other}"),
                "declare it as TIMESTAMP or TIMESTAMP WITH TIME ZONE".to_string(),
            ),
        }
    }

    /// Assigns pending windows row by row, for whoever needs their columns without aggregating.
    pub(crate) fn materialise(&mut self, stream: Stream) -> Planned<Stream> {
        let Some(pending) = stream.pending.clone() else { return Ok(stream) };
        let kind = match pending.window {
            Window::Tumble { size, offset } => WindowKind::Tumble { size, offset },
            Window::Hop { size, slide, offset } => WindowKind::Hop { size, slide, offset },
            Window::Cumulate { size, step, offset } => WindowKind::Cumulate { size, step, offset },
            Window::Session { .. } | Window::Count { .. } | Window::Irregular => {
                return Err(vec![
                    Diagnostic::error(
                        place(pending.place),
                        "sessions and count windows can only be aggregated, with their columns used as they are",
                    )
                    .with_hint(
                        "GROUP BY the keys, window_start and window_end; compute on the result in an outer query",
                    ),
                ]);
            }
        };
        let stream = self.free_window_names(stream);
        let pending = stream.pending.clone().expect("still pending");
        let input = stream.schema.clone();
        let time_type = input.field(pending.time_index).data_type().clone();
        let mut fields: Vec<_> = input.fields().iter().map(|field| field.as_ref().clone()).collect();
        let width = fields.len();
        for name in [WINDOW_START, WINDOW_END] {
            fields.push(arrow::datatypes::Field::new(name, time_type.clone(), false));
        }
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let node = self.graph.add(Draft {
            name: format!("windows ({})", pending.window),
            operator: OperatorSpec::WindowAssign(WindowAssignSpec { kind, time_column: pending.time_index }),
            inputs: vec![local(stream.node)],
            schema: schema.clone(),
            time_column: Some(pending.time_index),
            state: None,
            note: NodeNote { details: vec![("window", pending.window.to_string())], ..NodeNote::default() },
        });
        let rows = format!("windows({}; {}; {})", pending.window, pending.time_canonical, stream.rows).into();
        let mut assigned = Stream { node, schema, rows, pending: None, window: Some(pending.window), ..stream };
        let needs_time = assigned.columns.iter().any(|column| column.slot == Slot::Window(WindowColumn::Time))
            || pending.filters.iter().any(|expr| expr.column_refs().iter().any(|column| column.name == WINDOW_TIME));
        if needs_time {
            assigned = self.add_window_time(assigned, width + 1);
        }
        for found in &mut assigned.columns {
            if let Slot::Window(part) = found.slot {
                found.slot = Slot::Node(width + part as usize);
            }
        }
        self.apply_window_filters(assigned, &pending.filters)
    }

    /// Renames columns of the node that are called like the window's.
    fn free_window_names(&mut self, mut stream: Stream) -> Stream {
        let reserved = [WINDOW_START, WINDOW_END, WINDOW_TIME];
        let mut names: Vec<String> = reserved.iter().map(|name| name.to_string()).collect();
        let mut exprs = vec![];
        for (index, field) in stream.schema.fields().iter().enumerate() {
            let wanted = match reserved.contains(&field.name().as_str()) {
                true => format!("inner_{}", field.name()),
                false => field.name().clone(),
            };
            let name = unique_name(&wanted, &names);
            names.push(name.clone());
            exprs.push(NamedExpr { expr: column(&stream.schema, index), name });
        }
        let time_column = self.graph.node(stream.node).time_column;
        stream.node = self.graph.project(stream.node, exprs, time_column);
        stream.schema = self.graph.node(stream.node).schema.clone();
        if let Some(pending) = stream.pending.as_mut() {
            let schema = stream.schema.clone();
            pending.move_columns(&schema, &|index| index);
        }
        stream
    }

    /// Appends `window_time`, one microsecond before `window_end`.
    pub(crate) fn add_window_time(&mut self, stream: Stream, end_index: usize) -> Stream {
        let end = column(&stream.schema, end_index);
        let microsecond = Arc::new(Literal::new(ScalarValue::DurationMicrosecond(Some(1))));
        let time: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(end, Operator::Minus, microsecond));
        let width = stream.schema.fields().len();
        let mut exprs: Vec<NamedExpr> = (0..width)
            .map(|index| NamedExpr {
                expr: column(&stream.schema, index),
                name: stream.schema.field(index).name().clone(),
            })
            .collect();
        let names: Vec<String> = exprs.iter().map(|named| named.name.clone()).collect();
        exprs.push(NamedExpr { expr: time, name: unique_name(WINDOW_TIME, &names) });
        let node = self.graph.project(stream.node, exprs, Some(width));
        Stream { node, schema: self.graph.node(node).schema.clone(), ..stream }
    }

    /// Applies filters whose columns are `window_start`, `window_end`, `window_time` of the node itself.
    pub(crate) fn apply_window_filters(&mut self, stream: Stream, filters: &[Expr]) -> Planned<Stream> {
        let Some(predicate) = conjunction(filters.to_vec()) else { return Ok(stream) };
        let predicate = self.over_node(&stream, &predicate)?;
        Ok(self.add_filter(stream, predicate))
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

impl Pending {
    pub fn window_has_time(&self) -> bool {
        !matches!(self.window, Window::Count { .. })
    }

    /// Follows the node's columns after a projection under the window.
    fn move_columns(&mut self, schema: &arrow::datatypes::Schema, moved: &dyn Fn(usize) -> usize) {
        if self.window_has_time() {
            self.time_index = moved(self.time_index);
        }
        for key in &mut self.partition_by {
            let replaced = key.clone().transform_up(|inner| {
                match inner.downcast_ref::<datafusion::physical_expr::expressions::Column>() {
                    Some(found) => Ok(Transformed::yes(column(schema, moved(found.index())))),
                    None => Ok(Transformed::no(inner)),
                }
            });
            *key = replaced.expect("replacing columns by columns keeps an expression valid").data;
        }
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
