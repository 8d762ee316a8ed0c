//! Dataflow runtime: runs a [`Plan`] on worker threads, exactly once.
//!
//! Every worker runs the whole graph; each owns a range of the key space (vnodes) and one instance of every
//! operator. Operators are synchronous values without a clock; IO lives in sources, sinks and the coordinator.
//! Barriers cut the streams of all sources into epochs; what is visible outside changes only at an epoch's end, and a
//! checkpoint's manifest is the single truth that a restart reads.
//!
//! Not here: SQL (`sql`), connectors (`connect`), file formats of checkpoints (`state`).

mod batch;
mod connector;
mod error;
mod operator;
mod operators;
mod plan;
mod runtime;

pub use crate::{
    batch::{Batch, EventTime},
    connector::{
        Chunk, Claim, Committed, DecodedChunk, Decoder, RowError, Sink, SinkCommitter, SinkContext, SinkWriter, Source,
        SourceContext, SourceFeed, SplitInfo, SplitPosition, StagedFuture, Waker, dead_letter_schema,
    },
    error::{EngineError, ErrorKind},
    operator::{Barrier, BarrierKind, Emit, Operator, OperatorContext, RestoredState, StateDelta, StateRows},
    operators::build_operator,
    plan::{
        Aggregate, ChangelogMode, CountWindowSpec, Edge, Exchange, NamedExpr, Node, NodeId, OnError, OperatorSpec,
        Plan, SessionSpec, SinkSpec, SourceSpec, WatermarkSpec, WindowAggregateSpec, WindowAssignSpec, WindowKind,
        WindowStage,
    },
    runtime::{
        FaultHook, FaultPoint, OperatorMetrics, Progress, RunHandle, RunOptions, Simulated, Started, Summary, simulate,
        start,
    },
};
