//! The engine's side of a source: claiming under a lock, decoding outside it, event time, bad rows, barriers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{cast, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;

use super::metrics::{Counters, add};
use super::watermark::Tracker;
use crate::{
    Barrier, Batch, Chunk, Claim, DecodedChunk, Decoder, EngineError, EventTime, OnError, RowError, SourceFeed,
    SourceSpec, SplitPosition, WatermarkSpec, dead_letter_schema,
};

/// Chunks a worker decodes ahead while it waits for the watermark of their predecessors.
const PENDING_CHUNKS_MAX: usize = 2;

/// A source, shared by the readers of all workers.
pub(crate) struct SharedSource {
    pub(crate) spec: SourceSpec,
    schema: SchemaRef,
    state: Mutex<State>,
    counters: Arc<Counters>,
}

struct State {
    feed: Box<dyn SourceFeed>,
    tracker: Tracker,
    barrier: Option<Barrier>,
    cut: Vec<SplitPosition>,
    finished: bool,
    claims: usize,
}

impl SharedSource {
    pub(crate) fn new(
        spec: SourceSpec,
        schema: SchemaRef,
        feed: Box<dyn SourceFeed>,
        split_watermarks: BTreeMap<String, i64>,
        follows: bool,
        counters: Arc<Counters>,
    ) -> Self {
        // Idleness is about time passing; a bounded input only ever waits for its own disk.
        let idle = spec.watermark.as_ref().and_then(|w| w.idle_timeout).filter(|_| follows);
        let state = State {
            feed,
            tracker: Tracker::new(split_watermarks, idle),
            barrier: None,
            cut: Vec::new(),
            finished: false,
            claims: 0,
        };
        let shared = Self { spec, schema, state: Mutex::new(state), counters };
        shared.learn(&mut shared.lock());
        shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A reader that panicked has ended its worker, and with it the run.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn learn(&self, state: &mut State) {
        let infos = state.feed.splits();
        let lowest = |time: EventTime| lowest_watermark(self.spec.watermark.as_ref()?, &self.schema, time);
        state.tracker.learn(&infos, &lowest);
    }

    /// Cuts the source for `barrier`; readers see it at their next step.
    pub(crate) fn inject(&self, barrier: Barrier) {
        let mut state = self.lock();
        self.learn(&mut state);
        state.cut = state.feed.positions();
        state.tracker.cut();
        state.barrier = Some(barrier);
    }

    /// Positions and split watermarks at the last barrier, once every worker has passed it.
    pub(crate) fn cut(&self) -> (Vec<SplitPosition>, BTreeMap<String, i64>) {
        let state = self.lock();
        (state.cut.clone(), state.tracker.cut_watermarks())
    }

    pub(crate) fn progress(&self) -> (u64, Option<u64>) {
        self.lock().feed.progress()
    }

    pub(crate) fn reader(self: &Arc<Self>, worker: usize) -> Result<SourceReader, EngineError> {
        let decoder = self.lock().feed.decoder()?;
        Ok(SourceReader {
            shared: self.clone(),
            decoder,
            pending: VecDeque::new(),
            seen_epoch: 0,
            emitted: EventTime::MIN,
            reads: !self.spec.ordered || worker == 0,
            reported_finished: false,
        })
    }
}

/// One worker's hand in a source.
pub(crate) struct SourceReader {
    shared: Arc<SharedSource>,
    decoder: Box<dyn Decoder>,
    pending: VecDeque<Pending>,
    seen_epoch: u64,
    emitted: EventTime,
    reads: bool,
    reported_finished: bool,
}

/// A decoded chunk whose prefix is not known yet.
struct Pending {
    split: u32,
    sequence: u64,
    batches: Vec<Timed>,
}

/// Rows with their event time and watermark values (absent without `WATERMARK FOR`).
struct Timed {
    rows: RecordBatch,
    times: Option<(TimestampMicrosecondArray, TimestampMicrosecondArray)>,
}

/// What one step of a reader brought.
#[derive(Default)]
pub(crate) struct SourceStep {
    pub(crate) batches: Vec<Batch>,
    pub(crate) dead_letters: Option<RecordBatch>,
    pub(crate) watermark: Option<EventTime>,
    pub(crate) barrier: Option<Barrier>,
    pub(crate) worked: bool,
}

enum Turn {
    Barrier(Barrier),
    Chunk(Chunk),
    Nothing,
}

impl SourceReader {
    pub(crate) fn step(&mut self, now: Duration) -> Result<SourceStep, EngineError> {
        let mut step = SourceStep::default();
        self.resolve_pending(&mut step)?;
        if step.batches.is_empty() {
            match self.turn(now)? {
                Turn::Barrier(barrier) => step.barrier = Some(barrier),
                Turn::Chunk(chunk) => {
                    step.worked = true;
                    self.take_in(chunk, &mut step)?;
                    self.resolve_pending(&mut step)?;
                }
                Turn::Nothing => {}
            }
        }
        self.advance(&mut step);
        Ok(step)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.reported_finished
    }

    /// Decoded rows wait for a chunk that another worker has in hand.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Decides under the lock what this worker does next.
    fn turn(&mut self, now: Duration) -> Result<Turn, EngineError> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        if let Some(barrier) = state.barrier.filter(|b| b.checkpoint_epoch > self.seen_epoch) {
            if !self.pending.is_empty() {
                return Ok(Turn::Nothing);
            }
            self.seen_epoch = barrier.checkpoint_epoch;
            return Ok(Turn::Barrier(barrier));
        }
        if !self.reads || self.pending.len() >= PENDING_CHUNKS_MAX || state.finished {
            return Ok(Turn::Nothing);
        }
        if let Some(max_drift) = shared.spec.watermark.as_ref().and_then(|w| w.max_drift) {
            let ceiling = state.tracker.ceiling(max_drift);
            state.feed.hold_above(ceiling);
        }
        let claim = state.feed.claim()?;
        state.claims += 1;
        let served = if let Claim::Chunk(chunk) = &claim { Some(chunk.split) } else { None };
        let splits = state.tracker.len();
        let unknown = served.is_some_and(|split| split as usize >= splits);
        if unknown || served.is_none() || splits <= 64 || state.claims.is_multiple_of(splits / 16) {
            shared.learn(&mut state);
        }
        state.tracker.polled(now, served);
        match claim {
            Claim::Chunk(chunk) => {
                state.tracker.claimed(chunk.split, chunk.sequence);
                Ok(Turn::Chunk(chunk))
            }
            Claim::Pending => Ok(Turn::Nothing),
            Claim::Finished => {
                state.finished = true;
                Ok(Turn::Nothing)
            }
        }
    }

    fn take_in(&mut self, chunk: Chunk, step: &mut SourceStep) -> Result<(), EngineError> {
        let (split, sequence) = (chunk.split, chunk.sequence);
        let decoded = self.decoder.decode(chunk)?;
        add(&self.shared.counters.input_bytes, decoded.input_bytes);
        let DecodedChunk { batches, mut errors, .. } = decoded;
        let mut max = i64::MIN;
        let mut timed = Vec::with_capacity(batches.len());
        for rows in batches {
            let rows = self.timed(rows, split, &mut errors)?;
            if let Some((_, watermarks)) = &rows.times {
                max = max.max(arrow::compute::max(watermarks).unwrap_or(i64::MIN));
            }
            timed.push(rows);
        }
        step.dead_letters = self.judge(errors)?;
        let mut state = self.shared.lock();
        if let Some(progress) = state.tracker.decoded(split, sequence, max) {
            state.feed.split_progress(split, progress);
        }
        drop(state);
        self.pending.push_back(Pending { split, sequence, batches: timed });
        Ok(())
    }

    /// Evaluates event time and watermark; rows without event time are bad rows.
    fn timed(&self, rows: RecordBatch, split: u32, errors: &mut Vec<RowError>) -> Result<Timed, EngineError> {
        let Some(spec) = &self.shared.spec.watermark else { return Ok(Timed { rows, times: None }) };
        let mut rows = rows;
        let mut time = micros(&spec.time, &rows)?;
        if time.null_count() > 0 {
            let name: Arc<str> = self.split_name(split).into();
            for row in (0..rows.num_rows()).filter(|&row| time.is_null(row)) {
                errors.push(without_event_time(&rows.slice(row, 1), name.clone())?);
            }
            rows = filter_record_batch(&rows, &is_not_null(&time)?)?;
            time = micros(&spec.time, &rows)?;
        }
        let watermark = micros(&spec.expr, &rows)?;
        Ok(Timed { rows, times: Some((time, watermark)) })
    }

    fn split_name(&self, split: u32) -> String {
        let found = self.shared.lock().feed.splits().into_iter().nth(split as usize);
        found.map_or_else(|| self.shared.spec.name.clone(), |found| found.name)
    }

    /// Applies `on_error` to bad rows.
    fn judge(&self, errors: Vec<RowError>) -> Result<Option<RecordBatch>, EngineError> {
        let Some(first) = errors.first() else { return Ok(None) };
        match self.shared.spec.on_error {
            OnError::Fail => {
                let line = first.line.map(|line| format!("line {line}, ")).unwrap_or_default();
                let text: String = String::from_utf8_lossy(&first.bytes).chars().take(200).collect();
                Err(EngineError::data(format!(
                    "source {}: bad row in {} ({line}byte {}): {}; the row is: {text}; \
                     correct it, or declare the source with on_error = 'drop' or 'dlq'",
                    self.shared.spec.name, first.split, first.position, first.error
                )))
            }
            OnError::Drop => {
                add(&self.shared.counters.dropped, errors.len() as u64);
                Ok(None)
            }
            OnError::DeadLetter => {
                add(&self.shared.counters.dead_lettered, errors.len() as u64);
                Ok(Some(dead_letters(&self.shared.spec.name, &errors)?))
            }
        }
    }

    /// Hands out pending chunks whose prefix is known. Those of one split become known in their order.
    fn resolve_pending(&mut self, step: &mut SourceStep) -> Result<(), EngineError> {
        let mut at = 0;
        while let Some(pending) = self.pending.get(at) {
            let prefix = self.shared.lock().tracker.take_prefix(pending.split, pending.sequence);
            let Some(mut running) = prefix else {
                at += 1;
                continue;
            };
            let chunk = self.pending.remove(at).expect("just seen");
            step.worked = true;
            for timed in chunk.batches {
                step.batches.push(stamp(timed, &mut running));
            }
        }
        Ok(())
    }

    /// Raises this worker's watermark as far as it may: the bound is below every unresolved chunk, so it may be sent
    /// unless another worker has resolved a pending chunk since `resolve_pending` looked; then the next step sends it.
    fn advance(&mut self, step: &mut SourceStep) {
        let mut state = self.shared.lock();
        if self.pending.iter().any(|chunk| state.tracker.is_resolved(chunk.split, chunk.sequence)) {
            return;
        }
        let finished = state.finished && self.pending.is_empty();
        let bound = if finished { EventTime::MAX } else { state.tracker.bound() };
        drop(state);
        let follows = self.shared.spec.watermark.is_some() || finished;
        if follows && bound > self.emitted {
            self.emitted = bound;
            step.watermark = Some(bound);
        }
        self.reported_finished |= finished;
    }
}

/// Attaches the row watermark to rows that lie behind it, and moves `running` past the batch.
fn stamp(timed: Timed, running: &mut i64) -> Batch {
    let Some((times, watermarks)) = timed.times else { return Batch::new(timed.rows) };
    let before = *running;
    let mut behind = false;
    for (&time, &watermark) in times.values().iter().zip(watermarks.values()) {
        behind |= time < *running;
        *running = (*running).max(watermark);
    }
    if watermarks.null_count() > 0 {
        // Values under a null are arbitrary: go again, with care.
        *running = before;
        behind = true;
    }
    if !behind {
        return Batch::new(timed.rows);
    }
    let mut now = before;
    let row_watermark: Int64Array = times
        .values()
        .iter()
        .zip(watermarks.iter())
        .map(|(&time, watermark)| {
            let at_row = now;
            now = now.max(watermark.unwrap_or(i64::MIN));
            (time < at_row).then_some(at_row)
        })
        .collect();
    *running = now;
    let any = row_watermark.null_count() < row_watermark.len();
    Batch::with_row_watermark(timed.rows, any.then_some(row_watermark))
}

fn micros(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<TimestampMicrosecondArray, EngineError> {
    let array = expr.evaluate(rows)?.into_array(rows.num_rows())?;
    let array: ArrayRef = match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => array,
        DataType::Timestamp(_, zone) => cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?,
        _ => cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
    };
    let array = array.as_any().downcast_ref::<TimestampMicrosecondArray>();
    Ok(array.ok_or_else(|| EngineError::bug("a cast to timestamp gave another type"))?.clone())
}

/// The watermark a single row at `time` would cause: evaluates the expression on a row that has only its times.
fn lowest_watermark(spec: &WatermarkSpec, schema: &SchemaRef, time: EventTime) -> Option<i64> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            kind @ DataType::Timestamp(..) => {
                let instant: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![time.0]));
                cast(&instant, &DataType::Timestamp(TimeUnit::Microsecond, None))
                    .and_then(|instant| cast(&instant, kind))
                    .unwrap_or_else(|_| new_null_array(kind, 1))
            }
            kind => new_null_array(kind, 1),
        })
        .collect();
    let nullable: SchemaRef = Arc::new(arrow::datatypes::Schema::new(
        schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ));
    let row = RecordBatch::try_new(nullable, columns).ok()?;
    let value = micros(&spec.expr, &row).ok()?;
    value.is_valid(0).then(|| value.value(0))
}

/// A bad row that was already decoded: its bytes and place are gone, so it is shown as JSON.
fn without_event_time(row: &RecordBatch, split: Arc<str>) -> Result<RowError, EngineError> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(row)?;
    writer.finish()?;
    let bytes = writer.into_inner().trim_ascii_end().to_vec();
    let error = "its event time is null; its place in the file is not known".into();
    Ok(RowError { bytes, split, position: 0, line: None, error })
}

fn dead_letters(source: &str, errors: &[RowError]) -> Result<RecordBatch, EngineError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(errors.iter().map(|_| source))),
        Arc::new(StringArray::from_iter_values(errors.iter().map(|e| e.split.as_ref()))),
        Arc::new(Int64Array::from_iter_values(errors.iter().map(|e| e.position as i64))),
        Arc::new(errors.iter().map(|e| e.line.map(|line| line as i64)).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(errors.iter().map(|e| e.error.as_str()))),
        Arc::new(StringArray::from_iter_values(errors.iter().map(|e| String::from_utf8_lossy(&e.bytes)))),
        Arc::new(BinaryArray::from_iter_values(errors.iter().map(|e| e.bytes.as_slice()))),
    ];
    Ok(RecordBatch::try_new(dead_letter_schema(), columns)?)
}
