//! Where a pipeline keeps what it must not forget: `<data-dir>/pipelines/<name>/`, held by one process at a time.
//!
//! The lock is advisory and belongs to the open file, so a killed process leaves none behind.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use fs2::FileExt;

use crate::exit::{Exit, Failure};

/// A pipeline's folder. The lock is given back when this is dropped.
#[derive(Debug)]
pub struct PipelineDir {
    path: PathBuf,
    _lock: File,
}

impl PipelineDir {
    /// Makes the folder if needed and takes its lock.
    ///
    /// Errors: the folder cannot be made or written; another process holds it (exit 6, names the process).
    pub fn acquire(data_dir: &Path, pipeline: &str) -> Result<Self, Failure> {
        let path = data_dir.join("pipelines").join(pipeline);
        fs::create_dir_all(&path)
            .map_err(|error| Failure::io(format!("make the state folder {}", path.display()), &error))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(|error| Failure::io(format!("open the lock file {}", lock_path.display()), &error))?;
        if lock.try_lock_exclusive().is_err() {
            let mut holder = String::new();
            // The number only makes the message better; an unreadable one is left out.
            let _ = lock.read_to_string(&mut holder);
            let who = holder.trim().parse::<u32>().map_or_else(|_| String::new(), |pid| format!(" by process {pid}"));
            return Err(Failure::new(
                Exit::Conflict,
                format!("pipeline '{pipeline}' is already being run{who} with its state in {}", path.display()),
            )
            .hint("wait for it or stop it, or give this run a folder of its own with --data-dir"));
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .and_then(|()| lock.flush());
        written.map_err(|error| Failure::io(format!("write the lock file {}", lock_path.display()), &error))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where checkpoints of this pipeline live when no URL was given.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The name of the pipeline in a file: the file's stem, or its folder's name for `pipeline.sql`.
pub fn pipeline_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if stem != "pipeline" {
        return safe(&stem);
    }
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    match absolute.parent().and_then(Path::file_name) {
        Some(folder) => safe(&folder.to_string_lossy()),
        None => stem,
    }
}

/// A name that is one folder on every system.
fn safe(name: &str) -> String {
    let cleaned: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect();
    if cleaned.is_empty() { "pipeline".into() } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_file_or_folder() {
        for (file, name) in [
            ("examples/flights/pipeline.sql", "flights"),
            ("q5.sql", "q5"),
            ("a b.sql", "a_b"),
            ("/x/y/surge.v2.sql", "surge_v2"),
        ] {
            assert_eq!(pipeline_name(Path::new(file)), name);
        }
    }

    #[test]
    fn second_holder_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = PipelineDir::acquire(dir.path(), "p").unwrap();
        let refused = PipelineDir::acquire(dir.path(), "p").unwrap_err();
        assert_eq!(refused.exit, Exit::Conflict);
        assert!(refused.message.contains(&format!("process {}", std::process::id())), "{}", refused.message);
        drop(first);
        PipelineDir::acquire(dir.path(), "p").unwrap();
    }
}
