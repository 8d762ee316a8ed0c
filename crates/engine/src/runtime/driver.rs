//! The driver of a threaded run: worker threads, timers, commands, and what happens when something fails.
//!
//! One barrier is under way at a time. While a checkpoint is being written, results go on being published; the next
//! durable barrier waits for it. The first error of a worker or of a checkpoint ends the run: workers stop at once and
//! the next start repairs from the newest manifest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use thalweg_state::{Manifest, StoreLocation};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::coordinator::{Completed, Coordinator};
use super::worker::{Ack, Stepped, Worker};
use super::{Command, RunOptions, Shared, Summary};
use crate::{Barrier, BarrierKind, EngineError, ErrorKind};

/// Longest sleep of a worker that has nothing to do; bells cut it short.
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// Sleep of a worker whose decoded rows wait for another worker.
const PENDING_WAIT: Duration = Duration::from_micros(50);
/// The first results of a run should not wait for a whole publish interval.
const FIRST_PUBLISH_MAX: Duration = Duration::from_millis(20);

/// What workers tell the driver.
pub(crate) enum Event {
    Ack(Ack),
    /// All sources have ended on this worker.
    Finished,
    Failed(EngineError),
}

/// Starts the thread of one worker.
#[allow(clippy::disallowed_methods, reason = "the runtime is the driver: workers are its threads")]
pub(crate) fn spawn_worker(
    worker: Worker,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
) -> Result<thread::JoinHandle<()>, EngineError> {
    let index = worker.index;
    let body = move || {
        let guard = PanicGuard { events: events.clone(), worker: index };
        if let Err(error) = work(worker, &shared, &events) {
            // Nobody listens any more only if the run is being torn down already.
            let _ = events.blocking_send(Event::Failed(error));
        }
        std::mem::forget(guard);
    };
    thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(|error| {
        EngineError::with_source(ErrorKind::Retry, format!("cannot start the thread of worker {index}"), error)
    })
}

/// Tells the driver when a worker's thread dies of a panic.
struct PanicGuard {
    events: mpsc::Sender<Event>,
    worker: usize,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        let message = format!("worker {} panicked; the message above says where", self.worker);
        let _ = self.events.blocking_send(Event::Failed(EngineError::bug(message)));
    }
}

fn work(mut worker: Worker, shared: &Shared, events: &mpsc::Sender<Event>) -> Result<(), EngineError> {
    let bell = shared.bells[worker.index].clone();
    bell.adopt();
    let mut told_finished = false;
    while !shared.abort.load(Ordering::Acquire) {
        let stepped = worker.step()?;
        if let Some(ack) = worker.take_ack() {
            let last = ack.barrier.kind == BarrierKind::Stop;
            let sent = events.blocking_send(Event::Ack(ack));
            if last || sent.is_err() {
                // Peers may still need what waits in front of a full ring.
                while !worker.flush() && !shared.abort.load(Ordering::Acquire) {
                    bell.wait(IDLE_WAIT);
                }
                return Ok(());
            }
        }
        if !told_finished && worker.sources_finished() {
            told_finished = true;
            if events.blocking_send(Event::Finished).is_err() {
                return Ok(());
            }
        }
        match stepped {
            Stepped::Worked => {}
            Stepped::Waiting => bell.wait(PENDING_WAIT),
            Stepped::Idle => bell.wait(IDLE_WAIT),
        }
    }
    Ok(())
}

type Reply = oneshot::Sender<Result<u64, EngineError>>;

pub(crate) struct Driver {
    shared: Arc<Shared>,
    workers: usize,
    publish_interval: Duration,
    checkpoint_interval: Duration,
    state_bytes_max: Option<u64>,
    next_epoch: u64,
    threads: Vec<thread::JoinHandle<()>>,
    /// Away while a checkpoint is being written.
    coordinator: Option<Coordinator>,
    started: Instant,
    acks: Vec<Ack>,
    under_way: Option<(Barrier, Instant)>,
    finished_workers: usize,
    stopping: bool,
    savepoints: Vec<(StoreLocation, Reply)>,
    last_manifest: Option<Manifest>,
}

type Finishing = JoinHandle<(Coordinator, Result<Option<Manifest>, EngineError>)>;

impl Driver {
    #[allow(clippy::disallowed_methods, reason = "the runtime is the driver: here the clock enters")]
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: &RunOptions,
        next_epoch: u64,
        threads: Vec<thread::JoinHandle<()>>,
        coordinator: Coordinator,
    ) -> Self {
        Self {
            shared,
            workers: options.workers,
            publish_interval: options.publish_interval,
            checkpoint_interval: options.checkpoint_interval,
            state_bytes_max: options.state_bytes_max,
            next_epoch,
            threads,
            coordinator: Some(coordinator),
            started: Instant::now(),
            acks: Vec::new(),
            under_way: None,
            finished_workers: 0,
            stopping: false,
            savepoints: Vec::new(),
            last_manifest: None,
        }
    }

    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<Summary, EngineError> {
        let result = self.drive(&mut events, &mut commands).await;
        self.shared.abort();
        // Workers may be about to tell something: let them.
        events.close();
        for thread in std::mem::take(&mut self.threads) {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        result
    }

    #[allow(clippy::disallowed_methods, reason = "the runtime is the driver: here the clock enters")]
    async fn drive(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Summary, EngineError> {
        let mut publish_at = self.started + self.publish_interval.min(FIRST_PUBLISH_MAX);
        let mut checkpoint_at = self.started + self.checkpoint_interval;
        let mut finishing: Option<Finishing> = None;
        let mut commands_open = true;
        loop {
            if self.under_way.is_none() {
                let now = Instant::now();
                if let Some(kind) = self.due(now, publish_at, checkpoint_at, finishing.is_some()) {
                    publish_at = now + self.publish_interval;
                    if kind.is_durable() {
                        checkpoint_at = now + self.checkpoint_interval;
                    }
                    self.inject(kind);
                }
            }
            let wake_at = if finishing.is_some() { publish_at } else { publish_at.min(checkpoint_at) };
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Ack(ack)) => {
                        if let Some(completed) = self.collect(ack) {
                            self.check_state()?;
                            if self.kind_of(&completed).is_durable() {
                                let mut coordinator = self.coordinator.take().expect("one checkpoint at a time");
                                finishing = Some(tokio::spawn(async move {
                                    let result = coordinator.finish(completed).await;
                                    (coordinator, result)
                                }));
                            } else {
                                completed.publish().await?;
                            }
                        }
                    }
                    Some(Event::Finished) => self.finished_workers += 1,
                    Some(Event::Failed(error)) => return Err(error),
                    None => return Err(EngineError::bug("all workers ended without passing the last barrier")),
                },
                done = join(&mut finishing) => {
                    finishing = None;
                    if let Some(summary) = self.finished(done).await? {
                        return Ok(summary);
                    }
                }
                command = commands.recv(), if commands_open => match command {
                    Some(Command::Stop) => self.stopping = true,
                    Some(Command::Savepoint(to, reply)) => self.savepoints.push((to, reply)),
                    None => commands_open = false,
                },
                () = sleep_until(wake_at), if self.under_way.is_none() => {}
            }
        }
    }

    /// The kind of barrier that should go out now, if any.
    fn due(&self, now: Instant, publish_at: Instant, checkpoint_at: Instant, finishing: bool) -> Option<BarrierKind> {
        if !finishing {
            if self.stopping || self.finished_workers == self.workers {
                return Some(BarrierKind::Stop);
            }
            if !self.savepoints.is_empty() {
                return Some(BarrierKind::Savepoint);
            }
            if now >= checkpoint_at {
                return Some(BarrierKind::Checkpoint);
            }
        }
        (now >= publish_at).then_some(BarrierKind::Publish)
    }

    #[allow(clippy::disallowed_methods, reason = "the runtime is the driver: here the clock enters")]
    fn inject(&mut self, kind: BarrierKind) {
        let barrier = Barrier { checkpoint_epoch: self.next_epoch, kind };
        self.next_epoch += 1;
        self.shared.sources.iter().for_each(|source| source.inject(barrier));
        self.under_way = Some((barrier, Instant::now()));
        self.shared.bells.iter().for_each(|bell| bell.ring());
    }

    fn collect(&mut self, ack: Ack) -> Option<Completed> {
        self.acks.push(ack);
        if self.acks.len() < self.workers {
            return None;
        }
        let (barrier, _) = self.under_way.take().expect("answers follow a barrier");
        let finished = self.finished_workers == self.workers;
        let acks = std::mem::take(&mut self.acks);
        let completed = Completed::new(barrier, acks, &self.shared.sources, &self.shared.counters, finished);
        if barrier.kind.is_durable() {
            let stall = completed.stall().as_nanos() as u64;
            self.shared.stall_nanos_max.fetch_max(stall, Ordering::Relaxed);
        }
        Some(completed)
    }

    /// Fails rather than growing until the system kills the process; the last checkpoint stays good.
    fn check_state(&self) -> Result<(), EngineError> {
        let held: u64 = self.shared.counters.nodes.iter().map(|node| node.state().0).sum();
        match self.state_bytes_max.filter(|&max| held > max) {
            None => Ok(()),
            Some(max) => Err(EngineError::request(format!(
                "the state of pipeline {} has grown to {} MiB, its limit is {} MiB (run.state_limit_mib); raise the limit, \
                 or use smaller windows or fewer keys; the run goes on from its last checkpoint when it is started again",
                self.shared.plan.name,
                held >> 20,
                max >> 20
            ))),
        }
    }

    fn kind_of(&self, completed: &Completed) -> BarrierKind {
        completed.barrier().kind
    }

    /// A checkpoint is done; the summary if it was the last one.
    #[allow(clippy::disallowed_methods, reason = "the runtime is the driver: here the clock enters")]
    async fn finished(
        &mut self,
        done: (Coordinator, Result<Option<Manifest>, EngineError>),
    ) -> Result<Option<Summary>, EngineError> {
        let (coordinator, result) = done;
        let finish = result?;
        self.shared.checkpoints.store(coordinator.durable.checkpoints, Ordering::Relaxed);
        self.shared.checkpoint_bytes.store(coordinator.durable.bytes, Ordering::Relaxed);
        let stopped = coordinator.last_kind == Some(BarrierKind::Stop);
        if coordinator.last_kind == Some(BarrierKind::Savepoint) {
            for (to, reply) in std::mem::take(&mut self.savepoints) {
                let copied = match &finish {
                    Some(manifest) => {
                        coordinator.copy_savepoint(manifest, &to).await.map(|()| manifest.checkpoint_epoch)
                    }
                    None => Err(EngineError::request(
                        "a savepoint needs a pipeline that keeps its state; start it with a data folder",
                    )),
                };
                // Who asked may have gone.
                let _ = reply.send(copied);
            }
        }
        if finish.is_some() {
            self.last_manifest = finish;
        }
        let totals = coordinator.last_totals.clone();
        self.coordinator = Some(coordinator);
        Ok(stopped.then(|| Summary {
            progress: self.shared.progress(),
            totals,
            elapsed_seconds: self.started.elapsed().as_secs_f64(),
            finished: self.finished_workers == self.workers,
            checkpoint_epoch: self.last_manifest.as_ref().map(|m| m.checkpoint_epoch),
        }))
    }
}

/// Waits for the checkpoint under way; for ever if there is none.
async fn join(finishing: &mut Option<Finishing>) -> (Coordinator, Result<Option<Manifest>, EngineError>) {
    match finishing {
        Some(task) => match task.await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
        None => std::future::pending().await,
    }
}
