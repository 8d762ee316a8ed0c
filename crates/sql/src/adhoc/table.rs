//! A source as a table of a query that ends: the same connector and decoder that a pipeline uses.
//!
//! Every partition of the scan claims chunks from one shared feed and decodes them on the thread that polls it, so the
//! work spreads over partitions as they come free. The feed is opened when the first partition starts; a partition that
//! starts a second time begins a new reading of the source.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker as TaskWaker};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::Stream;
use thalweg_engine::{
    Claim, DecodedChunk, Decoder, EngineError, OnError, RowError, Source, SourceContext, SourceFeed, Waker,
};

/// A declared source or a file, as a table.
#[derive(Debug)]
pub(super) struct SourceTable {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    pub(super) on_error: OnError,
    /// Counts rows that `on_error` lets pass unread.
    pub(super) skipped: Arc<AtomicU64>,
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = self.source.schema();
        let columns = projection.cloned().unwrap_or_else(|| (0..all.fields().len()).collect());
        // With a limit one partition is enough, and the rows are the first ones in order.
        let partitions = if limit.is_some() { 1 } else { state.config().target_partitions() };
        Ok(Arc::new(SourceExec::new(self, columns, partitions)?))
    }
}

/// Reads a source; see the module.
#[derive(Debug)]
struct SourceExec {
    name: String,
    source: Arc<dyn Source>,
    on_error: OnError,
    skipped: Arc<AtomicU64>,
    /// Columns of the source in the order of the output.
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
    reading: Mutex<Option<Reading>>,
}

/// One pass over the source.
struct Reading {
    feed: Arc<Mutex<Box<dyn SourceFeed>>>,
    wakers: Arc<Wakers>,
    started: Vec<bool>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Reading").field("started", &self.started).finish_non_exhaustive()
    }
}

impl SourceExec {
    fn new(table: &SourceTable, columns: Vec<usize>, partitions: usize) -> Result<Self> {
        let schema = Arc::new(table.source.schema().project(&columns)?);
        let boundedness = match table.source.is_unbounded() {
            true => Boundedness::Unbounded { requires_infinite_memory: false },
            false => Boundedness::Bounded,
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            boundedness,
        );
        Ok(Self {
            name: table.name.clone(),
            source: table.source.clone(),
            on_error: table.on_error,
            skipped: table.skipped.clone(),
            columns,
            properties: Arc::new(properties),
            reading: Mutex::new(None),
        })
    }

    /// Columns to decode, ascending as sources want them; one if none is asked for, since rows have to be counted.
    fn decoded(&self) -> Vec<usize> {
        let mut decoded = self.columns.clone();
        decoded.sort_unstable();
        decoded.dedup();
        if decoded.is_empty() && !self.source.schema().fields().is_empty() {
            decoded.push(0);
        }
        decoded
    }

    fn open(&self, batch_rows: usize) -> Result<Reading> {
        let io = tokio::runtime::Handle::try_current().map_err(|error| DataFusionError::External(Box::new(error)))?;
        let wakers = Arc::new(Wakers::default());
        let partitions = self.properties.partitioning.partition_count();
        let context = SourceContext {
            watch: false,
            workers: partitions,
            batch_rows,
            io,
            wake: wakers.clone(),
            projection: Some(self.decoded()),
            time_column: None,
        };
        let feed = self.source.open(context, vec![]).map_err(external)?;
        Ok(Reading { feed: Arc::new(Mutex::new(feed)), wakers, started: vec![false; partitions] })
    }
}

fn external(error: EngineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let schema = self.source.schema();
        let columns: Vec<&str> = self.columns.iter().map(|index| schema.field(*index).name().as_str()).collect();
        write!(f, "SourceExec: {} ({}), columns=[{}]", self.name, self.source.describe(), columns.join(", "))
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut reading = lock(&self.reading);
        if reading.as_ref().is_none_or(|reading| reading.started[partition]) {
            *reading = Some(self.open(context.session_config().batch_size())?);
        }
        let reading = reading.as_mut().expect("set above");
        reading.started[partition] = true;
        let decoded = self.decoded();
        let position =
            |column: &usize| decoded.iter().position(|found| found == column).expect("decoded holds every column");
        Ok(Box::pin(PartitionStream {
            name: self.name.clone(),
            schema: self.schema(),
            positions: self.columns.iter().map(position).collect(),
            feed: reading.feed.clone(),
            wakers: reading.wakers.clone(),
            decoder: None,
            ready: VecDeque::new(),
            on_error: self.on_error,
            skipped: self.skipped.clone(),
            finished: false,
        }))
    }
}

/// A lock that no panic can poison for good: what it guards stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Streams that found nothing to claim; at most one per partition.
#[derive(Debug, Default)]
struct Wakers(Mutex<Vec<TaskWaker>>);

impl Wakers {
    fn register(&self, waker: &TaskWaker) {
        let mut waiting = lock(&self.0);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl Waker for Wakers {
    fn wake(&self) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        waiting.into_iter().for_each(TaskWaker::wake);
    }
}

struct PartitionStream {
    name: String,
    schema: SchemaRef,
    /// Where each output column stands in the decoded batches.
    positions: Vec<usize>,
    feed: Arc<Mutex<Box<dyn SourceFeed>>>,
    wakers: Arc<Wakers>,
    decoder: Option<Box<dyn Decoder>>,
    ready: VecDeque<RecordBatch>,
    on_error: OnError,
    skipped: Arc<AtomicU64>,
    finished: bool,
}

impl PartitionStream {
    fn decode(&mut self, claim: thalweg_engine::Chunk) -> Result<()> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => self.decoder.insert(lock(&self.feed).decoder().map_err(external)?),
        };
        let DecodedChunk { batches, errors, .. } = decoder.decode(claim).map_err(external)?;
        if let (OnError::Fail, Some(error)) = (self.on_error, errors.first()) {
            return Err(external(self.bad_row(error)));
        }
        self.skipped.fetch_add(errors.len() as u64, Ordering::Relaxed);
        for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
            let columns = self.positions.iter().map(|position| batch.column(*position).clone()).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            self.ready.push_back(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        }
        Ok(())
    }

    fn bad_row(&self, error: &RowError) -> EngineError {
        let place = match error.line {
            Some(line) => format!("line {line}"),
            None => format!("byte {}", error.position),
        };
        let row: String = String::from_utf8_lossy(&error.bytes).chars().take(120).collect();
        EngineError::data(format!("{}, {place}: {}: {row}", error.split, error.error))
    }

    fn poll_inner(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            // Registered before asking, so that a wake in between is not lost.
            self.wakers.register(context.waker());
            let claim = lock(&self.feed).claim();
            match claim {
                Ok(Claim::Chunk(chunk)) => {
                    if let Err(error) = self.decode(chunk) {
                        self.finished = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Ok(Claim::Pending) => return Poll::Pending,
                Ok(Claim::Finished) => self.finished = true,
                Err(error) => {
                    self.finished = true;
                    return Poll::Ready(Some(Err(external(error))));
                }
            }
        }
    }
}

impl Stream for PartitionStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_inner(context)
    }
}

impl RecordBatchStream for PartitionStream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl fmt::Debug for PartitionStream {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("PartitionStream").field("name", &self.name).finish_non_exhaustive()
    }
}
