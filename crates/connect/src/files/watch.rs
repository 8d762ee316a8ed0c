//! Looks again and again for new files and growth, for `--watch`.
//!
//! One task per source, on the IO runtime; it ends when the feed is dropped. It only reports what it sees: the feed
//! decides.

use std::collections::HashSet;
use std::sync::Arc;

use thalweg_engine::{EngineError, ErrorKind, EventTime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::lowest::lowest_event_time;
use super::reader::ReaderContext;
use super::storage::Entry;

/// All files at one moment, and which of them were not there before.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) entries: Vec<Entry>,
    pub(crate) new: Vec<(Entry, Option<EventTime>)>,
}

#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) sightings: mpsc::Receiver<Result<Sighting, EngineError>>,
    task: AbortHandle,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    pub(crate) fn start(context: &ReaderContext, known: HashSet<Arc<str>>) -> Self {
        let (sender, sightings) = mpsc::channel(1);
        let task = context.source.io.spawn(run(context.clone(), known, sender));
        Self { sightings, task: task.abort_handle() }
    }
}

async fn run(context: ReaderContext, mut known: HashSet<Arc<str>>, out: mpsc::Sender<Result<Sighting, EngineError>>) {
    let mut ticks = tokio::time::interval(context.reading.config.watch_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let look = context.clone();
        let seen = tokio::task::spawn_blocking(move || {
            let sighting = look_at(&look, &mut known);
            (known, sighting)
        });
        let Ok((now_known, sighting)) = seen.await else { return };
        known = now_known;
        let failed = sighting.is_err();
        if out.send(sighting).await.is_err() {
            return;
        }
        context.source.wake.wake();
        if failed {
            return;
        }
    }
}

fn look_at(context: &ReaderContext, known: &mut HashSet<Arc<str>>) -> Result<Sighting, EngineError> {
    let entries = match context.storage.list(Some(context.reading.format)) {
        Ok(listing) => listing.entries,
        // What was there before is missed by the feed.
        Err(error) if error.kind == ErrorKind::FixRequest && !known.is_empty() => vec![],
        Err(error) => return Err(error),
    };
    let mut new = Vec::new();
    for entry in &entries {
        if known.insert(entry.name.clone()) {
            let lowest = context
                .source
                .time_column
                .and_then(|column| lowest_event_time(&context.reading, &context.storage, entry, column, true));
            new.push((entry.clone(), lowest));
        }
    }
    Ok(Sighting { entries, new })
}
