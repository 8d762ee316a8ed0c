//! Makes staged files visible, cleans up after a crash, and keeps others' folders untouched.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thalweg_engine::{Committed, EngineError, SinkCommitter, SinkContext};

use super::target::{StagedFile, Target};

pub(crate) const STAGED: &str = "_thalweg/staged";
const COMMITS: &str = "_thalweg/commits";
const COMMITTED: &str = "_thalweg/committed.json";
const OWNER: &str = "_thalweg/owner.json";
/// Of the files in `_thalweg/`.
const VERSION: u32 = 1;

/// `owner.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    version: u32,
    owner: String,
}

/// `committed.json`: the last checkpoint whose files are all visible.
#[derive(Debug, Serialize, Deserialize)]
struct LastCommit {
    version: u32,
    checkpoint_epoch: u64,
}

/// `commits/<epoch>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct CommitLog {
    version: u32,
    checkpoint_epoch: u64,
    files: Vec<StagedFile>,
}

pub(crate) struct FilesCommitter {
    target: Target,
    owner: String,
}

impl FilesCommitter {
    pub(crate) fn new(target: Target, context: SinkContext) -> Self {
        Self { target, owner: context.owner }
    }

    /// Removes what this sink made, for a start from nothing; refuses if the folder is another's.
    pub(crate) async fn reset(&self) -> Result<(), EngineError> {
        if !self.is_ours().await? {
            return Ok(());
        }
        let logs = self.target.list(COMMITS).await?;
        let mut files = self.target.list(STAGED).await?;
        for log in &logs {
            files.extend(self.read_log(log).await?.files.into_iter().map(|file| file.file));
        }
        self.target.remove(files).await?;
        // The logs last: until then a second attempt knows what to remove.
        self.target.remove(logs).await?;
        self.target.remove(vec![COMMITTED.into(), OWNER.into()]).await
    }

    /// Whether the folder is marked as this sink's; an error if it is another's.
    async fn is_ours(&self) -> Result<bool, EngineError> {
        let Some(bytes) = self.target.read(OWNER).await? else { return Ok(false) };
        let shown = self.target.shown();
        let owner: Owner = self.parse(OWNER, &bytes)?;
        if owner.owner == self.owner {
            return Ok(true);
        }
        Err(EngineError::request(format!(
            "{shown} holds output of {}, and {} cannot write there; choose an empty folder for it",
            owner.owner, self.owner
        )))
    }

    async fn read_log(&self, path: &str) -> Result<CommitLog, EngineError> {
        let bytes = self.target.read(path).await?.unwrap_or_default();
        self.parse(path, &bytes)
    }

    /// Reads one of the small files, if this version can.
    fn parse<T: serde::de::DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, EngineError> {
        let shown = self.target.shown();
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        match value["version"].as_u64() {
            Some(version) if version > u64::from(VERSION) => Err(EngineError::request(format!(
                "{shown}/{path} was written by a newer version ({version}, this one knows {VERSION}); use that version, or \
                 choose an empty folder"
            ))),
            _ => serde_json::from_value(value).map_err(|_| {
                EngineError::data(format!(
                    "{shown}/{path} is damaged; restore it, or empty the folder and start with --restart"
                ))
            }),
        }
    }

    async fn first_start(&self) -> Result<(), EngineError> {
        let shown = self.target.shown();
        if self.is_ours().await? {
            if !self.target.list(COMMITS).await?.is_empty() {
                return Err(EngineError::request(format!(
                    "{shown} holds output of an earlier run of {}, whose checkpoints are not in the data folder; start with \
                     --restart to replace it, or choose an empty folder",
                    self.owner
                )));
            }
            return self.remove_staged().await;
        }
        if let Some(foreign) = self.target.first_foreign().await? {
            return Err(EngineError::request(format!(
                "{shown} holds files that were not written by {} ({foreign}); choose an empty folder, or move them away",
                self.owner
            )));
        }
        let owner = Owner { version: VERSION, owner: self.owner.clone() };
        self.target.write(OWNER, serde_json::to_vec(&owner).expect("text and a number")).await
    }

    async fn remove_staged(&self) -> Result<(), EngineError> {
        let staged = self.target.list(STAGED).await?;
        self.target.remove(staged).await
    }

    async fn publish(&self, checkpoint_epoch: u64, staged: &[Value]) -> Result<Committed, EngineError> {
        if staged.is_empty() {
            return Ok(Committed::default());
        }
        let read = |value: &Value| {
            serde_json::from_value::<StagedFile>(value.clone()).map_err(|_| {
                EngineError::data(format!("the checkpoint names a staged file in an unknown way: {value}"))
            })
        };
        let files = staged.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let committed = Committed { files: files.len() as u64, bytes: files.iter().map(|file| file.bytes).sum() };
        let log = CommitLog { version: VERSION, checkpoint_epoch, files: files.clone() };
        let path = format!("{COMMITS}/{checkpoint_epoch:020}.json");
        self.target.write(&path, serde_json::to_vec(&log).expect("text and numbers")).await?;
        self.target.publish(files).await?;
        let last = LastCommit { version: VERSION, checkpoint_epoch };
        self.target.write(COMMITTED, serde_json::to_vec(&last).expect("two numbers")).await?;
        Ok(committed)
    }

    /// Whether everything of `checkpoint_epoch` was visible already; then its files may since have been moved on.
    async fn was_committed(&self, checkpoint_epoch: u64) -> Result<bool, EngineError> {
        let Some(bytes) = self.target.read(COMMITTED).await? else { return Ok(false) };
        let last: LastCommit = self.parse(COMMITTED, &bytes)?;
        if last.checkpoint_epoch > checkpoint_epoch {
            return Err(EngineError::request(format!(
                "{} holds output up to checkpoint {}, but checkpoint {checkpoint_epoch} is restored, so rows would be there \
                 twice; write into an empty folder, or start with --restart",
                self.target.shown(),
                last.checkpoint_epoch
            )));
        }
        Ok(last.checkpoint_epoch == checkpoint_epoch)
    }
}

impl SinkCommitter for FilesCommitter {
    fn recover<'a>(&'a self, last: Option<(u64, &'a [Value])>) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async move {
            let Some((checkpoint_epoch, staged)) = last else {
                self.first_start().await?;
                return Ok(Committed::default());
            };
            if !self.is_ours().await? {
                return Err(EngineError::request(format!(
                    "{} was emptied or moved since the last checkpoint of {}; put it back, or start with --restart",
                    self.target.shown(),
                    self.owner
                )));
            }
            let committed = match self.was_committed(checkpoint_epoch).await? {
                true => Committed::default(),
                false => self.publish(checkpoint_epoch, staged).await?,
            };
            self.remove_staged().await?;
            Ok(committed)
        }
        .boxed()
    }

    fn commit<'a>(
        &'a self,
        checkpoint_epoch: u64,
        staged: &'a [Value],
    ) -> BoxFuture<'a, Result<Committed, EngineError>> {
        self.publish(checkpoint_epoch, staged).boxed()
    }
}
