//! Drives feeds, writers and committers as the runtime does, on one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use thalweg_connect::{OptionError, Options, SinkRequest, SourceRequest, open_sink, open_source};
use thalweg_engine::{
    Barrier, BarrierKind, Batch, Claim, EngineError, RowError, Sink, SinkContext, SinkWriter, Source, SourceContext,
    SourceFeed, SplitPosition, Waker,
};
use tokio::runtime::Runtime;

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Waker for Bell {
    fn wake(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_all();
    }
}

impl Bell {
    /// Waits for a ring that was not heard yet.
    pub fn wait(&self) {
        let rings = self.rings.lock().unwrap();
        let (mut rings, timeout) = self.rung.wait_timeout_while(rings, PATIENCE, |rings| *rings == 0).unwrap();
        assert!(!timeout.timed_out(), "the feed was pending and nobody woke the worker");
        *rings = 0;
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn source_request(dir: &Path, pairs: &[(&str, &str)]) -> SourceRequest {
    SourceRequest {
        name: "s".into(),
        connector: "files".into(),
        options: options(pairs),
        columns: None,
        metadata: vec![],
        working_dir: dir.to_owned(),
    }
}

pub fn source(dir: &Path, pairs: &[(&str, &str)]) -> Result<Arc<dyn Source>, Vec<OptionError>> {
    open_source(&source_request(dir, pairs))
}

/// A source that is being read.
pub struct Reading {
    pub bell: Arc<Bell>,
    pub feed: Box<dyn SourceFeed>,
    _io: Runtime,
}

#[derive(Debug, Default)]
pub struct Got {
    pub batches: Vec<RecordBatch>,
    pub errors: Vec<RowError>,
}

#[derive(Default)]
pub struct Open {
    pub watch: bool,
    pub positions: Vec<SplitPosition>,
    pub projection: Option<Vec<usize>>,
    pub time_column: Option<usize>,
    pub batch_rows: usize,
}

impl Reading {
    pub fn open(source: &Arc<dyn Source>, open: Open) -> Result<Self, EngineError> {
        let (io, bell) = (runtime(), Arc::new(Bell::default()));
        let context = SourceContext {
            watch: open.watch,
            workers: 1,
            batch_rows: if open.batch_rows == 0 { 8192 } else { open.batch_rows },
            io: io.handle().clone(),
            wake: bell.clone(),
            projection: open.projection,
            time_column: open.time_column,
        };
        let feed = source.open(context, open.positions)?;
        Ok(Self { bell, feed, _io: io })
    }

    /// The next chunk's rows; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Got>, EngineError> {
        let mut decoder = self.feed.decoder()?;
        loop {
            match self.feed.claim()? {
                Claim::Chunk(chunk) => {
                    let decoded = decoder.decode(chunk)?;
                    return Ok(Some(Got { batches: decoded.batches, errors: decoded.errors }));
                }
                Claim::Pending => self.bell.wait(),
                Claim::Finished => return Ok(None),
            }
        }
    }

    pub fn drain(&mut self) -> Result<Got, EngineError> {
        let mut all = Got::default();
        while let Some(got) = self.next()? {
            all.batches.extend(got.batches);
            all.errors.extend(got.errors);
        }
        Ok(all)
    }

    /// Reads until so many rows are there.
    pub fn rows(&mut self, count: usize) -> Result<Got, EngineError> {
        let (mut all, started) = (Got::default(), Instant::now());
        while all.row_count() < count {
            assert!(started.elapsed() < PATIENCE, "only {} of {count} rows", all.row_count());
            let got = self.next()?.expect("not the end yet");
            all.batches.extend(got.batches);
            all.errors.extend(got.errors);
        }
        Ok(all)
    }

    /// The error that reading ends with.
    pub fn fail(&mut self) -> EngineError {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "no error");
            match self.next() {
                Err(error) => return error,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the end, and no error"),
            }
        }
    }
}

impl Got {
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    pub fn numbers(&self, column: &str) -> Vec<i64> {
        let column = |batch: &RecordBatch| batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().clone();
        self.batches.iter().flat_map(|batch| column(batch).iter().map(Option::unwrap).collect::<Vec<_>>()).collect()
    }

    pub fn texts(&self, column: &str) -> Vec<Option<String>> {
        let column = |batch: &RecordBatch| batch.column_by_name(column).unwrap().as_string::<i32>().clone();
        let owned = |value: Option<&str>| value.map(str::to_owned);
        self.batches.iter().flat_map(|batch| column(batch).iter().map(owned).collect::<Vec<_>>()).collect()
    }
}

/// Reads everything there is.
pub fn read_all(dir: &Path, pairs: &[(&str, &str)]) -> Got {
    let source = source(dir, pairs).unwrap();
    Reading::open(&source, Open::default()).unwrap().drain().unwrap()
}

pub fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let values: Vec<i64> = values.into_iter().collect();
    let names: StringArray = values.iter().map(|value| Some(format!("k{}", value % 3))).collect();
    let values = Int64Array::from(values);
    RecordBatch::try_from_iter([("n", Arc::new(values) as _), ("k", Arc::new(names) as _)]).unwrap()
}

pub fn sink(dir: &Path, pairs: &[(&str, &str)]) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
    open_sink(&SinkRequest {
        name: "out".into(),
        connector: "files".into(),
        options: options(pairs),
        working_dir: dir.to_owned(),
    })
}

/// A pipeline with one sink, as the coordinator sees it.
pub struct Run {
    pub io: Runtime,
    pub sink: Arc<dyn Sink>,
    pub owner: String,
    pub generation: u64,
    /// By generation and worker: a worker keeps its writer.
    writers: RefCell<HashMap<(u64, usize), Box<dyn SinkWriter>>>,
}

impl Run {
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { io: runtime(), sink, owner: "p/out".into(), generation: 1, writers: RefCell::default() }
    }

    pub fn context(&self, worker: usize) -> SinkContext {
        let io = self.io.handle().clone();
        SinkContext { owner: self.owner.clone(), generation: self.generation, worker, io }
    }

    pub fn recover(&self, last: Option<(u64, &[serde_json::Value])>) -> Result<(), EngineError> {
        let committer = self.sink.committer(self.context(0))?;
        self.io.block_on(committer.recover(last)).map(drop)
    }

    pub fn commit(&self, epoch: u64, staged: &[serde_json::Value]) -> Result<(), EngineError> {
        let committer = self.sink.committer(self.context(0))?;
        self.io.block_on(committer.commit(epoch, staged)).map(drop)
    }

    /// Each batch is written by a worker of its own.
    pub fn stage(&self, epoch: u64, batches: &[RecordBatch]) -> Result<Vec<serde_json::Value>, EngineError> {
        let schema: SchemaRef = batches[0].schema();
        let mut references = vec![];
        for (worker, batch) in batches.iter().enumerate() {
            let mut writers = self.writers.borrow_mut();
            let writer = match writers.entry((self.generation, worker)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.sink.writer(self.context(worker), schema.clone())?),
            };
            writer.write(Batch::new(batch.clone()))?;
            let barrier = Barrier { checkpoint_epoch: epoch, kind: BarrierKind::Checkpoint };
            references.extend(self.io.block_on(writer.epoch_end(barrier)?)?);
        }
        Ok(references)
    }

    pub fn reset(&self) -> Result<(), EngineError> {
        self.io.block_on(self.sink.reset(self.context(0)))
    }
}

/// Files under a folder, by relative path, without those of the sink itself.
pub fn files(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, name: &str, out: &mut Vec<String>) {
        for item in std::fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
            let below = format!("{name}{}", item.file_name().to_string_lossy());
            if item.path().is_dir() {
                walk(&item.path(), &format!("{below}/"), out);
            } else if !below.starts_with("_thalweg") {
                out.push(below);
            }
        }
    }
    let mut out = vec![];
    walk(dir, "", &mut out);
    out.sort();
    out
}

/// Lines of all files under a folder, sorted.
pub fn lines(dir: &Path) -> Vec<String> {
    let text = |name: &String| std::fs::read_to_string(dir.join(name)).unwrap();
    let mut lines: Vec<String> =
        files(dir).iter().flat_map(|name| text(name).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort();
    lines
}

pub fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

pub fn append(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(dir.join(name)).unwrap().write_all(bytes.as_ref()).unwrap();
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `{"n":0}` .. as lines.
pub fn ndjson(numbers: impl IntoIterator<Item = i64>) -> String {
    numbers.into_iter().map(|n| format!("{{\"n\":{n},\"k\":\"k{}\"}}\n", n % 3)).collect()
}

pub fn assert_no_nulls(batch: &RecordBatch) {
    assert!(batch.columns().iter().all(|column| column.null_count() == 0));
}
