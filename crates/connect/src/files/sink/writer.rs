//! Writes rows on a worker into staged files; at a durable barrier hands out what it staged.
//!
//! Files are closed at every durable barrier, and earlier by size or age. Syncing (or uploading) a closed file goes on
//! beside the worker; only the barrier's future waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use thalweg_engine::{Barrier, Batch, EngineError, SinkContext, SinkWriter, StagedFuture};
use tokio::task::JoinHandle;
use xxhash_rust::xxh3::Xxh3;

use super::commit::STAGED;
use super::config::Config;
use super::encode::FileEncoder;
use super::partition;
use super::target::{Stage, StagedFile, Target};

/// Encoded bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;
/// Files a worker fills at once, how many of them may be open in the target, and bytes held for all of them; beyond any of
/// these, the largest is closed. A small file is opened only when it is closed.
const FILLED_MAX: usize = 1024;
const OPEN_MAX: usize = 64;
const HELD_BYTES_MAX: u64 = 64 << 20;

pub(crate) struct FilesWriter {
    config: Arc<Config>,
    target: Target,
    context: SinkContext,
    schema: SchemaRef,
    partition_columns: Vec<usize>,
    /// By folder.
    open: BTreeMap<String, OpenFile>,
    /// Since the last durable barrier, by folder; `file` is named at the barrier.
    closed: Vec<(String, StagedFile)>,
    syncing: Vec<JoinHandle<Result<(), EngineError>>>,
    files: u64,
}

struct OpenFile {
    encoder: FileEncoder,
    output: Output,
    rows: u64,
    since: Instant,
}

/// A staged file, from its first bytes on.
struct Output {
    stage: Option<Stage>,
    staged: String,
    hash: Xxh3,
    bytes: u64,
}

impl FilesWriter {
    pub(crate) fn new(
        config: Arc<Config>,
        target: Target,
        context: SinkContext,
        schema: SchemaRef,
    ) -> Result<Self, EngineError> {
        let index = |name: &String| Ok(schema.index_of(name)?);
        let partition_columns = config.partition_by.iter().map(index).collect::<Result<_, EngineError>>()?;
        let (open, closed, syncing) = (BTreeMap::new(), vec![], vec![]);
        Ok(Self { config, target, context, schema, partition_columns, open, closed, syncing, files: 0 })
    }

    fn write_to(&mut self, folder: String, rows: &RecordBatch) -> Result<(), EngineError> {
        if !self.open.contains_key(&folder) {
            if self.open.len() >= FILLED_MAX {
                self.close_largest(|_| true)?;
            }
            let file = self.begin()?;
            self.open.insert(folder.clone(), file);
        }
        let file = self.open.get_mut(&folder).expect("begun above");
        file.encoder.write(rows)?;
        file.rows += rows.num_rows() as u64;
        if file.encoder.ready() >= WRITE_BYTES {
            let bytes = file.encoder.take()?;
            file.output.put(bytes, &self.target)?;
        }
        let size = file.output.bytes + file.encoder.held();
        let is_old = self.config.roll_interval.is_some_and(|most| file.since.elapsed() >= most);
        if size >= self.config.roll_bytes || is_old {
            self.close(&folder)?;
        }
        Ok(())
    }

    /// Keeps to what a worker may hold.
    fn make_room(&mut self) -> Result<(), EngineError> {
        while self.open.values().filter(|file| file.output.stage.is_some()).count() > OPEN_MAX {
            self.close_largest(|file| file.output.stage.is_some())?;
        }
        let mut held: u64 = self.open.values().map(|file| file.encoder.held()).sum();
        while held > HELD_BYTES_MAX {
            held = held.saturating_sub(self.close_largest(|_| true)?.max(1));
        }
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "a file's age decides where it ends, not what rows are written")]
    fn begin(&mut self) -> Result<OpenFile, EngineError> {
        let SinkContext { generation, worker, .. } = self.context;
        let staged = format!("{STAGED}/{generation:08}-{worker:02}-{:08}{}", self.files, self.config.extension());
        self.files += 1;
        Ok(OpenFile {
            encoder: FileEncoder::new(&self.config, &self.schema)?,
            output: Output { stage: None, staged, hash: Xxh3::new(), bytes: 0 },
            rows: 0,
            since: Instant::now(),
        })
    }

    /// Returns how many bytes that freed.
    fn close_largest(&mut self, may: impl Fn(&OpenFile) -> bool) -> Result<u64, EngineError> {
        let sizes = self.open.iter().filter(|(_, file)| may(file)).map(|(folder, file)| (file.encoder.held(), folder));
        let Some((held, folder)) = sizes.max().map(|(held, folder)| (held, folder.clone())) else {
            return Ok(u64::MAX);
        };
        self.close(&folder)?;
        Ok(held)
    }

    fn close(&mut self, folder: &str) -> Result<(), EngineError> {
        let Some(OpenFile { encoder, mut output, rows, .. }) = self.open.remove(folder) else { return Ok(()) };
        output.put(encoder.finish()?, &self.target)?;
        let Output { stage, staged, hash, bytes } = output;
        let Some(stage) = stage else { return Err(EngineError::bug("a file without bytes was begun")) };
        let staged = StagedFile { staged, file: String::new(), bytes, rows, xxh3: hash.digest() };
        self.closed.push((folder.to_owned(), staged));
        self.syncing.push(self.context.io.spawn(stage.finish()));
        Ok(())
    }
}

impl Output {
    fn put(&mut self, bytes: Vec<u8>, target: &Target) -> Result<(), EngineError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        let stage = match &mut self.stage {
            Some(stage) => stage,
            None => self.stage.insert(target.stage(&self.staged)?),
        };
        stage.write(bytes)
    }
}

impl SinkWriter for FilesWriter {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for (folder, rows) in partition::split(&batch.rows, &self.partition_columns)? {
            self.write_to(folder, &rows)?;
        }
        self.make_room()
    }

    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError> {
        if !barrier.kind.is_durable() {
            return Ok(async { Ok(vec![]) }.boxed());
        }
        if self.open.is_empty() && self.closed.is_empty() {
            return Ok(async { Ok(vec![]) }.boxed());
        }
        let folders: Vec<String> = self.open.keys().cloned().collect();
        for folder in folders {
            self.close(&folder)?;
        }
        let (epoch, worker) = (barrier.checkpoint_epoch, self.context.worker);
        let extension = self.config.extension();
        let name = |(number, (folder, mut staged)): (usize, (String, StagedFile))| {
            let slash = if folder.is_empty() { "" } else { "/" };
            staged.file = format!("{folder}{slash}part-{epoch:020}-{worker:02}-{number:03}{extension}");
            serde_json::to_value(staged).expect("text and numbers")
        };
        let references = std::mem::take(&mut self.closed).into_iter().enumerate().map(name).collect();
        let syncing = std::mem::take(&mut self.syncing);
        let target = self.target.clone();
        Ok(async move {
            for sync in syncing {
                sync.await.unwrap_or_else(|error| Err(EngineError::bug(format!("staging panicked: {error}"))))?;
            }
            target.sync_staged(STAGED).await?;
            Ok(references)
        }
        .boxed())
    }
}
