//! A target in an S3-compatible store, by conditional puts.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use thalweg_engine::EngineError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::target::{StagedFile, is_foreign, taken, vanished};
use crate::files::error::store_error;
use crate::files::object::ObjectStorage;

/// Bytes of a part of an upload; S3 wants at least 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// Requests at once.
const REQUESTS: usize = 8;

#[derive(Debug)]
pub(crate) struct ObjectTarget {
    storage: ObjectStorage,
    shown: String,
}

impl ObjectTarget {
    pub(crate) fn new(storage: ObjectStorage, shown: &str) -> Self {
        Self { storage, shown: shown.trim_end_matches('/').to_owned() }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn name(&self, path: &str) -> String {
        if path.is_empty() { self.shown.clone() } else { format!("{}/{path}", self.shown) }
    }

    fn path(&self, path: &str) -> Result<Path, EngineError> {
        self.storage.path(&self.name(path))
    }

    fn failed(&self, what: &str, path: &str) -> impl FnOnce(object_store::Error) -> EngineError {
        let (what, name) = (what.to_owned(), self.name(path));
        move |error| store_error(&what, &name, error)
    }

    pub(crate) fn stage(self: &Arc<Self>, path: &str) -> Result<ObjectStage, EngineError> {
        let (sender, receiver) = mpsc::channel(2);
        let upload = upload(self.clone(), path.to_owned(), self.path(path)?, receiver);
        let task = self.storage.io.spawn(upload);
        Ok(ObjectStage { parts: sender, task, buffer: vec![] })
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Option<Bytes>, EngineError> {
        let answer = match self.storage.store.get(&self.path(path)?).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("cannot read", path)(error)),
        };
        answer.bytes().await.map(Some).map_err(self.failed("cannot read", path))
    }

    pub(crate) async fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), EngineError> {
        let put = self.storage.store.put(&self.path(path)?, bytes.into()).await;
        put.map(drop).map_err(self.failed("cannot write", path))
    }

    pub(crate) async fn first_foreign(&self) -> Result<Option<String>, EngineError> {
        let root = self.path("")?;
        let mut objects = self.storage.store.list((!root.as_ref().is_empty()).then_some(&root));
        while let Some(object) = objects.try_next().await.map_err(self.failed("cannot list", ""))? {
            let path = below(&root, &object);
            if is_foreign(&path) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, EngineError> {
        let root = self.path("")?;
        let place = self.path(folder)?;
        let place = (!place.as_ref().is_empty()).then_some(&place);
        let objects: Vec<_> =
            self.storage.store.list(place).try_collect().await.map_err(self.failed("cannot list", folder))?;
        let mut found: Vec<String> = objects.iter().map(|object| below(&root, object)).collect();
        found.sort();
        Ok(found)
    }

    pub(crate) async fn remove(&self, paths: Vec<String>) -> Result<(), EngineError> {
        let remove = |path: String| async move {
            match self.storage.store.delete(&self.path(&path)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.failed("cannot remove", &path)(error)),
            }
        };
        stream::iter(paths).map(remove).buffer_unordered(REQUESTS).try_collect().await
    }

    pub(crate) async fn publish(&self, files: Vec<StagedFile>) -> Result<(), EngineError> {
        let publish = |file: StagedFile| async move { self.publish_one(&file).await };
        stream::iter(files).map(publish).buffer_unordered(REQUESTS).try_collect().await
    }

    async fn publish_one(&self, file: &StagedFile) -> Result<(), EngineError> {
        let Some(bytes) = self.read(&file.staged).await? else {
            // Committed before, unless it never was.
            let there = self.read(&file.file).await?.ok_or_else(|| vanished(&self.shown, file))?;
            return if file.is_content(&there) { Ok(()) } else { Err(taken(&self.shown, &file.file)) };
        };
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.storage.store.put_opts(&self.path(&file.file)?, bytes.into(), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let there = self.read(&file.file).await?.unwrap_or_default();
                if !file.is_content(&there) {
                    return Err(taken(&self.shown, &file.file));
                }
            }
            Err(error) => return Err(self.failed("cannot commit", &file.file)(error)),
        }
        self.remove(vec![file.staged.clone()]).await
    }
}

/// The path of an object below the sink's folder.
fn below(root: &Path, object: &ObjectMeta) -> String {
    let key = object.location.as_ref();
    key.strip_prefix(root.as_ref()).unwrap_or(key).trim_start_matches('/').to_owned()
}

/// A staged object that is being uploaded by a task; at most a few parts are in memory.
#[derive(Debug)]
pub(crate) struct ObjectStage {
    parts: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<Result<(), EngineError>>,
    buffer: Vec<u8>,
}

impl ObjectStage {
    pub(crate) fn write(&mut self, mut bytes: Vec<u8>) -> Result<(), EngineError> {
        self.buffer.append(&mut bytes);
        if self.buffer.len() >= PART_BYTES {
            // If the task has failed it takes no more; `finish` tells why.
            let _ = self.parts.blocking_send(std::mem::take(&mut self.buffer));
        }
        Ok(())
    }

    pub(crate) async fn finish(self) -> Result<(), EngineError> {
        let _ = self.parts.send(self.buffer).await;
        drop(self.parts);
        self.task.await.unwrap_or_else(|error| Err(EngineError::bug(format!("an upload panicked: {error}"))))
    }
}

/// One put for a small object, parts for a large one.
async fn upload(
    target: Arc<ObjectTarget>,
    name: String,
    path: Path,
    mut parts: mpsc::Receiver<Vec<u8>>,
) -> Result<(), EngineError> {
    let store = target.storage.store.clone();
    let first = parts.recv().await.unwrap_or_default();
    let Some(second) = parts.recv().await else {
        return store.put(&path, PutPayload::from(first)).await.map(drop).map_err(target.failed("cannot write", &name));
    };
    let send = async {
        let mut upload = store.put_multipart(&path).await?;
        upload.put_part(PutPayload::from(first)).await?;
        let mut next = Some(second);
        while let Some(part) = next {
            if !part.is_empty() {
                upload.put_part(PutPayload::from(part)).await?;
            }
            next = parts.recv().await;
        }
        upload.complete().await
    };
    send.await.map(drop).map_err(target.failed("cannot write", &name))
}
