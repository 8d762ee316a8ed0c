//! The physical dataflow graph that the SQL planner hands to the runtime.
//!
//! Nodes stand in topological order. An edge with an [`Exchange`] moves rows between workers by key; all others are calls
//! inside one worker, so nodes between two exchanges form a chain.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::{Sink, Source};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub usize);

/// A pipeline, planned.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    /// In topological order; `nodes[i].id == NodeId(i)`.
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub id: NodeId,
    /// Shown by EXPLAIN, metrics and errors, e.g. `window aggregate (origin)`.
    pub name: String,
    /// Content-addressed: hash of the normalised subplan, its keys and the state's version. Same id, same state.
    /// Present exactly on nodes that keep state.
    pub state_id: Option<String>,
    pub operator: OperatorSpec,
    pub inputs: Vec<Edge>,
    pub schema: SchemaRef,
    /// Column of `schema` that carries event time, bound by the watermark, if one still does.
    pub time_column: Option<usize>,
    pub changelog: ChangelogMode,
}

/// Whether rows are only ever added, or also taken back (weight column `__w`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ChangelogMode {
    AppendOnly,
    Updating,
}

#[derive(Debug, Clone)]
pub struct Edge {
    pub from: NodeId,
    /// `None`: rows stay on their worker.
    pub exchange: Option<Exchange>,
}

/// Rows go to the worker that owns the vnode of these columns' values (stable key encoding of `state`).
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Columns of the producer's schema. Empty: all rows to the owner of vnode 0.
    pub key_columns: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct NamedExpr {
    pub expr: Arc<dyn PhysicalExpr>,
    pub name: String,
}

#[derive(Debug, Clone)]
pub enum OperatorSpec {
    Source(SourceSpec),
    /// The dead-letter rows of the source node that is its only input (edge without exchange). Schema: see
    /// `dead_letter_schema`.
    DeadLetters,
    Project(Vec<NamedExpr>),
    Filter(Arc<dyn PhysicalExpr>),
    /// All inputs have one schema.
    Union,
    /// Adds `window_start`, `window_end` (and repeats rows for overlapping windows) without aggregating.
    WindowAssign(WindowAssignSpec),
    WindowAggregate(WindowAggregateSpec),
    Session(SessionSpec),
    CountWindow(CountWindowSpec),
    Sink(SinkSpec),
}

#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// Its name in SQL.
    pub name: String,
    pub source: Arc<dyn Source>,
    /// Columns of `source.schema()` that are decoded, ascending; the node's schema is exactly these.
    pub projection: Vec<usize>,
    pub watermark: Option<WatermarkSpec>,
    pub on_error: OnError,
    /// Rows of one partition must reach each key's owner in the partition's order (count windows): a split is read by
    /// one worker at a time instead of chunk by chunk by all.
    pub ordered: bool,
}

/// Event time of a source.
#[derive(Debug, Clone)]
pub struct WatermarkSpec {
    /// Event time of a row, over the node's (projected) schema, of a timestamp type; a bare column unless the time column is
    /// computed. Rows where it is null are bad rows.
    pub time: Arc<dyn PhysicalExpr>,
    /// The `AS` expression over the node's schema, of a timestamp type.
    pub expr: Arc<dyn PhysicalExpr>,
    /// A partition that is polled and empty for so long no longer holds the watermark back.
    pub idle_timeout: Option<Duration>,
    /// How far in event time one partition may run ahead of the slowest.
    pub max_drift: Option<Duration>,
}

/// What happens with rows that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum OnError {
    Fail,
    Drop,
    /// They become rows of the `DeadLetters` node.
    DeadLetter,
}

/// Lengths in microseconds; `offset` shifts window starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum WindowKind {
    Tumble {
        size: i64,
        offset: i64,
    },
    Hop {
        size: i64,
        slide: i64,
        offset: i64,
    },
    /// Windows that grow by `step` up to `size`, then start again.
    Cumulate {
        size: i64,
        step: i64,
        offset: i64,
    },
}

#[derive(Debug, Clone)]
pub struct WindowAssignSpec {
    pub kind: WindowKind,
    /// Time column of the input. Output schema: input columns, then `window_start`, `window_end` of the same type as the time column.
    pub time_column: usize,
}

/// One aggregate call with its `FILTER (WHERE ...)`.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub expr: Arc<AggregateFunctionExpr>,
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Which half of a two-stage aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowStage {
    /// In front of the exchange: input rows to partial states, no state across barriers.
    /// Output: key columns, then `__pane` (Int64, pane start in microseconds; sessions: `__start`, `__end`), then the state columns of
    /// every aggregate in order.
    Local,
    /// Behind it: merges partial states, keeps panes, emits closed windows.
    /// Output: key columns, `window_start`, `window_end` (type of the time column), aggregate results.
    Global,
}

#[derive(Debug, Clone)]
pub struct WindowAggregateSpec {
    pub stage: WindowStage,
    pub kind: WindowKind,
    /// Over the schema of the *local* stage's input, in both stages.
    pub input_schema: SchemaRef,
    pub time_column: usize,
    pub keys: Vec<NamedExpr>,
    pub aggregates: Vec<Aggregate>,
}

#[derive(Debug, Clone)]
pub struct SessionSpec {
    pub stage: WindowStage,
    /// Microseconds without a row that end a session; rows exactly `gap` apart are still one session.
    pub gap: i64,
    pub input_schema: SchemaRef,
    pub time_column: usize,
    pub keys: Vec<NamedExpr>,
    pub aggregates: Vec<Aggregate>,
}

/// Every `size` rows of a key make a window (tumbling), in the order of arrival; single stage behind the exchange.
/// Output: key columns, `window_start`, `window_end` (Int64 row numbers of the key, half-open), aggregate results.
#[derive(Debug, Clone)]
pub struct CountWindowSpec {
    pub size: u64,
    pub input_schema: SchemaRef,
    pub keys: Vec<NamedExpr>,
    pub aggregates: Vec<Aggregate>,
}

#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Its name in SQL.
    pub name: String,
    pub sink: Arc<dyn Sink>,
}
