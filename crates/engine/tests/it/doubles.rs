//! A source and a sink that live in memory and behave like good connectors: positions, staging, idempotent commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use thalweg_engine::*;

/// Splits of rows; each claim takes the next `chunk_rows` rows of a split, splits in turn.
#[derive(Debug)]
pub struct RowsSource {
    pub schema: SchemaRef,
    pub splits: Vec<RecordBatch>,
    pub chunk_rows: usize,
}

impl Source for RowsSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
    fn describe(&self) -> String {
        "rows".into()
    }
    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        let at = |name: &str| {
            positions.iter().find(|p| p.split == name).map_or(0, |p| p.position.as_u64().expect("a row number"))
        };
        let next = (0..self.splits.len()).map(|s| at(&format!("split-{s}")) as usize).collect::<Vec<_>>();
        let splits = self.splits.iter().map(|rows| match &context.projection {
            Some(columns) => rows.project(columns).expect("columns exist"),
            None => rows.clone(),
        });
        Ok(Box::new(RowsFeed {
            sequence: vec![0; next.len()],
            splits: splits.collect(),
            next,
            turn: 0,
            chunk_rows: self.chunk_rows,
            batch_rows: context.batch_rows,
        }))
    }
}

struct RowsFeed {
    splits: Vec<RecordBatch>,
    next: Vec<usize>,
    sequence: Vec<u64>,
    turn: usize,
    chunk_rows: usize,
    batch_rows: usize,
}

impl SourceFeed for RowsFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        for _ in 0..self.splits.len() {
            let split = self.turn % self.splits.len();
            self.turn += 1;
            let left = self.splits[split].num_rows() - self.next[split];
            if left == 0 {
                continue;
            }
            let rows = self.splits[split].slice(self.next[split], left.min(self.chunk_rows));
            self.next[split] += rows.num_rows();
            self.sequence[split] += 1;
            let sequence = self.sequence[split] - 1;
            return Ok(Claim::Chunk(Chunk { split: split as u32, sequence, payload: Box::new(rows) }));
        }
        Ok(Claim::Finished)
    }
    fn positions(&self) -> Vec<SplitPosition> {
        let place = |(s, &n): (usize, &usize)| SplitPosition {
            split: format!("split-{s}"),
            position: n.into(),
            finished: n == self.splits[s].num_rows(),
        };
        self.next.iter().enumerate().map(place).collect()
    }
    fn splits(&self) -> Vec<SplitInfo> {
        let info = |(s, &n): (usize, &usize)| SplitInfo {
            name: format!("split-{s}"),
            lowest_event_time: None,
            finished: n == self.splits[s].num_rows(),
        };
        self.next.iter().enumerate().map(info).collect()
    }
    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        Ok(Box::new(RowsDecoder { batch_rows: self.batch_rows }))
    }
    fn progress(&self) -> (u64, Option<u64>) {
        (self.next.iter().sum::<usize>() as u64, Some(self.splits.iter().map(|s| s.num_rows() as u64).sum()))
    }
}

struct RowsDecoder {
    batch_rows: usize,
}

impl Decoder for RowsDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError> {
        let rows = *chunk.payload.downcast::<RecordBatch>().expect("a feed's own payload");
        let batches = (0..rows.num_rows())
            .step_by(self.batch_rows)
            .map(|at| rows.slice(at, self.batch_rows.min(rows.num_rows() - at)))
            .collect();
        Ok(DecodedChunk { batches, errors: Vec::new(), input_bytes: 0 })
    }
}

/// The target of a sink, which outlives runs.
#[derive(Debug, Default)]
pub struct Target {
    /// Staged by (generation, number); survives a crash like files would.
    pub staged: BTreeMap<u64, Vec<RecordBatch>>,
    pub committed: BTreeMap<u64, Vec<RecordBatch>>,
    next: u64,
    /// Commits until one fails after doing half of its work.
    pub fail_in: Option<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct TargetSink(pub Arc<Mutex<Target>>);

impl TargetSink {
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.0.lock().unwrap().committed.values().flatten().cloned().collect()
    }
}

impl Sink for TargetSink {
    fn describe(&self) -> String {
        "target".into()
    }
    fn accept(&self, _: &SchemaRef) -> Result<(), EngineError> {
        Ok(())
    }
    fn writer(&self, _: SinkContext, _: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        Ok(Box::new(TargetWriter { target: self.0.clone(), rows: Vec::new() }))
    }
    fn committer(&self, _: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Ok(Box::new(self.clone()))
    }
    fn is_exactly_once(&self) -> bool {
        true
    }
}

struct TargetWriter {
    target: Arc<Mutex<Target>>,
    rows: Vec<RecordBatch>,
}

impl SinkWriter for TargetWriter {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.rows.push(batch.rows);
        Ok(())
    }
    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError> {
        if !barrier.kind.is_durable() || self.rows.is_empty() {
            return Ok(async { Ok(vec![]) }.boxed());
        }
        let (target, rows) = (self.target.clone(), std::mem::take(&mut self.rows));
        Ok(async move {
            let mut target = target.lock().unwrap();
            let number = target.next;
            target.next += 1;
            target.staged.insert(number, rows);
            Ok(vec![number.into()])
        }
        .boxed())
    }
}

impl SinkCommitter for TargetSink {
    fn recover<'a>(
        &'a self,
        last: Option<(u64, &'a [serde_json::Value])>,
    ) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async move {
            let done = match last {
                Some((epoch, staged)) => self.commit(epoch, staged).await?,
                None => Committed::default(),
            };
            self.0.lock().unwrap().staged.clear();
            Ok(done)
        }
        .boxed()
    }
    fn commit<'a>(&'a self, _: u64, staged: &'a [serde_json::Value]) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async move {
            let mut target = self.0.lock().unwrap();
            for (done, number) in staged.iter().enumerate() {
                if done == staged.len() / 2
                    && let Some(left) = &mut target.fail_in
                {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        target.fail_in = None;
                        return Err(EngineError::new(ErrorKind::Retry, "crash inside a commit"));
                    }
                }
                let number = number.as_u64().expect("own reference");
                if let Some(rows) = target.staged.remove(&number) {
                    target.committed.insert(number, rows);
                }
                assert!(target.committed.contains_key(&number), "a reference names what is staged or committed");
            }
            Ok(Committed { files: staged.len() as u64, bytes: 0 })
        }
        .boxed()
    }
}
