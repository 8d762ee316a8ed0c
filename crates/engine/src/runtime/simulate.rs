//! A run without threads and clocks: one seed decides which worker moves next and where epochs are cut.
//!
//! The same workers, sources and coordinator as in a threaded run, stepped by one thread, so that a failure replays from
//! its seed. Time stands still: nothing depends on it in a bounded run.

use std::sync::Arc;
use std::time::Duration;

use thalweg_state::Totals;

use super::coordinator::Completed;
use super::metrics::get;
use super::worker::Stepped;
use super::{Clock, Preparation, Prepared, RunOptions, prepare};
use crate::{Barrier, BarrierKind, EngineError, Plan};

/// One epoch boundary in so many worker steps, on average.
const STEPS_PER_EPOCH: u32 = 24;
/// One of so many boundaries is a checkpoint; the others only publish.
const EPOCHS_PER_CHECKPOINT: u32 = 3;
/// Steps without any work after which the run counts as stuck.
const IDLE_STEPS_MAX: u32 = 5_000_000;

/// How a simulated run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulated {
    /// Epoch of the last barrier.
    pub last_epoch: u64,
    pub rows_in: u64,
    pub rows_out: u64,
    pub late: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    pub finished: bool,
}

impl Simulated {
    /// `bad`: rows dropped and dead-lettered in this run.
    fn new(last_epoch: u64, totals: &Totals, bad: (u64, u64), finished: bool) -> Self {
        let (rows_in, rows_out, late) = (totals.rows_in, totals.rows_out, totals.late);
        Self { last_epoch, rows_in, rows_out, late, dropped: bad.0, dead_lettered: bad.1, finished }
    }
}

/// Whether an epoch ends here, and how.
fn next_barrier(random: &mut fastrand::Rng, finished: bool) -> Option<BarrierKind> {
    if finished {
        Some(BarrierKind::Stop)
    } else if random.u32(..STEPS_PER_EPOCH) > 0 {
        None
    } else if random.u32(..EPOCHS_PER_CHECKPOINT) > 0 {
        Some(BarrierKind::Publish)
    } else {
        Some(BarrierKind::Checkpoint)
    }
}

/// Runs a bounded plan to its end, or to the first error.
///
/// # Errors
/// What a threaded run would fail with, and an error of kind `Bug` if the workers stand still before the end.
pub async fn simulate(plan: Plan, options: RunOptions, seed: u64) -> Result<Simulated, EngineError> {
    let clock: Clock = Arc::new(|| Duration::ZERO);
    let prepared = match prepare(plan, &options, &clock).await? {
        Preparation::Ready(prepared) => *prepared,
        Preparation::Complete(manifest) => {
            let (totals, none) = (&manifest.totals, (0, 0));
            return Ok(Simulated::new(manifest.checkpoint_epoch, totals, none, true));
        }
    };
    let Prepared { mut coordinator, mut parts, counters, mut next_epoch } = prepared;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut under_way: Option<Barrier> = None;
    let mut acks = Vec::new();
    let mut idle_steps = 0;
    loop {
        if under_way.is_none() {
            let finished = parts.workers.iter().all(|worker| worker.sources_finished());
            if let Some(kind) = next_barrier(&mut random, finished) {
                let barrier = Barrier { checkpoint_epoch: next_epoch, kind };
                next_epoch += 1;
                parts.sources.iter().for_each(|source| source.inject(barrier));
                under_way = Some(barrier);
            }
        }
        let worker = random.usize(..parts.workers.len());
        match parts.workers[worker].step()? {
            Stepped::Worked => idle_steps = 0,
            Stepped::Waiting | Stepped::Idle => {
                idle_steps += 1;
                tokio::task::yield_now().await;
                if idle_steps > IDLE_STEPS_MAX {
                    return Err(EngineError::bug(format!("the workers stand still; seed {seed}, epoch {next_epoch}")));
                }
            }
        }
        acks.extend(parts.workers[worker].take_ack());
        if acks.len() < parts.workers.len() {
            continue;
        }
        let barrier = under_way.take().expect("answers follow a barrier");
        let finished = parts.workers.iter().all(|worker| worker.sources_finished());
        let completed = Completed::new(barrier, std::mem::take(&mut acks), &parts.sources, &counters, finished);
        if !barrier.kind.is_durable() {
            completed.publish().await?;
            continue;
        }
        coordinator.finish(completed).await?;
        if barrier.kind == BarrierKind::Stop {
            let bad = (get(&counters.dropped), get(&counters.dead_lettered));
            return Ok(Simulated::new(barrier.checkpoint_epoch, &coordinator.last_totals, bad, finished));
        }
    }
}
