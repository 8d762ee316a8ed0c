//! The tokio runtime for IO and waiting. Rows are worked on elsewhere, by the engine's own threads.

use std::future::Future;

use crate::exit::{Exit, Failure};

/// Runs a command's future to its end.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("thalweg-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "cannot start threads").cause(error))?;
    let result = runtime.block_on(future);
    // What still runs is reading or waiting for a terminal; nothing that must be finished is left behind here.
    runtime.shutdown_background();
    result
}
