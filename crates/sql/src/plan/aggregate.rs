//! Windowed aggregation: two stages around an exchange by key.
//!
//! Three cases. Windows that a function right below announces are assigned and aggregated in one operator. Windows that
//! are columns already (of an inner aggregation, or assigned row by row) are aggregated as panes that end where the
//! windows end. Without any window the result would change with every row: refused.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use thalweg_engine::{Aggregate, NamedExpr, NodeId, WindowKind};

use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::plan::graph::{column, display, display_aggregate, unique_name};
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
pub(crate) struct Parts {
    pub keys: Vec<NamedExpr>,
    pub key_texts: Vec<Arc<str>>,
    pub aggregates: Vec<Aggregate>,
    pub aggregate_texts: Vec<String>,
}

/// An aggregation that was added to the graph.
pub(crate) struct Closed {
    pub node: NodeId,
    /// Canonical, short.
    pub id: String,
    pub keys: usize,
    /// Whether its windows are of event time.
    pub has_time: bool,
}

impl Closed {
    fn role(&self, part: WindowColumn) -> Role {
        if self.has_time { Role::Window(part) } else { Role::Plain }
    }
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
                _ => display(&physical),
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

    pub(crate) fn parts(
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

    /// Refuses aggregates that cannot be merged from parts of unsorted input; warns of those that depend on luck.
    fn check_aggregate(&mut self, aggregate: &AggregateFunctionExpr) -> Planned<()> {
        let function = aggregate.fun().name();
        // In WITHIN GROUP (ORDER BY ...) the order names what is aggregated, and string_agg sorts what it has collected:
        // neither needs rows to arrive sorted.
        let needs_order = aggregate.order_sensitivity().hard_requires()
            && !aggregate.fun().supports_within_group_clause()
            && function != "string_agg";
        if needs_order && !aggregate.order_bys().is_empty() {
            return Err(self.at_group(
                &format!("{function}(... ORDER BY ...) needs its whole input sorted, which streams are not"),
                "collect with array_agg(... ORDER BY ...) in an inner query and take from the array outside of it",
            ));
        }
        if let Err(error) = aggregate.create_accumulator() {
            let found = diagnostics_of(&error, self.group_span);
            let several = aggregate.is_distinct() && aggregate.expressions().len() > 1;
            let hint = several.then(|| format!("combine them: {function}(DISTINCT struct(a, b))"));
            return Err(found.into_iter().map(|diagnostic| diagnostic.with_hint_if(hint.clone())).collect());
        }
        let takes_any_order =
            matches!(function, "array_agg" | "string_agg" | "first_value" | "last_value" | "nth_value");
        if takes_any_order && aggregate.order_bys().is_empty() {
            self.warnings.push(format!(
                "{function} without ORDER BY takes rows in the order of arrival, which differs from run to run; write \
                 {function}(... ORDER BY ...)"
            ));
        }
        Ok(())
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
        self.check_aggregate(&lowered.aggregate)?;
        Ok(Aggregate { expr: lowered.aggregate, filter: lowered.filter })
    }

    /// The stream of closed windows, with all columns of the operator.
    fn closed_stream(&self, input: &Stream, node: NodeId, closed: &Closed, parts: &Parts) -> Stream {
        let text = |label: String| -> Arc<str> { format!("{label}#{}", closed.id).into() };
        let schema = self.graph.node(node).schema.clone();
        let columns = (0..schema.fields().len()).map(|index| {
            let (role, canonical) = match index.checked_sub(parts.keys.len()) {
                None => (Role::Plain, text(format!("key{index}"))),
                Some(0) => (closed.role(WindowColumn::Start), text("window_start".to_string())),
                Some(1) => (closed.role(WindowColumn::End), text("window_end".to_string())),
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
            origins: input.origins.clone(),
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
                    role: closed.role(*part),
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
