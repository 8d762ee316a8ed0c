//! What a test puts in the place of connectors: sources that hand out the given rows, sinks that keep what comes.
//!
//! Options are checked as for a real run, so that a test cannot pass with a script that would be refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use thalweg_connect::memory::{MemorySink, MemoryStore};
use thalweg_connect::{OptionError, SinkRequest, SourceRequest};
use thalweg_engine::{Sink, Source};
use thalweg_formats::CsvDialect;
use thalweg_sql::{ConnectorRegistry, Connectors};

use crate::feeds::scripted::{ScriptedSource, TextFormat};

/// A source under test.
#[derive(Debug, Clone)]
pub struct TestSource {
    pub source: ScriptedSource,
    pub schema: SchemaRef,
    /// How given text is read; an error says why it cannot be.
    pub format: Result<TextFormat, String>,
}

/// Names are those of the script.
#[derive(Debug, Default)]
pub struct TestRegistry {
    sources: Mutex<BTreeMap<String, TestSource>>,
    sinks: Mutex<BTreeMap<String, MemoryStore>>,
}

impl TestRegistry {
    pub fn sources(&self) -> BTreeMap<String, TestSource> {
        lock(&self.sources).clone()
    }

    pub fn sinks(&self) -> BTreeMap<String, MemoryStore> {
        lock(&self.sinks).clone()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl ConnectorRegistry for TestRegistry {
    fn open_source(&self, request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
        let errors = Connectors.check_source(request);
        if !errors.is_empty() {
            return Err(errors);
        }
        let physical = match &request.columns {
            Some(columns) => columns.clone(),
            // Not declared: the real input has to say.
            None => {
                let schema = Connectors.open_source(request)?.schema();
                let declared = schema.fields().len().saturating_sub(request.metadata.len());
                Arc::new(Schema::new(schema.fields()[..declared].to_vec()))
            }
        };
        let metadata = request.metadata.iter().map(|(column, key)| metadata_field(&request.connector, column, key));
        let fields: Vec<FieldRef> = physical.fields().iter().cloned().chain(metadata).collect();
        let schema = Arc::new(Schema::new(fields));
        let source = ScriptedSource::new(&request.name, schema.clone());
        let test = TestSource { source: source.clone(), schema, format: text_format(request) };
        lock(&self.sources).insert(request.name.clone(), test);
        Ok(Arc::new(source))
    }

    fn check_source(&self, request: &SourceRequest) -> Vec<OptionError> {
        Connectors.check_source(request)
    }

    fn open_sink(&self, request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
        Connectors.open_sink(request)?;
        let store = MemoryStore::new();
        lock(&self.sinks).insert(request.name.clone(), store.clone());
        Ok(Arc::new(MemorySink::new(store)))
    }
}

fn metadata_field(connector: &str, column: &str, key: &str) -> FieldRef {
    let connectors = thalweg_connect::connectors();
    let sql = connectors
        .iter()
        .find(|info| info.name == connector)
        .and_then(|info| info.metadata.iter().find(|(known, _)| *known == key))
        .map_or("TEXT", |(_, sql)| *sql);
    let data_type = match sql {
        "BIGINT" => DataType::Int64,
        "INT" => DataType::Int32,
        "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "TIMESTAMP WITH TIME ZONE" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "BYTEA" => DataType::Binary,
        _ => DataType::Utf8,
    };
    Arc::new(Field::new(column, data_type, true))
}

fn text_format(request: &SourceRequest) -> Result<TextFormat, String> {
    let path = request.options.get("path").map_or("", String::as_str);
    let format = match request.options.get("format").map(String::as_str) {
        Some(format) => format,
        None if path.ends_with(".csv") || path.ends_with(".tsv") => "csv",
        None if path.ends_with(".parquet") => "parquet",
        None => "ndjson",
    };
    match format {
        "ndjson" => Ok(TextFormat::Ndjson),
        "csv" => {
            let mut dialect = CsvDialect::default();
            let byte = |name: &str| request.options.get(name).and_then(|text| text.bytes().next());
            dialect.delimiter = byte("delimiter").unwrap_or(if path.ends_with(".tsv") { b'\t' } else { b',' });
            dialect.quote = byte("quote").unwrap_or(dialect.quote);
            dialect.header = request.options.get("header").is_none_or(|text| text != "false");
            if let Some(null) = request.options.get("null") {
                dialect.null.clone_from(null);
            }
            Ok(TextFormat::Csv(dialect))
        }
        other => Err(format!("source '{}' reads {other}, which cannot be given as text; give rows", request.name)),
    }
}
