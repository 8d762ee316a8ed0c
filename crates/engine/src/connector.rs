//! What every connector implements: sources that hand out work in order, sinks that stage and commit.
//!
//! A source is read by all workers through one shared [`SourceFeed`]: a worker *claims* the next chunk of a split under a
//! lock and decodes it outside the lock with its own [`Decoder`]. Claims of a split are handed out in order, so the rows
//! claimed before a barrier are a prefix of every split and [`SourceFeed::positions`] at that moment is the checkpoint.
//!
//! A sink stages an epoch's output durably ([`SinkWriter::epoch_end`]), the manifest names what was staged, and only then
//! is it committed ([`SinkCommitter::commit`]), as often as needed: commits are idempotent.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;

use crate::{Barrier, Batch, EngineError, EventTime};

/// How far a split has been claimed, in the connector's own words; goes into the manifest as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SplitPosition {
    /// Names the split for ever: a file's path or URL, a topic partition.
    pub split: String,
    /// Connector's own: byte position and line, row group, event number; file identity to notice replacement.
    pub position: serde_json::Value,
    pub finished: bool,
}

/// What a source learns when it is opened.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// Follow growth and new splits until stopped, instead of ending at the present end.
    pub watch: bool,
    pub workers: usize,
    /// Upper bound of rows in a decoded batch.
    pub batch_rows: usize,
    /// Where IO runs.
    pub io: tokio::runtime::Handle,
    /// Called by IO tasks when a `Pending` feed may have something to claim.
    pub wake: Arc<dyn Waker>,
    /// Indices (into the declared schema) of columns that the plan reads; the others may be skipped and left out of the
    /// decoded batches. `None`: all.
    pub projection: Option<Vec<usize>>,
    /// Index of the event-time column in the *declared* schema, if there is one: feeds with several splits hand out the
    /// split that is furthest behind first.
    pub time_column: Option<usize>,
}

/// Wakes workers that sleep because there was nothing to claim.
pub trait Waker: Send + Sync + Debug {
    fn wake(&self);
}

/// A declared source. One value per `CREATE SOURCE`, shared.
pub trait Source: Send + Sync + Debug {
    /// Columns of a row, in order, before projection: physical columns, then metadata columns if any were declared.
    fn schema(&self) -> SchemaRef;

    /// One line for EXPLAIN: connector and place.
    fn describe(&self) -> String;

    /// Opens the source at `positions` (empty: from the start). Splits not named there are read from their start.
    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError>;

    /// True if the connector never ends by itself, even without `watch`.
    fn is_unbounded(&self) -> bool {
        false
    }
}

/// Hands out the work of one source; lives behind the engine's lock for that source.
pub trait SourceFeed: Send {
    /// The next chunk, without waiting for IO.
    fn claim(&mut self) -> Result<Claim, EngineError>;

    /// Positions of all splits after every chunk claimed so far.
    fn positions(&self) -> Vec<SplitPosition>;

    /// Splits known so far, by index ([`Chunk::split`]).
    fn splits(&self) -> Vec<SplitInfo>;

    /// The engine tells how far the event time of a split has come; feeds use it to choose the split to serve next.
    fn split_progress(&mut self, split: u32, event_time: EventTime) {
        let _ = (split, event_time);
    }

    /// Called before each claim of a source with `watermark.max_drift`: splits that have come further than `ceiling` wait,
    /// as if they had nothing to give. The split furthest behind is never above it.
    fn hold_above(&mut self, ceiling: EventTime) {
        let _ = ceiling;
    }

    /// A decoder for one worker.
    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError>;

    /// Units done and in total (bytes, events), for a progress bar; total is `None` when there is no end.
    fn progress(&self) -> (u64, Option<u64>);
}

/// A split as the engine needs to know it.
#[derive(Debug, Clone)]
pub struct SplitInfo {
    pub name: String,
    /// No row of this split will be below this (before the watermark's own delay), if the connector knows already, e.g. from
    /// the first row or from column statistics; lets the event watermark pass splits that are not begun.
    pub lowest_event_time: Option<EventTime>,
    pub finished: bool,
}

/// What there is to claim.
pub enum Claim {
    Chunk(Chunk),
    /// Nothing now; the waker will be called.
    Pending,
    /// Never again anything: every split is finished.
    Finished,
}

/// A piece of one split, not yet decoded.
pub struct Chunk {
    pub split: u32,
    /// 0, 1, 2, ... within the split since it was opened.
    pub sequence: u64,
    pub payload: Box<dyn Any + Send>,
}

/// Turns chunks into rows, on a worker's thread; keeps its buffers from call to call.
pub trait Decoder: Send {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError>;
}

/// The rows of a chunk, in their order.
#[derive(Debug, Default)]
pub struct DecodedChunk {
    /// Batches of the projected schema.
    pub batches: Vec<RecordBatch>,
    /// Rows that could not be decoded.
    pub errors: Vec<RowError>,
    /// Bytes (or events) this chunk stood for.
    pub input_bytes: u64,
}

/// A row that could not be taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct RowError {
    /// The row as it came (cut at 64 KiB).
    pub bytes: Vec<u8>,
    /// The split's name.
    pub split: Arc<str>,
    /// Byte position of the row in its (decompressed) file, or the offset in its partition.
    pub position: u64,
    /// Line, counted from 1, if the format has lines.
    pub line: Option<u64>,
    pub error: String,
}

/// Staged output of one writer: resolves once it is durable, to the references that the manifest keeps.
pub type StagedFuture = BoxFuture<'static, Result<Vec<serde_json::Value>, EngineError>>;

/// What a sink's writers learn when they are opened.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Pipeline and sink, e.g. `flights/daily_delays`; same after a restart.
    pub owner: String,
    /// Rises with each start of the pipeline; part of staged names so that an old process cannot collide.
    pub generation: u64,
    pub worker: usize,
    pub io: tokio::runtime::Handle,
}

/// A declared sink. One value per `CREATE SINK`, shared.
pub trait Sink: Send + Sync + Debug {
    /// One line for EXPLAIN: connector and place.
    fn describe(&self) -> String;

    /// Refuses a schema that cannot be written, at plan time.
    fn accept(&self, schema: &SchemaRef) -> Result<(), EngineError>;

    /// A writer for one worker.
    fn writer(&self, context: SinkContext, schema: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError>;

    /// The committer, one per run, used by the coordinator.
    fn committer(&self, context: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError>;

    /// Whether a crash can never show in the target (false: at least once, and the docs say so).
    fn is_exactly_once(&self) -> bool;

    /// Removes what this sink has written, and only that, for a start from nothing (`--restart`).
    fn reset(&self, context: SinkContext) -> BoxFuture<'_, Result<(), EngineError>> {
        let _ = context;
        Box::pin(async { Ok(()) })
    }
}

/// Writes rows on a worker's thread.
pub trait SinkWriter: Send {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError>;

    /// The epoch ends. At a durable barrier everything written since the last durable one is staged, and the future
    /// resolves when it cannot be lost any more. At a publish barrier, sinks that show results at once do so.
    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError>;
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    pub files: u64,
    pub bytes: u64,
}

/// Makes staged output visible in the target.
pub trait SinkCommitter: Send + Sync {
    /// Called once before workers start. `last` are the references of the manifest that is restored (none on a first
    /// start): they are committed (again), and anything staged that they do not name is removed. On a first start the
    /// target must be empty of foreign output, or the error says so.
    fn recover<'a>(
        &'a self,
        last: Option<(u64, &'a [serde_json::Value])>,
    ) -> BoxFuture<'a, Result<Committed, EngineError>>;

    /// Commits what the manifest of `checkpoint_epoch` names. May be called again with the same arguments.
    fn commit<'a>(
        &'a self,
        checkpoint_epoch: u64,
        staged: &'a [serde_json::Value],
    ) -> BoxFuture<'a, Result<Committed, EngineError>>;
}

/// Columns of a dead-letter row: `source`, `split`, `position`, `line`, `error`, `text` (the bytes, with invalid UTF-8
/// replaced), `bytes`.
pub fn dead_letter_schema() -> SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema};
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("position", DataType::Int64, false),
        Field::new("line", DataType::Int64, true),
        Field::new("error", DataType::Utf8, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("bytes", DataType::Binary, false),
    ]))
}
