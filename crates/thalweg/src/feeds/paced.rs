//! A source slowed down to so many units (rows or bytes, as the source counts) per second of the machine's clock.
//!
//! What comes out and in which order is the inner source's; only when it comes is decided here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use thalweg_engine::{
    Claim, Decoder, EngineError, EventTime, Source, SourceContext, SourceFeed, SplitInfo, SplitPosition,
};

/// How often a feed that is ahead of its pace looks again.
const TICK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct PacedSource {
    inner: Arc<dyn Source>,
    units_per_second: f64,
}

impl PacedSource {
    pub fn new(inner: Arc<dyn Source>, units_per_second: f64) -> Self {
        assert!(units_per_second > 0.0, "a pace is above zero");
        Self { inner, units_per_second }
    }
}

impl Source for PacedSource {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn describe(&self) -> String {
        format!("{} at {} per second", self.inner.describe(), self.units_per_second)
    }

    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        let wake = context.wake.clone();
        let ticker = context.io.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                wake.wake();
            }
        });
        let inner = self.inner.open(context, positions)?;
        let first = inner.progress().0;
        let ticker = Ticker(ticker);
        Ok(Box::new(PacedFeed { inner, first, began: None, units_per_second: self.units_per_second, _ticker: ticker }))
    }

    fn is_unbounded(&self) -> bool {
        self.inner.is_unbounded()
    }
}

/// Ends with its feed.
struct Ticker(tokio::task::JoinHandle<()>);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct PacedFeed {
    inner: Box<dyn SourceFeed>,
    /// Units done when the feed was opened.
    first: u64,
    /// The first claim; the pace counts from there.
    began: Option<Instant>,
    units_per_second: f64,
    _ticker: Ticker,
}

impl SourceFeed for PacedFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let due = began.elapsed().as_secs_f64() * self.units_per_second;
        let done = self.inner.progress().0.saturating_sub(self.first);
        if done as f64 > due {
            return Ok(Claim::Pending);
        }
        self.inner.claim()
    }

    fn positions(&self) -> Vec<SplitPosition> {
        self.inner.positions()
    }

    fn splits(&self) -> Vec<SplitInfo> {
        self.inner.splits()
    }

    fn split_progress(&mut self, split: u32, event_time: EventTime) {
        self.inner.split_progress(split, event_time);
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        self.inner.decoder()
    }

    fn progress(&self) -> (u64, Option<u64>) {
        self.inner.progress()
    }
}
