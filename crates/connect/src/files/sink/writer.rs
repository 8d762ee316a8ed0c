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
/// Files a worker writes at once, and bytes it holds for all of them; beyond either, the largest is closed.
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
    stage: Stage,
    staged: String,
    hash: Xxh3,
    bytes: u64,
    rows: u64,
    since: Instant,
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
            if self.open.len() >= OPEN_MAX {
                self.close_largest()?;
            }
            let file = self.begin()?;
            self.open.insert(folder.clone(), file);
        }
        let file = self.open.get_mut(&folder).expect("opened above");
        file.encoder.write(rows)?;
        file.rows += rows.num_rows() as u64;
        if file.encoder.ready() >= WRITE_BYTES {
            let bytes = file.encoder.take();
            file.put(bytes)?;
        }
        let size = file.bytes + file.encoder.held();
        let is_old = self.config.roll_interval.is_some_and(|most| file.since.elapsed() >= most);
        if size >= self.config.roll_bytes || is_old {
            self.close(&folder)?;
        }
        if self.open.values().map(|file| file.encoder.held()).sum::<u64>() > HELD_BYTES_MAX {
            self.close_largest()?;
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
            stage: self.target.stage(&staged)?,
            staged,
            hash: Xxh3::new(),
            bytes: 0,
            rows: 0,
            since: Instant::now(),
        })
    }

    fn close_largest(&mut self) -> Result<(), EngineError> {
        let largest = self.open.iter().max_by_key(|(_, file)| file.encoder.held());
        let Some(folder) = largest.map(|(folder, _)| folder.clone()) else { return Ok(()) };
        self.close(&folder)
    }

    fn close(&mut self, folder: &str) -> Result<(), EngineError> {
        let Some(mut file) = self.open.remove(folder) else { return Ok(()) };
        let rest = file.encoder.take();
        file.put(rest)?;
        let OpenFile { encoder, mut stage, staged, mut hash, mut bytes, rows, .. } = file;
        let last = encoder.finish()?;
        hash.update(&last);
        bytes += last.len() as u64;
        stage.write(last)?;
        let staged = StagedFile { staged, file: String::new(), bytes, rows, xxh3: hash.digest() };
        self.closed.push((folder.to_owned(), staged));
        self.syncing.push(self.context.io.spawn(stage.finish()));
        Ok(())
    }
}

impl OpenFile {
    fn put(&mut self, bytes: Vec<u8>) -> Result<(), EngineError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.stage.write(bytes)
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
        Ok(())
    }

    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError> {
        if !barrier.kind.is_durable() {
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
        Ok(async move {
            for sync in syncing {
                sync.await.unwrap_or_else(|error| Err(EngineError::bug(format!("staging panicked: {error}"))))?;
            }
            Ok(references)
        }
        .boxed())
    }
}
