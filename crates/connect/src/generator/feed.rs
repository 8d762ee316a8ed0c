//! Counts rows out to the workers, at the asked rate.
//!
//! Invariant: `next` only rises; every claim is the range `[next, next + count)`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thalweg_engine::{
    Chunk, Claim, Decoder, EngineError, EventTime, SourceContext, SourceFeed, SplitInfo, SplitPosition,
};
use tokio::task::AbortHandle;

use super::config::Config;
use super::decode::{GeneratorDecoder, Range};
use super::kind::{Rows, rows_of};
use super::schema::Binding;

const SPLIT: &str = "events";
/// With a rate, rows are handed out in so many pieces a second at most.
const PIECES_PER_SECOND: u64 = 50;

pub(crate) struct GeneratorFeed {
    config: Config,
    binding: Binding,
    context: SourceContext,
    rows: Arc<dyn Rows>,
    next: u64,
    sequence: u64,
    clock: Option<Clock>,
}

impl GeneratorFeed {
    pub(crate) fn open(
        config: Config,
        binding: Binding,
        context: SourceContext,
        positions: Vec<SplitPosition>,
    ) -> Result<Self, EngineError> {
        let next = match positions.iter().find(|position| position.split == SPLIT) {
            None => 0,
            Some(found) => found.position["next"].as_u64().ok_or_else(|| {
                EngineError::data(format!(
                    "generator: cannot read the position {} of the checkpoint; start with --restart",
                    found.position
                ))
            })?,
        };
        let clock = config.rate.map(|rate| Clock::start(rate, next));
        let rows = rows_of(&config);
        Ok(Self { config, binding, context, rows, next, sequence: 0, clock })
    }

    fn is_finished(&self) -> bool {
        self.config.rows.is_some_and(|rows| self.next >= rows)
    }
}

impl SourceFeed for GeneratorFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        if self.is_finished() {
            return Ok(Claim::Finished);
        }
        let mut count = self.context.batch_rows.max(1) as u64;
        if let Some(rows) = self.config.rows {
            count = count.min(rows - self.next);
        }
        if let Some(clock) = &mut self.clock {
            count = count.min((clock.rate / PIECES_PER_SECOND).max(1));
            if !clock.is_due(self.next + count, &self.context) {
                return Ok(Claim::Pending);
            }
        }
        let payload = Box::new(Range { first: self.next, count: count as usize });
        let chunk = Chunk { split: 0, sequence: self.sequence, payload };
        self.next += count;
        self.sequence += 1;
        Ok(Claim::Chunk(chunk))
    }

    fn positions(&self) -> Vec<SplitPosition> {
        vec![SplitPosition {
            split: SPLIT.into(),
            position: serde_json::json!({ "next": self.next }),
            finished: self.is_finished(),
        }]
    }

    fn splits(&self) -> Vec<SplitInfo> {
        vec![SplitInfo { name: SPLIT.into(), lowest_event_time: None, finished: self.is_finished() }]
    }

    fn split_progress(&mut self, _split: u32, _event_time: EventTime) {}

    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        let decoder = GeneratorDecoder::new(&self.config, &self.binding, &self.context, self.rows.clone())?;
        Ok(Box::new(decoder))
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.next, self.config.rows)
    }
}

/// When rows are due.
struct Clock {
    rate: u64,
    started: Instant,
    first: u64,
    /// Set while a timer is under way that will wake the workers.
    timer: Arc<AtomicBool>,
    task: Option<AbortHandle>,
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the rate is kept by the clock; what is in the rows does not depend on it"
    )]
    fn start(rate: u64, first: u64) -> Self {
        Self { rate, started: Instant::now(), first, timer: Arc::default(), task: None }
    }

    /// Whether all rows before `row` are due; otherwise sees to it that the workers are woken when they are.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    fn is_due(&mut self, row: u64, context: &SourceContext) -> bool {
        let due = self.started + Duration::from_secs_f64((row - self.first) as f64 / self.rate as f64);
        let now = Instant::now();
        if due <= now {
            return true;
        }
        if !self.timer.swap(true, Ordering::AcqRel) {
            let (timer, wake) = (self.timer.clone(), context.wake.clone());
            let task = context.io.spawn(async move {
                tokio::time::sleep_until(due.into()).await;
                timer.store(false, Ordering::Release);
                wake.wake();
            });
            self.task = Some(task.abort_handle());
        }
        false
    }
}
