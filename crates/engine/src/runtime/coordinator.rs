//! The coordinator: cuts epochs, and turns the workers' answers into manifests and commits.
//!
//! Decisions and bookkeeping are plain methods; `finish` is the only part that does IO, in a fixed order: segments, then
//! the manifest, then the sinks' commits, then merging and garbage collection. A crash between any two of them is
//! repaired by the next start, which reads the newest manifest and commits again what it names.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use thalweg_state::{CheckpointStore, Manifest, OperatorState, SegmentRef, SourceState, StoreLocation, Totals};

use super::metrics::{Counters, get};
use super::source::SharedSource;
use super::worker::Ack;
use crate::{Barrier, BarrierKind, EngineError, EventTime, Plan, SinkCommitter, StateDelta};

/// Manifests kept besides pinned ones.
const MANIFESTS_KEPT: usize = 3;

/// Points at which a test may end the process's work, as a crash would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    SegmentsWritten,
    ManifestCommitted,
    /// Between the commits of two sinks.
    SinkCommitted,
    StateMerged,
    GarbageCollected,
}

/// Called at every fault point; an error there ends the run on the spot.
pub type FaultHook = Arc<dyn Fn(FaultPoint) -> Result<(), EngineError> + Send + Sync>;

/// What stays the same over a run.
pub(crate) struct Coordinator {
    pub(crate) plan: Arc<Plan>,
    pub(crate) workers: usize,
    pub(crate) committers: BTreeMap<String, Box<dyn SinkCommitter>>,
    pub(crate) store: Option<CheckpointStore>,
    pub(crate) fingerprint: String,
    pub(crate) sql: String,
    pub(crate) faults: Option<FaultHook>,
    pub(crate) durable: Durable,
    pub(crate) last_kind: Option<BarrierKind>,
    pub(crate) last_totals: Totals,
    /// Time since this run began; stands still in a simulation.
    pub(crate) clock: super::Clock,
}

/// What the newest manifest says; moves on with each finished checkpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    pub(crate) generation: u64,
    pub(crate) epoch: Option<u64>,
    pub(crate) operators: BTreeMap<String, OperatorState>,
    /// Totals before this run.
    pub(crate) base: Totals,
    pub(crate) checkpoints: u64,
    pub(crate) bytes: u64,
}

/// A barrier that every worker has passed, with all it takes to make it durable.
pub(crate) struct Completed {
    barrier: Barrier,
    acks: Vec<Ack>,
    sources: BTreeMap<String, SourceState>,
    finished: bool,
    /// Dropped and dead-lettered rows and input bytes of this run.
    counted: (u64, u64, u64),
}

impl Completed {
    /// Every worker has answered `barrier`.
    pub(crate) fn new(
        barrier: Barrier,
        mut acks: Vec<Ack>,
        shared: &[Arc<SharedSource>],
        counters: &Counters,
        finished: bool,
    ) -> Self {
        acks.sort_by_key(|ack| ack.worker);
        let mut sources = BTreeMap::new();
        if barrier.kind.is_durable() {
            for source in shared {
                let (positions, split_watermarks) = source.cut();
                let positions =
                    positions.into_iter().map(|p| serde_json::to_value(p).expect("positions are plain data")).collect();
                sources.insert(source.spec.name.clone(), SourceState { positions, split_watermarks });
            }
        }
        let counted = (get(&counters.dropped), get(&counters.dead_lettered), get(&counters.input_bytes));
        Self { barrier, acks, sources, finished, counted }
    }

    pub(crate) fn barrier(&self) -> Barrier {
        self.barrier
    }

    pub(crate) fn stall(&self) -> Duration {
        self.acks.iter().map(|ack| ack.stall).max().unwrap_or_default()
    }

    /// Ends an epoch that is only published: waits until sinks that show results at once have done so.
    pub(crate) async fn publish(self) -> Result<(), EngineError> {
        for (_, staged) in self.acks.into_iter().flat_map(|ack| ack.staged) {
            staged.await?;
        }
        Ok(())
    }
}

impl Coordinator {
    /// Makes a completed barrier durable and visible.
    pub(crate) async fn finish(&mut self, completed: Completed) -> Result<Option<Manifest>, EngineError> {
        let Completed { barrier, acks, sources, finished, counted } = completed;
        let mut sinks: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        let mut deltas: Vec<(usize, usize, StateDelta, EventTime)> = Vec::new();
        let mut totals = self.durable.base.clone();
        for ack in acks {
            totals.rows_in += ack.totals.rows_in;
            totals.rows_out += ack.totals.rows_out;
            totals.late += ack.totals.late;
            for (node, staged) in ack.staged {
                let references = staged.await?;
                sinks.entry(self.sink_name(node)).or_default().extend(references);
            }
            deltas.extend(ack.states.into_iter().map(|(node, delta, time)| (ack.worker, node, delta, time)));
        }
        totals.dropped += counted.0;
        totals.dead_lettered += counted.1;
        totals.input_bytes += counted.2;
        totals.elapsed_us += (self.clock)().as_micros() as u64;
        assert!(barrier.kind.is_durable(), "only durable barriers become manifests");
        self.last_kind = Some(barrier.kind);
        self.last_totals = totals.clone();
        let mut manifest = None;
        if let Some(store) = self.store.clone() {
            self.write_state(&store, barrier.checkpoint_epoch, deltas).await?;
            self.fault(FaultPoint::SegmentsWritten)?;
            let made = self.manifest(barrier, sources, sinks.clone(), totals, finished);
            store.commit(&made).await?;
            self.durable.epoch = Some(barrier.checkpoint_epoch);
            self.durable.checkpoints += 1;
            self.fault(FaultPoint::ManifestCommitted)?;
            manifest = Some(made);
        }
        let none = Vec::new();
        for (name, committer) in &self.committers {
            committer.commit(barrier.checkpoint_epoch, sinks.get(name).unwrap_or(&none)).await?;
            self.fault(FaultPoint::SinkCommitted)?;
        }
        if let Some(store) = self.store.clone().filter(|_| !finished) {
            self.tidy(&store, barrier.checkpoint_epoch).await?;
        }
        Ok(manifest)
    }

    fn sink_name(&self, node: usize) -> String {
        match &self.plan.nodes[node].operator {
            crate::OperatorSpec::Sink(spec) => spec.name.clone(),
            _ => unreachable!("only sinks stage output"),
        }
    }

    async fn write_state(
        &mut self,
        store: &CheckpointStore,
        epoch: u64,
        deltas: Vec<(usize, usize, StateDelta, EventTime)>,
    ) -> Result<(), EngineError> {
        let mut watermarks: BTreeMap<String, EventTime> = BTreeMap::new();
        for (worker, node, delta, watermark) in deltas {
            let node = &self.plan.nodes[node];
            let state_id = node.state_id.clone().expect("stateful nodes have a state id");
            let known = *watermarks.entry(state_id.clone()).or_insert(watermark);
            assert_eq!(known, watermark, "all instances of {} stand at one watermark at a barrier", node.name);
            let state = self.durable.operators.entry(state_id.clone()).or_insert_with(|| OperatorState {
                name: node.name.clone(),
                event_watermark: watermark.0,
                segments: Vec::new(),
            });
            state.event_watermark = watermark.0;
            if delta.replace {
                let own = thalweg_state::vnodes_of_worker(worker, self.workers);
                state.segments = std::mem::take(&mut state.segments).iter().flat_map(|s| without(s, &own)).collect();
            }
            let rows: Vec<_> = delta.rows.into_iter().map(|r| r.rows).filter(|r| r.num_rows() > 0).collect();
            // One segment holds rows of one schema; an operator may keep several tables.
            let mut tables: Vec<Vec<arrow::array::RecordBatch>> = Vec::new();
            for batch in rows {
                match tables.iter_mut().find(|t| t[0].schema() == batch.schema()) {
                    Some(table) => table.push(batch),
                    None => tables.push(vec![batch]),
                }
            }
            for table in tables {
                let segment = store.write_segment(epoch, &state_id, worker, &table).await?;
                self.durable.bytes += segment.bytes;
                state.segments.push(segment);
            }
            state.segments.retain(|s| s.max_expires > watermark.0);
        }
        Ok(())
    }

    fn manifest(
        &self,
        barrier: Barrier,
        sources: BTreeMap<String, SourceState>,
        sinks: BTreeMap<String, Vec<serde_json::Value>>,
        totals: Totals,
        finished: bool,
    ) -> Manifest {
        Manifest {
            format_version: thalweg_state::MANIFEST_FORMAT_VERSION,
            pipeline: self.plan.name.clone(),
            generation: self.durable.generation,
            checkpoint_epoch: barrier.checkpoint_epoch,
            parent: self.durable.epoch,
            fingerprint: self.fingerprint.clone(),
            key_encoding_version: thalweg_state::KEY_ENCODING_VERSION,
            vnodes: thalweg_state::VNODES,
            workers: self.workers as u32,
            sources,
            operators: self.durable.operators.clone(),
            sinks,
            totals,
            finished,
            sql: self.sql.clone(),
            savepoint: barrier.kind == BarrierKind::Savepoint,
        }
    }

    /// Merges small segments and removes what no kept manifest names.
    async fn tidy(&mut self, store: &CheckpointStore, epoch: u64) -> Result<(), EngineError> {
        for state in self.durable.operators.values_mut() {
            if let Some(merged) = store.merge(epoch, state).await? {
                *state = merged;
            }
        }
        self.fault(FaultPoint::StateMerged)?;
        store.collect_garbage(MANIFESTS_KEPT).await?;
        self.fault(FaultPoint::GarbageCollected)
    }

    pub(crate) async fn copy_savepoint(&self, manifest: &Manifest, to: &StoreLocation) -> Result<(), EngineError> {
        let store = self.store.as_ref().ok_or_else(|| {
            EngineError::request("a savepoint needs a pipeline that keeps state; start it with --data-dir")
        })?;
        Ok(store.copy_savepoint(manifest, to).await?)
    }

    fn fault(&self, point: FaultPoint) -> Result<(), EngineError> {
        self.faults.as_ref().map_or(Ok(()), |hook| hook(point))
    }
}

/// What is left of a segment when the rows of `gone` have been replaced.
fn without(segment: &SegmentRef, gone: &Range<u16>) -> Vec<SegmentRef> {
    let (low, high) = (segment.vnode_low, segment.vnode_high);
    let mut rest = Vec::new();
    if gone.is_empty() || gone.end <= low || gone.start > high {
        return vec![segment.clone()];
    }
    if low < gone.start {
        rest.push(SegmentRef { vnode_high: gone.start - 1, ..segment.clone() });
    }
    if high >= gone.end {
        rest.push(SegmentRef { vnode_low: gone.end, ..segment.clone() });
    }
    rest
}
