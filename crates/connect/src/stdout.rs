//! `stdout`: a sink that prints rows as they become visible, at every epoch boundary.
//!
//! At least once: what was printed before a crash cannot be taken back, and is printed again after it.
//! Rows of an epoch are held back until it ends, up to [`HELD_BYTES_MAX`]; a larger epoch is printed in pieces.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use thalweg_engine::{
    Barrier, Batch, Committed, EngineError, ErrorKind, Sink, SinkCommitter, SinkContext, SinkWriter, StagedFuture,
};
use thalweg_formats::{CsvDialect, FormatError, RowFormat, RowsEncoder};

use crate::registry::{Connector, ConnectorInfo, OptionError, SinkRequest};

pub(crate) const CONNECTOR: Connector = Connector { info, source: None, sink: Some(open) };

const HELD_BYTES_MAX: usize = 4 << 20;

/// Options of the `stdout` sink.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct StdoutOptions {
    /// How rows are written. csv begins with the names of the columns.
    #[schemars(extend("default" = "ndjson"))]
    format: StdoutFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StdoutFormat {
    #[default]
    Ndjson,
    Csv,
}

fn info() -> ConnectorInfo {
    ConnectorInfo {
        name: "stdout",
        summary: "prints rows as ndjson or csv when an epoch ends; at least once",
        source_options: None,
        sink_options: Some(crate::options::schema_of::<StdoutOptions>()),
        metadata: vec![],
    }
}

fn open(request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
    let StdoutOptions { format } = crate::options::parse("the stdout sink", &request.options)?;
    let out = Arc::new(Mutex::new(Printer { to: Box::new(std::io::stdout()), has_header: false }));
    Ok(Arc::new(Stdout { format, out }))
}

#[derive(Debug)]
struct Stdout {
    format: StdoutFormat,
    out: Arc<Mutex<Printer>>,
}

impl Stdout {
    fn encoder(&self, schema: &SchemaRef) -> Result<RowsEncoder, EngineError> {
        let format = match self.format {
            StdoutFormat::Ndjson => RowFormat::Ndjson,
            StdoutFormat::Csv => RowFormat::Csv(CsvDialect::default()),
        };
        RowsEncoder::new(schema, format).map_err(encode_error)
    }
}

impl Sink for Stdout {
    fn describe(&self) -> String {
        "stdout".into()
    }

    fn accept(&self, schema: &SchemaRef) -> Result<(), EngineError> {
        self.encoder(schema)?.encode(&RecordBatch::new_empty(schema.clone()), &mut vec![]).map_err(encode_error)
    }

    fn writer(&self, _context: SinkContext, schema: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        let encoder = self.encoder(&schema)?;
        Ok(Box::new(Writer { encoder, held: vec![], out: self.out.clone() }))
    }

    fn committer(&self, _context: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Ok(Box::new(Committer))
    }

    fn is_exactly_once(&self) -> bool {
        false
    }
}

/// Shared by all workers: whole lines of one at a time.
struct Printer {
    to: Box<dyn Write + Send>,
    has_header: bool,
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Printer")
    }
}

struct Writer {
    encoder: RowsEncoder,
    held: Vec<u8>,
    out: Arc<Mutex<Printer>>,
}

impl Writer {
    fn print(&mut self) -> Result<(), EngineError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut printer = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut header = Vec::new();
        if !printer.has_header {
            self.encoder.header(&mut header);
            printer.has_header = true;
        }
        let to = &mut printer.to;
        let printed = to.write_all(&header).and_then(|()| to.write_all(&self.held)).and_then(|()| to.flush());
        self.held.clear();
        printed.map_err(|error| {
            let message = match error.kind() {
                std::io::ErrorKind::BrokenPipe => "cannot print: the reader of standard output has gone".to_owned(),
                _ => format!("cannot print to standard output ({error}); check where it goes to"),
            };
            EngineError::with_source(ErrorKind::FixRequest, message, error)
        })
    }
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.encoder.encode(&batch.rows, &mut self.held).map_err(encode_error)?;
        if self.held.len() > HELD_BYTES_MAX { self.print() } else { Ok(()) }
    }

    fn epoch_end(&mut self, _barrier: Barrier) -> Result<StagedFuture, EngineError> {
        self.print()?;
        Ok(async { Ok(vec![]) }.boxed())
    }
}

fn encode_error(error: FormatError) -> EngineError {
    EngineError::with_source(ErrorKind::FixRequest, error.to_string(), error)
}

struct Committer;

impl SinkCommitter for Committer {
    fn recover<'a>(&'a self, _last: Option<(u64, &'a [Value])>) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async { Ok(Committed::default()) }.boxed()
    }

    fn commit<'a>(&'a self, _epoch: u64, _staged: &'a [Value]) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async { Ok(Committed::default()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use thalweg_engine::BarrierKind;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: StdoutFormat) -> (Vec<String>, String) {
        let shared = Shared::default();
        let out = Arc::new(Mutex::new(Printer { to: Box::new(shared.clone()), has_header: false }));
        let sink = Stdout { format, out };
        let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap();
        sink.accept(&batch.schema()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let context = |worker| SinkContext { owner: "p/s".into(), generation: 1, worker, io: runtime.handle().clone() };
        let mut writers: Vec<_> = (0..2).map(|w| sink.writer(context(w), batch.schema()).unwrap()).collect();
        let mut seen = vec![];
        let text = || String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        for writer in &mut writers {
            writer.write(Batch::new(batch.clone())).unwrap();
            seen.push(text());
            let staged = writer.epoch_end(Barrier { checkpoint_epoch: 1, kind: BarrierKind::Publish }).unwrap();
            assert!(runtime.block_on(staged).unwrap().is_empty());
        }
        (seen, text())
    }

    #[test]
    fn rows_show_when_the_epoch_ends() {
        let (before, after) = printed(StdoutFormat::Ndjson);
        assert_eq!(before, ["", "{\"n\":1}\n{\"n\":2}\n"]);
        assert_eq!(after, "{\"n\":1}\n{\"n\":2}\n".repeat(2));
    }

    #[test]
    fn csv_has_one_header() {
        assert_eq!(printed(StdoutFormat::Csv).1, "n\n1\n2\n1\n2\n");
    }
}
