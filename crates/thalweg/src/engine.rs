//! Starts pipelines that keep nothing: their run is all there is.

use thalweg_engine::{Plan, RunHandle, RunOptions, Started, start};

use crate::exit::{Exit, Failure};

/// Starts a plan without a store.
pub async fn start_ephemeral(plan: &Plan, options: RunOptions) -> Result<RunHandle, Failure> {
    assert!(options.store.is_none(), "what is kept is started with `start`");
    match start(plan.clone(), options).await? {
        Started::Running(run) => Ok(run),
        Started::AlreadyComplete(_) => Err(Failure::new(Exit::Failed, "a pipeline without state was already complete")),
    }
}

/// One worker per core.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// State a run may hold unless told otherwise: 75 % of the machine's memory, if the system tells how much there is.
pub fn state_bytes_max() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024 / 4 * 3)
}

/// Options of a pipeline that keeps nothing. Call it inside the runtime.
pub fn ephemeral(workers: usize, fingerprint: &str, sql: &str) -> RunOptions {
    let mut options = RunOptions::new(workers, tokio::runtime::Handle::current());
    options.fingerprint = fingerprint.to_string();
    options.sql = sql.to_string();
    options
}
