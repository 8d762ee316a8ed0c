//! Which state rows the next checkpoint takes: all rows that came since the last one, or the whole state afresh.
//!
//! Why both: a delta costs only what is new, but rows of owners that ended stay in the checkpoint for ever. So once the
//! rows written are several times those alive, the operator writes its whole state and what it wrote before is forgotten.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::limits::SLACK_ROWS;
use crate::{EngineError, StateDelta, StateRows};

#[derive(Default)]
pub(super) struct Unsaved {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Rows in the checkpoint since the whole state was last written.
    written: usize,
    overflowed: bool,
}

impl Unsaved {
    /// Remembers rows that the checkpoint does not have; `all` is the number of rows that the whole state would be.
    pub fn push(&mut self, rows: RecordBatch, all: usize) {
        if self.overflowed {
            return;
        }
        self.rows += rows.num_rows();
        self.batches.push(rows);
        if self.rows > 2 * all + 10 * SLACK_ROWS {
            // No barrier for long: the whole state is smaller than what piled up.
            self.overflowed = true;
            self.batches.clear();
        }
    }

    /// Rows restored from a checkpoint, which has them already.
    pub fn restored(&mut self, rows: usize) {
        self.written += rows;
    }

    /// Whether the next snapshot should be the whole state.
    pub fn wants_all(&self, all: usize) -> bool {
        self.overflowed || self.written + self.rows > 2 * all + SLACK_ROWS
    }

    pub fn take_delta(&mut self, schema: &SchemaRef) -> Result<StateDelta, EngineError> {
        self.written += self.rows;
        self.rows = 0;
        let batches = std::mem::take(&mut self.batches);
        if batches.is_empty() {
            return Ok(StateDelta::default());
        }
        // The batches are as small as the exchange delivers them: one copy here is cheaper than many tiny writes.
        let rows = if batches.len() == 1 { batches[0].clone() } else { concat_batches(schema, &batches)? };
        Ok(StateDelta { rows: vec![StateRows { rows }], replace: false })
    }

    pub fn take_all(&mut self, batches: Vec<RecordBatch>) -> StateDelta {
        *self = Self { written: batches.iter().map(RecordBatch::num_rows).sum(), ..Self::default() };
        let batches = batches.into_iter().filter(|rows| rows.num_rows() > 0);
        StateDelta { rows: batches.map(|rows| StateRows { rows }).collect(), replace: true }
    }

    pub fn memory_bytes(&self) -> usize {
        // The arrays are mostly shared with the runs in memory; what is not is at most as much again.
        self.batches.capacity() * size_of::<RecordBatch>()
    }
}
