//! Finds test files: what is named, and `*.test.yaml` in folders that are named.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

const ENDINGS: [&str; 2] = [".test.yaml", ".test.yml"];

/// All test files below the paths, sorted. A path that is not there is an error.
pub fn test_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(Failure::new(Exit::NotFound, format!("there is no file or folder {}", path.display())));
        }
        if path.is_dir() {
            walk(path, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("read the folder {}", folder.display()), &error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(failed)?;
        if name.starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they could lead in a circle.
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_and_named_files_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::create_dir_all(path(".hidden")).unwrap();
        for name in ["a/b/x.test.yaml", "a/y.test.yml", "a/pipeline.sql", ".hidden/z.test.yaml", "other.yaml"] {
            std::fs::write(path(name), "").unwrap();
        }
        let found = test_files(&[folder.path().to_path_buf(), path("other.yaml")]).unwrap();
        assert_eq!(found, [path("a/b/x.test.yaml"), path("a/y.test.yml"), path("other.yaml")]);
        assert_eq!(test_files(&[path("absent")]).unwrap_err().exit, Exit::NotFound);
    }
}
