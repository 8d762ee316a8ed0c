//! A source that hands out batches it was given.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use thalweg_engine::{
    Chunk, Claim, DecodedChunk, Decoder, EngineError, EventTime, RowError, Source, SourceContext, SourceFeed,
    SplitInfo, SplitPosition, Waker,
};

/// Rows in memory, by split; clones share them. Position of a split: how many of its rows were handed out.
#[derive(Debug, Clone)]
pub struct MemorySource {
    schema: SchemaRef,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    splits: Vec<Split>,
    /// Nothing more will be pushed.
    ended: bool,
    wakers: Vec<Arc<dyn Waker>>,
}

#[derive(Debug)]
struct Split {
    name: Arc<str>,
    rows: Vec<RecordBatch>,
    /// Rows that cannot be decoded, each in front of the row with that number.
    bad: Vec<(u64, String)>,
    ended: bool,
}

impl MemorySource {
    /// A bounded source: the splits with their batches, all of `schema`.
    pub fn new(schema: SchemaRef, splits: Vec<(String, Vec<RecordBatch>)>) -> Self {
        let source = Self::unbounded(schema);
        for (name, batches) in splits {
            source.split(&name);
            for batch in batches {
                source.push(&name, batch);
            }
        }
        source.end();
        source
    }

    /// A source that is fed by [`MemorySource::push`] until [`MemorySource::end`].
    pub fn unbounded(schema: SchemaRef) -> Self {
        Self { schema, state: Arc::new(Mutex::new(State { splits: vec![], ended: false, wakers: vec![] })) }
    }

    /// Adds a split without rows, if it is not there.
    pub fn split(&self, name: &str) {
        self.lock().split(name);
    }

    /// Adds rows at the end of a split.
    pub fn push(&self, split: &str, batch: RecordBatch) {
        assert_eq!(batch.schema(), self.schema, "rows have the source's schema");
        let mut state = self.lock();
        let at = state.split(split);
        state.splits[at].rows.push(batch);
        state.wake();
    }

    /// Adds a row that cannot be decoded, behind the rows pushed so far.
    pub fn push_bad(&self, split: &str, bytes: &str) {
        let mut state = self.lock();
        let at = state.split(split);
        let before = state.splits[at].row_count();
        state.splits[at].bad.push((before, bytes.to_owned()));
        // An empty batch carries it, should no row follow.
        state.splits[at].rows.push(RecordBatch::new_empty(self.schema.clone()));
        state.wake();
    }

    /// Nothing more will come to this split.
    pub fn end_split(&self, name: &str) {
        let mut state = self.lock();
        let at = state.split(name);
        state.splits[at].ended = true;
        state.wake();
    }

    /// Nothing more will come at all.
    pub fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.splits.iter_mut().for_each(|split| split.ended = true);
        state.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn split(&mut self, name: &str) -> usize {
        if let Some(at) = self.splits.iter().position(|split| &*split.name == name) {
            return at;
        }
        self.splits.push(Split { name: name.into(), rows: vec![], bad: vec![], ended: false });
        self.splits.len() - 1
    }

    fn wake(&self) {
        self.wakers.iter().for_each(|waker| waker.wake());
    }
}

impl Split {
    fn row_count(&self) -> u64 {
        self.rows.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}

impl Source for MemorySource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        self.lock().wakers.push(context.wake.clone());
        let projection = context.projection.clone();
        let projection = projection.unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let mut feed = MemoryFeed {
            source: self.clone(),
            projection,
            batch_rows: context.batch_rows.max(1),
            watch: context.watch,
            restored: positions,
            splits: vec![],
            ceiling: EventTime::MAX,
        };
        feed.see_splits()?;
        Ok(Box::new(feed))
    }

    fn is_unbounded(&self) -> bool {
        !self.lock().ended
    }
}

struct MemoryFeed {
    source: MemorySource,
    projection: Vec<usize>,
    batch_rows: usize,
    watch: bool,
    restored: Vec<SplitPosition>,
    splits: Vec<Progress>,
    /// Splits whose event time is above this wait for the others.
    ceiling: EventTime,
}

/// How far one split was handed out.
struct Progress {
    name: Arc<str>,
    /// Rows and bad rows handed out.
    rows: u64,
    bad: usize,
    sequence: u64,
    event_time: EventTime,
}

/// Payload of a chunk.
struct Rows {
    split: Arc<str>,
    batch: RecordBatch,
    bad: Vec<(u64, String)>,
}

impl MemoryFeed {
    fn see_splits(&mut self) -> Result<(), EngineError> {
        let state = self.source.lock();
        for split in &state.splits[self.splits.len()..] {
            let restored = self.restored.iter().find(|position| position.split == *split.name);
            let read = |key: &str| match restored {
                None => Ok(0),
                Some(found) => found.position[key]
                    .as_u64()
                    .ok_or_else(|| EngineError::data(format!("memory: not a position: {}", found.position))),
            };
            self.splits.push(Progress {
                name: split.name.clone(),
                rows: read("rows")?,
                bad: read("bad")? as usize,
                sequence: 0,
                event_time: EventTime::MIN,
            });
        }
        Ok(())
    }

    /// The next rows of a split: what is left of one batch, and the bad rows in front of them or at its end.
    fn next(&mut self, index: usize) -> Option<Rows> {
        let state = self.source.lock();
        let (split, progress) = (&state.splits[index], &mut self.splits[index]);
        let mut before = 0;
        let mut batch = None;
        for rows in &split.rows {
            let count = rows.num_rows() as u64;
            if progress.rows < before + count {
                let offset = (progress.rows - before) as usize;
                let length = (rows.num_rows() - offset).min(self.batch_rows);
                batch = Some(rows.slice(offset, length));
                break;
            }
            before += count;
        }
        let end = progress.rows + batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let bad: Vec<_> = split.bad[progress.bad..].iter().take_while(|(at, _)| *at <= end).cloned().collect();
        if batch.is_none() && bad.is_empty() {
            return None;
        }
        progress.rows = end;
        progress.bad += bad.len();
        let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(self.source.schema.clone()));
        Some(Rows { split: split.name.clone(), batch, bad })
    }

    fn is_finished(&self, index: usize) -> bool {
        let state = self.source.lock();
        let (split, progress) = (&state.splits[index], &self.splits[index]);
        split.ended && !self.watch && progress.rows >= split.row_count() && progress.bad >= split.bad.len()
    }
}

impl SourceFeed for MemoryFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        self.see_splits()?;
        let mut order: Vec<usize> = (0..self.splits.len()).collect();
        order.sort_by_key(|&index| (self.splits[index].event_time, self.splits[index].sequence, index));
        for index in order {
            if self.splits[index].event_time > self.ceiling {
                return Ok(Claim::Pending);
            }
            if let Some(rows) = self.next(index) {
                let progress = &mut self.splits[index];
                let chunk = Chunk { split: index as u32, sequence: progress.sequence, payload: Box::new(rows) };
                progress.sequence += 1;
                return Ok(Claim::Chunk(chunk));
            }
        }
        let ended = self.source.lock().ended && !self.watch;
        Ok(if ended { Claim::Finished } else { Claim::Pending })
    }

    fn positions(&self) -> Vec<SplitPosition> {
        let position = |(index, progress): (usize, &Progress)| SplitPosition {
            split: progress.name.to_string(),
            position: serde_json::json!({ "rows": progress.rows, "bad": progress.bad }),
            finished: self.is_finished(index),
        };
        self.splits.iter().enumerate().map(position).collect()
    }

    fn splits(&self) -> Vec<SplitInfo> {
        let info = |(index, progress): (usize, &Progress)| SplitInfo {
            name: progress.name.to_string(),
            lowest_event_time: None,
            finished: self.is_finished(index),
        };
        self.splits.iter().enumerate().map(info).collect()
    }

    fn split_progress(&mut self, split: u32, event_time: EventTime) {
        if let Some(progress) = self.splits.get_mut(split as usize) {
            progress.event_time = event_time;
        }
    }

    fn hold_above(&mut self, ceiling: EventTime) {
        self.ceiling = ceiling;
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        Ok(Box::new(MemoryDecoder { projection: self.projection.clone() }))
    }

    fn progress(&self) -> (u64, Option<u64>) {
        let state = self.source.lock();
        let total = state.splits.iter().map(Split::row_count).sum();
        (self.splits.iter().map(|split| split.rows).sum(), state.ended.then_some(total))
    }
}

struct MemoryDecoder {
    projection: Vec<usize>,
}

impl Decoder for MemoryDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError> {
        let rows = chunk.payload.downcast::<Rows>().map_err(|_| EngineError::bug("not a chunk of a memory source"))?;
        let Rows { split, batch, bad } = *rows;
        let error = |(position, text): (u64, String)| RowError {
            bytes: text.into_bytes(),
            split: split.clone(),
            position,
            line: Some(position + 1),
            error: "cannot be decoded".into(),
        };
        let input_bytes = batch.num_rows() as u64;
        let batches = if batch.num_rows() == 0 { vec![] } else { vec![batch.project(&self.projection)?] };
        Ok(DecodedChunk { batches, errors: bad.into_iter().map(error).collect(), input_bytes })
    }
}
