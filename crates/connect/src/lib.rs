//! Connectors: the sources and sinks that pipelines name in `WITH (connector = '...')`.
//!
//! Every connector is a folder (or a file, if small) that looks alike: `config` (options as a typed struct, from which
//! the JSON Schema is made), `schema` (declared or inferred columns), `source` and `sink`, tests. They know the engine's
//! traits and the formats, and nothing of SQL.

mod blackhole;
mod files;
mod generator;
pub mod memory;
mod options;
mod registry;
mod stdout;

pub use crate::registry::{
    ConnectorInfo, OptionError, Options, SinkRequest, SourceRequest, check_sink, check_source, connectors, open_sink,
    open_source,
};
