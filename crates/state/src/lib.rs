//! State of a pipeline outside of memory: stable keys, immutable segments, manifests, fencing, merge and garbage
//! collection, on a local folder or an object store.
//!
//! What stands where on disk, byte by byte: `docs/reference/checkpoint-format.md`.
//!
//! Invariants:
//! - A file, once there, never changes. Everything is written by put-if-absent, durably, before the call returns.
//! - The truth of a pipeline is its newest valid manifest; a segment that no manifest names does not count.
//! - Whoever claimed the newest generation writes; all older processes fail with [`ErrorKind::Fenced`].
//! - What cannot be verified is refused. An older manifest is never taken silently for a damaged newer one.
//!
//! Not here: what the rows of a segment mean (operators), when to checkpoint (the engine's coordinator).

mod blobs;
mod claim;
mod error;
mod garbage;
mod keys;
mod location;
mod manifest;
mod merge;
mod names;
mod savepoint;
mod sealed;
mod segment;
#[cfg(test)]
mod simulation;
mod store;
mod vnode;

pub use claim::Generation;
pub use error::{ErrorKind, StateError};
pub use garbage::Collected;
pub use keys::{KEY_ENCODING_VERSION, key_hashes};
pub use location::StoreLocation;
pub use manifest::{MANIFEST_FORMAT_VERSION, Manifest, OperatorState, SourceState, Totals};
pub use segment::{SEGMENT_FORMAT_VERSION, SegmentRef, select_rows};
pub use store::CheckpointStore;
pub use vnode::{VNODES, vnode_of, vnodes_of_worker, worker_of};
