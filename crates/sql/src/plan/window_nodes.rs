//! Nodes of windowed aggregations: local stage, exchange by key, global stage.
//!
//! Without keys all partial rows go to one worker: they are few, since the local stage has aggregated them already, and
//! windows of one key must meet.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Aggregate as LogicalAggregate;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use thalweg_engine::{
    CountWindowSpec, Edge, Exchange, NamedExpr, NodeId, OperatorSpec, SessionSpec, WindowAggregateSpec, WindowKind,
    WindowStage,
};

use crate::plan::aggregate::{Closed, Parts};
use crate::plan::graph::{Draft, NodeNote, StateNote, column, display, local, state_id, unique_name};
use crate::plan::stream::{Pending, Role, Slot, Stream, StreamColumn};
use crate::plan::translate::{Planned, Translator};
use crate::plan::window_tvf::Window;

impl Translator<'_> {
    pub(crate) fn time_window(&mut self, stream: &Stream, pending: &Pending, parts: &Parts) -> Closed {
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

    pub(crate) fn add_window_aggregate(
        &mut self,
        stream: &Stream,
        kind: WindowKind,
        time_column: usize,
        time_text: &str,
        parts: &Parts,
        shown: &str,
    ) -> Closed {
        let canonical = canonical(&format!("{kind:?} over {time_text}"), parts, &stream.rows);
        let found = |node| Closed { node, id: state_id(&canonical), keys: parts.keys.len(), has_time: true };
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
        let found = |node| Closed { node, id: state_id(&canonical), keys: parts.keys.len(), has_time: true };
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

    pub(crate) fn count_window(
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
            return Ok((Closed { node, id, keys: width, has_time: false }, parts));
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
        Ok((Closed { node, id, keys: width, has_time: false }, parts))
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
        let key_of = |index: &usize| {
            keys.iter()
                .position(|(expr, _)| expr.downcast_ref::<Column>().is_some_and(|column| column.index() == *index))
        };
        kept.retain(|index| key_of(index).is_none());
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
        let moved =
            |index: usize| key_of(&index).unwrap_or_else(|| width + kept.binary_search(&index).expect("kept or a key"));
        let mut columns: Vec<StreamColumn> = vec![];
        for found in &stream.columns {
            let slot = match found.slot {
                Slot::Node(index) => Slot::Node(moved(index)),
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
