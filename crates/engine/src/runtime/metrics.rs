//! What a running pipeline measures about itself; every figure shown outside comes from here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counters of one node, summed over workers.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_out: AtomicU64,
    pub(crate) batches_in: AtomicU64,
    pub(crate) busy_nanos: AtomicU64,
    pub(crate) late: AtomicU64,
    /// Bytes and rows of state, per worker.
    state: Vec<(AtomicU64, AtomicU64)>,
    pub(crate) event_watermark: AtomicI64,
}

/// Counters of a whole run.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) nodes: Vec<NodeCounters>,
    pub(crate) input_bytes: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
}

impl NodeCounters {
    pub(crate) fn set_state(&self, worker: usize, bytes: u64, rows: u64) {
        self.state[worker].0.store(bytes, Ordering::Relaxed);
        self.state[worker].1.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> (u64, u64) {
        self.state.iter().fold((0, 0), |sum, (bytes, rows)| (sum.0 + get(bytes), sum.1 + get(rows)))
    }
}

impl Counters {
    pub(crate) fn new(nodes: usize, workers: usize) -> Self {
        let node = || NodeCounters {
            event_watermark: AtomicI64::new(i64::MIN),
            state: (0..workers).map(|_| Default::default()).collect(),
            ..Default::default()
        };
        Self {
            nodes: (0..nodes).map(|_| node()).collect(),
            input_bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
        }
    }
}

/// One operator, as shown to a user.
#[derive(Debug, Clone, serde::Serialize)]
pub struct OperatorMetrics {
    pub node: usize,
    pub name: String,
    pub rows_in: u64,
    pub rows_out: u64,
    pub batches_in: u64,
    /// Thread time spent inside this operator, without the ones behind it.
    pub busy_seconds: f64,
    pub late_rows: u64,
    pub state_bytes: u64,
    pub state_rows: u64,
    /// Microseconds; absent until the first watermark, and once the input has ended.
    pub event_watermark: Option<i64>,
}

/// Where a pipeline stands.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Progress {
    /// Rows taken from sources in this run (good ones; bad ones are counted below).
    pub rows_in: u64,
    /// Rows given to sinks in this run.
    pub rows_out: u64,
    pub late: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    pub input_bytes: u64,
    /// Units done and to do, as the sources count them; `None` without an end.
    pub done: u64,
    pub total: Option<u64>,
    pub event_watermark: Option<i64>,
    pub state_bytes: u64,
    pub state_rows: u64,
    pub checkpoints: u64,
    pub checkpoint_bytes: u64,
    /// Longest time that workers stood at a durable barrier, in milliseconds.
    pub checkpoint_stall_ms_max: f64,
    pub operators: Vec<OperatorMetrics>,
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
