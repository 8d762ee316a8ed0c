//! Finds a connector by name and builds a source or sink from its options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_engine::{Sink, Source};

use crate::options::suggestion;
use crate::{blackhole, files, generator, stdout};

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

/// What is opened, or all that is wrong with the options.
type Opened<T> = Result<Arc<T>, Vec<OptionError>>;

type OpenSink = fn(&SinkRequest) -> Opened<dyn Sink>;

/// How the registry reaches one connector; a missing half means that there is no such source or sink.
pub(crate) struct Connector {
    pub(crate) info: fn() -> ConnectorInfo,
    pub(crate) source: Option<SourceHalf>,
    pub(crate) sink: Option<OpenSink>,
}

pub(crate) struct SourceHalf {
    pub(crate) open: fn(&SourceRequest) -> Opened<dyn Source>,
    pub(crate) check: fn(&SourceRequest) -> Vec<OptionError>,
}

const ALL: [&Connector; 4] = [&files::CONNECTOR, &generator::CONNECTOR, &stdout::CONNECTOR, &blackhole::CONNECTOR];

/// Every connector there is, in the order of the reference pages.
pub fn connectors() -> Vec<ConnectorInfo> {
    ALL.iter().map(|connector| (connector.info)()).collect()
}

/// Builds the source; reports every wrong option at once. May look at files to infer a schema.
pub fn open_source(request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
    let half = source_half(&request.connector).map_err(|error| vec![error])?;
    let errors = metadata_errors(request);
    if errors.is_empty() {
        return (half.open)(request);
    }
    Err((half.check)(request).into_iter().chain(errors).collect())
}

/// The cheap half of `open_source` for `validate`: options only, no IO.
pub fn check_source(request: &SourceRequest) -> Vec<OptionError> {
    match source_half(&request.connector) {
        Ok(half) => (half.check)(request).into_iter().chain(metadata_errors(request)).collect(),
        Err(error) => vec![error],
    }
}

/// Builds the sink; touches nothing outside until its committer recovers.
pub fn open_sink(request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
    let connector = find(&request.connector, |c| c.sink.is_some()).map_err(|error| vec![error])?;
    match connector.sink {
        Some(open) => open(request),
        None => Err(vec![wrong_half(&request.connector, "sink", "source")]),
    }
}

/// What is wrong with the options of a sink.
pub fn check_sink(request: &SinkRequest) -> Vec<OptionError> {
    open_sink(request).err().unwrap_or_default()
}

fn source_half(name: &str) -> Result<&'static SourceHalf, OptionError> {
    let connector = find(name, |c| c.source.is_some())?;
    connector.source.as_ref().ok_or_else(|| wrong_half(name, "source", "sink"))
}

fn find(name: &str, fits: fn(&Connector) -> bool) -> Result<&'static Connector, OptionError> {
    let known = ALL.iter().copied().find(|connector| (connector.info)().name == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().filter(|c| fits(c)).map(|c| (c.info)().name).collect();
        let message = format!("there is no connector '{name}'");
        OptionError { key: Some("connector".into()), message, hint: Some(suggestion(name, names)) }
    })
}

fn wrong_half(name: &str, wanted: &str, has: &str) -> OptionError {
    let message = format!("connector '{name}' cannot be used as a {wanted}");
    let hint = Some(format!("it is a {has} only"));
    OptionError { key: Some("connector".into()), message, hint }
}

fn metadata_errors(request: &SourceRequest) -> Vec<OptionError> {
    let Ok(connector) = find(&request.connector, |c| c.source.is_some()) else { return vec![] };
    let keys: Vec<&str> = (connector.info)().metadata.iter().map(|(key, _)| *key).collect();
    let unknown = request.metadata.iter().filter(|(_, key)| !keys.contains(&key.as_str()));
    let report = |(column, key): &(String, String)| OptionError {
        key: None,
        message: format!("column {column}: connector '{}' has no metadata '{key}'", request.connector),
        hint: Some(if keys.is_empty() { "it offers none".into() } else { suggestion(key, keys.iter().copied()) }),
    };
    unknown.map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(connector: &str, metadata: &[(&str, &str)]) -> SourceRequest {
        SourceRequest {
            name: "s".into(),
            connector: connector.into(),
            options: Options::new(),
            columns: None,
            metadata: metadata.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            working_dir: PathBuf::from("."),
        }
    }

    #[track_caller]
    fn check(errors: &[OptionError], expect: &[&str]) {
        let lines: Vec<String> =
            errors.iter().map(|e| format!("{}: {}", e.message, e.hint.as_deref().unwrap_or("-"))).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn names_are_checked() {
        check(&check_source(&source("file", &[])), &["there is no connector 'file': did you mean 'files'?"]);
        check(&check_source(&source("kafka", &[])), &["there is no connector 'kafka': there is 'files', 'generator'"]);
        check(
            &check_source(&source("stdout", &[])),
            &["connector 'stdout' cannot be used as a source: it is a sink only"],
        );
    }

    #[test]
    fn metadata_keys_are_checked_beside_options() {
        check(
            &check_source(&source("files", &[("n", "lin")])),
            &[
                "the files source needs the option 'path': add path = '...' to WITH (...)",
                "column n: connector 'files' has no metadata 'lin': did you mean 'line'?",
            ],
        );
    }

    #[test]
    fn every_option_is_documented() {
        for info in connectors() {
            for schema in [&info.source_options, &info.sink_options].into_iter().flatten() {
                for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                    assert!(property["description"].is_string(), "{}: option {key} has no description", info.name);
                }
            }
        }
    }
}
