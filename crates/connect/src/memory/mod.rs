//! Sources and sinks in memory: for tests of pipelines, where files would be in the way.
//!
//! They keep the contracts of real connectors. The source has splits and positions and may be fed while it runs. The sink
//! stages, commits per epoch and recovers, and its [`MemoryStore`] outlives the runtime, so a test can crash and restart a
//! pipeline in one process and see whether anything is there twice or missing.

mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use self::sink::{CommitFault, MemorySink, MemoryStore};
pub use self::source::MemorySource;
