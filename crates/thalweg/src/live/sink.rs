//! A sink in this process: what a running query has published so far.
//!
//! Every worker hands in its rows of an epoch; they become visible together when the last worker has. So a reader never
//! sees half an epoch. Nothing is durable here: after a restart the result starts anew.
//!
//! Bounds: rows that are not taken ([`Published::take`]) are held up to `held_bytes_max` (or one batch, if that is larger). When that is reached a worker
//! waits (`Overflow::Wait`: the query slows down to the reader) or the oldest rows go (`Overflow::DropOldest`: a screen
//! only needs the newest; what went is counted).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use thalweg_engine::{
    Barrier, Batch, Committed, EngineError, Sink, SinkCommitter, SinkContext, SinkWriter, StagedFuture,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    Wait,
    DropOldest,
}

/// Enough for a burst, little beside what a pipeline holds anyway.
pub const HELD_BYTES: usize = 32 << 20;

/// The sink; clones share one result.
#[derive(Debug, Clone)]
pub struct LiveSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    overflow: Overflow,
    held_bytes_max: usize,
    writers: AtomicUsize,
    state: Mutex<State>,
    /// Told when rows were taken or the reader left.
    taken: Condvar,
    /// Told when rows became visible.
    published: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Epochs that not all workers have ended yet.
    staged: BTreeMap<u64, (usize, Vec<RecordBatch>)>,
    visible: VecDeque<RecordBatch>,
    visible_bytes: usize,
    skipped_rows: u64,
    schema: Option<SchemaRef>,
    closed: bool,
}

/// What became visible since the last call.
#[derive(Debug, Default)]
pub struct Published {
    pub batches: Vec<RecordBatch>,
    /// Rows that went because nobody took them in time.
    pub skipped_rows: u64,
}

impl LiveSink {
    pub fn new(overflow: Overflow, held_bytes_max: usize) -> Self {
        let shared = Shared {
            overflow,
            held_bytes_max,
            writers: AtomicUsize::new(0),
            state: Mutex::default(),
            taken: Condvar::new(),
            published: Condvar::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Everything visible that was not taken before. Waits up to `patience` for something to appear.
    pub fn take(&self, patience: Duration) -> Published {
        let mut state = self.shared.lock();
        if state.visible.is_empty() && !patience.is_zero() {
            let waited = self.shared.published.wait_timeout_while(state, patience, |state| state.visible.is_empty());
            state = waited.unwrap_or_else(|poison| poison.into_inner()).0;
        }
        state.visible_bytes = 0;
        let published = Published {
            batches: state.visible.drain(..).collect(),
            skipped_rows: std::mem::take(&mut state.skipped_rows),
        };
        drop(state);
        self.shared.taken.notify_all();
        published
    }

    /// Columns of the result, known once the pipeline is planned.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.shared.lock().schema.clone()
    }

    /// The reader leaves: nobody waits for it any more and rows are dropped.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.visible.clear();
        drop(state);
        self.shared.taken.notify_all();
    }
}

impl Shared {
    /// A worker that panicked cannot have left the plain collections in here half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn hand_in(&self, barrier: Barrier, batches: Vec<RecordBatch>) {
        let mut state = self.lock();
        let staged = state.staged.entry(barrier.checkpoint_epoch).or_default();
        staged.0 += 1;
        staged.1.extend(batches);
        if staged.0 < self.writers.load(Ordering::Acquire) {
            return;
        }
        let Some((_, batches)) = state.staged.remove(&barrier.checkpoint_epoch) else { return };
        for batch in batches {
            if state.closed {
                return;
            }
            let bytes = batch.get_array_memory_size();
            state = self.make_room(state, bytes);
            state.visible_bytes += bytes;
            state.visible.push_back(batch);
            self.published.notify_all();
        }
    }

    fn make_room<'a>(&'a self, mut state: MutexGuard<'a, State>, bytes: usize) -> MutexGuard<'a, State> {
        while !state.visible.is_empty() && state.visible_bytes + bytes > self.held_bytes_max && !state.closed {
            match self.overflow {
                Overflow::Wait => {
                    state = self.taken.wait(state).unwrap_or_else(|poison| poison.into_inner());
                }
                Overflow::DropOldest => {
                    let Some(dropped) = state.visible.pop_front() else { break };
                    state.visible_bytes -= dropped.get_array_memory_size();
                    state.skipped_rows += dropped.num_rows() as u64;
                }
            }
        }
        state
    }
}

impl Sink for LiveSink {
    fn describe(&self) -> String {
        "stdout".into()
    }

    fn accept(&self, schema: &SchemaRef) -> Result<(), EngineError> {
        self.shared.lock().schema = Some(schema.clone());
        Ok(())
    }

    fn writer(&self, _context: SinkContext, schema: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        self.shared.lock().schema = Some(schema);
        self.shared.writers.fetch_add(1, Ordering::AcqRel);
        Ok(Box::new(LiveWriter { shared: self.shared.clone(), rows: Vec::new() }))
    }

    fn committer(&self, _context: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Ok(Box::new(NothingToCommit))
    }

    fn is_exactly_once(&self) -> bool {
        false
    }
}

struct LiveWriter {
    shared: Arc<Shared>,
    rows: Vec<RecordBatch>,
}

impl SinkWriter for LiveWriter {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError> {
        if batch.num_rows() > 0 {
            self.rows.push(batch.rows);
        }
        Ok(())
    }

    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError> {
        self.shared.hand_in(barrier, std::mem::take(&mut self.rows));
        Ok(async { Ok(Vec::new()) }.boxed())
    }
}

struct NothingToCommit;

impl SinkCommitter for NothingToCommit {
    fn recover<'a>(
        &'a self,
        _last: Option<(u64, &'a [serde_json::Value])>,
    ) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async { Ok(Committed::default()) }.boxed()
    }

    fn commit<'a>(
        &'a self,
        _checkpoint_epoch: u64,
        _staged: &'a [serde_json::Value],
    ) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async { Ok(Committed::default()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use thalweg_engine::BarrierKind;

    use super::*;

    fn batch(values: std::ops::Range<i64>) -> Batch {
        let column = Arc::new(Int64Array::from_iter_values(values)) as ArrayRef;
        Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap())
    }

    fn writers(sink: &LiveSink, count: usize, io: &tokio::runtime::Runtime) -> Vec<Box<dyn SinkWriter>> {
        let writer = |worker| {
            let context = SinkContext { owner: "t/s".into(), generation: 1, worker, io: io.handle().clone() };
            sink.writer(context, batch(0..1).schema()).unwrap()
        };
        (0..count).map(writer).collect()
    }

    fn publish(checkpoint_epoch: u64) -> Barrier {
        Barrier { checkpoint_epoch, kind: BarrierKind::Publish }
    }

    #[test]
    fn an_epoch_shows_when_every_worker_has_ended_it() {
        let io = tokio::runtime::Runtime::new().unwrap();
        let sink = LiveSink::new(Overflow::Wait, 1 << 20);
        let mut writers = writers(&sink, 2, &io);
        writers[0].write(batch(0..3)).unwrap();
        writers[0].epoch_end(publish(1)).map(drop).unwrap();
        assert!(sink.take(Duration::ZERO).batches.is_empty());
        writers[1].epoch_end(publish(1)).map(drop).unwrap();
        assert_eq!(sink.take(Duration::ZERO).batches.len(), 1);
        assert!(sink.take(Duration::ZERO).batches.is_empty());
    }

    #[test]
    fn a_screen_drops_the_oldest_and_counts() {
        let io = tokio::runtime::Runtime::new().unwrap();
        let sink = LiveSink::new(Overflow::DropOldest, 1);
        let mut writers = writers(&sink, 1, &io);
        for epoch in 1..=3 {
            writers[0].write(batch(0..3)).unwrap();
            writers[0].epoch_end(publish(epoch)).map(drop).unwrap();
        }
        let published = sink.take(Duration::ZERO);
        assert_eq!(published.batches.len(), 1);
        assert_eq!(published.skipped_rows, 6);
    }

    #[test]
    fn a_reader_that_left_frees_the_waiting_worker() {
        let io = tokio::runtime::Runtime::new().unwrap();
        let sink = LiveSink::new(Overflow::Wait, 1);
        let mut writers = writers(&sink, 1, &io);
        let mut writer = writers.remove(0);
        let worker = std::thread::spawn(move || {
            for epoch in 1..=3 {
                writer.write(batch(0..3)).unwrap();
                writer.epoch_end(publish(epoch)).map(drop).unwrap();
            }
        });
        while sink.shared.lock().visible.is_empty() {
            std::thread::yield_now();
        }
        sink.close();
        worker.join().unwrap();
    }
}
