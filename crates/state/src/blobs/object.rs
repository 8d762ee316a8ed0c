//! Blobs in an object store: durability and put-if-absent are the store's own (`If-None-Match: *`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};
use tokio::sync::OnceCell;

use super::{Blobs, Entry, Put};
use crate::StateError;

/// One request; long enough for a segment over a slow line.
const REQUEST_TIMEOUT: &str = "120 seconds";
/// An outage of this length is sat out inside a call; then the caller decides.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);
const RETRIES_MAX: usize = 30;
/// The first call is answered soon or never: a wrong endpoint should be told at once.
const FIRST_RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_RETRIES_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    /// The same, but impatient.
    probe: Arc<dyn ObjectStore>,
    answered: OnceCell<()>,
    /// For messages, e.g. `s3://bucket/prefix`.
    shown: String,
    prefix: String,
}

impl ObjectBlobs {
    /// A prefix of an S3-compatible bucket; the rest of the settings is read from `AWS_*`.
    pub fn s3(bucket: &str, prefix: &str) -> Result<Self, StateError> {
        let shown = format!("s3://{bucket}/{prefix}");
        let build = |retry_timeout, max_retries| -> Result<Arc<dyn ObjectStore>, StateError> {
            let mut builder = AmazonS3Builder::from_env();
            if std::env::var_os("AWS_TIMEOUT").is_none() {
                builder = builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
            }
            let store = builder
                .with_bucket_name(bucket)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .with_retry(RetryConfig { retry_timeout, max_retries, ..RetryConfig::default() })
                .build()
                .map_err(|error| StateError::object_store("open", shown.clone(), error))?;
            Ok(Arc::new(store))
        };
        let store = build(RETRY_TIMEOUT, RETRIES_MAX)?;
        let probe = build(FIRST_RETRY_TIMEOUT, FIRST_RETRIES_MAX)?;
        Ok(Self { store, probe, answered: OnceCell::new(), shown, prefix: prefix.to_owned() })
    }

    /// The store, once it has answered.
    async fn store(&self) -> Result<&dyn ObjectStore, StateError> {
        let ask = || async {
            let path = self.path("")?;
            let listed = self.probe.list_with_delimiter(Some(&path)).await;
            listed.map(drop).map_err(|error| self.failed("list", "", error))
        };
        self.answered.get_or_try_init(ask).await?;
        Ok(self.store.as_ref())
    }

    fn path(&self, name: &str) -> Result<Path, StateError> {
        let full = [self.prefix.as_str(), name].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        Path::parse(full.join("/"))
            .map_err(|error| StateError::bug(format!("'{name}' is no name for an object: {error}")))
    }

    fn failed(&self, action: &'static str, name: &str, error: object_store::Error) -> StateError {
        StateError::object_store(action, self.place(name), error)
    }
}

impl Blobs for ObjectBlobs {
    fn place(&self, name: &str) -> String {
        if name.is_empty() { self.shown.clone() } else { format!("{}/{name}", self.shown.trim_end_matches('/')) }
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        // An object store has no folders; the marker that is put next shows whether it can be written to.
        async { Ok(()) }.boxed()
    }

    fn put_new<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Put, StateError>> {
        async move {
            match self.store().await?.put_opts(&self.path(name)?, bytes.into(), PutMode::Create.into()).await {
                Ok(_) => Ok(Put::Created),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::Exists),
                Err(error) => Err(self.failed("write", name, error)),
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StateError>> {
        async move {
            let got = match self.store().await?.get(&self.path(name)?).await {
                Ok(got) => got,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(self.failed("read", name, error)),
            };
            got.bytes().await.map(Some).map_err(|error| self.failed("read", name, error))
        }
        .boxed()
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StateError>> {
        async move {
            let path = self.path(folder)?;
            let listed = self
                .store()
                .await?
                .list_with_delimiter(Some(&path))
                .await
                .map_err(|error| self.failed("list", folder, error))?;
            let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
            let objects =
                listed.objects.iter().map(|object| Entry { name: name(&object.location), bytes: object.size });
            let folders = listed.common_prefixes.iter().map(|path| Entry { name: name(path), bytes: 0 });
            Ok(objects.chain(folders).collect())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<(), StateError>> {
        async move {
            let paths = names.iter().map(|name| self.path(name)).collect::<Result<Vec<_>, _>>()?;
            let mut deleted =
                self.store().await?.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(self.failed("delete from", "", error)),
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn sweep_temporary(&self) -> BoxFuture<'_, Result<u64, StateError>> {
        // Unfinished puts leave nothing behind.
        async { Ok(0) }.boxed()
    }
}
