//! A target folder on this machine.
//!
//! Put-if-absent is a hard link, which fails if the name is taken; where the file system has none, a rename after a look
//! (the generation's fencing keeps others away). Every step is made durable before the next: file, folder entry.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thalweg_engine::EngineError;
use tokio::runtime::Handle;

use super::target::{StagedFile, is_foreign, taken, vanished};
use crate::files::error::io_error;

#[derive(Debug)]
pub(crate) struct LocalTarget {
    folder: PathBuf,
    shown: String,
    io: Handle,
}

impl LocalTarget {
    pub(crate) fn new(folder: PathBuf, shown: &str, io: Handle) -> Self {
        Self { folder, shown: shown.trim_end_matches('/').to_owned(), io }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.shown)
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let target = self.clone();
        let done = self.io.spawn_blocking(move || work(&target)).await;
        done.unwrap_or_else(|error| Err(EngineError::bug(format!("writing files panicked: {error}"))))
    }

    pub(crate) fn stage(self: &Arc<Self>, path: &str) -> Result<LocalStage, EngineError> {
        let full = self.folder.join(path);
        let failed = |error| io_error("cannot create", &self.name(path), error);
        create_folder(full.parent().unwrap_or(&self.folder)).map_err(failed)?;
        // Names are never used twice, and a file that is there may be linked to a committed one.
        let file = File::create_new(&full).map_err(failed)?;
        Ok(LocalStage { target: self.clone(), file, path: path.to_owned(), bytes: 0 })
    }

    pub(crate) async fn sync(self: &Arc<Self>, folder: &str) -> Result<(), EngineError> {
        let folder = folder.to_owned();
        self.blocking(move |target| {
            let synced = sync_folder(&target.folder.join(&folder));
            synced.map_err(|error| io_error("cannot make durable", &target.name(&folder), error))
        })
        .await
    }

    pub(crate) async fn read(self: &Arc<Self>, path: &str) -> Result<Option<Bytes>, EngineError> {
        let path = path.to_owned();
        self.blocking(move |target| match fs::read(target.folder.join(&path)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("cannot read", &target.name(&path), error)),
        })
        .await
    }

    pub(crate) async fn write(self: &Arc<Self>, path: &str, bytes: Vec<u8>) -> Result<(), EngineError> {
        let path = path.to_owned();
        self.blocking(move |target| {
            let full = target.folder.join(&path);
            let folder = full.parent().unwrap_or(&target.folder).to_owned();
            let next = full.with_extension("tmp");
            let write = || {
                create_folder(&folder)?;
                let mut file = File::create(&next)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&next, &full)?;
                sync_folder(&folder)
            };
            write().map_err(|error| io_error("cannot write", &target.name(&path), error))
        })
        .await
    }

    pub(crate) async fn first_foreign(self: &Arc<Self>) -> Result<Option<String>, EngineError> {
        self.blocking(|target| {
            let found = find(&target.folder, "", &mut |path| is_foreign(&path).then_some(path));
            found.map_err(|error| io_error("cannot read the folder", &target.shown, error))
        })
        .await
    }

    pub(crate) async fn list(self: &Arc<Self>, folder: &str) -> Result<Vec<String>, EngineError> {
        let folder = folder.to_owned();
        self.blocking(move |target| {
            let mut found = Vec::new();
            let listed = find(&target.folder.join(&folder), &folder, &mut |path| {
                found.push(path);
                None::<()>
            });
            listed.map_err(|error| io_error("cannot read the folder", &target.name(&folder), error))?;
            found.sort();
            Ok(found)
        })
        .await
    }

    pub(crate) async fn remove(self: &Arc<Self>, paths: Vec<String>) -> Result<(), EngineError> {
        self.blocking(move |target| {
            for path in &paths {
                let full = target.folder.join(path);
                match fs::remove_file(&full) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("cannot remove", &target.name(path), error));
                    }
                    _ => {}
                }
                // Folders of partitions go with their last file; one that is not empty stays.
                let above = full.ancestors().skip(1).take_while(|folder| *folder != target.folder);
                let _ = above.map(fs::remove_dir).take_while(Result::is_ok).count();
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn publish(self: &Arc<Self>, files: Vec<StagedFile>) -> Result<(), EngineError> {
        self.blocking(move |target| {
            let mut folders = BTreeSet::new();
            for file in &files {
                target.publish_one(file)?;
                let full = target.folder.join(&file.file);
                folders.extend(full.parent().map(Path::to_owned));
            }
            for folder in &folders {
                sync_folder(folder).map_err(|error| io_error("cannot make durable", &target.shown, error))?;
            }
            for file in &files {
                // Only now that its other name is durable.
                let _ = fs::remove_file(target.folder.join(&file.staged));
            }
            Ok(())
        })
        .await
    }

    fn publish_one(&self, file: &StagedFile) -> Result<(), EngineError> {
        let (staged, full) = (self.folder.join(&file.staged), self.folder.join(&file.file));
        let failed = |error| io_error("cannot commit", &self.name(&file.file), error);
        create_folder(full.parent().unwrap_or(&self.folder)).map_err(failed)?;
        match fs::hard_link(&staged, &full) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.check_same(file, &full),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match full.exists() {
                true => self.check_same(file, &full),
                false => Err(vanished(&self.shown, file)),
            },
            // A file system without hard links.
            Err(_) if full.exists() => self.check_same(file, &full),
            Err(_) => fs::rename(&staged, &full).map_err(failed),
        }
    }

    fn check_same(&self, file: &StagedFile, full: &Path) -> Result<(), EngineError> {
        let there = fs::read(full).map_err(|error| io_error("cannot read", &self.name(&file.file), error))?;
        if file.is_content(&there) { Ok(()) } else { Err(taken(&self.shown, &file.file)) }
    }
}

/// A staged file that is being written.
#[derive(Debug)]
pub(crate) struct LocalStage {
    target: Arc<LocalTarget>,
    file: File,
    path: String,
    bytes: u64,
}

impl LocalStage {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| {
            let what = format!("cannot write {} bytes ({} in all) to", bytes.len(), self.bytes);
            io_error(&what, &self.target.name(&self.path), error)
        })
    }

    pub(crate) async fn finish(self) -> Result<(), EngineError> {
        let Self { target, file, path, bytes } = self;
        target
            .blocking(move |target| {
                file.sync_all().map_err(|error| {
                    io_error(&format!("cannot make {bytes} bytes durable in"), &target.name(&path), error)
                })
            })
            .await
    }
}

/// Creates a folder and those above it, durably.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    // Which of the folders above are new is not known; the entry of each lies in the one above it.
    for above in folder.ancestors().skip(1).take(3).filter(|above| above.is_dir()) {
        sync_folder(above)?;
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Shows `visit` the files under a folder, until it finds what it looks for.
fn find<T>(folder: &Path, name: &str, visit: &mut impl FnMut(String) -> Option<T>) -> io::Result<Option<T>> {
    let items = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        items => items?,
    };
    for item in items {
        let item = item?;
        let below = item.file_name().to_string_lossy().into_owned();
        let below = if name.is_empty() { below } else { format!("{name}/{below}") };
        let found = if item.file_type()?.is_dir() { find(&item.path(), &below, visit)? } else { visit(below) };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` answers every write with "no space left on device".
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_and_can_be_retried() {
        let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let target = Arc::new(LocalTarget::new("/dev".into(), "out", io.handle().clone()));
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut stage = LocalStage { target, file, path: "staged/a.ndjson".into(), bytes: 1000 };
        let error = stage.write(&[0; 51]).unwrap_err();
        assert_eq!(error.kind, thalweg_engine::ErrorKind::Retry);
        assert!(
            error.message.starts_with(
                "cannot write 51 bytes (1051 in all) to out/staged/a.ndjson: the disk is full; free some space and start again"
            ),
            "{}",
            error.message
        );
    }
}
