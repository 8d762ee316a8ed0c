//! Where windows lie on the axis of event time, and the panes they share.
//!
//! Why panes: overlapping windows would otherwise aggregate every row once per window. A *pane* is the largest slice of
//! time that no window boundary cuts, so a row is aggregated once, into its pane, and a window is the merge of its panes.
//! Invariants: a pane is covered by a window entirely or not at all; of the windows that cover one pane, and of all
//! windows, a later end means a start that is not earlier (cumulating windows of one round share their start).
//! Everything here is pure arithmetic on microseconds.

use crate::{EngineError, WindowKind};

/// 73000 years from the epoch, so that no sum with a window's size overflows.
const TIME_LIMIT: i64 = i64::MAX / 4;

/// A window `[start, end)` in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Window {
    pub start: i64,
    pub end: i64,
}

/// The windows of one [`WindowKind`].
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowGrid {
    /// How long a window is at most.
    size: i64,
    /// From one window's start to the next; for cumulating windows from one round to the next.
    slide: i64,
    pane: i64,
    /// In `0..slide`.
    offset: i64,
    cumulate: bool,
}

impl WindowGrid {
    pub fn new(kind: WindowKind) -> Result<Self, EngineError> {
        let (size, slide, pane, offset, cumulate) = match kind {
            WindowKind::Tumble { size, offset } => (size, size, size, offset, false),
            WindowKind::Hop { size, slide, offset } => {
                (size, slide, greatest_common_divisor(size, slide), offset, false)
            }
            WindowKind::Cumulate { size, step, offset } => (size, size, step, offset, true),
        };
        let longest = TIME_LIMIT / 4;
        if size <= 0 || slide <= 0 || pane <= 0 || size > longest || slide > longest {
            return Err(EngineError::request(format!("a window needs a size and a slide above zero, got {kind:?}")));
        }
        if cumulate && size % pane != 0 {
            return Err(EngineError::request(format!(
                "the size of cumulating windows ({size} us) must be a multiple of their step ({pane} us)"
            )));
        }
        if !cumulate && size > slide && pane < 2 {
            return Err(EngineError::request(format!(
                "size ({size} us) and slide ({slide} us) of hopping windows must share a multiple of 2 microseconds"
            )));
        }
        Ok(Self { size, slide, pane, offset: offset.rem_euclid(slide), cumulate })
    }

    /// Panes in a full window.
    pub fn panes_per_window(&self) -> i64 {
        self.size / self.pane
    }

    /// Panes counted from the one at the offset.
    pub fn pane_number(&self, time: i64) -> i64 {
        time.saturating_sub(self.offset).div_euclid(self.pane)
    }

    /// Start of the pane of that number.
    pub fn pane_at(&self, number: i64) -> i64 {
        number * self.pane + self.offset
    }

    /// No window that closes after `window` starts before this.
    pub fn next_start(&self, window: Window) -> i64 {
        let ends_round = window.end - window.start >= self.size;
        if ends_round { window.start + self.slide } else { window.start }
    }

    /// Every pane is one window.
    pub fn is_tumbling(&self) -> bool {
        self.pane == self.size && self.size == self.slide
    }

    /// Whether some instants are in no window.
    pub fn has_gaps(&self) -> bool {
        self.slide > self.size
    }

    pub fn is_cumulating(&self) -> bool {
        self.cumulate
    }

    /// Start of the pane that holds `time`; times beyond [`TIME_LIMIT`] count as the limit.
    pub fn pane_of(&self, time: i64) -> i64 {
        floor(time.clamp(-TIME_LIMIT, TIME_LIMIT), self.pane, self.offset)
    }

    /// Appends the pane of each time and returns the earliest time. Remembers the last pane, because times mostly rise.
    pub fn panes_of(&self, times: &[i64], panes: &mut Vec<i64>) -> i64 {
        panes.reserve(times.len());
        let (mut start, mut end, mut earliest) = (0, 0, i64::MAX);
        for &time in times {
            if time < start || time >= end {
                start = self.pane_of(time);
                end = start.saturating_add(self.pane);
            }
            earliest = earliest.min(time);
            panes.push(start);
        }
        earliest
    }

    /// The first window that covers `pane` and ends after `closed`.
    pub fn next_window(&self, pane: i64, closed: i64) -> Option<Window> {
        if self.cumulate {
            let start = floor(pane, self.slide, self.offset);
            let after_closed = floor(closed, self.pane, self.offset).saturating_add(self.pane);
            let end = pane.saturating_add(self.pane).max(after_closed);
            return (end <= start.saturating_add(self.size)).then_some(Window { start, end });
        }
        // The first aligned start above `bound` ends above both `pane` and `closed`.
        let bound = pane.max(closed).saturating_sub(self.size);
        let start = floor(bound, self.slide, self.offset).saturating_add(self.slide);
        (start <= pane).then(|| self.window_at(start))
    }

    /// The window of a given start (not for cumulating windows, where several share it).
    pub fn window_at(&self, start: i64) -> Window {
        Window { start, end: start.saturating_add(self.size) }
    }

    /// The end of the last window that covers `pane`; `None` where no window does.
    pub fn last_end(&self, pane: i64) -> Option<i64> {
        let start = floor(pane, self.slide, self.offset);
        let end = start.saturating_add(self.size);
        (end > pane).then_some(end)
    }

    /// Windows that cover `pane` and end after `closed`, by end.
    pub fn windows_of(&self, pane: i64, closed: i64) -> impl Iterator<Item = Window> + '_ {
        std::iter::successors(self.next_window(pane, closed), move |window| self.next_window(pane, window.end))
    }

    /// Whether all windows that cover `pane` end after `closed`.
    pub fn is_fully_open(&self, pane: i64, closed: i64) -> bool {
        self.next_window(pane, i64::MIN).is_some_and(|window| window.end > closed)
    }

    /// For cumulating windows: the pane, not before `pane`, which exactly the windows of `pane` that end after `closed`
    /// cover.
    pub fn shifted_pane(&self, pane: i64, closed: i64) -> Option<i64> {
        debug_assert!(self.cumulate);
        Some(self.next_window(pane, closed)?.end - self.pane)
    }
}

/// The largest `offset + k * length` not above `time`; right for negative times as well.
fn floor(time: i64, length: i64, offset: i64) -> i64 {
    let shifted = time.saturating_sub(offset);
    shifted.div_euclid(length).saturating_mul(length).saturating_add(offset)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows of `kind` that hold `time`, by definition.
    fn naive(kind: WindowKind, time: i64) -> Vec<Window> {
        let mut windows = Vec::new();
        let (size, slide, offset) = match kind {
            WindowKind::Tumble { size, offset } => (size, size, offset),
            WindowKind::Hop { size, slide, offset } => (size, slide, offset),
            WindowKind::Cumulate { size, offset, .. } => (size, size, offset),
        };
        for index in -100..100 {
            let start = offset + index * slide;
            match kind {
                WindowKind::Cumulate { step, .. } => {
                    windows.extend((1..=size / step).map(|count| Window { start, end: start + count * step }));
                }
                _ => windows.push(Window { start, end: start + size }),
            }
        }
        windows.retain(|window| (window.start..window.end).contains(&time));
        windows.sort_by_key(|window| (window.end, window.start));
        windows
    }

    #[test]
    fn windows_are_those_of_the_definition() {
        let kinds = [
            WindowKind::Tumble { size: 10, offset: 0 },
            WindowKind::Tumble { size: 7, offset: 3 },
            WindowKind::Hop { size: 10, slide: 4, offset: 0 },
            WindowKind::Hop { size: 12, slide: 4, offset: -1 },
            WindowKind::Hop { size: 4, slide: 10, offset: 5 },
            WindowKind::Cumulate { size: 12, step: 4, offset: 2 },
        ];
        for kind in kinds {
            let grid = WindowGrid::new(kind).unwrap();
            for time in -60..60 {
                let pane = grid.pane_of(time);
                let expected = naive(kind, time);
                assert_eq!(grid.windows_of(pane, i64::MIN).collect::<Vec<_>>(), expected, "{kind:?} at {time}");
                assert_eq!(grid.last_end(pane), expected.last().map(|window| window.end), "{kind:?} at {time}");
                for closed in -70..70 {
                    let open: Vec<_> = expected.iter().copied().filter(|window| window.end > closed).collect();
                    assert_eq!(grid.windows_of(pane, closed).collect::<Vec<_>>(), open, "{kind:?} {time} {closed}");
                    let fully_open = !expected.is_empty() && open.len() == expected.len();
                    assert_eq!(grid.is_fully_open(pane, closed), fully_open);
                    if grid.is_cumulating() {
                        let shifted = grid.shifted_pane(pane, closed);
                        let seen = shifted.map(|pane| grid.windows_of(pane, i64::MIN).collect::<Vec<_>>());
                        assert_eq!(seen.unwrap_or_default(), open);
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_windows_are_refused() {
        for kind in [
            WindowKind::Tumble { size: 0, offset: 0 },
            WindowKind::Hop { size: 10, slide: -1, offset: 0 },
            WindowKind::Hop { size: 10, slide: 3, offset: 0 },
            WindowKind::Cumulate { size: 10, step: 3, offset: 0 },
        ] {
            assert!(WindowGrid::new(kind).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let grid = WindowGrid::new(WindowKind::Hop { size: 12, slide: 4, offset: 1 }).unwrap();
        for time in [i64::MIN, i64::MAX] {
            let pane = grid.pane_of(time);
            assert_eq!(grid.windows_of(pane, i64::MIN).count(), 3);
            assert_eq!(grid.windows_of(pane, time).count(), if time < 0 { 3 } else { 0 });
        }
    }
}
