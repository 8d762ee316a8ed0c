//! A source whose rows are handed out from outside, while the pipeline runs.
//!
//! Items are kept for ever, so a pipeline that is started again continues where its checkpoint says; meant for tests and
//! demonstrations, whose rows fit in memory. One split, `rows`; its position is the number of items claimed.
//! Rows given as text go through the real decoders, so bad rows are bad here, too.

use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use thalweg_engine::{
    Chunk, Claim, DecodedChunk, Decoder, EngineError, RowError, Source, SourceContext, SourceFeed, SplitInfo,
    SplitPosition, Waker,
};
use thalweg_formats::{BadRow, CsvDecoder, CsvDialect, DecodeOptions, JsonDecoder};

/// How the text of an item is read.
#[derive(Debug, Clone)]
pub enum TextFormat {
    Ndjson,
    /// Every text begins with its header if the dialect has one.
    Csv(CsvDialect),
}

/// Whole lines, with the lines and bytes of all items before.
#[derive(Debug, Clone)]
struct Item {
    bytes: Bytes,
    format: TextFormat,
    first_line: u64,
    first_position: u64,
}

/// The source; clones share the items.
#[derive(Debug, Clone)]
pub struct ScriptedSource {
    name: String,
    schema: SchemaRef,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    items: Vec<Item>,
    ended: bool,
    /// Items claimed by the feed that was opened last.
    claimed: usize,
    lines: u64,
    bytes: u64,
    waker: Option<Arc<dyn Waker>>,
}

const SPLIT: &str = "rows";

impl ScriptedSource {
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        Self { name: name.into(), schema, script: Arc::default() }
    }

    /// Hands out whole lines of text.
    pub fn push_text(&self, text: impl Into<Bytes>, format: TextFormat) {
        let bytes = text.into();
        let mut script = self.lock();
        let (first_line, first_position) = (script.lines, script.bytes);
        script.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        script.bytes += bytes.len() as u64;
        self.push(script, Item { bytes, format, first_line, first_position });
    }

    /// No more items will come.
    pub fn end(&self) {
        let mut script = self.lock();
        script.ended = true;
        wake(script);
    }

    /// Whether every item was claimed by the pipeline that runs now.
    pub fn is_claimed(&self) -> bool {
        let script = self.lock();
        script.claimed == script.items.len()
    }

    fn push(&self, mut script: MutexGuard<'_, Script>, item: Item) {
        script.items.push(item);
        wake(script);
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// Wakes outside the lock: the worker that wakes may claim at once.
fn wake(script: MutexGuard<'_, Script>) {
    let waker = script.waker.clone();
    drop(script);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Source for ScriptedSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        format!("rows handed to {}", self.name)
    }

    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        let next = match positions.as_slice() {
            [] => 0,
            [position] => position
                .position
                .as_u64()
                .ok_or_else(|| EngineError::bug(format!("source {}: position {position:?}", self.name)))?,
            many => return Err(EngineError::bug(format!("source {}: {} splits, it has one", self.name, many.len()))),
        };
        let mut script = self.lock();
        script.waker = Some(context.wake.clone());
        script.claimed = next as usize;
        drop(script);
        let all = (0..self.schema.fields().len()).collect();
        let projection = context.projection.unwrap_or(all);
        Ok(Box::new(ScriptedFeed { source: self.clone(), projection, batch_rows: context.batch_rows, sequence: 0 }))
    }

    fn is_unbounded(&self) -> bool {
        false
    }
}

struct ScriptedFeed {
    source: ScriptedSource,
    projection: Vec<usize>,
    batch_rows: usize,
    sequence: u64,
}

impl SourceFeed for ScriptedFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        let mut script = self.source.lock();
        let next = script.claimed;
        match script.items.get(next).cloned() {
            Some(item) => {
                script.claimed += 1;
                let chunk = Chunk { split: 0, sequence: self.sequence, payload: Box::new(item) };
                self.sequence += 1;
                Ok(Claim::Chunk(chunk))
            }
            None if script.ended => Ok(Claim::Finished),
            None => Ok(Claim::Pending),
        }
    }

    fn positions(&self) -> Vec<SplitPosition> {
        let script = self.source.lock();
        let finished = script.ended && script.claimed == script.items.len();
        vec![SplitPosition { split: SPLIT.into(), position: script.claimed.into(), finished }]
    }

    fn splits(&self) -> Vec<SplitInfo> {
        let finished = self.positions()[0].finished;
        vec![SplitInfo { name: SPLIT.into(), lowest_event_time: None, finished }]
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        let options = DecodeOptions::new(self.source.schema.clone())
            .with_projection(self.projection.clone())
            .with_batch_rows(self.batch_rows);
        Ok(Box::new(ScriptedDecoder { options }))
    }

    fn progress(&self) -> (u64, Option<u64>) {
        let script = self.source.lock();
        let total = script.ended.then_some(script.items.len() as u64);
        (script.claimed as u64, total)
    }
}

struct ScriptedDecoder {
    options: DecodeOptions,
}

impl Decoder for ScriptedDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError> {
        let item = chunk.payload.downcast::<Item>().map_err(|_| EngineError::bug("a chunk of another source"))?;
        let Item { bytes, format, first_line, first_position } = *item;
        let mut decoded = DecodedChunk { input_bytes: bytes.len() as u64, ..DecodedChunk::default() };
        let mut bad = Vec::new();
        let body = self.decode_text(&bytes, &format, &mut decoded.batches, &mut bad)?;
        let lines_before = bytes[..body].iter().filter(|byte| **byte == b'\n').count() as u64;
        let error = |row: BadRow| RowError {
            bytes: bytes[body + row.start..body + row.start + row.len].to_vec(),
            split: SPLIT.into(),
            position: first_position + (body + row.start) as u64,
            line: Some(first_line + lines_before + row.line + 1),
            error: row.error,
        };
        decoded.errors = bad.into_iter().map(error).collect();
        Ok(decoded)
    }
}

impl ScriptedDecoder {
    /// Returns where the rows begin in `bytes`.
    fn decode_text(
        &mut self,
        bytes: &Bytes,
        format: &TextFormat,
        batches: &mut Vec<RecordBatch>,
        bad: &mut Vec<BadRow>,
    ) -> Result<usize, EngineError> {
        let refused = |error: thalweg_formats::FormatError| {
            EngineError::with_source(thalweg_engine::ErrorKind::FixData, "cannot decode the given text", error)
        };
        match format {
            TextFormat::Ndjson => {
                let mut decoder = JsonDecoder::new(self.options.clone()).map_err(refused)?;
                decoder.decode(bytes, batches, bad, None).map_err(refused)?;
                Ok(0)
            }
            TextFormat::Csv(dialect) => {
                let mut decoder = CsvDecoder::new(self.options.clone(), dialect.clone()).map_err(refused)?;
                let mut body = 0;
                if dialect.header {
                    body = thalweg_formats::first_csv_row(bytes, dialect).unwrap_or(bytes.len());
                    decoder.set_header(&bytes[..body]).map_err(refused)?;
                }
                decoder.decode(&bytes[body..], batches, bad, None).map_err(refused)?;
                Ok(body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[derive(Debug)]
    struct NoWaker;

    impl Waker for NoWaker {
        fn wake(&self) {}
    }

    fn context() -> SourceContext {
        SourceContext {
            watch: false,
            workers: 1,
            batch_rows: 2,
            io: tokio::runtime::Handle::current(),
            wake: Arc::new(NoWaker),
            projection: Some(vec![1]),
            time_column: None,
        }
    }

    fn decode(feed: &mut dyn SourceFeed) -> DecodedChunk {
        let Claim::Chunk(chunk) = feed.claim().unwrap() else { panic!("a chunk was given") };
        feed.decoder().unwrap().decode(chunk).unwrap()
    }

    #[tokio::test]
    async fn hands_out_in_order_and_continues_from_a_position() {
        let schema =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]));
        let source = ScriptedSource::new("s", schema);
        source.push_text("{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n{\"a\":3}\n", TextFormat::Ndjson);
        source.push_text("not json\n", TextFormat::Ndjson);
        source.push_text("a,b\n5,z\nx,y\n", TextFormat::Csv(CsvDialect { header: true, ..CsvDialect::default() }));
        let mut feed = source.open(context(), vec![]).unwrap();
        let first = decode(feed.as_mut());
        let rows: Vec<usize> = first.batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!((rows, first.batches[0].num_columns()), (vec![2, 1], 1));
        let after_first = feed.positions();
        let second = decode(feed.as_mut());
        assert_eq!(second.errors.len(), 1);
        assert_eq!((second.errors[0].line, second.errors[0].bytes.as_slice()), (Some(4), b"not json".as_slice()));
        let third = decode(feed.as_mut());
        assert_eq!(third.batches[0].num_rows(), 2);
        assert!(matches!(feed.claim().unwrap(), Claim::Pending) && source.is_claimed());
        source.end();
        assert!(matches!(feed.claim().unwrap(), Claim::Finished));
        let mut again = source.open(context(), after_first).unwrap();
        assert_eq!(decode(again.as_mut()).errors[0].position, second.errors[0].position);
    }
}
