//! Bounds of the operators' tables and of one step of work. Small in this crate's tests, so that random runs cross them.

const fn limit(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// Groups at which a local table is flushed.
pub(super) const GROUPS_MAX: usize = limit(64 * 1024, 50);
/// Bytes at which a local table is flushed.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// Rows merged, emitted or closed by one slice of work.
pub(super) const SLICE_ROWS: usize = limit(32 * 1024, 25);
/// Runs of one kind (saved or not) that a pane may have before they are merged.
pub(super) const PANE_RUNS_MAX: usize = limit(8, 3);
/// Rows of runs that are worth their own piece of a checkpoint.
pub(super) const DELTA_ROWS_MIN: usize = limit(4096, 6);
/// Fragments of one owner above which they are merged.
pub(super) const CHAIN_MAX: u32 = limit(64, 4) as u32;
/// Fragments in all long chains at which these are merged.
pub(super) const LONG_FRAGMENTS_MAX: usize = limit(16 * 1024, 20);
/// Runs of fragments with fewer rows are joined when there are [`SMALL_RUNS_MAX`] of them.
pub(super) const SMALL_RUN_ROWS: usize = limit(1024, 30);
pub(super) const SMALL_RUNS_MAX: usize = limit(256, 5);
/// Dead rows that are not worth tidying, in memory and in checkpoints.
pub(super) const SLACK_ROWS: usize = limit(10_000, 20);
/// Owners rewritten at least in one step of tidying.
pub(super) const SWEEP_MIN: usize = limit(256, 2);
/// Numbers of keys without an owner that are not worth tidying.
pub(super) const SLACK_KEYS: usize = limit(4096, 2);
/// Panes per window above which blocks of panes are merged in advance.
pub(super) const PLAIN_PANES_MAX: i64 = limit(8, 3) as i64;
/// Rows over which a local table is judged: does it shrink its input?
pub(super) const JUDGED_ROWS: usize = limit(64 * 1024, 40);
