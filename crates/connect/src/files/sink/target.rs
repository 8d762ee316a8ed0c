//! The place a sink writes into: staging, put-if-absent, listing, on this machine or in an object store.
//!
//! Paths are relative to the sink's folder, with `/`.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_engine::EngineError;
use tokio::runtime::Handle;
use xxhash_rust::xxh3::xxh3_64;

use super::local::{LocalStage, LocalTarget};
use super::object::{ObjectStage, ObjectTarget};
use crate::files::object::ObjectStorage;
use crate::files::storage::Location;

/// A file that was staged and is to be seen under `file`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct StagedFile {
    pub(crate) staged: String,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Of the whole file.
    pub(crate) xxh3: u64,
}

impl StagedFile {
    pub(crate) fn is_content(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && self.xxh3 == xxh3_64(bytes)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Target {
    Local(Arc<LocalTarget>),
    Object(Arc<ObjectTarget>),
}

impl Target {
    pub(crate) fn connect(location: &Location, io: &Handle) -> Result<Self, EngineError> {
        if location.is_object {
            let storage = ObjectStorage::connect(&location.path, io)?;
            return Ok(Self::Object(Arc::new(ObjectTarget::new(storage, &location.path))));
        }
        let folder = location.working_dir.join(&location.path);
        Ok(Self::Local(Arc::new(LocalTarget::new(folder, &location.path, io.clone()))))
    }

    /// As the user wrote it.
    pub(crate) fn shown(&self) -> &str {
        match self {
            Self::Local(target) => target.shown(),
            Self::Object(target) => target.shown(),
        }
    }

    /// Begins a staged file; called on a worker.
    pub(crate) fn stage(&self, path: &str) -> Result<Stage, EngineError> {
        Ok(match self {
            Self::Local(target) => Stage::Local(target.stage(path)?),
            Self::Object(target) => Stage::Object(target.stage(path)?),
        })
    }

    /// Makes the names of finished staged files durable; once for many.
    pub(crate) async fn sync_staged(&self, folder: &str) -> Result<(), EngineError> {
        match self {
            Self::Local(target) => target.sync(folder).await,
            Self::Object(_) => Ok(()),
        }
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Option<Bytes>, EngineError> {
        match self {
            Self::Local(target) => target.read(path).await,
            Self::Object(target) => target.read(path).await,
        }
    }

    /// Writes a small file whole, over what was there.
    pub(crate) async fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), EngineError> {
        match self {
            Self::Local(target) => target.write(path, bytes).await,
            Self::Object(target) => target.write(path, bytes).await,
        }
    }

    /// A file in the folder that no sink of ours can have written, if there is one; hidden ones do not count.
    pub(crate) async fn first_foreign(&self) -> Result<Option<String>, EngineError> {
        match self {
            Self::Local(target) => target.first_foreign().await,
            Self::Object(target) => target.first_foreign().await,
        }
    }

    /// Every file under `folder`.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, EngineError> {
        match self {
            Self::Local(target) => target.list(folder).await,
            Self::Object(target) => target.list(folder).await,
        }
    }

    /// Removes files, and folders that are empty thereby; one that is gone already is fine.
    pub(crate) async fn remove(&self, paths: Vec<String>) -> Result<(), EngineError> {
        match self {
            Self::Local(target) => target.remove(paths).await,
            Self::Object(target) => target.remove(paths).await,
        }
    }

    /// Moves staged files to their final names, durably. A file that is there already with the same content is fine.
    pub(crate) async fn publish(&self, files: Vec<StagedFile>) -> Result<(), EngineError> {
        match self {
            Self::Local(target) => target.publish(files).await,
            Self::Object(target) => target.publish(files).await,
        }
    }
}

/// A staged file that is being written.
#[derive(Debug)]
pub(crate) enum Stage {
    Local(LocalStage),
    Object(ObjectStage),
}

impl Stage {
    pub(crate) fn write(&mut self, bytes: Vec<u8>) -> Result<(), EngineError> {
        match self {
            Self::Local(stage) => stage.write(&bytes),
            Self::Object(stage) => stage.write(bytes),
        }
    }

    /// Resolves when the file cannot be lost any more, once its name was synced, too ([`Target::sync_staged`]).
    pub(crate) async fn finish(self) -> Result<(), EngineError> {
        match self {
            Self::Local(stage) => stage.finish().await,
            Self::Object(stage) => stage.finish().await,
        }
    }
}

/// Whether a file was there before us, by its path.
pub(crate) fn is_foreign(path: &str) -> bool {
    !path.starts_with('.') && !path.starts_with("_thalweg/")
}

/// What to say when a final name is taken by something else.
pub(crate) fn taken(shown: &str, file: &str) -> EngineError {
    EngineError::data(format!(
        "cannot commit {shown}/{file}: a file of that name with other content is there already; move it away and start again"
    ))
}

/// What to say when neither the staged nor the final file is there.
pub(crate) fn vanished(shown: &str, file: &StagedFile) -> EngineError {
    EngineError::data(format!(
        "cannot commit {shown}/{}: its staged file {} is gone; if the folder was emptied, start with --restart",
        file.file, file.staged
    ))
}
