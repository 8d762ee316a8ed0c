//! What an operator is to the runtime: a synchronous value that turns batches into batches and can be checkpointed.
//!
//! The runtime calls, per operator instance (one per worker) and never concurrently:
//! `restore` at most once, then any number of `batch`, `watermark`, `poll_more`; at each barrier, once it has arrived on
//! every input, `epoch_end`, and for checkpoints `snapshot` right after it. Input ports that delivered the barrier stay
//! unread until the whole worker has passed it, so an operator never sees rows of the next epoch early.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::{Batch, EngineError, EventTime};

/// Where an operator puts its output.
pub trait Emit {
    fn emit(&mut self, batch: Batch) -> Result<(), EngineError>;
}

impl Emit for Vec<Batch> {
    fn emit(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.push(batch);
        Ok(())
    }
}

/// The end of an epoch, travelling in band behind the epoch's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    pub checkpoint_epoch: u64,
    pub kind: BarrierKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BarrierKind {
    /// Results of the epoch become visible; nothing is made durable.
    Publish,
    /// State, positions and staged output become one manifest.
    Checkpoint,
    /// A checkpoint whose files are kept until told otherwise.
    Savepoint,
    /// The last checkpoint: the workers stop after it.
    Stop,
}

impl BarrierKind {
    /// Whether state is written at this barrier.
    pub fn is_durable(self) -> bool {
        self != Self::Publish
    }
}

/// Rows of state that became dirty since the last durable barrier, as **mergeable partials**.
///
/// Meaning of a table of state = the merge of all its rows (for aggregates: of all partial states of one key). So a
/// delta never needs the rows written before, segments merge by concatenation, and one row may be restored on any
/// worker.
#[derive(Debug, Clone)]
pub struct StateRows {
    /// First column: `__vnode` UInt16, the vnode of the row's key. Second column: `__expires` Int64, the watermark
    /// (microseconds) at or after which the row is dead, `i64::MAX` if only the operator knows. Then the operator's own.
    pub rows: RecordBatch,
}

/// What an operator instance wrote at a durable barrier.
#[derive(Debug, Clone, Default)]
pub struct StateDelta {
    pub rows: Vec<StateRows>,
    /// True: `rows` are all the state this instance has; what it wrote before is forgotten.
    pub replace: bool,
}

/// What an operator instance starts from: rows of its own vnodes only, at the restored manifest.
#[derive(Debug, Clone)]
pub struct RestoredState {
    pub rows: Vec<StateRows>,
    /// The operator's watermark at the checkpoint: rows whose `__expires` is not above it are gone already.
    pub event_watermark: EventTime,
}

/// What the runtime tells an operator instance about its place.
#[derive(Debug, Clone)]
pub struct OperatorContext {
    pub worker: usize,
    pub workers: usize,
    /// Rows an emitted batch should not exceed by much.
    pub batch_rows: usize,
}

/// A node of the plan on one worker.
pub trait Operator: Send {
    fn schema(&self) -> SchemaRef;

    /// Rows from input `port`.
    fn batch(&mut self, port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError>;

    /// The minimum over all inputs rose to `event_watermark`. The runtime forwards the returned value downstream after
    /// this call: usually the same; less if rows are still held back; `None` to forward nothing now.
    fn watermark(&mut self, event_watermark: EventTime, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        let _ = out;
        Ok(Some(event_watermark))
    }

    /// The epoch ends: emit whatever was held back for batching. Returns a watermark to forward, if holding back had
    /// delayed one.
    fn epoch_end(&mut self, barrier: Barrier, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        let _ = (barrier, out);
        Ok(None)
    }

    /// What changed since the last durable barrier. Must be cheap: hand out shared arrays, do not encode.
    fn snapshot(&mut self) -> Result<StateDelta, EngineError> {
        Ok(StateDelta::default())
    }

    fn restore(&mut self, state: RestoredState) -> Result<(), EngineError> {
        assert!(state.rows.is_empty(), "an operator without state is given none");
        Ok(())
    }

    /// Continues work put off by an earlier call (a large merge, say) in a bounded slice; false when nothing is left.
    fn poll_more(&mut self, out: &mut dyn Emit) -> Result<bool, EngineError> {
        let _ = out;
        Ok(false)
    }

    /// Bytes of state in memory.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Rows (keys, fragments) of state.
    fn state_rows(&self) -> usize {
        0
    }

    /// Rows dropped as late so far by this instance.
    fn late_rows(&self) -> u64 {
        0
    }
}
