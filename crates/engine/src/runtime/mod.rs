//! Running a plan: worker threads, the coordinator task that drives them, and the handle a caller holds.

mod build;
mod coordinator;
mod driver;
mod exchange;
mod metrics;
mod ring;
mod simulate;
mod source;
mod watermark;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thalweg_state::{CheckpointStore, Manifest, StoreLocation, Totals};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::coordinator::{Coordinator, Durable};
pub use self::coordinator::{FaultHook, FaultPoint};
use self::metrics::{Counters, get};
pub use self::metrics::{OperatorMetrics, Progress};
use self::ring::Bell;
pub use self::simulate::{Simulated, simulate};
use self::source::SharedSource;
use crate::{EngineError, ErrorKind, OperatorSpec, Plan, SinkCommitter};

/// How to run a plan.
#[derive(Clone)]
pub struct RunOptions {
    pub workers: usize,
    /// Rows per batch, at most, out of sources.
    pub batch_rows: usize,
    /// Follow sources that can grow, until stopped.
    pub watch: bool,
    /// Results become visible so often in sinks that show them at once.
    pub publish_interval: Duration,
    pub checkpoint_interval: Duration,
    /// State in memory at which the run fails instead of growing further; looked at once per epoch. `None`: no limit.
    pub state_bytes_max: Option<u64>,
    /// `None`: nothing is kept, a restart begins from the start.
    pub store: Option<CheckpointStore>,
    pub fingerprint: String,
    pub sql: String,
    pub io: tokio::runtime::Handle,
    pub faults: Option<FaultHook>,
}

impl RunOptions {
    pub fn new(workers: usize, io: tokio::runtime::Handle) -> Self {
        Self {
            workers,
            batch_rows: 8192,
            watch: false,
            publish_interval: Duration::from_millis(200),
            checkpoint_interval: Duration::from_secs(10),
            state_bytes_max: None,
            store: None,
            fingerprint: String::new(),
            sql: String::new(),
            io,
            faults: None,
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// This run alone.
    pub progress: Progress,
    /// This run and all before it from which it went on.
    pub totals: Totals,
    pub elapsed_seconds: f64,
    /// True if the input has ended and every window is closed; false if the run was stopped before.
    pub finished: bool,
    /// Epoch of the last manifest.
    pub checkpoint_epoch: Option<u64>,
}

/// What starting a pipeline led to.
pub enum Started {
    Running(RunHandle),
    /// The checkpoint says that the input had ended and everything was written. Nothing was read.
    AlreadyComplete(Box<Manifest>),
}

enum Command {
    Stop,
    Savepoint(StoreLocation, oneshot::Sender<Result<u64, EngineError>>),
}

/// A running pipeline. Dropping it aborts the run as a crash would; `stop` ends it in order.
pub struct RunHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    driver: JoinHandle<Result<Summary, EngineError>>,
}

struct Shared {
    plan: Arc<Plan>,
    counters: Arc<Counters>,
    sources: Vec<Arc<SharedSource>>,
    abort: AtomicBool,
    checkpoints: AtomicU64,
    checkpoint_bytes: AtomicU64,
    stall_nanos_max: AtomicU64,
    bells: Vec<Arc<Bell>>,
}

impl RunHandle {
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Asks for an orderly end: drain, checkpoint, commit. `wait` then returns.
    pub fn stop(&self) {
        // A full or closed channel means that an earlier stop is on its way or the run has ended.
        let _ = self.commands.try_send(Command::Stop);
    }

    /// Takes a checkpoint and copies it, complete, to `to`. Returns its epoch.
    pub async fn savepoint(&self, to: StoreLocation) -> Result<u64, EngineError> {
        let (reply, answer) = oneshot::channel();
        let ended = || EngineError::request("the pipeline has ended before the savepoint was taken");
        self.commands.send(Command::Savepoint(to, reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    pub fn is_finished(&self) -> bool {
        self.driver.is_finished()
    }

    /// Waits for the end: of the input, after `stop`, or by an error.
    pub async fn wait(&mut self) -> Result<Summary, EngineError> {
        match (&mut self.driver).await {
            Ok(result) => result,
            Err(error) => {
                Err(EngineError::with_source(ErrorKind::Bug, "the coordinator of the pipeline panicked", error))
            }
        }
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        self.shared.abort();
        self.driver.abort();
    }
}

impl Shared {
    fn abort(&self) {
        self.abort.store(true, Ordering::Release);
        self.bells.iter().for_each(|bell| bell.ring());
    }

    fn progress(&self) -> Progress {
        let mut progress = Progress {
            dropped: get(&self.counters.dropped),
            dead_lettered: get(&self.counters.dead_lettered),
            input_bytes: get(&self.counters.input_bytes),
            checkpoints: get(&self.checkpoints),
            checkpoint_bytes: get(&self.checkpoint_bytes),
            checkpoint_stall_ms_max: get(&self.stall_nanos_max) as f64 / 1e6,
            total: Some(0),
            ..Progress::default()
        };
        for source in &self.sources {
            let (done, total) = source.progress();
            progress.done += done;
            progress.total = progress.total.zip(total).map(|(sum, total)| sum + total);
        }
        for (node, counters) in self.plan.nodes.iter().zip(&self.counters.nodes) {
            let (state_bytes, state_rows) = counters.state();
            let watermark = counters.event_watermark.load(Ordering::Relaxed);
            let event_watermark = (watermark != i64::MIN).then_some(watermark);
            match node.operator {
                OperatorSpec::Source(_) => progress.rows_in += get(&counters.rows_in),
                OperatorSpec::Sink(_) => progress.rows_out += get(&counters.rows_in),
                _ => {}
            }
            progress.late += get(&counters.late);
            progress.state_bytes += state_bytes;
            progress.state_rows += state_rows;
            progress.event_watermark = match (progress.event_watermark, event_watermark) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            progress.operators.push(OperatorMetrics {
                node: node.id.0,
                name: node.name.clone(),
                rows_in: get(&counters.rows_in),
                rows_out: get(&counters.rows_out),
                batches_in: get(&counters.batches_in),
                busy_seconds: get(&counters.busy_nanos) as f64 / 1e9,
                late_rows: get(&counters.late),
                state_bytes,
                state_rows,
                event_watermark,
            });
        }
        progress
    }
}

/// Opens the committers of all sinks and repairs the targets.
async fn recover_sinks(
    plan: &Plan,
    options: &RunOptions,
    manifest: Option<&Manifest>,
    generation: u64,
) -> Result<BTreeMap<String, Box<dyn SinkCommitter>>, EngineError> {
    let mut committers: BTreeMap<String, Box<dyn SinkCommitter>> = BTreeMap::new();
    for node in &plan.nodes {
        let OperatorSpec::Sink(spec) = &node.operator else { continue };
        let committer = spec.sink.committer(build::sink_context(plan, &spec.name, generation, 0, options))?;
        let empty = Vec::new();
        let last = manifest.map(|m| (m.checkpoint_epoch, m.sinks.get(&spec.name).unwrap_or(&empty).as_slice()));
        committer.recover(last).await?;
        committers.insert(spec.name.clone(), committer);
    }
    Ok(committers)
}

/// The newest manifest, if it belongs to this plan.
async fn last_manifest(options: &RunOptions) -> Result<Option<Manifest>, EngineError> {
    let Some(store) = &options.store else { return Ok(None) };
    let Some(manifest) = store.latest().await? else { return Ok(None) };
    if manifest.fingerprint != options.fingerprint {
        return Err(EngineError::request(format!(
            "the state of pipeline {} (checkpoint {}) belongs to another version of its SQL; undo the change, choose \
             another --data-dir, or give --restart to discard the state and read the input from the beginning",
            manifest.pipeline, manifest.checkpoint_epoch
        )));
    }
    if manifest.key_encoding_version != thalweg_state::KEY_ENCODING_VERSION || manifest.vnodes != thalweg_state::VNODES
    {
        return Err(EngineError::request(format!(
            "the state of pipeline {} was written with key encoding {} and {} vnodes, this version has {} and {}; \
             use the version that wrote it, or give --restart",
            manifest.pipeline,
            manifest.key_encoding_version,
            manifest.vnodes,
            thalweg_state::KEY_ENCODING_VERSION,
            thalweg_state::VNODES
        )));
    }
    Ok(Some(manifest))
}

/// A run that is wired and restored, before anything moves.
struct Prepared {
    coordinator: Coordinator,
    parts: build::Parts,
    counters: Arc<Counters>,
    next_epoch: u64,
}

enum Preparation {
    Ready(Box<Prepared>),
    Complete(Box<Manifest>),
}

async fn prepare(plan: Plan, options: &RunOptions, clock: &Clock) -> Result<Preparation, EngineError> {
    assert!(options.workers > 0, "at least one worker");
    let mut store = options.store.clone();
    // Claim before reading: whoever still writes is fenced from here on, so what is read stays the newest.
    let generation = match &mut store {
        Some(store) => store.claim().await?.0,
        None => 1,
    };
    let options = &RunOptions { store: store.clone(), ..options.clone() };
    let manifest = last_manifest(options).await?;
    let committers = recover_sinks(&plan, options, manifest.as_ref(), generation).await?;
    if let Some(manifest) = manifest.as_ref().filter(|m| m.finished) {
        return Ok(Preparation::Complete(Box::new(manifest.clone())));
    }
    let counters = Arc::new(Counters::new(plan.nodes.len(), options.workers));
    let parts = build::build(&plan, options, manifest.as_ref(), generation, &counters, clock).await?;
    let durable = Durable {
        generation,
        epoch: manifest.as_ref().map(|m| m.checkpoint_epoch),
        operators: manifest.as_ref().map(|m| m.operators.clone()).unwrap_or_default(),
        base: manifest.as_ref().map(|m| m.totals.clone()).unwrap_or_default(),
        ..Durable::default()
    };
    let next_epoch = durable.epoch.map_or(1, |e| e + 1);
    let coordinator = Coordinator {
        plan: Arc::new(plan),
        workers: options.workers,
        committers,
        store,
        fingerprint: options.fingerprint.clone(),
        sql: options.sql.clone(),
        faults: options.faults.clone(),
        last_totals: durable.base.clone(),
        last_kind: None,
        clock: clock.clone(),
        durable,
    };
    Ok(Preparation::Ready(Box::new(Prepared { coordinator, parts, counters, next_epoch })))
}

type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

#[allow(clippy::disallowed_methods, reason = "the runtime is the driver: here the clock enters")]
fn monotonic_clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || start.elapsed())
}

/// Starts a pipeline from its newest checkpoint, or from the beginning.
///
/// # Errors
/// Any error of opening, restoring or repairing; nothing has been read or written by then.
pub async fn start(plan: Plan, options: RunOptions) -> Result<Started, EngineError> {
    let clock = monotonic_clock();
    let prepared = match prepare(plan, &options, &clock).await? {
        Preparation::Ready(prepared) => *prepared,
        Preparation::Complete(manifest) => return Ok(Started::AlreadyComplete(manifest)),
    };
    let Prepared { coordinator, parts, counters, next_epoch } = prepared;
    let shared = Arc::new(Shared {
        plan: coordinator.plan.clone(),
        counters,
        sources: parts.sources,
        abort: AtomicBool::new(false),
        checkpoints: AtomicU64::new(0),
        checkpoint_bytes: AtomicU64::new(0),
        stall_nanos_max: AtomicU64::new(0),
        bells: parts.bells,
    });
    // At most one answer and one failure per worker are under way; a worker waits when the driver is behind.
    let (events_in, events) = mpsc::channel(2 * options.workers);
    let threads = parts
        .workers
        .into_iter()
        .map(|worker| driver::spawn_worker(worker, shared.clone(), events_in.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    drop(events_in);
    let (commands_in, commands) = mpsc::channel(16);
    let driver = driver::Driver::new(shared.clone(), &options, next_epoch, threads, coordinator);
    let driver = options.io.spawn(driver.run(events, commands));
    Ok(Started::Running(RunHandle { shared, commands: commands_in, driver }))
}
