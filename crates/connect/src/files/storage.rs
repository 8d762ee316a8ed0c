//! Where files lie: lists, looks at and opens them, on this machine or in an object store.
//!
//! Everything here blocks and belongs on an IO thread (or before a pipeline starts).

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thalweg_engine::EngineError;

use super::config::FileFormat;
use super::error::io_error;
use super::object::{ObjectReader, ObjectStorage};
use crate::options::error;
use crate::registry::OptionError;

/// The `path` option, taken apart; no IO yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// As the user wrote it (`file://` removed); begins the names of splits.
    pub(crate) path: String,
    /// Relative paths start here.
    pub(crate) working_dir: PathBuf,
    pub(crate) is_object: bool,
}

impl Location {
    pub(crate) fn parse(path: &str, working_dir: &Path) -> Result<Self, OptionError> {
        let (scheme, rest) = path.split_once("://").unwrap_or(("", path));
        if path.trim().is_empty() || rest.is_empty() {
            return Err(error("path", "option 'path' is empty", "write a file, a folder, a glob or a URL"));
        }
        let (path, is_object) = match scheme {
            "" => (path, false),
            "file" => (rest, false),
            "s3" => (path, true),
            _ => {
                let message = format!("option 'path': {scheme}:// is not supported");
                return Err(error("path", message, "use a local path, file:// or s3://"));
            }
        };
        if let Err(wrong) = glob::Pattern::new(path) {
            let message = format!("option 'path': '{path}' is not a glob ({})", wrong.msg);
            return Err(error("path", message, "write special characters in brackets, e.g. [[]"));
        }
        let working_dir = working_dir.to_owned();
        Ok(Self { path: path.to_owned(), working_dir, is_object })
    }

    pub(crate) fn is_glob(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }
}

/// A file as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path or URL; names the split.
    pub(crate) name: Arc<str>,
    pub(crate) size: u64,
    /// Microseconds since the epoch.
    pub(crate) modified_at: i64,
}

/// What a listing found.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Sorted by name.
    pub(crate) entries: Vec<Entry>,
    /// The path names one file, not a folder or glob.
    pub(crate) is_single: bool,
    /// Files of the folder that were left out for their extension.
    pub(crate) left_out: Option<String>,
}

/// The files of one source.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    Local(Location),
    Object(ObjectStorage),
}

impl Storage {
    /// `io` runs requests to object stores.
    pub(crate) fn connect(location: &Location, io: &tokio::runtime::Handle) -> Result<Self, EngineError> {
        if location.is_object {
            return Ok(Self::Object(ObjectStorage::connect(&location.path, io)?));
        }
        Ok(Self::Local(location.clone()))
    }

    /// The files there are now. In a folder only those whose extension says `format` (any known one, if `None`); names
    /// that begin with `.` or `_` are left out.
    pub(crate) fn list(&self, format: Option<FileFormat>) -> Result<Listing, EngineError> {
        match self {
            Self::Local(location) => list_local(location, format),
            Self::Object(store) => store.list(format),
        }
    }

    /// The file now; `None` if it is gone.
    pub(crate) fn stat(&self, name: &Arc<str>) -> Result<Option<Entry>, EngineError> {
        match self {
            Self::Local(location) => match fs::metadata(location.working_dir.join(&**name)) {
                Ok(metadata) => Ok(Some(entry(name.clone(), &metadata))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(io_error("cannot look at", name, error)),
            },
            Self::Object(store) => store.stat(name),
        }
    }

    /// The bytes of a file from `at` on, up to `end`.
    pub(crate) fn open(&self, name: &str, at: u64, end: u64) -> Result<Box<dyn Read + Send>, EngineError> {
        match self {
            Self::Local(_) => {
                let mut file = self.open_local(name)?;
                file.seek(SeekFrom::Start(at)).map_err(|error| io_error("cannot read", name, error))?;
                Ok(Box::new(file.take(end.saturating_sub(at))))
            }
            Self::Object(store) => Ok(Box::new(ObjectReader::new(store.clone(), name, at, end)?)),
        }
    }

    /// The first bytes of a file: `max`, or all there are.
    pub(crate) fn read_start(&self, name: &str, size: u64, max: usize) -> Result<Vec<u8>, EngineError> {
        let mut start = Vec::new();
        let end = size.min(max as u64);
        self.open(name, 0, end)?.read_to_end(&mut start).map_err(|error| io_error("cannot read", name, error))?;
        Ok(start)
    }

    /// Exactly these bytes.
    pub(crate) fn read_range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Bytes, EngineError> {
        match self {
            Self::Local(_) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                let mut reader = self.open(name, range.start, range.end)?;
                reader.read_exact(&mut bytes).map_err(|error| io_error("cannot read", name, error))?;
                Ok(bytes.into())
            }
            Self::Object(store) => store.read_range(name, range),
        }
    }

    /// The file itself, if it lies on this machine.
    pub(crate) fn open_local(&self, name: &str) -> Result<fs::File, EngineError> {
        let Self::Local(location) = self else { return Err(EngineError::bug("not a local file")) };
        fs::File::open(location.working_dir.join(name)).map_err(|error| io_error("cannot open", name, error))
    }
}

fn entry(name: Arc<str>, metadata: &fs::Metadata) -> Entry {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Entry { name, size: metadata.len(), modified_at: modified.map_or(0, |time| time.as_micros() as i64) }
}

fn list_local(location: &Location, format: Option<FileFormat>) -> Result<Listing, EngineError> {
    let full = location.working_dir.join(&location.path);
    // A path that exists is meant, even if it looks like a glob.
    if !full.exists() && location.is_glob() {
        return list_glob(location);
    }
    let metadata = fs::metadata(&full).map_err(|error| io_error("cannot read", &location.path, error))?;
    if metadata.is_file() {
        let entries = vec![entry(location.path.as_str().into(), &metadata)];
        return Ok(Listing { entries, is_single: true, left_out: None });
    }
    let mut listing = Listing { entries: vec![], is_single: false, left_out: None };
    walk(&full, Path::new(&location.path), format, &mut listing)?;
    listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

fn walk(folder: &Path, name: &Path, format: Option<FileFormat>, out: &mut Listing) -> Result<(), EngineError> {
    let failed = |error| io_error("cannot read the folder", &name.to_string_lossy(), error);
    for item in fs::read_dir(folder).map_err(failed)? {
        let item = item.map_err(failed)?;
        let name = name.join(item.file_name());
        let shown = name.to_string_lossy();
        if is_hidden(&shown) {
            continue;
        }
        // A file may vanish between the two calls; the next listing knows.
        let Ok(metadata) = fs::metadata(item.path()) else { continue };
        if metadata.is_dir() {
            walk(&item.path(), &name, format, out)?;
        } else if fits(&shown, format) {
            out.entries.push(entry(shown.as_ref().into(), &metadata));
        } else {
            out.left_out.get_or_insert_with(|| shown.into_owned());
        }
    }
    Ok(())
}

fn list_glob(location: &Location) -> Result<Listing, EngineError> {
    let (pattern, prefix) = if Path::new(&location.path).is_absolute() {
        (location.path.clone(), PathBuf::new())
    } else {
        let prefix = glob::Pattern::escape(&location.working_dir.to_string_lossy());
        (Path::new(&prefix).join(&location.path).to_string_lossy().into_owned(), location.working_dir.clone())
    };
    let paths = glob::glob(&pattern)
        .map_err(|error| EngineError::request(format!("'{}' is not a glob: {}", location.path, error.msg)))?;
    let mut entries = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            let path = error.path().to_string_lossy().into_owned();
            io_error("cannot read the folder", &path, error.into())
        })?;
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let name = path.strip_prefix(&prefix).unwrap_or(&path).to_string_lossy();
        if metadata.is_file() {
            entries.push(entry(name.as_ref().into(), &metadata));
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Listing { entries, is_single: false, left_out: None })
}

/// Whether a file or folder in a folder is none of the reader's business.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.starts_with(['.', '_']))
}

pub(crate) fn fits(name: &str, format: Option<FileFormat>) -> bool {
    let known = FileFormat::of_name(name);
    known.is_some() && (format.is_none() || known == format)
}
