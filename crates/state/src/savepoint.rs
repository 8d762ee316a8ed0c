//! Savepoints: self-contained copies of a checkpoint, and starts from them.
//!
//! A savepoint is a folder of the same form as a pipeline's, with exactly one manifest, which is written last: a copy that
//! was interrupted is no savepoint, and can be repeated into the same folder.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::blobs::{self, Put};
use crate::claim::Pending;
use crate::names::{self, MARKER, segment_path};
use crate::store::{FolderKind, check_marker_versions, read_marker};
use crate::{CheckpointStore, Manifest, SegmentRef, StateError, StoreLocation, segment};

/// Segments copied at a time.
const COPIES_AT_ONCE: usize = 4;
/// In the name of an imported segment, in place of the worker's number.
const IMPORT_WORKER: usize = 99_998;

impl CheckpointStore {
    /// Copies `manifest` and its segments into the folder `to` itself, which must be empty or hold an interrupted copy of
    /// the same. Every segment is verified on the way.
    ///
    /// # Errors
    /// `FixRequest` if the folder holds anything else or cannot be written; `FixData` for damaged segments; store errors.
    pub async fn copy_savepoint(&self, manifest: &Manifest, to: &StoreLocation) -> Result<(), StateError> {
        let target = Self { blobs: blobs::open(to)?, pipeline: self.pipeline.clone(), claim: None };
        target.blobs.prepare().await?;
        let manifest = Manifest { savepoint: true, ..manifest.clone() };
        let folder = target.folder().await?;
        let own = names::ManifestName { epoch: manifest.checkpoint_epoch, generation: manifest.generation };
        let other = folder.manifests.iter().any(|name| *name != own);
        let is_savepoint = match read_marker(target.blobs.as_ref()).await? {
            Some(marker) => marker.kind == FolderKind::Savepoint && marker.pipeline == self.pipeline,
            None => true,
        };
        if other || !is_savepoint || !folder.foreign.is_empty() || !folder.generations.is_empty() {
            return Err(StateError::Foreign {
                place: target.place(),
                what: "is to hold a savepoint but is not empty".into(),
                next_step: "choose an empty or new folder".into(),
            });
        }
        target.put_marker(FolderKind::Savepoint).await?;
        // Owned, so that the future is `Send` whatever the lifetime of the manifest.
        let copies: Vec<SegmentRef> =
            manifest.operators.values().flat_map(|operator| operator.segments.iter().cloned()).collect();
        stream::iter(copies)
            .map(|segment| {
                let target = &target;
                async move {
                    let bytes = self.verified_bytes(&segment).await?;
                    target.put_copy(&segment.path, bytes).await
                }
            })
            .buffer_unordered(COPIES_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        if target.put_manifest_copy(&manifest).await? {
            return Ok(());
        }
        Err(StateError::Foreign {
            place: target.place(),
            what: "holds another savepoint".into(),
            next_step: "choose an empty or new folder".into(),
        })
    }

    /// Opens a savepoint's folder, or the checkpoint folder of a pipeline that is not running, for reading.
    ///
    /// # Errors
    /// `FixRequest` if it is no such folder, incomplete, or of a newer version; `FixData` if it is damaged.
    pub async fn open_savepoint(from: &StoreLocation) -> Result<(Self, Manifest), StateError> {
        let blobs = blobs::open(from)?;
        let foreign = |what: &str, next_step: &str| StateError::Foreign {
            place: from.to_string(),
            what: what.into(),
            next_step: next_step.into(),
        };
        let no_savepoint = || {
            foreign(
                "is no savepoint",
                "name the folder that --savepoint wrote (it holds the file 'thalweg-checkpoints')",
            )
        };
        let Some(marker) = read_marker(blobs.as_ref()).await? else { return Err(no_savepoint()) };
        check_marker_versions(&marker, &blobs.place(MARKER))?;
        let store = Self { blobs, pipeline: marker.pipeline, claim: None };
        let manifest = store.latest().await?.ok_or_else(|| {
            foreign("is an incomplete savepoint", "take the savepoint again, into the same folder if you like")
        })?;
        Ok((store, manifest))
    }

    /// Starts this pipeline from `manifest` of `from`: copies its segments here, verified, and commits it as the first
    /// manifest, under this pipeline's name and generation. Returns that manifest; its epoch stays the same.
    ///
    /// # Errors
    /// `FixRequest` if this pipeline has checkpoints already; `Bug` without a claim; `FixData` for damaged segments.
    pub async fn import(&self, from: &CheckpointStore, manifest: &Manifest) -> Result<Manifest, StateError> {
        let claim = self.claimed()?;
        if self.folder().await?.newest_manifest().is_some() {
            return Err(StateError::request(format!(
                "pipeline '{}' has checkpoints already in {}; leave out --from to go on from them, or add --restart to discard them",
                self.pipeline,
                self.place()
            )));
        }
        let mut imported = Manifest {
            pipeline: self.pipeline.clone(),
            generation: claim.generation,
            parent: None,
            savepoint: false,
            ..manifest.clone()
        };
        for (state_id, operator) in &mut imported.operators {
            let copies = operator
                .segments
                .iter()
                .map(|segment| self.import_segment(from, manifest.checkpoint_epoch, state_id, segment));
            operator.segments = stream::iter(copies).buffered(COPIES_AT_ONCE).try_collect().await?;
        }
        self.commit(&imported).await?;
        Ok(imported)
    }

    async fn import_segment(
        &self,
        from: &CheckpointStore,
        checkpoint_epoch: u64,
        state_id: &str,
        segment: &SegmentRef,
    ) -> Result<SegmentRef, StateError> {
        let bytes = from.verified_bytes(segment).await?;
        let claim = self.claimed()?;
        let path = segment_path(checkpoint_epoch, claim.generation, IMPORT_WORKER, claim.next_segment(), state_id);
        self.put_pending(&path, bytes, Pending::Delta).await?;
        Ok(SegmentRef { path, ..segment.clone() })
    }

    async fn verified_bytes(&self, segment: &SegmentRef) -> Result<Bytes, StateError> {
        let bytes = self.read_segment_bytes(segment).await?;
        segment::verify(&self.blobs.place(&segment.path), segment, &bytes)?;
        Ok(bytes)
    }

    /// Copies under the same name; a copy from an interrupted attempt is taken if it is the same.
    async fn put_copy(&self, path: &str, bytes: Bytes) -> Result<(), StateError> {
        match self.blobs.put_new(path, bytes.clone()).await? {
            Put::Created => Ok(()),
            Put::Exists if self.blobs.get(path).await?.is_some_and(|found| found == bytes) => Ok(()),
            Put::Exists => Err(StateError::Foreign {
                place: self.blobs.place(path),
                what: "exists with other content".into(),
                next_step: "choose an empty or new folder for the savepoint".into(),
            }),
        }
    }
}
