//! First half of a session aggregation: rows to fragments of sessions, in front of the exchange.
//!
//! A fragment is a run of one key's rows no two neighbours of which are more than the gap apart. It need not be as long
//! as it could be: the global half joins what touches. So each key remembers only the fragment it was last seen in, and
//! no sorting is needed. Fragments are flushed at the barrier or when there are many; meanwhile the watermark waits.
//!
//! A row is late if its time lies before its own watermark. Sessions close strictly behind the watermark, so a row that
//! is not late can never have belonged to one that was emitted.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;

use super::aggregates::{Accumulators, Aggregates};
use super::fragments::NONE;
use super::keys::{KeyTable, Keys};
use super::limits::{BYTES_MAX, GROUPS_MAX};
use super::local_window::{emit_sliced, per_group};
use super::times::{Closed, TimeColumn};
use crate::{Barrier, Batch, Emit, EngineError, EventTime, Operator, OperatorContext, SessionSpec};

pub(super) struct LocalSession {
    schema: SchemaRef,
    gap: i64,
    time: TimeColumn,
    keys: Keys,
    aggregates: Aggregates,
    batch_rows: usize,
    held: Option<Held>,
    event_watermark: EventTime,
    withheld: Option<EventTime>,
    late_rows: u64,
    numbers: Vec<usize>,
}

/// Fragments since the last flush.
struct Held {
    keys: KeyTable,
    /// By key number: the fragment it was last seen in.
    latest: Vec<u32>,
    accumulators: Accumulators,
    key_of: Vec<u32>,
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl Held {
    /// Turns key numbers into fragment numbers.
    fn place(&mut self, times: &[i64], numbers: &mut [usize], gap: i64) {
        self.latest.resize(self.keys.len(), NONE);
        for (number, &time) in numbers.iter_mut().zip(times) {
            let latest = &mut self.latest[*number];
            let fragment = *latest as usize;
            if *latest != NONE
                && time >= self.starts[fragment].saturating_sub(gap)
                && time <= self.ends[fragment].saturating_add(gap)
            {
                self.starts[fragment] = self.starts[fragment].min(time);
                self.ends[fragment] = self.ends[fragment].max(time);
                *number = fragment;
                continue;
            }
            *latest = self.starts.len() as u32;
            self.key_of.push(*number as u32);
            self.starts.push(time);
            self.ends.push(time);
            *number = *latest as usize;
        }
    }
}

impl LocalSession {
    pub fn new(spec: &SessionSpec, schema: SchemaRef, context: &OperatorContext) -> Result<Self, EngineError> {
        if spec.gap <= 0 {
            return Err(EngineError::request(format!("a session needs a gap above zero, got {} us", spec.gap)));
        }
        let (keys, aggregates) = (Keys::new(&spec.keys, &spec.input_schema)?, Aggregates::new(&spec.aggregates)?);
        let columns = keys.width() + 2 + aggregates.state_width();
        if schema.fields().len() != columns {
            return Err(EngineError::bug(format!(
                "a local session aggregation of {columns} columns (keys, __start, __end, states) has an output of {}",
                schema.fields().len()
            )));
        }
        Ok(Self {
            schema,
            gap: spec.gap,
            time: TimeColumn::new(&spec.input_schema, spec.time_column)?,
            keys,
            aggregates,
            batch_rows: context.batch_rows.max(1),
            held: None,
            event_watermark: EventTime::MIN,
            withheld: None,
            late_rows: 0,
            numbers: Vec::new(),
        })
    }

    fn drop_late(&mut self, batch: Batch, times: &[i64]) -> Result<RecordBatch, EngineError> {
        let closed = Closed::new(&batch, self.event_watermark);
        let earliest = times.iter().copied().min().unwrap_or(i64::MAX);
        if closed.is_before(earliest) {
            return Ok(batch.rows);
        }
        let kept = (0..times.len()).filter(|&row| times[row] >= closed.at(row));
        let kept = UInt32Array::from_iter_values(kept.map(|row| row as u32));
        if kept.len() == times.len() {
            return Ok(batch.rows);
        }
        self.late_rows += (times.len() - kept.len()) as u64;
        Ok(take_record_batch(&batch.rows, &kept)?)
    }

    fn hold(&mut self, rows: &RecordBatch) -> Result<(), EngineError> {
        if self.held.is_none() {
            let (keys, accumulators) = (self.keys.table()?, self.aggregates.accumulators()?);
            let (latest, key_of, starts, ends) = Default::default();
            self.held = Some(Held { keys, latest, accumulators, key_of, starts, ends });
        }
        let held = self.held.as_mut().expect("set above");
        let keys = self.keys.evaluate(rows)?;
        let inputs = self.aggregates.evaluate_inputs(rows)?;
        held.keys.intern(&keys, rows.num_rows(), &mut self.numbers)?;
        held.place(&self.time.micros(rows)?, &mut self.numbers, self.gap);
        held.accumulators.update(&inputs, &self.numbers, held.starts.len())
    }

    fn flush(&mut self, out: &mut dyn Emit) -> Result<(), EngineError> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        let rows = held.starts.len();
        let mut columns: Vec<ArrayRef> = per_group(held.keys.take()?, &held.key_of)?;
        columns.push(Arc::new(Int64Array::from(held.starts)));
        columns.push(Arc::new(Int64Array::from(held.ends)));
        columns.extend(held.accumulators.take_states()?);
        emit_sliced(RecordBatch::try_new(self.schema.clone(), columns)?, rows, self.batch_rows, out)
    }
}

impl Operator for LocalSession {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let times = self.time.micros(&batch.rows)?;
        let rows = self.drop_late(batch, &times)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.hold(&rows)?;
        let full = self.state_rows() >= GROUPS_MAX || self.state_bytes() >= BYTES_MAX;
        if full || self.aggregates.needs_order() {
            self.flush(out)?;
        }
        Ok(())
    }

    fn watermark(&mut self, event_watermark: EventTime, _out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        self.event_watermark = self.event_watermark.max(event_watermark);
        if self.held.is_some() {
            self.withheld = Some(self.event_watermark);
            return Ok(None);
        }
        self.withheld = None;
        Ok(Some(self.event_watermark))
    }

    fn epoch_end(&mut self, _barrier: Barrier, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        self.flush(out)?;
        Ok(self.withheld.take())
    }

    fn state_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| {
            let fragments = held.latest.capacity() * 4 + held.starts.capacity() * 20;
            held.keys.memory_bytes() + held.accumulators.memory_bytes() + fragments
        })
    }

    fn state_rows(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.starts.len())
    }

    fn late_rows(&self) -> u64 {
        self.late_rows
    }
}
