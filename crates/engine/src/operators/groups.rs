//! A table of groups: keys and the accumulators of their aggregates.

use arrow::array::{ArrayRef, RecordBatch};

use super::aggregates::{Accumulators, Aggregates};
use super::keys::{KeyTable, Keys};
use crate::EngineError;

/// Groups by key, filled from partial states and read once.
pub(super) struct GroupTable {
    keys: KeyTable,
    accumulators: Accumulators,
    numbers: Vec<usize>,
}

impl GroupTable {
    pub fn new(keys: &Keys, aggregates: &Aggregates) -> Result<Self, EngineError> {
        Ok(Self { keys: keys.table()?, accumulators: aggregates.accumulators()?, numbers: Vec::new() })
    }

    /// Merges `rows` partial states.
    pub fn merge(&mut self, keys: &[ArrayRef], states: &[ArrayRef], rows: usize) -> Result<(), EngineError> {
        self.keys.intern(keys, rows, &mut self.numbers)?;
        self.accumulators.merge(states, &self.numbers, self.keys.len())
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys and partial states of all groups.
    pub fn into_states(mut self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>), EngineError> {
        Ok((self.keys.take()?, self.accumulators.take_states()?))
    }

    /// Keys and results of all groups.
    pub fn into_results(mut self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>), EngineError> {
        Ok((self.keys.take()?, self.accumulators.evaluate()?))
    }

    pub fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes() + self.accumulators.memory_bytes() + self.numbers.capacity() * size_of::<usize>()
    }
}

/// Bytes of a batch's own rows, also if it is a slice of larger arrays.
pub(super) fn sliced_bytes(rows: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
    rows.columns().iter().map(bytes).sum()
}
