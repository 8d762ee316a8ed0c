//! Finds a connector by name and builds a source or sink from its options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_engine::{Sink, Source};

/// The `WITH (...)` list without `connector`, keys in lower case.
pub type Options = BTreeMap<String, String>;

/// What is wrong with an option (or, without a key, with the whole list).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    pub key: Option<String>,
    /// Lower case, names the thing.
    pub message: String,
    /// The next step, e.g. `did you mean 'format'?`.
    pub hint: Option<String>,
}

/// A `CREATE SOURCE`, as a connector needs to see it.
#[derive(Debug, Clone)]
pub struct SourceRequest {
    pub name: String,
    pub connector: String,
    pub options: Options,
    /// Declared physical columns (not computed ones); `None`: infer them.
    pub columns: Option<SchemaRef>,
    /// Declared metadata columns: column name and the connector's metadata key (`path`, `line`, `position`, ...), appended after the
    /// physical columns.
    pub metadata: Vec<(String, String)>,
    /// Relative paths resolve against this folder.
    pub working_dir: PathBuf,
}

/// A `CREATE SINK`, as a connector needs to see it.
#[derive(Debug, Clone)]
pub struct SinkRequest {
    pub name: String,
    pub connector: String,
    pub options: Options,
    pub working_dir: PathBuf,
}

/// What a connector says about itself; option schemas are JSON Schema made from the Rust types.
#[derive(Debug, Clone)]
pub struct ConnectorInfo {
    pub name: &'static str,
    pub summary: &'static str,
    pub source_options: Option<serde_json::Value>,
    pub sink_options: Option<serde_json::Value>,
    /// Metadata keys a source offers, with their SQL types.
    pub metadata: Vec<(&'static str, &'static str)>,
}

pub fn connectors() -> Vec<ConnectorInfo> {
    Vec::new()
}

/// Builds the source; reports every wrong option at once. May look at files to infer a schema.
pub fn open_source(request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
    let _ = request;
    Err(vec![])
}

/// The cheap half of `open_source` for `validate`: options only, no IO.
pub fn check_source(request: &SourceRequest) -> Vec<OptionError> {
    let _ = request;
    vec![]
}

pub fn open_sink(request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
    let _ = request;
    Err(vec![])
}
