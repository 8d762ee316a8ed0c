//! The producing side of an exchange: rows go to the worker that owns their key.
//!
//! Rows are hashed once with the stable key encoding, counting-sorted by destination and gathered once. Small pieces
//! are held until [`COALESCE_ROWS`] rows are there (or a barrier passes), because per-batch cost dominates downstream;
//! watermarks are held behind the rows they follow, so they never overtake.

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat, concat_batches, take, take_record_batch};

use super::ring::{Message, RingSender};
use crate::{Barrier, Batch, EngineError, EventTime, Exchange};

const COALESCE_ROWS: usize = 4096;

pub(crate) struct ExchangeSender {
    exchange: Exchange,
    lanes: Vec<Lane>,
    hashes: Vec<u64>,
}

/// What is on its way to one worker.
struct Lane {
    ring: RingSender,
    held: Vec<Batch>,
    held_rows: usize,
    held_watermark: Option<EventTime>,
}

impl ExchangeSender {
    pub(crate) fn new(exchange: Exchange, rings: Vec<RingSender>) -> Self {
        let lanes =
            rings.into_iter().map(|ring| Lane { ring, held: Vec::new(), held_rows: 0, held_watermark: None }).collect();
        Self { exchange, lanes, hashes: Vec::new() }
    }

    pub(crate) fn rows(&mut self, batch: Batch) -> Result<(), EngineError> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let keys: Vec<_> = self.exchange.key_columns.iter().map(|&c| batch.rows.column(c).clone()).collect();
        thalweg_state::key_hashes(&keys, rows, &mut self.hashes).map_err(|error| {
            EngineError::with_source(crate::ErrorKind::Bug, "cannot hash the key of an exchange", error)
        })?;
        let workers = self.lanes.len();
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); workers];
        for (row, &hash) in self.hashes.iter().enumerate() {
            places[thalweg_state::worker_of(thalweg_state::vnode_of(hash), workers)].push(row as u32);
        }
        for (lane, places) in self.lanes.iter_mut().zip(places) {
            if places.len() == rows {
                return lane.add(batch);
            }
            if !places.is_empty() {
                lane.add(gather(&batch, &UInt32Array::from(places))?)?;
            }
        }
        Ok(())
    }

    pub(crate) fn watermark(&mut self, watermark: EventTime) {
        for lane in &mut self.lanes {
            if lane.held_rows == 0 {
                lane.ring.send(Message::Watermark(watermark));
            } else {
                lane.held_watermark = Some(watermark);
            }
        }
    }

    pub(crate) fn barrier(&mut self, barrier: Barrier) -> Result<(), EngineError> {
        for lane in &mut self.lanes {
            lane.release()?;
            lane.ring.send(Message::Barrier(barrier));
        }
        Ok(())
    }

    /// Moves waiting messages on; true if the chain in front may go on producing.
    pub(crate) fn flush(&mut self) -> bool {
        let mut clear = true;
        for lane in &mut self.lanes {
            clear &= lane.ring.flush();
        }
        clear
    }

    /// Sends held rows although they are few: the worker has nothing else to do.
    pub(crate) fn release_held(&mut self) -> Result<(), EngineError> {
        self.lanes.iter_mut().try_for_each(Lane::release)
    }
}

impl Lane {
    fn add(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.held_rows += batch.num_rows();
        self.held.push(batch);
        if self.held_rows >= COALESCE_ROWS { self.release() } else { Ok(()) }
    }

    fn release(&mut self) -> Result<(), EngineError> {
        if self.held_rows > 0 {
            let batch = if self.held.len() == 1 { self.held.remove(0) } else { concatenate(&self.held)? };
            self.held.clear();
            self.held_rows = 0;
            self.ring.send(Message::Rows(batch));
        }
        if let Some(watermark) = self.held_watermark.take() {
            self.ring.send(Message::Watermark(watermark));
        }
        Ok(())
    }
}

fn gather(batch: &Batch, places: &UInt32Array) -> Result<Batch, EngineError> {
    let rows = take_record_batch(&batch.rows, places)?;
    let row_watermark = match &batch.row_watermark {
        Some(times) => Some(as_int64(take(times, places, None)?.as_ref())),
        None => None,
    };
    Ok(Batch::with_row_watermark(rows, row_watermark))
}

fn concatenate(batches: &[Batch]) -> Result<Batch, EngineError> {
    let schema = batches[0].schema();
    let rows: RecordBatch = concat_batches(&schema, batches.iter().map(|b| &b.rows))?;
    let row_watermark = if batches.iter().any(|b| b.row_watermark.is_some()) {
        let parts: Vec<Int64Array> = batches
            .iter()
            .map(|b| b.row_watermark.clone().unwrap_or_else(|| Int64Array::new_null(b.num_rows())))
            .collect();
        let parts: Vec<&dyn Array> = parts.iter().map(|p| p as &dyn Array).collect();
        Some(as_int64(concat(&parts)?.as_ref()))
    } else {
        None
    };
    Ok(Batch::with_row_watermark(rows, row_watermark))
}

fn as_int64(array: &dyn Array) -> Int64Array {
    array.as_any().downcast_ref::<Int64Array>().expect("row watermarks are Int64").clone()
}
