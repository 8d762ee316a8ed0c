//! A sink that keeps committed rows per epoch, in a store that outlives the runtime.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use thalweg_engine::{
    Barrier, Batch, Committed, EngineError, ErrorKind, Sink, SinkCommitter, SinkContext, SinkWriter, StagedFuture,
};

/// What a sink has staged and committed.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By reference.
    staged: BTreeMap<String, Vec<RecordBatch>>,
    /// By checkpoint epoch and reference.
    committed: BTreeMap<(u64, String), Vec<RecordBatch>>,
    fault: Option<CommitFault>,
    commits: u64,
}

/// Where a commit stops with an error, once: as a crash would stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    BeforeFirst,
    /// After the first of several references.
    Within,
    /// Everything is committed, but the caller does not learn of it.
    AfterLast,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Committed rows of all epochs, in the order of epochs.
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.lock().committed.values().flatten().cloned().collect()
    }

    /// Committed rows by checkpoint epoch.
    pub fn rows_by_epoch(&self) -> BTreeMap<u64, Vec<RecordBatch>> {
        let mut epochs: BTreeMap<u64, Vec<RecordBatch>> = BTreeMap::new();
        for ((epoch, _), rows) in &self.lock().committed {
            epochs.entry(*epoch).or_default().extend(rows.iter().cloned());
        }
        epochs
    }

    pub fn row_count(&self) -> usize {
        self.lock().committed.values().flatten().map(RecordBatch::num_rows).sum()
    }

    /// Batches that are staged and not committed.
    pub fn staged_count(&self) -> usize {
        self.lock().staged.len()
    }

    /// Calls of commit that did their work.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// The next commit fails there.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.lock().fault = Some(fault);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, checkpoint_epoch: u64, references: &[Value]) -> Result<Committed, EngineError> {
        let mut state = self.lock();
        let fault = if references.is_empty() { None } else { state.fault.take() };
        let stop = || Err(EngineError::new(ErrorKind::Retry, "memory sink: stopped as a test asked for"));
        if fault == Some(CommitFault::BeforeFirst) {
            return stop();
        }
        for reference in references {
            let name = reference.as_str().ok_or_else(|| EngineError::data("memory sink: not a reference"))?.to_owned();
            if let Some(rows) = state.staged.remove(&name) {
                state.committed.insert((checkpoint_epoch, name), rows);
            } else if !state.committed.contains_key(&(checkpoint_epoch, name.clone())) {
                return Err(EngineError::data(format!("memory sink: {name} was neither staged nor committed")));
            }
            if fault == Some(CommitFault::Within) {
                return stop();
            }
        }
        state.commits += 1;
        if fault == Some(CommitFault::AfterLast) {
            return stop();
        }
        Ok(Committed { files: references.len() as u64, bytes: 0 })
    }
}

/// Writes into a [`MemoryStore`], exactly once.
#[derive(Debug, Clone)]
pub struct MemorySink {
    store: MemoryStore,
}

impl MemorySink {
    pub fn new(store: MemoryStore) -> Self {
        Self { store }
    }
}

impl Sink for MemorySink {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn accept(&self, _schema: &SchemaRef) -> Result<(), EngineError> {
        Ok(())
    }

    fn writer(&self, context: SinkContext, _schema: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        Ok(Box::new(Writer { store: self.store.clone(), context, rows: vec![], staged: 0 }))
    }

    fn committer(&self, _context: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Ok(Box::new(Committer { store: self.store.clone() }))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }

    fn reset(&self, _context: SinkContext) -> BoxFuture<'_, Result<(), EngineError>> {
        async {
            *self.store.lock() = State::default();
            Ok(())
        }
        .boxed()
    }
}

struct Writer {
    store: MemoryStore,
    context: SinkContext,
    rows: Vec<RecordBatch>,
    staged: u64,
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.rows.push(batch.rows);
        Ok(())
    }

    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError> {
        if !barrier.kind.is_durable() || self.rows.is_empty() {
            return Ok(async { Ok(vec![]) }.boxed());
        }
        let name = format!("{:08}-{:02}-{:08}", self.context.generation, self.context.worker, self.staged);
        self.staged += 1;
        let rows = std::mem::take(&mut self.rows);
        let store = self.store.clone();
        Ok(async move {
            store.lock().staged.insert(name.clone(), rows);
            Ok(vec![Value::String(name)])
        }
        .boxed())
    }
}

struct Committer {
    store: MemoryStore,
}

impl SinkCommitter for Committer {
    fn recover<'a>(&'a self, last: Option<(u64, &'a [Value])>) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async move {
            let committed = match last {
                None if self.store.row_count() > 0 => {
                    return Err(EngineError::request("memory sink: holds rows of an earlier run; reset it first"));
                }
                None => Committed::default(),
                Some((checkpoint_epoch, references)) => self.store.commit(checkpoint_epoch, references)?,
            };
            self.store.lock().staged.clear();
            Ok(committed)
        }
        .boxed()
    }

    fn commit<'a>(
        &'a self,
        checkpoint_epoch: u64,
        staged: &'a [Value],
    ) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async move { self.store.commit(checkpoint_epoch, staged) }.boxed()
    }
}
