//! Durable named blobs: the little that checkpoints ask of a store.
//!
//! Why an own trait: `object_store` does not fsync local files, and a checkpoint that vanishes with the power is none.
//! Invariants: a name is written once (put-if-absent) and never changes; when a call returns, its effect is durable;
//! a reader sees a blob whole or not at all.

mod local;
mod object;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{StateError, StoreLocation};

pub(crate) use local::LocalBlobs;
pub(crate) use object::ObjectBlobs;

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    /// The name was taken; nothing was written.
    Exists,
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without the folder's own name.
    pub name: String,
    /// 0 for folders.
    pub bytes: u64,
}

pub(crate) trait Blobs: Send + Sync + std::fmt::Debug {
    /// The folder, or the blob in it, as messages name it.
    fn place(&self, name: &str) -> String;

    /// Makes the folder if need be and shows that it can be written to.
    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>>;

    /// Writes `bytes` unless the name is taken.
    fn put_new<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Put, StateError>>;

    /// `None`: there is no such blob.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StateError>>;

    /// Everything directly in `folder` (empty: the root), folders too; empty if there is no such folder.
    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StateError>>;

    /// Deletes; names that are gone already do not matter.
    fn delete<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<(), StateError>>;

    /// Removes what crashed writers left half-written; the number of files.
    fn sweep_temporary(&self) -> BoxFuture<'_, Result<u64, StateError>>;
}

pub(crate) fn open(location: &StoreLocation) -> Result<Arc<dyn Blobs>, StateError> {
    Ok(match location {
        StoreLocation::Folder(path) => Arc::new(LocalBlobs::new(path.clone())),
        StoreLocation::S3 { bucket, prefix } => Arc::new(ObjectBlobs::s3(bucket, prefix)?),
    })
}

/// A number that no other process has; it only tells processes apart, nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "it must differ between processes that are alike in everything else")]
pub(crate) fn fresh_nonce() -> u64 {
    fastrand::u64(..)
}
