//! Blobs in a local folder.
//!
//! A blob is written under a temporary name, fsynced, hard-linked to its own name (which fails if that exists: the
//! put-if-absent), and the folder is fsynced. A crash in between leaves a temporary file and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Blobs, Entry, Put};
use crate::StateError;
use crate::names::{SEGMENTS, TEMPORARY};

/// A newer process sweeps temporary files away, perhaps under a put of ours: so often the put begins again.
const PUT_ATTEMPTS: usize = 4;

#[derive(Debug)]
pub(crate) struct LocalBlobs {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// Part of the temporary names, so that two processes do not meet.
    nonce: u64,
    next: AtomicU64,
}

impl LocalBlobs {
    pub fn new(root: PathBuf) -> Self {
        let nonce = super::fresh_nonce();
        Self { folder: Arc::new(Folder { root, nonce, next: AtomicU64::new(0) }) }
    }

    /// Runs `work` where blocking is allowed.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, StateError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StateError>> {
        let folder = self.folder.clone();
        async move {
            tokio::task::spawn_blocking(move || work(&folder))
                .await
                .map_err(|error| StateError::bug(format!("a file operation panicked: {error}")))?
        }
        .boxed()
    }
}

impl Blobs for LocalBlobs {
    fn place(&self, name: &str) -> String {
        if name.is_empty() {
            return self.folder.root.display().to_string();
        }
        self.folder.root.join(name).display().to_string()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.blocking(Folder::prepare)
    }

    fn put_new<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Put, StateError>> {
        let name = name.to_owned();
        self.blocking(move |folder| folder.put_new(&name, &bytes))
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StateError>> {
        let name = name.to_owned();
        self.blocking(move |folder| {
            let path = folder.root.join(name);
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(StateError::io("read", path.display().to_string(), error)),
            }
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StateError>> {
        let name = folder.to_owned();
        self.blocking(move |folder| list(&folder.root.join(name)))
    }

    fn delete<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<(), StateError>> {
        let names = names.to_vec();
        self.blocking(move |folder| folder.delete(&names))
    }

    fn sweep_temporary(&self) -> BoxFuture<'_, Result<u64, StateError>> {
        self.blocking(Folder::sweep_temporary)
    }
}

impl Folder {
    fn prepare(&self) -> Result<(), StateError> {
        create_folder(&self.root)?;
        create_folder(&self.root.join(SEGMENTS))?;
        let probe = self.temporary(&self.root);
        let place = || self.root.display().to_string();
        File::create_new(&probe).map_err(|error| StateError::io("write to folder", place(), error))?;
        fs::remove_file(&probe).map_err(|error| StateError::io("write to folder", place(), error))
    }

    fn temporary(&self, folder: &Path) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        folder.join(format!("{}{number:06}", self.own_prefix()))
    }

    fn own_prefix(&self) -> String {
        format!("{TEMPORARY}{:016x}-", self.nonce)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put, StateError> {
        let path = self.root.join(name);
        let parent = path.parent().expect("a blob lies in a folder").to_owned();
        let failed = |error| StateError::io("write", path.display().to_string(), error);
        for _ in 0..PUT_ATTEMPTS {
            let temporary = self.temporary(&parent);
            let linked = write_synced(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, &path));
            // Whether the link stands or not, the temporary name has done its work; a leftover does no harm.
            let _ = fs::remove_file(&temporary);
            let put = match linked {
                Ok(()) => Put::Created,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Put::Exists,
                Err(error) if error.kind() == io::ErrorKind::NotFound && parent.is_dir() => continue,
                Err(error) => return Err(failed(error)),
            };
            // Also when it existed: whoever wrote it may have died before this point.
            sync_folder(&parent).map_err(failed)?;
            return Ok(put);
        }
        Err(failed(io::Error::other("the temporary file keeps disappearing")))
    }

    fn delete(&self, names: &[String]) -> Result<(), StateError> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for name in names {
            let path = self.root.join(name);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StateError::io("delete", path.display().to_string(), error)),
            }
            let folder = path.parent().expect("a blob lies in a folder").to_owned();
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        for folder in folders {
            sync_folder(&folder)
                .map_err(|error| StateError::io("write to folder", folder.display().to_string(), error))?;
        }
        Ok(())
    }

    fn sweep_temporary(&self) -> Result<u64, StateError> {
        let own = self.own_prefix();
        let mut swept = 0;
        for folder in [self.root.clone(), self.root.join(SEGMENTS)] {
            for entry in list(&folder)? {
                if entry.name.starts_with(TEMPORARY) && !entry.name.starts_with(&own) {
                    // Someone else may sweep too.
                    swept += u64::from(fs::remove_file(folder.join(entry.name)).is_ok());
                }
            }
        }
        Ok(swept)
    }
}

fn list(folder: &Path) -> Result<Vec<Entry>, StateError> {
    let failed = |error| StateError::io("list folder", folder.display().to_string(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let bytes = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => 0,
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        found.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), bytes });
    }
    Ok(found)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes new and vanished names in `folder` durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere folders cannot be opened as files; the file system's journal must do.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Like `create_dir_all`, but the new names are durable.
fn create_folder(path: &Path) -> Result<(), StateError> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |error| StateError::io("create folder", path.display().to_string(), error);
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("/"))).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
