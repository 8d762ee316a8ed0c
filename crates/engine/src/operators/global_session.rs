//! Second half of a session aggregation: joins fragments to sessions and emits those that closed.
//!
//! A session of rows up to `last` is the window `[first, last + gap)`. It closes when the watermark is strictly above
//! `last + gap`, since a row exactly the gap later still belongs to it. Closing goes in bounded slices.
//! The forwarded watermark lies a microsecond behind, so that it bounds the last instant of the sessions still to come,
//! `window_end` - 1 us, which is their event time downstream.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

use super::fragments::{Chain, FragmentStore};
use super::keys::KeyTable;
use super::layout::{StateLayout, int64};
use super::limits::{CHAIN_MAX, LONG_FRAGMENTS_MAX, SLICE_ROWS, SWEEP_MIN};
use super::local_window::emit_sliced;
use super::open_sessions::{OpenSessions, Session};
use super::times::TimeColumn;
use super::unsaved::Unsaved;
use crate::{
    Barrier, Batch, Emit, EngineError, EventTime, Operator, OperatorContext, RestoredState, SessionSpec, StateDelta,
    StateRows,
};

pub(super) struct GlobalSession {
    schema: SchemaRef,
    gap: i64,
    time: TimeColumn,
    layout: StateLayout,
    batch_rows: usize,
    keys: KeyTable,
    open: OpenSessions,
    store: FragmentStore,
    unsaved: Unsaved,
    /// Where rewriting all sessions has come to, if it is under way.
    sweep: Option<u32>,
    /// Sessions with long chains, and how many fragments they have together.
    long: Vec<u32>,
    long_fragments: usize,
    event_watermark: EventTime,
    withheld: bool,
    late_rows: u64,
    numbers: Vec<usize>,
}

impl GlobalSession {
    pub fn new(spec: &SessionSpec, schema: SchemaRef, context: &OperatorContext) -> Result<Self, EngineError> {
        let layout = StateLayout::new(&spec.keys, &spec.input_schema, &spec.aggregates, &["__start", "__end"])?;
        let columns = spec.keys.len() + 2 + spec.aggregates.len();
        if schema.fields().len() != columns {
            return Err(EngineError::bug(format!(
                "a session aggregation of {columns} columns (keys, window bounds, results) has an output of {}",
                schema.fields().len()
            )));
        }
        Ok(Self {
            schema,
            gap: spec.gap,
            time: TimeColumn::new(&spec.input_schema, spec.time_column)?,
            keys: layout.keys.table()?,
            layout,
            batch_rows: context.batch_rows.max(1),
            open: OpenSessions::default(),
            store: FragmentStore::default(),
            unsaved: Unsaved::default(),
            sweep: None,
            long: Vec::new(),
            long_fragments: 0,
            event_watermark: EventTime::MIN,
            withheld: false,
            late_rows: 0,
            numbers: Vec::new(),
        })
    }

    /// Rows of the local half as state rows, without late ones.
    fn state_rows_of(&mut self, rows: RecordBatch) -> Result<Option<RecordBatch>, EngineError> {
        let width = self.layout.keys.width();
        let ends = int64(&rows, width + 1)?.values();
        let is_late = |&end: &i64| end.saturating_add(self.gap) < self.event_watermark.0;
        let late = ends.iter().filter(|end| is_late(end)).count();
        let rows = if late == 0 {
            rows
        } else {
            self.late_rows += late as u64;
            let kept = (0..ends.len()).filter(|&row| !is_late(&ends[row])).map(|row| row as u32);
            take_record_batch(&rows, &UInt32Array::from_iter_values(kept))?
        };
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let (keys, rest) = rows.columns().split_at(width);
        let (bounds, states) = rest.split_at(2);
        self.layout.state_rows(rows.num_rows(), i64::MAX, bounds, keys.to_vec(), states.to_vec()).map(Some)
    }

    /// Brings state rows into the sessions they belong to.
    fn add(&mut self, rows: RecordBatch) -> Result<(), EngineError> {
        let count = rows.num_rows();
        self.keys.intern(self.layout.keys_of(&rows), count, &mut self.numbers)?;
        self.open.reserve_keys(self.keys.len());
        let starts = self.layout.extra(&rows, 0)?.values().clone();
        let ends = self.layout.extra(&rows, 1)?.values().clone();
        let run = self.store.add_run(rows);
        for row in 0..count {
            let chain = self.store.single(run, row);
            let bounds = (starts[row], ends[row]);
            let (slot, before, after) =
                self.open.add(&mut self.store, self.gap, self.numbers[row] as u32, bounds, chain);
            if after > CHAIN_MAX {
                self.long_fragments += (after - before) as usize;
                if before <= CHAIN_MAX {
                    self.long.push(slot);
                }
            }
        }
        Ok(())
    }

    /// Keeps memory in proportion to what is open, with work in proportion to the `rows` that came or went.
    fn tidy(&mut self, rows: usize) -> Result<(), EngineError> {
        if self.long_fragments > LONG_FRAGMENTS_MAX {
            let long = std::mem::take(&mut self.long);
            self.long_fragments = 0;
            self.rewrite(&long)?;
        }
        self.store.join_small_runs(&self.layout)?;
        if self.sweep.is_none() && self.store.is_sparse() {
            self.sweep = Some(0);
        }
        if let Some(from) = self.sweep {
            let to = (from as usize + SWEEP_MIN + 2 * rows).min(self.open.slot_count()) as u32;
            let slots: Vec<u32> = (from..to).collect();
            self.rewrite(&slots)?;
            self.sweep = ((to as usize) < self.open.slot_count()).then_some(to);
        }
        if self.open.is_sparse() {
            let kept = UInt32Array::from(self.open.renumber_keys());
            let columns = self.keys.take()?;
            let columns: Vec<_> = columns.iter().map(|key| take(key, &kept, None)).collect::<Result<_, _>>()?;
            self.keys = self.layout.keys.table()?;
            self.keys.intern(&columns, kept.len(), &mut self.numbers)?;
        }
        Ok(())
    }

    /// Merges the fragments of each of these sessions into one.
    fn rewrite(&mut self, slots: &[u32]) -> Result<(), EngineError> {
        for slots in slots.chunks(SLICE_ROWS) {
            // A session may have been closed, or listed twice.
            let mut slots = slots.to_vec();
            slots.sort_unstable();
            slots.dedup();
            slots.retain(|&slot| self.open.get_mut(slot).is_some());
            let sessions: Vec<Session> = slots.iter().filter_map(|&slot| self.open.get_mut(slot).copied()).collect();
            if sessions.is_empty() {
                continue;
            }
            let chains: Vec<Chain> = sessions.iter().map(|session| session.chain).collect();
            let [keys, states] = self.store.merge(&self.layout, &chains)?;
            let bounds: [ArrayRef; 2] = [
                Arc::new(Int64Array::from_iter_values(sessions.iter().map(|session| session.start))),
                Arc::new(Int64Array::from_iter_values(sessions.iter().map(|session| session.end))),
            ];
            let rows = self.layout.state_rows(sessions.len(), i64::MAX, &bounds, keys, states)?;
            let run = self.store.add_run(rows);
            for (row, (&slot, &chain)) in slots.iter().zip(&chains).enumerate() {
                let single = self.store.single(run, row);
                self.open.get_mut(slot).expect("looked up above").chain = single;
                self.store.supersede(chain);
            }
        }
        Ok(())
    }

    /// One slice of closing sessions; true when none is left to close.
    fn close_some(&mut self, out: &mut dyn Emit) -> Result<bool, EngineError> {
        let (mut closed, mut fragments) = (Vec::new(), 0);
        let mut done = true;
        while let Some(session) = self.open.pop_closed(self.gap, self.event_watermark.0) {
            fragments += session.chain.len as usize;
            closed.push(session);
            if fragments >= SLICE_ROWS {
                done = false;
                break;
            }
        }
        if closed.is_empty() {
            return Ok(done);
        }
        let chains: Vec<Chain> = closed.iter().map(|session| session.chain).collect();
        let [mut columns, results] = self.store.evaluate(&self.layout, &chains)?;
        columns.push(self.time.column(closed.iter().map(|session| session.start)));
        columns.push(self.time.column(closed.iter().map(|session| session.end.saturating_add(self.gap))));
        columns.extend(results);
        emit_sliced(RecordBatch::try_new(self.schema.clone(), columns)?, closed.len(), self.batch_rows, out)?;
        for chain in chains {
            self.store.release(chain);
        }
        self.tidy(closed.len())?;
        Ok(done)
    }

    /// What the watermark says about the output.
    fn bound(&self) -> EventTime {
        match self.event_watermark {
            EventTime::MAX => EventTime::MAX,
            EventTime(time) => EventTime(time.saturating_sub(1)),
        }
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        self.open.check_invariants(self.gap);
        self.store.check_invariants();
    }
}

impl Operator for GlobalSession {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, _out: &mut dyn Emit) -> Result<(), EngineError> {
        if let Some(rows) = self.state_rows_of(batch.rows)? {
            let count = rows.num_rows();
            self.unsaved.push(rows.clone(), self.store.rows());
            self.add(rows)?;
            self.tidy(count)?;
        }
        #[cfg(test)]
        self.check_invariants();
        Ok(())
    }

    fn watermark(&mut self, event_watermark: EventTime, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        if event_watermark <= self.event_watermark {
            return Ok(None);
        }
        self.event_watermark = event_watermark;
        self.withheld = !self.close_some(out)?;
        Ok((!self.withheld).then(|| self.bound()))
    }

    fn epoch_end(&mut self, _barrier: Barrier, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        while !self.close_some(out)? {}
        Ok(std::mem::take(&mut self.withheld).then(|| self.bound()))
    }

    fn snapshot(&mut self) -> Result<StateDelta, EngineError> {
        if self.unsaved.wants_all(self.store.rows()) {
            return Ok(self.unsaved.take_all(self.store.all_rows()?));
        }
        self.unsaved.take_delta(&self.layout.schema)
    }

    fn restore(&mut self, state: RestoredState) -> Result<(), EngineError> {
        self.event_watermark = state.event_watermark;
        for StateRows { rows } in state.rows {
            let rows = self.layout.restored(&rows)?;
            self.unsaved.restored(rows.num_rows());
            self.add(rows)?;
        }
        while let Some(session) = self.open.pop_closed(self.gap, self.event_watermark.0) {
            self.store.release(session.chain);
        }
        self.tidy(SLICE_ROWS)
    }

    fn poll_more(&mut self, out: &mut dyn Emit) -> Result<bool, EngineError> {
        Ok(self.withheld && !self.close_some(out)?)
    }

    fn state_bytes(&self) -> usize {
        self.store.memory_bytes() + self.open.memory_bytes() + self.keys.memory_bytes() + self.unsaved.memory_bytes()
    }

    fn state_rows(&self) -> usize {
        self.store.live()
    }

    fn late_rows(&self) -> u64 {
        self.late_rows
    }
}
