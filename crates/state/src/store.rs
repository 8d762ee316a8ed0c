//! The checkpoints of one pipeline: open, claim, write segments, commit manifests, read them back.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::blobs::{self, Blobs, Put};
use crate::claim::{Claim, Folder, ManifestSummary, Pending};
use crate::names::{self, ManifestName, base_name, generation_name, segment_path};
use crate::sealed::{seal, unseal};
use crate::segment::{self, SegmentWriter};
use crate::{
    Generation, KEY_ENCODING_VERSION, MANIFEST_FORMAT_VERSION, Manifest, SegmentRef, StateError, StoreLocation, VNODES,
};

const FOLDER_FORMAT_VERSION: u32 = 1;
/// So many other processes may win the race for a generation before we give up.
const CLAIM_ATTEMPTS: usize = 64;
/// So often a file that was listed may be gone when it is read, because others collect garbage.
const READ_ATTEMPTS: usize = 3;
const PIPELINE_NAME_BYTES_MAX: usize = 200;

const MARKER_KIND: &str = "thalweg-checkpoints";
const GENERATION_KIND: &str = "thalweg-generation";
const MANIFEST_KIND: &str = "thalweg-manifest";

/// The checkpoints of one pipeline. Clones share the claim they were made under.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) pipeline: String,
    pub(crate) claim: Option<Arc<Claim>>,
}

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FolderKind {
    Pipeline,
    Savepoint,
}

/// Content of the marker file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub kind: FolderKind,
    pub pipeline: String,
    pub vnodes: u16,
    pub key_encoding_version: u32,
}

/// Content of a generation and of a base file.
#[derive(Debug, Serialize, Deserialize)]
struct GenerationFile {
    generation: u64,
    /// Tells a claim of ours with a lost reply from another's claim.
    nonce: u64,
    /// In a base file: the newest manifest's epoch.
    #[serde(default)]
    base: Option<u64>,
}

impl CheckpointStore {
    /// Opens, or creates, the folder of `pipeline` below `location`.
    ///
    /// # Errors
    /// `FixRequest` if the folder cannot be written, holds other things, another pipeline's state, or a newer version's;
    /// `FixData` if its marker or newest generation file is damaged; `Retry` if the store does not answer.
    pub async fn open(location: &StoreLocation, pipeline: &str) -> Result<Self, StateError> {
        let (store, folder) = Self::open_unverified(location, pipeline).await?;
        match store.read_marker().await? {
            Some(marker) => store.check_marker(&marker)?,
            None if folder.manifests.is_empty() => store.put_marker(FolderKind::Pipeline).await?,
            None => {
                return Err(StateError::Missing { place: store.blobs.place(names::MARKER) });
            }
        }
        store.check_generation(folder.newest_generation()).await?;
        Ok(store)
    }

    /// Like [`Self::open`], for a start that throws the state away ([`Self::claim`], then [`Self::reset`]): damaged
    /// files do not matter, foreign ones do.
    pub async fn open_for_reset(location: &StoreLocation, pipeline: &str) -> Result<Self, StateError> {
        let (store, _) = Self::open_unverified(location, pipeline).await?;
        match store.read_marker().await {
            Ok(Some(marker)) => store.check_marker(&marker)?,
            Ok(None) | Err(StateError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(store)
    }

    async fn open_unverified(location: &StoreLocation, pipeline: &str) -> Result<(Self, Folder), StateError> {
        let part = names::encoded(pipeline);
        if part.is_empty() || part.len() > PIPELINE_NAME_BYTES_MAX {
            return Err(StateError::request(format!(
                "a pipeline's name has 1 to {PIPELINE_NAME_BYTES_MAX} letters, '{pipeline}' has {}; rename it",
                part.len()
            )));
        }
        let store = Self { blobs: blobs::open(&location.join(&part))?, pipeline: pipeline.into(), claim: None };
        store.blobs.prepare().await?;
        let folder = store.folder().await?;
        if let Some(foreign) = folder.foreign.iter().min() {
            return Err(StateError::Foreign {
                place: store.blobs.place(""),
                what: format!("is to hold the checkpoints of '{pipeline}' but also holds '{foreign}'"),
                next_step: "move that away, or choose another folder with --data-dir".into(),
            });
        }
        Ok((store, folder))
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The folder, as messages name it.
    pub fn place(&self) -> String {
        self.blobs.place("")
    }

    /// The generation claimed; `None` before [`Self::claim`].
    pub fn generation(&self) -> Option<Generation> {
        self.claim.as_ref().map(|claim| Generation(claim.generation))
    }

    /// The newest manifest that counts, verified. `None` if there is none yet.
    ///
    /// # Errors
    /// `FixData` if the newest manifest is damaged or was moved: an older one is never taken in its place. `Fenced` if this
    /// process claimed the pipeline and another took it over since.
    pub async fn latest(&self) -> Result<Option<Manifest>, StateError> {
        for _ in 0..READ_ATTEMPTS {
            let folder = self.folder().await?;
            if let Some(claim) = &self.claim {
                self.check_newest(claim, &folder)?;
            }
            let Some(newest) = folder.newest_manifest() else { return Ok(None) };
            if let Some(manifest) = self.read_manifest(newest).await? {
                return Ok(Some(manifest));
            }
        }
        Err(StateError::Missing { place: format!("the newest manifest in {}", self.place()) })
    }

    /// Takes the pipeline over: from now on, all processes that claimed it before fail with `Fenced`. Restore from what
    /// [`Self::latest`] says *after* this call.
    ///
    /// # Errors
    /// `Fenced` if yet another process claimed it at the same time; store errors.
    pub async fn claim(&mut self) -> Result<Generation, StateError> {
        let nonce = blobs::fresh_nonce();
        for _ in 0..CLAIM_ATTEMPTS {
            let generation = self.folder().await?.newest_generation() + 1;
            let file = GenerationFile { generation, nonce, base: None };
            if !self.put_sealed(&generation_name(generation), GENERATION_KIND, 1, &file).await? {
                continue;
            }
            let base = self.folder().await?.newest_manifest().map(|manifest| manifest.epoch);
            let file = GenerationFile { generation, nonce, base };
            if !self.put_sealed(&base_name(generation, base), GENERATION_KIND, 1, &file).await? {
                return Err(StateError::bug(format!("base file of generation {generation} was written by another")));
            }
            self.claim = Some(Arc::new(Claim::new(generation, base)));
            self.check_fence().await?;
            return Ok(Generation(generation));
        }
        Err(StateError::Fenced {
            pipeline: self.pipeline.clone(),
            generation: 0,
            newest: self.folder().await?.newest_generation(),
        })
    }

    /// Writes rows of one operator's state on one worker as a segment. It counts once a manifest of `checkpoint_epoch`
    /// names it; if that manifest is never committed, or does not name it, garbage collection removes it.
    ///
    /// # Errors
    /// `Bug` without a claim, without batches, or if they do not begin with `__vnode` and `__expires`; store errors.
    pub async fn write_segment(
        &self,
        checkpoint_epoch: u64,
        state_id: &str,
        worker: usize,
        rows: &[RecordBatch],
    ) -> Result<SegmentRef, StateError> {
        let first = rows.first().ok_or_else(|| StateError::bug("a segment needs at least one batch"))?;
        let mut writer = SegmentWriter::new(first.schema())?;
        let rows = rows.to_vec();
        let writer = blocking(move || {
            rows.iter().try_for_each(|batch| writer.write(batch))?;
            Ok(writer)
        })
        .await?;
        self.put_segment(checkpoint_epoch, state_id, worker, writer, Pending::Delta).await
    }

    pub(crate) async fn put_segment(
        &self,
        checkpoint_epoch: u64,
        state_id: &str,
        worker: usize,
        writer: SegmentWriter,
        pending: Pending,
    ) -> Result<SegmentRef, StateError> {
        let claim = self.claimed()?;
        let path = segment_path(checkpoint_epoch, claim.generation, worker, claim.next_segment(), state_id);
        let (bytes, segment) = writer.finish(path)?;
        self.put_pending(&segment.path, bytes, pending).await?;
        Ok(segment)
    }

    /// Puts a segment's file and keeps garbage collection off it.
    pub(crate) async fn put_pending(&self, path: &str, bytes: Bytes, pending: Pending) -> Result<(), StateError> {
        self.claimed()?.add_pending(path, pending);
        if self.put_same(path, bytes).await? {
            return Ok(());
        }
        Err(StateError::bug(format!("{} exists with other content", self.blobs.place(path))))
    }

    /// Reads a segment and verifies it against its reference.
    ///
    /// # Errors
    /// `FixData` if it is missing or damaged, `FixRequest` if a newer version wrote it, store errors.
    pub async fn read_segment(&self, segment: &SegmentRef) -> Result<Vec<RecordBatch>, StateError> {
        let bytes = self.read_segment_bytes(segment).await?;
        let (place, segment) = (self.blobs.place(&segment.path), segment.clone());
        blocking(move || segment::decode(&place, &segment, &bytes)).await
    }

    /// The file of a segment, not verified.
    pub(crate) async fn read_segment_bytes(&self, segment: &SegmentRef) -> Result<Bytes, StateError> {
        let place = self.blobs.place(&segment.path);
        if names::SegmentName::parse(&segment.path).is_none() {
            return Err(StateError::damaged(place, "a manifest names it as a segment, but it does not lie among them"));
        }
        if let Some(bytes) = self.blobs.get(&segment.path).await? {
            return Ok(bytes);
        }
        if self.claim.is_some() {
            // Whoever took over may have collected it.
            self.check_fence().await?;
        }
        Err(StateError::Missing { place })
    }

    /// Makes a checkpoint the newest one. Its parent must be what this process restored (after its claim) or committed
    /// last. After a `Retry` error the outcome is unknown: call again with the same manifest, which is safe, before
    /// committing another.
    ///
    /// # Errors
    /// `Fenced` if another process took over: then the manifest does not count, or that process goes on from it. `Bug`
    /// if the manifest does not follow its parent or is not of this pipeline, generation and version.
    pub async fn commit(&self, manifest: &Manifest) -> Result<(), StateError> {
        let claim = self.claimed()?;
        self.check_fence().await?;
        self.check_own(manifest, claim)?;
        claim.begin_commit(manifest)?;
        let name = ManifestName { epoch: manifest.checkpoint_epoch, generation: manifest.generation };
        let created = self.put_sealed(&name.to_string(), MANIFEST_KIND, MANIFEST_FORMAT_VERSION, manifest).await?;
        self.check_fence().await?;
        if !created {
            return Err(StateError::bug(format!("{} exists with other content", self.blobs.place(&name.to_string()))));
        }
        claim.committed(name, ManifestSummary::of(manifest));
        Ok(())
    }

    fn check_own(&self, manifest: &Manifest, claim: &Claim) -> Result<(), StateError> {
        let expect = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(StateError::bug(format!("a manifest is committed with {what}"))) }
        };
        expect(manifest.format_version == MANIFEST_FORMAT_VERSION, "another format version")?;
        expect(manifest.pipeline == self.pipeline, "another pipeline's name")?;
        expect(manifest.generation == claim.generation, "another generation")?;
        expect(manifest.key_encoding_version == KEY_ENCODING_VERSION, "another key encoding")?;
        expect(manifest.vnodes == VNODES, "another number of vnodes")?;
        let ours = |path| names::SegmentName::parse(path).is_some_and(|name| name.generation <= claim.generation);
        expect(manifest.segment_paths().all(ours), "a segment that lies elsewhere")
    }

    pub(crate) fn claimed(&self) -> Result<&Arc<Claim>, StateError> {
        self.claim.as_ref().ok_or_else(|| StateError::bug("the pipeline must be claimed before anything is written"))
    }

    /// Fails if another process took over.
    pub(crate) async fn check_fence(&self) -> Result<(), StateError> {
        let claim = self.claimed()?;
        self.check_newest(claim, &self.folder().await?)
    }

    fn check_newest(&self, claim: &Claim, folder: &Folder) -> Result<(), StateError> {
        let (generation, newest) = (claim.generation, folder.newest_generation());
        if newest > generation {
            return Err(StateError::Fenced { pipeline: self.pipeline.clone(), generation, newest });
        }
        Ok(())
    }

    pub(crate) async fn folder(&self) -> Result<Folder, StateError> {
        let entries = self.blobs.list("").await?;
        Ok(Folder::read(entries.iter().map(|entry| entry.name.as_str())))
    }

    /// `None` if it is gone.
    pub(crate) async fn read_manifest(&self, name: ManifestName) -> Result<Option<Manifest>, StateError> {
        let file = name.to_string();
        let place = self.blobs.place(&file);
        let Some(bytes) = self.blobs.get(&file).await? else { return Ok(None) };
        let manifest: Manifest = unseal(MANIFEST_KIND, MANIFEST_FORMAT_VERSION, &place, &bytes)?;
        if manifest.checkpoint_epoch != name.epoch || manifest.generation != name.generation {
            return Err(StateError::damaged(place, "it is another manifest under this name"));
        }
        if manifest.pipeline != self.pipeline {
            return Err(self.foreign_pipeline(&manifest.pipeline));
        }
        manifest.check_readable(&place)?;
        Ok(Some(manifest))
    }

    async fn read_marker(&self) -> Result<Option<Marker>, StateError> {
        read_marker(self.blobs.as_ref()).await
    }

    fn check_marker(&self, marker: &Marker) -> Result<(), StateError> {
        if marker.kind == FolderKind::Savepoint {
            return Err(StateError::Foreign {
                place: self.place(),
                what: "is a savepoint".into(),
                next_step: "start from it with --from and keep running checkpoints in another folder".into(),
            });
        }
        if marker.pipeline != self.pipeline {
            return Err(self.foreign_pipeline(&marker.pipeline));
        }
        check_marker_versions(marker, &self.blobs.place(names::MARKER))
    }

    fn foreign_pipeline(&self, other: &str) -> StateError {
        StateError::Foreign {
            place: self.place(),
            what: format!("holds the state of pipeline '{other}', not of '{}'", self.pipeline),
            next_step: "choose another folder with --data-dir".into(),
        }
    }

    pub(crate) async fn put_marker(&self, kind: FolderKind) -> Result<(), StateError> {
        let marker = Marker {
            kind,
            pipeline: self.pipeline.clone(),
            vnodes: VNODES,
            key_encoding_version: KEY_ENCODING_VERSION,
        };
        if self.put_sealed(names::MARKER, MARKER_KIND, FOLDER_FORMAT_VERSION, &marker).await? {
            return Ok(());
        }
        let place = self.blobs.place(names::MARKER);
        Err(StateError::Foreign {
            place,
            what: "was written by another process at the same time".into(),
            next_step: "choose another folder, or start again".into(),
        })
    }

    pub(crate) async fn put_manifest_copy(&self, manifest: &Manifest) -> Result<bool, StateError> {
        let name = ManifestName { epoch: manifest.checkpoint_epoch, generation: manifest.generation };
        self.put_sealed(&name.to_string(), MANIFEST_KIND, MANIFEST_FORMAT_VERSION, manifest).await
    }

    async fn check_generation(&self, newest: u64) -> Result<(), StateError> {
        if newest == 0 {
            return Ok(());
        }
        let name = generation_name(newest);
        let Some(bytes) = self.blobs.get(&name).await? else { return Ok(()) };
        let place = self.blobs.place(&name);
        let file: GenerationFile = unseal(GENERATION_KIND, 1, &place, &bytes)?;
        if file.generation == newest { Ok(()) } else { Err(StateError::damaged(place, "it is of another generation")) }
    }

    async fn put_sealed(
        &self,
        name: &str,
        kind: &str,
        version: u32,
        value: &impl Serialize,
    ) -> Result<bool, StateError> {
        self.put_same(name, seal(kind, version, value)?.into()).await
    }

    /// Put-if-absent that also succeeds if exactly these bytes are there already: the reply to an earlier attempt may
    /// have been lost. False: the name is taken by something else.
    pub(crate) async fn put_same(&self, name: &str, bytes: Bytes) -> Result<bool, StateError> {
        match self.blobs.put_new(name, bytes.clone()).await? {
            Put::Created => Ok(true),
            Put::Exists => Ok(self.blobs.get(name).await?.is_some_and(|found| found == bytes)),
        }
    }
}

pub(crate) async fn read_marker(blobs: &dyn Blobs) -> Result<Option<Marker>, StateError> {
    let Some(bytes) = blobs.get(names::MARKER).await? else { return Ok(None) };
    unseal(MARKER_KIND, FOLDER_FORMAT_VERSION, &blobs.place(names::MARKER), &bytes).map(Some)
}

pub(crate) fn check_marker_versions(marker: &Marker, place: &str) -> Result<(), StateError> {
    if marker.key_encoding_version > KEY_ENCODING_VERSION {
        return Err(StateError::Newer {
            place: format!("the key encoding of {place}"),
            found: marker.key_encoding_version,
            supported: KEY_ENCODING_VERSION,
        });
    }
    if marker.vnodes != VNODES || marker.key_encoding_version != KEY_ENCODING_VERSION {
        return Err(StateError::request(format!(
            "{place} deals keys out by encoding {} over {} vnodes, this version by encoding {KEY_ENCODING_VERSION} over {VNODES}; start over with --restart",
            marker.key_encoding_version, marker.vnodes
        )));
    }
    Ok(())
}

/// Runs work that keeps a processor busy where it does not hold up IO.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StateError::bug(format!("encoding or decoding a segment panicked: {error}")))?
}
