//! Connectors: the sources and sinks that pipelines name in `WITH (connector = '...')`.

mod registry;

pub use crate::registry::{
    ConnectorInfo, OptionError, Options, SinkRequest, SourceRequest, check_source, connectors, open_sink, open_source,
};
