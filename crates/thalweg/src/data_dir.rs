//! Where a pipeline keeps what it must not forget: `<data-dir>/pipelines/<name>/`, held by one process at a time.
//!
//! The lock (`<name>.lock` beside the folder, which holds nothing but checkpoints) is advisory and belongs to the open
//! file, so a killed process leaves none behind.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use fs2::FileExt;

use crate::exit::{Exit, Failure};

/// The right to run a pipeline, given back when this is dropped.
#[derive(Debug)]
pub struct PipelineLock {
    _file: File,
}

/// The folder that holds one folder of checkpoints per pipeline.
pub fn pipelines_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("pipelines")
}

impl PipelineLock {
    /// Makes the folder if needed and takes the lock.
    ///
    /// Errors: the folder cannot be made or written; another process holds the lock (exit 6, names the process).
    pub fn acquire(data_dir: &Path, pipeline: &str) -> Result<Self, Failure> {
        let folder = pipelines_dir(data_dir);
        fs::create_dir_all(&folder)
            .map_err(|error| Failure::io(format!("make the state folder {}", folder.display()), &error))?;
        let path = folder.join(format!("{pipeline}.lock"));
        let failed = |error: std::io::Error| Failure::io(format!("write the lock file {}", path.display()), &error);
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        if file.try_lock_exclusive().is_err() {
            let mut holder = String::new();
            // The number only makes the message better; an unreadable one is left out.
            let _ = file.read_to_string(&mut holder);
            let who = holder.trim().parse::<u32>().map_or_else(|_| String::new(), |pid| format!(" by process {pid}"));
            let state = folder.join(pipeline);
            return Err(Failure::new(
                Exit::Conflict,
                format!("pipeline '{pipeline}' is already being run{who} with its state in {}", state.display()),
            )
            .hint("wait for it or stop it, or give this run a folder of its own with --data-dir"));
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .and_then(|()| file.flush())
            .map_err(failed)?;
        Ok(Self { _file: file })
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
        let first = PipelineLock::acquire(dir.path(), "p").unwrap();
        let refused = PipelineLock::acquire(dir.path(), "p").unwrap_err();
        assert_eq!(refused.exit, Exit::Conflict);
        assert!(refused.message.contains(&format!("process {}", std::process::id())), "{}", refused.message);
        drop(first);
        PipelineLock::acquire(dir.path(), "p").unwrap();
    }
}
