//! Event-time progress of one source: which watermark each split has reached, and how far all of them have.
//!
//! Chunks of a split are decoded by several workers at once, so their maxima arrive out of order. The tracker resolves
//! them in the order of their sequence: the *prefix* of a chunk is the largest watermark value of all rows of its split
//! in front of it. Lateness of a row depends on its prefix alone, hence on nothing but the order of rows in its split.
//!
//! Invariants: `resolved <= claimed`; `running` never falls; the bound given out covers no chunk still in flight.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::{EventTime, SplitInfo};

/// Longest stretch between two polls that counts as "polled and empty".
const POLL_GAP_MAX: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Split {
    name: String,
    claimed: u64,
    resolved: u64,
    /// Largest watermark value of the chunks below `resolved`.
    running: i64,
    /// Maxima of decoded chunks whose predecessors are not decoded yet.
    waiting: BTreeMap<u64, i64>,
    /// Prefixes of resolved chunks that their workers have not fetched yet.
    prefixes: HashMap<u64, i64>,
    finished: bool,
    /// Watermark that holds before the first row.
    lowest: i64,
    /// Sequence at which the current barrier cuts, and the prefix there once it is known.
    cut: Option<(u64, Option<i64>)>,
    empty_for: Duration,
}

/// Watermarks of the splits of one source.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    splits: Vec<Split>,
    restored: BTreeMap<String, i64>,
    idle_timeout: Option<Duration>,
    last_poll: Duration,
    /// What `bound` returned last: idle splits that come back do not pull it down.
    bound: i64,
}

impl Tracker {
    pub(crate) fn new(restored: BTreeMap<String, i64>, idle_timeout: Option<Duration>) -> Self {
        Self { restored, idle_timeout, bound: i64::MIN, ..Self::default() }
    }

    /// Takes over what the feed knows of its splits. `lowest` maps an event time to the watermark it would cause.
    pub(crate) fn learn(&mut self, infos: &[SplitInfo], lowest: &dyn Fn(EventTime) -> Option<i64>) {
        for (index, info) in infos.iter().enumerate() {
            if index == self.splits.len() {
                let running = self.restored.get(&info.name).copied().unwrap_or(i64::MIN);
                self.splits.push(Split {
                    name: info.name.clone(),
                    claimed: 0,
                    resolved: 0,
                    running,
                    waiting: BTreeMap::new(),
                    prefixes: HashMap::new(),
                    finished: info.finished,
                    lowest: info.lowest_event_time.and_then(lowest).unwrap_or(i64::MIN),
                    cut: None,
                    empty_for: Duration::ZERO,
                });
            }
            self.splits[index].finished = info.finished;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.splits.len()
    }

    pub(crate) fn claimed(&mut self, split: u32, sequence: u64) {
        let split = &mut self.splits[split as usize];
        assert_eq!(sequence, split.claimed, "chunks of split {} are claimed in order", split.name);
        split.claimed += 1;
        split.empty_for = Duration::ZERO;
    }

    /// The source was asked for work at `now`; splits that gave none grow towards idleness.
    pub(crate) fn polled(&mut self, now: Duration, served: Option<u32>) {
        let gap = now.saturating_sub(self.last_poll).min(POLL_GAP_MAX);
        self.last_poll = now;
        for (index, split) in self.splits.iter_mut().enumerate() {
            if Some(index as u32) != served && split.claimed == split.resolved {
                split.empty_for += gap;
            }
        }
    }

    /// A chunk is decoded; `max` is the largest watermark value in it (`i64::MIN` if it has no rows). Returns how far the
    /// split has come if that changed.
    pub(crate) fn decoded(&mut self, split: u32, sequence: u64, max: i64) -> Option<EventTime> {
        let split = &mut self.splits[split as usize];
        split.waiting.insert(sequence, max);
        let before = split.resolved;
        while let Some(max) = split.waiting.remove(&split.resolved) {
            if let Some((at, value @ None)) = &mut split.cut
                && *at == split.resolved
            {
                *value = Some(split.running);
            }
            split.prefixes.insert(split.resolved, split.running);
            split.running = split.running.max(max);
            split.resolved += 1;
        }
        (split.resolved != before).then_some(EventTime(split.running))
    }

    /// The prefix of a decoded chunk, once all its predecessors are decoded.
    pub(crate) fn take_prefix(&mut self, split: u32, sequence: u64) -> Option<i64> {
        self.splits[split as usize].prefixes.remove(&sequence)
    }

    pub(crate) fn is_resolved(&self, split: u32, sequence: u64) -> bool {
        sequence < self.splits[split as usize].resolved
    }

    /// A barrier cuts here: everything claimed so far belongs to the ending epoch.
    pub(crate) fn cut(&mut self) {
        for split in &mut self.splits {
            let known = (split.claimed == split.resolved).then_some(split.running);
            split.cut = Some((split.claimed, known));
        }
    }

    /// Watermarks of all splits at the cut; complete once every worker has passed the barrier.
    pub(crate) fn cut_watermarks(&self) -> BTreeMap<String, i64> {
        let mut watermarks = self.restored.clone();
        for split in &self.splits {
            let (at, value) = split.cut.unwrap_or((split.claimed, None));
            let value = value.or((split.resolved == at).then_some(split.running));
            // A split found after the cut has nothing in the ending epoch.
            if let Some(value) = value.filter(|&v| v > i64::MIN) {
                watermarks.insert(split.name.clone(), value);
            }
        }
        watermarks
    }

    /// How far a split may have come before it has to wait for the others.
    pub(crate) fn ceiling(&self, max_drift: Duration) -> EventTime {
        let behind = self
            .splits
            .iter()
            .filter(|split| !(split.finished && split.resolved == split.claimed))
            .filter(|split| !self.idle_timeout.is_some_and(|limit| split.empty_for >= limit))
            .map(|split| split.running.max(split.lowest))
            .min();
        let drift = i64::try_from(max_drift.as_micros()).unwrap_or(i64::MAX);
        behind.map_or(EventTime::MAX, |behind| EventTime(behind.saturating_add(drift)))
    }

    /// No worker without chunks in hand will produce a row on time below this. `MAX` when all splits are done.
    pub(crate) fn bound(&mut self) -> EventTime {
        let mut lowest = i64::MAX;
        let mut all_finished = true;
        let mut any_active = false;
        for split in &self.splits {
            if split.finished && split.resolved == split.claimed {
                continue;
            }
            all_finished = false;
            let idle = self.idle_timeout.is_some_and(|limit| split.empty_for >= limit);
            if !idle {
                any_active = true;
                lowest = lowest.min(split.running.max(split.lowest));
            }
        }
        if all_finished {
            // The caller knows whether more splits can come; what is known so far has ended.
            return EventTime(self.splits.iter().map(|s| s.running).max().unwrap_or(self.bound).max(self.bound));
        }
        if any_active {
            self.bound = self.bound.max(lowest);
        }
        EventTime(self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(splits: &[&str]) -> Tracker {
        let mut tracker = Tracker::new(BTreeMap::new(), Some(Duration::from_secs(1)));
        let infos: Vec<_> = splits
            .iter()
            .map(|name| SplitInfo { name: name.to_string(), lowest_event_time: None, finished: false })
            .collect();
        tracker.learn(&infos, &|time| Some(time.0));
        tracker
    }

    #[test]
    fn prefixes_follow_the_sequence_however_chunks_are_decoded() {
        let mut tracker = tracker(&["a"]);
        (0..3).for_each(|sequence| tracker.claimed(0, sequence));
        tracker.decoded(0, 2, 30);
        tracker.decoded(0, 1, 50);
        assert_eq!(tracker.take_prefix(0, 1), None);
        assert_eq!(tracker.bound(), EventTime::MIN);
        assert_eq!(tracker.decoded(0, 0, 10), Some(EventTime(50)));
        assert_eq!([0, 1, 2].map(|s| tracker.take_prefix(0, s)), [Some(i64::MIN), Some(10), Some(50)]);
        assert_eq!(tracker.bound(), EventTime(50));
    }

    #[test]
    fn a_cut_keeps_the_watermark_of_what_was_claimed_before_it() {
        let mut tracker = tracker(&["a"]);
        tracker.claimed(0, 0);
        tracker.cut();
        tracker.claimed(0, 1);
        tracker.decoded(0, 0, 10);
        tracker.decoded(0, 1, 99);
        assert_eq!(tracker.cut_watermarks()["a"], 10);
    }

    #[test]
    fn the_ceiling_is_a_drift_above_the_split_furthest_behind() {
        let mut tracker = tracker(&["a", "b"]);
        let drift = Duration::from_micros(100);
        assert_eq!(tracker.ceiling(drift), EventTime(i64::MIN + 100));
        for (split, time) in [(0, 500), (1, 20)] {
            tracker.claimed(split, 0);
            tracker.decoded(split, 0, time);
        }
        assert_eq!(tracker.ceiling(drift), EventTime(120));
        (1..=10).for_each(|tick| tracker.polled(Duration::from_millis(200 * tick), Some(0)));
        assert_eq!(tracker.ceiling(drift), EventTime(600), "an idle split holds nobody");
    }

    #[test]
    fn the_slowest_split_holds_the_bound_until_it_is_idle() {
        let mut tracker = tracker(&["a", "b"]);
        tracker.claimed(0, 0);
        tracker.decoded(0, 0, 10);
        assert_eq!(tracker.bound(), EventTime::MIN);
        for tick in 1..=10 {
            tracker.polled(Duration::from_millis(200 * tick), Some(0));
        }
        assert_eq!(tracker.bound(), EventTime(10));
        tracker.claimed(1, 0);
        tracker.decoded(1, 0, 5);
        assert_eq!(tracker.bound(), EventTime(10), "a split that comes back does not pull the bound down");
    }
}
