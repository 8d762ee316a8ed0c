//! Partial states of one pane: a table that takes new ones, and immutable runs.
//!
//! Why runs: a barrier turns the table into Arrow columns once; the checkpoint and the pane share them, and nothing
//! is encoded or written twice. A pane's content is the merge of its table and all its runs. Many small runs are merged
//! into fewer, in sizes that grow geometrically, so that every row is merged a logarithmic number of times.
//! Invariant: saved runs and runs not yet in a checkpoint are never merged with each other.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use super::groups::{GroupTable, sliced_bytes};
use super::layout::StateLayout;
use super::limits::PANE_RUNS_MAX;
use crate::EngineError;

/// Where state rows belong: `__pane` and `__expires`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub code: i64,
    pub expires: i64,
}

/// Merges state rows into `table`.
pub(super) fn merge_into(layout: &StateLayout, table: &mut GroupTable, rows: &RecordBatch) -> Result<(), EngineError> {
    table.merge(layout.keys_of(rows), layout.states_of(rows), rows.num_rows())
}

/// The content of `table` as state rows of one pane.
fn state_rows(layout: &StateLayout, table: GroupTable, place: Place) -> Result<RecordBatch, EngineError> {
    let rows = table.len();
    let (keys, states) = table.into_states()?;
    let pane: ArrayRef = Arc::new(Int64Array::from_value(place.code, rows));
    layout.state_rows(rows, place.expires, &[pane], keys, states)
}

#[derive(Clone)]
pub(super) struct Run {
    pub rows: RecordBatch,
    bytes: usize,
    saved: bool,
}

/// One pane (or one window's late corrections).
#[derive(Default)]
pub(super) struct Pane {
    pub recent: Option<GroupTable>,
    runs: Vec<Run>,
}

impl Pane {
    /// Adds partial states from the local stage.
    pub fn merge(
        &mut self,
        layout: &StateLayout,
        keys: &[ArrayRef],
        states: &[ArrayRef],
        rows: usize,
    ) -> Result<(), EngineError> {
        if self.recent.is_none() {
            self.recent = Some(layout.table()?);
        }
        self.recent.as_mut().expect("set above").merge(keys, states, rows)
    }

    /// Adds state rows of a checkpoint.
    pub fn restore(&mut self, rows: RecordBatch) {
        self.push(rows, true);
    }

    fn push(&mut self, rows: RecordBatch, saved: bool) {
        let bytes = sliced_bytes(&rows);
        self.runs.push(Run { rows, bytes, saved });
    }

    /// Turns the table into a run.
    pub fn drain(&mut self, layout: &StateLayout, place: Place) -> Result<(), EngineError> {
        if let Some(table) = self.recent.take() {
            self.push(state_rows(layout, table, place)?, false);
        }
        Ok(())
    }

    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    pub fn into_runs(self) -> impl Iterator<Item = Run> {
        self.runs.into_iter()
    }

    /// Hands over the runs that no checkpoint has yet; from now on they count as saved.
    pub fn take_unsaved(&mut self, unsaved: &mut Vec<RecordBatch>) {
        for run in self.runs.iter_mut().filter(|run| !run.saved) {
            run.saved = true;
            unsaved.push(run.rows.clone());
        }
    }

    pub fn is_crowded(&self) -> bool {
        let saved = self.runs.iter().filter(|run| run.saved).count();
        saved.max(self.runs.len() - saved) > PANE_RUNS_MAX
    }

    /// Merges the younger runs of the kind that has too many.
    pub fn compact(&mut self, layout: &StateLayout, place: Place) -> Result<(), EngineError> {
        let saved_count = self.runs.iter().filter(|run| run.saved).count();
        let saved = saved_count > PANE_RUNS_MAX;
        let (mut merged_rows, mut table, mut merged) = (0, layout.table()?, 0);
        let mut kept = Vec::new();
        for run in std::mem::take(&mut self.runs).into_iter().rev() {
            let rows = run.rows.num_rows();
            let joins = run.saved == saved && (merged < 2 || rows <= 2 * merged_rows);
            if joins {
                merge_into(layout, &mut table, &run.rows)?;
                merged += 1;
                merged_rows += rows;
            } else {
                // Older runs of this kind are larger still: none of them joins any more.
                merged_rows = if run.saved == saved { 0 } else { merged_rows };
                kept.push(run);
            }
        }
        kept.reverse();
        self.runs = kept;
        self.push(state_rows(layout, table, place)?, saved);
        Ok(())
    }

    pub fn rows(&self) -> usize {
        let runs: usize = self.runs.iter().map(|run| run.rows.num_rows()).sum();
        runs + self.recent.as_ref().map_or(0, GroupTable::len)
    }

    pub fn memory_bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(|run| run.bytes).sum();
        runs + self.recent.as_ref().map_or(0, GroupTable::memory_bytes)
    }
}
