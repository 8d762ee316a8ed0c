//! Files in an S3-compatible store.
//!
//! The store is configured by the environment as other tools do: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use thalweg_engine::{EngineError, ErrorKind};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::config::FileFormat;
use super::error::store_error;
use super::storage::{Entry, Listing, fits, is_hidden};

/// Bytes of the first request when a file is read, which may be only for its begin, and of the later ones.
const REQUEST_BYTES_MIN: u64 = 256 << 10;
const REQUEST_BYTES_MAX: u64 = 4 << 20;

/// A bucket, and what of it is meant.
#[derive(Debug, Clone)]
pub(crate) struct ObjectStorage {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) io: Handle,
    /// `s3://bucket/`: what names have in front of keys.
    prefix: String,
    /// The key, folder or glob within the bucket.
    key: String,
}

impl ObjectStorage {
    pub(crate) fn connect(url: &str, io: &Handle) -> Result<Self, EngineError> {
        let rest = url.strip_prefix("s3://").unwrap_or(url);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| store_error("cannot set up the store for", url, error))?;
        Ok(Self::over(Arc::new(store), io, &format!("s3://{bucket}/"), key))
    }

    /// Over any store; names begin with `prefix`.
    pub(crate) fn over(store: Arc<dyn ObjectStore>, io: &Handle, prefix: &str, key: &str) -> Self {
        Self { store, io: io.clone(), prefix: prefix.to_owned(), key: key.trim_end_matches('/').to_owned() }
    }

    pub(crate) fn path(&self, name: &str) -> Result<Path, EngineError> {
        let key = name.strip_prefix(&self.prefix).unwrap_or(name);
        Path::parse(key).map_err(|error| EngineError::request(format!("'{name}' is not the URL of an object: {error}")))
    }

    fn entry(&self, object: &ObjectMeta) -> Entry {
        let name = format!("{}{}", self.prefix, object.location);
        Entry { name: name.into(), size: object.size, modified_at: object.last_modified.timestamp_micros() }
    }

    pub(crate) fn list(&self, format: Option<FileFormat>) -> Result<Listing, EngineError> {
        self.io.block_on(self.list_async(format))
    }

    async fn list_async(&self, format: Option<FileFormat>) -> Result<Listing, EngineError> {
        let url = format!("{}{}", self.prefix, self.key);
        let is_glob = self.key.contains(['*', '?', '[']);
        if !is_glob && !self.key.is_empty() {
            match self.store.head(&self.path(&url)?).await {
                Ok(object) => {
                    return Ok(Listing { entries: vec![self.entry(&object)], is_single: true, left_out: None });
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(store_error("cannot look at", &url, error)),
            }
        }
        // Down to the last folder without a special character.
        let fixed = match self.key.find(['*', '?', '[']) {
            Some(special) => self.key[..special].rsplit_once('/').map_or("", |(folder, _)| folder),
            None => self.key.as_str(),
        };
        let folder = self.path(fixed)?;
        let objects: Vec<ObjectMeta> = self
            .store
            .list((!fixed.is_empty()).then_some(&folder))
            .try_collect()
            .await
            .map_err(|error| store_error("cannot list", &url, error))?;
        if objects.is_empty() {
            let message = format!("cannot read {url}: there is no such object or folder; check the URL");
            return Err(EngineError::new(ErrorKind::FixRequest, message));
        }
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        let pattern = glob::Pattern::new(&self.key).map_err(|error| EngineError::request(error.to_string()))?;
        let mut listing = Listing { entries: vec![], is_single: false, left_out: None };
        for object in &objects {
            let key = object.location.as_ref();
            let below = &key[fixed.len().min(key.len())..];
            if is_glob {
                if pattern.matches_with(key, options) {
                    listing.entries.push(self.entry(object));
                }
            } else if below.split('/').any(is_hidden) {
                continue;
            } else if fits(key, format) {
                listing.entries.push(self.entry(object));
            } else {
                listing.left_out.get_or_insert_with(|| format!("{}{key}", self.prefix));
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    pub(crate) fn stat(&self, name: &str) -> Result<Option<Entry>, EngineError> {
        let path = self.path(name)?;
        match self.io.block_on(self.store.head(&path)) {
            Ok(object) => Ok(Some(self.entry(&object))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error("cannot look at", name, error)),
        }
    }

    pub(crate) fn read_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, EngineError> {
        let path = self.path(name)?;
        self.io.block_on(self.store.get_range(&path, range)).map_err(|error| store_error("cannot read", name, error))
    }
}

/// Reads an object from front to back with one request under way ahead of the reader.
pub(crate) struct ObjectReader {
    storage: ObjectStorage,
    path: Path,
    current: Bytes,
    ahead: Option<JoinHandle<Result<Bytes, object_store::Error>>>,
    /// First byte not asked for yet.
    next: u64,
    end: u64,
    request_bytes: u64,
}

impl ObjectReader {
    pub(crate) fn new(storage: ObjectStorage, name: &str, at: u64, end: u64) -> Result<Self, EngineError> {
        let path = storage.path(name)?;
        let mut reader =
            Self { storage, path, current: Bytes::new(), ahead: None, next: at, end, request_bytes: REQUEST_BYTES_MIN };
        reader.request();
        Ok(reader)
    }

    fn request(&mut self) {
        if self.next >= self.end {
            return;
        }
        let range = self.next..self.end.min(self.next + self.request_bytes);
        self.next = range.end;
        self.request_bytes = (self.request_bytes * 4).min(REQUEST_BYTES_MAX);
        let (store, path) = (self.storage.store.clone(), self.path.clone());
        self.ahead = Some(self.storage.io.spawn(async move { store.get_range(&path, range).await }));
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            let Some(ahead) = self.ahead.take() else { return Ok(0) };
            let answer = self.storage.io.block_on(ahead).map_err(io::Error::other)?;
            self.current = answer.map_err(io::Error::from)?;
            self.request();
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}
