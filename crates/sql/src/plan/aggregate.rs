//! Windowed aggregation: two stages around an exchange by key.
//!
//! Three cases. Windows that a function right below announces are assigned and aggregated in one operator. Windows that
//! are columns already (of an inner aggregation, or assigned row by row) are aggregated as panes that end where the
//! windows end. Without any window the result would change with every row: refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use thalweg_engine::{
    Aggregate, CountWindowSpec, Edge, Exchange, NamedExpr, NodeId, OperatorSpec, SessionSpec, WindowAggregateSpec,
    WindowKind, WindowStage,
};

use crate::diagnostic::Diagnostic;
use crate::plan::graph::{
    Draft, NodeNote, StateNote, column, display, display_aggregate, local, state_id, unique_name,
};
use crate::plan::stream::{Pending, Role, Slot, Stream, StreamColumn, WindowColumn};
use crate::plan::translate::{Planned, Translator, WindowUse, name_window_columns, place, window_use};
use crate::plan::window_tvf::{SessionKeys, WINDOW_TIME, Window};

/// Names that operators give to their own columns.
const RESERVED: [&str; 6] = ["window_start", "window_end", "window_time", "__pane", "__start", "__end"];

/// What one expression of `GROUP BY` is to the operator.
enum Group {
    /// Position among the keys.
    Key(usize),
    Window(WindowColumn),
    /// Computed from the window's columns, after the aggregation.
    Derived(Expr),
}

/// The parts of an aggregation, resolved on the node below.
struct Parts {
    keys: Vec<NamedExpr>,
    key_texts: Vec<Arc<str>>,
    aggregates: Vec<Aggregate>,
    aggregate_texts: Vec<String>,
}

/// An aggregation that was added to the graph.
struct Closed {
    node: NodeId,
    /// Canonical, short.
    id: String,
    keys: usize,
}

impl Translator<'_> {
    pub(crate) fn aggregate(&mut self, aggregate: &LogicalAggregate) -> Planned<Stream> {
        let schema = aggregate.input.schema();
        let mut stream = self.translate(&aggregate.input)?;
        if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Err(
                self.at_group("ROLLUP, CUBE and GROUPING SETS are not supported", "write one query per grouping")
            );
        }
        let is_mixed = |expr: &Expr| window_use(&stream, schema, expr) == WindowUse::Mixed;
        let reads_window = |expr: &Expr| window_use(&stream, schema, expr) != WindowUse::None;
        if aggregate.group_expr.iter().any(is_mixed) || aggregate.aggr_expr.iter().any(reads_window) {
            stream = self.materialise(stream)?;
        }
        match stream.pending.clone() {
            Some(pending) => self.aggregate_pending(stream, pending, schema, aggregate),
            None => self.aggregate_given(stream, schema, aggregate),
        }
    }

    fn at_group(&self, message: &str, hint: &str) -> Vec<Diagnostic> {
        vec![Diagnostic::error(self.group_span, message).with_hint(hint)]
    }

    fn updating(&self, stream: &Stream) -> Vec<Diagnostic> {
        if stream.pending.is_some() {
            return self.at_group(
                "the aggregation reads a window function but does not group by its windows",
                "add window_start, window_end to GROUP BY",
            );
        }
        self.at_group(
            "an aggregation without a time window changes its results with every row, which is not supported yet",
            "aggregate in a window: FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY ..., window_start, \
             window_end; updating aggregates come in a later version",
        )
    }

    fn aggregate_pending(
        &mut self,
        stream: Stream,
        pending: Pending,
        schema: &DFSchema,
        aggregate: &LogicalAggregate,
    ) -> Planned<Stream> {
        let (mut groups, keys) = self.groups(&stream, schema, &aggregate.group_expr)?;
        self.check_groups(&stream, pending.window, &groups)?;
        self.check_partition(&stream, &pending, &keys)?;
        let (closed, parts) = match pending.window {
            Window::Count { size } => self.count_window(&stream, size, keys, schema, aggregate)?,
            _ => {
                let parts = self.parts(&stream, keys, schema, aggregate)?;
                (self.time_window(&stream, &pending, &parts), parts)
            }
        };
        let mut result = self.closed_stream(&stream, closed.node, &closed, &parts);
        result.window = Some(pending.window);
        let needs_time = |expr: &Expr| expr.column_refs().iter().any(|column| column.name == WINDOW_TIME);
        let derived = groups.iter().filter_map(|group| match group {
            Group::Derived(expr) => Some(expr),
            _ => None,
        });
        let groups_by_time = groups.iter().any(|group| matches!(group, Group::Window(WindowColumn::Time)));
        let time_index = result.schema.fields().len();
        if groups_by_time || derived.chain(&pending.filters).any(needs_time) {
            result = self.add_window_time(result, closed.keys + 1);
        }
        result = self.apply_window_filters(result, &pending.filters)?;
        let start = closed.keys;
        let slot = |part| match part {
            WindowColumn::Start => start,
            WindowColumn::End => start + 1,
            WindowColumn::Time => time_index,
        };
        self.outputs(result, &mut groups, &closed, parts.aggregates.len(), &slot)
    }

    /// Groups by windows that are columns: panes that end where the windows end.
    fn aggregate_given(
        &mut self,
        mut stream: Stream,
        schema: &DFSchema,
        aggregate: &LogicalAggregate,
    ) -> Planned<Stream> {
        let (mut groups, mut keys) = self.groups(&stream, schema, &aggregate.group_expr)?;
        let window = stream.window.unwrap_or(Window::Irregular);
        self.check_groups(&stream, window, &groups)?;
        let kind = match window {
            Window::Tumble { size, offset } => WindowKind::Tumble { size, offset },
            Window::Hop { size, slide, offset } => {
                WindowKind::Tumble { size: slide, offset: (offset + size).rem_euclid(slide) }
            }
            Window::Cumulate { step, offset, .. } => WindowKind::Tumble { size: step, offset: offset.rem_euclid(step) },
            Window::Session { .. } | Window::Irregular => WindowKind::Tumble { size: 1, offset: 0 },
            Window::Count { .. } => {
                return Err(self.at_group(
                    "results of count windows have no event time, so they cannot be grouped again",
                    "write them to a sink as they are",
                ));
            }
        };
        let time_index = match stream.column_with_role(Role::Window(WindowColumn::Time)) {
            Some(index) => index,
            None => {
                let Some(end) = stream.column_with_role(Role::Window(WindowColumn::End)) else {
                    return Err(self.at_group(
                        "grouping by windows of an inner query needs their ends",
                        "select and group by window_end as well",
                    ));
                };
                stream = self.add_window_time(stream, end);
                stream.schema.fields().len() - 1
            }
        };
        let start_index = stream.column_with_role(Role::Window(WindowColumn::Start));
        let groups_by_start = groups.iter().any(|group| matches!(group, Group::Window(WindowColumn::Start)));
        let start_key = match (kind, window, start_index) {
            (_, Window::Tumble { .. }, _) => None,
            (_, _, Some(index)) if groups_by_start => {
                keys.push((column(&stream.schema, index), "inner_window_start".to_string()));
                Some(keys.len() - 1)
            }
            _ => None,
        };
        let parts = self.parts(&stream, keys, schema, aggregate)?;
        let time_text = stream.canonical(&column(&stream.schema, time_index));
        let closed = self.add_window_aggregate(&stream, kind, time_index, &time_text, &parts, &window.to_string());
        let mut result = self.closed_stream(&stream, closed.node, &closed, &parts);
        result.window = Some(window);
        let added = result.schema.fields().len();
        if groups.iter().any(|group| matches!(group, Group::Window(WindowColumn::Time))) {
            result = self.add_window_time(result, closed.keys + 1);
        }
        let slot = |part| match part {
            WindowColumn::Start => start_key.unwrap_or(closed.keys),
            WindowColumn::End => closed.keys + 1,
            WindowColumn::Time => added,
        };
        self.outputs(result, &mut groups, &closed, parts.aggregates.len(), &slot)
    }

    /// Sorts the expressions of `GROUP BY` into keys and windows; keys get names that are free.
    #[allow(clippy::type_complexity)]
    fn groups(
        &self,
        stream: &Stream,
        schema: &DFSchema,
        exprs: &[Expr],
    ) -> Planned<(Vec<Group>, Vec<(Arc<dyn PhysicalExpr>, String)>)> {
        let mut groups = vec![];
        let mut keys: Vec<(Arc<dyn PhysicalExpr>, String)> = vec![];
        for expr in exprs {
            let inner = expr.clone().unalias_nested().data;
            if let Expr::Column(column) = &inner {
                let found = self.stream_column(stream, schema, column)?;
                if let Role::Window(part) = found.role {
                    groups.push(Group::Window(part));
                    continue;
                }
            }
            if window_use(stream, schema, &inner) == WindowUse::Only {
                groups.push(Group::Derived(name_window_columns(stream, schema, inner)));
                continue;
            }
            let physical = self.physical(stream, schema, &inner)?;
            let name = match &inner {
                Expr::Column(column) => column.name.clone(),
                _ => expr.schema_name().to_string(),
            };
            groups.push(Group::Key(keys.len()));
            keys.push((physical, name));
        }
        Ok((groups, keys))
    }

    fn check_groups(&self, stream: &Stream, window: Window, groups: &[Group]) -> Planned<()> {
        let has = |wanted: &[WindowColumn]| {
            groups.iter().any(|group| matches!(group, Group::Window(part) if wanted.contains(part)))
        };
        if !has(&[WindowColumn::Start, WindowColumn::End, WindowColumn::Time]) {
            return Err(self.updating(stream));
        }
        let start_is_enough = !matches!(window, Window::Cumulate { .. } | Window::Irregular);
        if !start_is_enough && !has(&[WindowColumn::End, WindowColumn::Time]) {
            return Err(
                self.at_group("window_start alone does not tell which window is meant", "add window_end to GROUP BY")
            );
        }
        Ok(())
    }

    /// Sessions and count windows are cut per key of `PARTITION BY`, so the grouping must have just these keys.
    fn check_partition(
        &self,
        stream: &Stream,
        pending: &Pending,
        keys: &[(Arc<dyn PhysicalExpr>, String)],
    ) -> Planned<()> {
        let function = match pending.window {
            Window::Session { keys: SessionKeys::Partition, .. } => "SESSION",
            Window::Count { .. } => "COUNT_TUMBLE",
            _ => return Ok(()),
        };
        let grouped: Vec<&Arc<dyn PhysicalExpr>> = keys.iter().map(|(expr, _)| expr).collect();
        let same = grouped.iter().all(|key| pending.partition_by.contains(key))
            && pending.partition_by.iter().all(|key| grouped.contains(&key));
        if same {
            return Ok(());
        }
        let shown = |exprs: Vec<String>| if exprs.is_empty() { "none".to_string() } else { exprs.join(", ") };
        let cut = shown(pending.partition_by.iter().map(display).collect());
        let wanted: Vec<String> = grouped.iter().map(|key| display(key)).collect();
        let hint = match wanted.is_empty() {
            true => format!("add {cut} to GROUP BY"),
            false => format!("write {function}(TABLE t PARTITION BY {}, ...)", wanted.join(", ")),
        };
        let _ = stream;
        Err(vec![
            Diagnostic::error(
                place(pending.place),
                format!("{function} is partitioned by {cut} but grouped by {}", shown(wanted)),
            )
            .with_hint(hint),
        ])
    }

    fn parts(
        &mut self,
        stream: &Stream,
        keys: Vec<(Arc<dyn PhysicalExpr>, String)>,
        schema: &DFSchema,
        aggregate: &LogicalAggregate,
    ) -> Planned<Parts> {
        let mut taken: Vec<String> = RESERVED.iter().map(|name| name.to_string()).collect();
        let mut named = vec![];
        let mut key_texts = vec![];
        for (expr, name) in keys {
            let name = unique_name(&name, &taken);
            taken.push(name.clone());
            key_texts.push(stream.canonical(&expr));
            named.push(NamedExpr { expr, name });
        }
        let mut aggregates = vec![];
        let mut aggregate_texts = vec![];
        for expr in &aggregate.aggr_expr {
            let aggregate = self.lower(stream, schema, expr, &mut taken)?;
            aggregate_texts.push(stream.canonical_aggregate(&aggregate.expr, aggregate.filter.as_ref()));
            aggregates.push(aggregate);
        }
        Ok(Parts { keys: named, key_texts, aggregates, aggregate_texts })
    }

    fn lower(
        &mut self,
        stream: &Stream,
        schema: &DFSchema,
        expr: &Expr,
        taken: &mut Vec<String>,
    ) -> Planned<Aggregate> {
        let renamed = self.rename_columns(stream, schema, &expr.clone().unalias_nested().data)?;
        let over = DFSchema::try_from(stream.schema.as_ref().clone()).map_err(|error| self.failed(error))?;
        let planning = PhysicalPlanningContext::default();
        let lower = |name: &str| {
            LoweredAggregateBuilder::new(&renamed, &over, &stream.schema, self.props, &planning).with_name(name).build()
        };
        let unnamed = lower("unnamed").map_err(|error| self.failed(error))?;
        let name = unique_name(&display_aggregate(&unnamed.aggregate, unnamed.filter.as_ref()), taken);
        taken.push(name.clone());
        let lowered = lower(&name).map_err(|error| self.failed(error))?;
        let function = lowered.aggregate.fun().name().to_string();
        let sensitivity = lowered.aggregate.order_sensitivity();
        if sensitivity.hard_requires() && !lowered.order_bys.is_empty() {
            return Err(self.at_group(
                &format!("{function}(... ORDER BY ...) needs its whole input sorted, which streams are not"),
                "leave out ORDER BY, or use array_agg(... ORDER BY ...)",
            ));
        }
        if matches!(function.as_str(), "array_agg" | "string_agg" | "first_value" | "last_value" | "nth_value")
            && lowered.order_bys.is_empty()
        {
            self.warnings.push(format!(
                "{function} without ORDER BY takes rows in the order of arrival, which differs from run to run; write \
                 {function}(... ORDER BY ...)"
            ));
        }
        Ok(Aggregate { expr: lowered.aggregate, filter: lowered.filter })
    }

    fn time_window(&mut self, stream: &Stream, pending: &Pending, parts: &Parts) -> Closed {
        let kind = match pending.window {
            Window::Tumble { size, offset } => WindowKind::Tumble { size, offset },
            Window::Hop { size, slide, offset } => WindowKind::Hop { size, slide, offset },
            Window::Cumulate { size, step, offset } => WindowKind::Cumulate { size, step, offset },
            Window::Session { gap, .. } => return self.add_session(stream, gap, pending, parts),
            Window::Count { .. } | Window::Irregular => unreachable!("a time window"),
        };
        let shown = pending.window.to_string();
        self.add_window_aggregate(stream, kind, pending.time_index, &pending.time_canonical, parts, &shown)
    }

    fn add_window_aggregate(
        &mut self,
        stream: &Stream,
        kind: WindowKind,
        time_column: usize,
        time_text: &str,
        parts: &Parts,
        shown: &str,
    ) -> Closed {
        let canonical = canonical(&format!("{kind:?} over {time_text}"), parts, &stream.rows);
        let found = |node| Closed { node, id: state_id(&canonical), keys: parts.keys.len() };
        if let Some(node) = self.graph.with_state(&canonical) {
            return found(node);
        }
        let spec = |stage| {
            OperatorSpec::WindowAggregate(WindowAggregateSpec {
                stage,
                kind,
                input_schema: stream.schema.clone(),
                time_column,
                keys: parts.keys.clone(),
                aggregates: parts.aggregates.clone(),
            })
        };
        let local_schema = partial_schema(&stream.schema, parts, &["__pane"]);
        let label = label(shown, parts);
        let partial = self.graph.add(Draft {
            name: format!("window aggregate, local ({label})"),
            operator: spec(WindowStage::Local),
            inputs: vec![local(stream.node)],
            schema: local_schema,
            time_column: None,
            state: None,
            note: NodeNote { details: details(shown, parts), ..NodeNote::default() },
        });
        let node = self.graph.add(Draft {
            name: format!("window aggregate ({label})"),
            operator: spec(WindowStage::Global),
            inputs: vec![exchange(partial, parts.keys.len())],
            schema: final_schema(stream, time_column, parts),
            time_column: Some(parts.keys.len() + 1),
            state: Some(canonical.clone()),
            note: closed_note(
                shown,
                parts,
                "partial aggregates per key and pane",
                "the watermark passes the last window of the pane",
            ),
        });
        found(node)
    }

    fn add_session(&mut self, stream: &Stream, gap: i64, pending: &Pending, parts: &Parts) -> Closed {
        let canonical = canonical(&format!("session {gap} over {}", pending.time_canonical), parts, &stream.rows);
        let found = |node| Closed { node, id: state_id(&canonical), keys: parts.keys.len() };
        if let Some(node) = self.graph.with_state(&canonical) {
            return found(node);
        }
        let spec = |stage| {
            OperatorSpec::Session(SessionSpec {
                stage,
                gap,
                input_schema: stream.schema.clone(),
                time_column: pending.time_index,
                keys: parts.keys.clone(),
                aggregates: parts.aggregates.clone(),
            })
        };
        let shown = pending.window.to_string();
        let label = label(&shown, parts);
        let partial = self.graph.add(Draft {
            name: format!("session aggregate, local ({label})"),
            operator: spec(WindowStage::Local),
            inputs: vec![local(stream.node)],
            schema: partial_schema(&stream.schema, parts, &["__start", "__end"]),
            time_column: None,
            state: None,
            note: NodeNote { details: details(&shown, parts), ..NodeNote::default() },
        });
        let node = self.graph.add(Draft {
            name: format!("session aggregate ({label})"),
            operator: spec(WindowStage::Global),
            inputs: vec![exchange(partial, parts.keys.len())],
            schema: final_schema(stream, pending.time_index, parts),
            time_column: Some(parts.keys.len() + 1),
            state: Some(canonical.clone()),
            note: closed_note(
                &shown,
                parts,
                "partial aggregates per key and open session",
                "the watermark passes the end of the session",
            ),
        });
        found(node)
    }

    fn count_window(
        &mut self,
        stream: &Stream,
        size: u64,
        keys: Vec<(Arc<dyn PhysicalExpr>, String)>,
        schema: &DFSchema,
        aggregate: &LogicalAggregate,
    ) -> Planned<(Closed, Parts)> {
        let (keyed, keys) = self.lead_with_keys(stream, keys);
        let parts = self.parts(&keyed, keys, schema, aggregate)?;
        let canonical = canonical(&format!("count {size}"), &parts, &stream.rows);
        let id = state_id(&canonical);
        let width = parts.keys.len();
        if let Some(node) = self.graph.with_state(&canonical) {
            return Ok((Closed { node, id, keys: width }, parts));
        }
        self.order_sources(stream.node);
        let shown = format!("count {size} rows");
        let mut note =
            closed_note(&shown, &parts, "one open window per key", "the window is full; keys are never forgotten");
        if let Some(state) = note.state.as_mut() {
            state.is_bounded = width == 0;
        }
        if width > 0 {
            self.warnings.push(format!(
                "count windows keep one open window per key ({}) for ever: state grows with the number of keys",
                key_names(&parts).join(", ")
            ));
        }
        let mut fields = key_fields(&keyed.schema, &parts);
        fields.extend(["window_start", "window_end"].map(|name| Arc::new(Field::new(name, DataType::Int64, false))));
        fields.extend(parts.aggregates.iter().map(|aggregate| aggregate.expr.field()));
        let node = self.graph.add(Draft {
            name: format!("count window aggregate ({})", label(&shown, &parts)),
            operator: OperatorSpec::CountWindow(CountWindowSpec {
                size,
                input_schema: keyed.schema.clone(),
                keys: parts.keys.clone(),
                aggregates: parts.aggregates.clone(),
            }),
            inputs: vec![exchange(keyed.node, width)],
            schema: Arc::new(Schema::new(fields)),
            time_column: None,
            state: Some(canonical),
            note,
        });
        Ok((Closed { node, id, keys: width }, parts))
    }

    /// Puts the keys in front as columns, so that rows can be exchanged by them before they are aggregated.
    #[allow(clippy::type_complexity)]
    fn lead_with_keys(
        &mut self,
        stream: &Stream,
        keys: Vec<(Arc<dyn PhysicalExpr>, String)>,
    ) -> (Stream, Vec<(Arc<dyn PhysicalExpr>, String)>) {
        let width = keys.len();
        let mut kept: Vec<usize> = stream
            .columns
            .iter()
            .filter_map(|found| match found.slot {
                Slot::Node(index) => Some(index),
                Slot::Window(_) => None,
            })
            .collect();
        kept.sort_unstable();
        kept.dedup();
        let mut names: Vec<String> = vec![];
        let mut exprs: Vec<NamedExpr> = vec![];
        let mut texts = vec![];
        for (expr, name) in &keys {
            names.push(unique_name(name, &names));
            texts.push(stream.canonical(expr));
            exprs.push(NamedExpr { expr: expr.clone(), name: names[names.len() - 1].clone() });
        }
        for index in &kept {
            names.push(unique_name(stream.schema.field(*index).name(), &names));
            exprs.push(NamedExpr { expr: column(&stream.schema, *index), name: names[names.len() - 1].clone() });
        }
        let mut columns: Vec<StreamColumn> = vec![];
        for found in &stream.columns {
            let slot = match found.slot {
                Slot::Node(index) => Slot::Node(width + kept.binary_search(&index).expect("kept")),
                window => window,
            };
            columns.push(StreamColumn { slot, ..found.clone() });
        }
        // Keys are visible too, so that their canonical text is found.
        for (index, canonical) in texts.into_iter().enumerate() {
            columns.push(StreamColumn { slot: Slot::Node(index), role: Role::Plain, canonical });
        }
        let node = self.graph.project(stream.node, exprs, None);
        let schema = self.graph.node(node).schema.clone();
        let keys = (0..width).map(|index| (column(&schema, index), names[index].clone())).collect();
        (Stream { node, schema, columns, pending: None, ..stream.clone() }, keys)
    }

    /// Rows of a partition must stay in order on their way to a count window.
    fn order_sources(&mut self, node: NodeId) {
        if let OperatorSpec::Source(source) = self.graph.operator_mut(node) {
            source.ordered = true;
        }
        for input in self.graph.inputs_of(node) {
            self.order_sources(input);
        }
    }

    /// The stream of closed windows, with all columns of the operator.
    fn closed_stream(&self, input: &Stream, node: NodeId, closed: &Closed, parts: &Parts) -> Stream {
        let text = |label: String| -> Arc<str> { format!("{label}#{}", closed.id).into() };
        let schema = self.graph.node(node).schema.clone();
        let columns = (0..schema.fields().len()).map(|index| {
            let (role, canonical) = match index.checked_sub(parts.keys.len()) {
                None => (Role::Plain, text(format!("key{index}"))),
                Some(0) => (Role::Window(WindowColumn::Start), text("window_start".to_string())),
                Some(1) => (Role::Window(WindowColumn::End), text("window_end".to_string())),
                Some(position) => (Role::Plain, text(format!("aggregate{}", position - 2))),
            };
            StreamColumn { slot: Slot::Node(index), role, canonical }
        });
        Stream {
            node,
            columns: columns.collect(),
            schema,
            rows: text("closed".to_string()),
            pending: None,
            window: None,
            is_windowed: true,
            unwatermarked: input.unwatermarked.clone(),
        }
    }

    /// Columns in the order of the logical aggregate: groups, then aggregates.
    fn outputs(
        &mut self,
        stream: Stream,
        groups: &mut [Group],
        closed: &Closed,
        aggregates: usize,
        slot: &dyn Fn(WindowColumn) -> usize,
    ) -> Planned<Stream> {
        let plain = |index: usize| StreamColumn {
            slot: Slot::Node(index),
            role: Role::Plain,
            canonical: stream.canonical(&column(&stream.schema, index)),
        };
        let mut computed = vec![];
        let mut outputs = vec![];
        for group in groups.iter() {
            outputs.push(match group {
                Group::Key(index) => Ok(plain(*index)),
                Group::Window(part) => Ok(StreamColumn {
                    slot: Slot::Node(slot(*part)),
                    role: Role::Window(*part),
                    canonical: format!("{}#{}", part.name(), closed.id).into(),
                }),
                Group::Derived(expr) => {
                    computed.push((self.over_node(&stream, expr)?, expr.schema_name().to_string()));
                    Err(computed.len() - 1)
                }
            });
        }
        outputs.extend((0..aggregates).map(|index| Ok(plain(closed.keys + 2 + index))));
        if computed.is_empty() {
            let columns = outputs.into_iter().filter_map(Result::ok).collect();
            return Ok(Stream { columns, ..stream });
        }
        Ok(self.add_computed(stream, outputs, computed))
    }
}

fn canonical(window: &str, parts: &Parts, rows: &str) -> String {
    format!(
        "{window}; keys [{}]; aggregates [{}]; {rows}",
        parts.key_texts.join(", "),
        parts.aggregate_texts.join(", ")
    )
}

fn exchange(from: NodeId, keys: usize) -> Edge {
    Edge { from, exchange: Some(Exchange { key_columns: (0..keys).collect() }) }
}

fn key_names(parts: &Parts) -> Vec<String> {
    parts.keys.iter().map(|key| key.name.clone()).collect()
}

fn label(shown: &str, parts: &Parts) -> String {
    match parts.keys.is_empty() {
        true => shown.to_string(),
        false => format!("{} per {}", shown, key_names(parts).join(", ")),
    }
}

fn details(shown: &str, parts: &Parts) -> Vec<(&'static str, String)> {
    let keys = parts.keys.iter().map(|key| match display(&key.expr) {
        text if text == key.name => text,
        text => format!("{} := {text}", key.name),
    });
    let keys: Vec<String> = keys.collect();
    let aggregates: Vec<String> = parts.aggregates.iter().map(|aggregate| aggregate.expr.name().to_string()).collect();
    let mut details = vec![("window", shown.to_string())];
    if !keys.is_empty() {
        details.push(("keys", keys.join(", ")));
    }
    if !aggregates.is_empty() {
        details.push(("aggregates", aggregates.join(", ")));
    }
    details
}

fn closed_note(shown: &str, parts: &Parts, kept: &str, until: &str) -> NodeNote {
    let mut unique_key = key_names(parts);
    unique_key.extend(["window_start", "window_end"].map(str::to_string));
    NodeNote {
        unique_key: Some(unique_key),
        state: Some(StateNote { kept: kept.to_string(), until: until.to_string(), is_bounded: true }),
        details: details(shown, parts),
    }
}

fn key_fields(input: &Schema, parts: &Parts) -> Vec<FieldRef> {
    crate::plan::graph::projected_schema(input, &parts.keys).fields().iter().cloned().collect()
}

/// Keys, the pane or session bounds, and the state columns of every aggregate.
fn partial_schema(input: &Schema, parts: &Parts, bounds: &[&str]) -> SchemaRef {
    let mut fields = key_fields(input, parts);
    fields.extend(bounds.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, false))));
    for aggregate in &parts.aggregates {
        fields.extend(aggregate.expr.state_fields().expect("an aggregate that was lowered has state fields"));
    }
    Arc::new(Schema::new(fields))
}

/// Keys, the window's bounds, and the results.
fn final_schema(stream: &Stream, time_column: usize, parts: &Parts) -> SchemaRef {
    let time = stream.schema.field(time_column).data_type();
    let mut fields = key_fields(&stream.schema, parts);
    fields.extend(["window_start", "window_end"].map(|name| Arc::new(Field::new(name, time.clone(), false))));
    fields.extend(parts.aggregates.iter().map(|aggregate| aggregate.expr.field()));
    Arc::new(Schema::new(fields))
}
