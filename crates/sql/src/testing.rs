//! Connectors that live in memory, for tests of this crate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_connect::{OptionError, SinkRequest, SourceRequest};
use thalweg_engine::{
    Chunk, Claim, DecodedChunk, Decoder, EngineError, Sink, SinkCommitter, SinkContext, SinkWriter, Source,
    SourceContext, SourceFeed, SplitInfo, SplitPosition,
};

use crate::ConnectorRegistry;

/// Knows the connector `memory` (options: `path`) and nothing else; sources that declare no columns have `when TIMESTAMP, n BIGINT`.
#[derive(Debug, Default)]
pub(crate) struct MemoryRegistry {
    /// Rows by name of the source.
    pub(crate) rows: BTreeMap<String, Vec<RecordBatch>>,
}

fn unknown(connector: &str) -> Vec<OptionError> {
    let message = format!("unknown connector '{connector}'");
    vec![OptionError { key: Some("connector".into()), message, hint: Some("connectors: memory".into()) }]
}

impl ConnectorRegistry for MemoryRegistry {
    fn open_source(&self, request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
        let errors = self.check_source(request);
        if !errors.is_empty() {
            return Err(errors);
        }
        let rows = self.rows.get(&request.name).cloned().unwrap_or_default();
        let inferred = || match rows.first() {
            Some(batch) => batch.schema(),
            None => Arc::new(Schema::new(vec![
                Field::new("when", DataType::Timestamp(TimeUnit::Microsecond, None), true),
                Field::new("n", DataType::Int64, true),
            ])),
        };
        let physical = request.columns.clone().unwrap_or_else(inferred);
        let metadata = request.metadata.iter().map(|(name, _)| Arc::new(Field::new(name, DataType::Int64, true)));
        let fields: Vec<Arc<Field>> = physical.fields().iter().cloned().chain(metadata).collect();
        Ok(Arc::new(MemorySource { schema: Arc::new(Schema::new(fields)), rows }))
    }

    fn check_source(&self, request: &SourceRequest) -> Vec<OptionError> {
        if request.connector != "memory" {
            return unknown(&request.connector);
        }
        let wrong = request.options.keys().filter(|key| *key != "path");
        let error = |key: &String| OptionError {
            key: Some(key.clone()),
            message: format!("unknown option '{key}'"),
            hint: Some("did you mean 'path'?".into()),
        };
        wrong.map(error).collect()
    }

    fn open_sink(&self, request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
        match request.connector.as_str() {
            "memory" => Ok(Arc::new(NoSink)),
            other => Err(unknown(other)),
        }
    }
}

#[derive(Debug)]
pub(crate) struct MemorySource {
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
}

impl Source for MemorySource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    fn open(&self, context: SourceContext, _: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        Ok(Box::new(MemoryFeed {
            rows: Arc::new(Mutex::new(self.rows.clone())),
            projection: context.projection,
            claimed: 0,
        }))
    }
}

struct MemoryFeed {
    rows: Arc<Mutex<Vec<RecordBatch>>>,
    projection: Option<Vec<usize>>,
    claimed: u64,
}

impl SourceFeed for MemoryFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        let mut rows = self.rows.lock().expect("no panic while held");
        if rows.is_empty() {
            return Ok(Claim::Finished);
        }
        let batch = rows.remove(0);
        self.claimed += 1;
        Ok(Claim::Chunk(Chunk { split: 0, sequence: self.claimed - 1, payload: Box::new(batch) }))
    }

    fn positions(&self) -> Vec<SplitPosition> {
        vec![]
    }

    fn splits(&self) -> Vec<SplitInfo> {
        vec![]
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        Ok(Box::new(MemoryDecoder(self.projection.clone())))
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.claimed, None)
    }
}

struct MemoryDecoder(Option<Vec<usize>>);

impl Decoder for MemoryDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError> {
        let batch = *chunk.payload.downcast::<RecordBatch>().expect("our own payload");
        let batch = match &self.0 {
            Some(columns) => batch.project(columns)?,
            None => batch,
        };
        Ok(DecodedChunk { batches: vec![batch], errors: vec![], input_bytes: 1 })
    }
}

/// Can be declared, not written.
#[derive(Debug)]
pub(crate) struct NoSink;

impl Sink for NoSink {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn accept(&self, _: &SchemaRef) -> Result<(), EngineError> {
        Ok(())
    }

    fn writer(&self, _: SinkContext, _: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        Err(EngineError::bug("this sink is for binding only"))
    }

    fn committer(&self, _: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Err(EngineError::bug("this sink is for binding only"))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}
