//! Where bind gets sources and sinks from: the connectors, or what a test puts in their place.

use std::sync::Arc;

use thalweg_connect::{OptionError, SinkRequest, SourceRequest};
use thalweg_engine::{Sink, Source};

/// Builds what `WITH (connector = ...)` names.
pub trait ConnectorRegistry: Send + Sync {
    /// Builds the source; may look at data to infer its columns.
    fn open_source(&self, request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>>;

    /// Checks options without any IO; empty if all is well.
    fn check_source(&self, request: &SourceRequest) -> Vec<OptionError>;

    fn open_sink(&self, request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>>;
}

/// The connectors of the `connect` crate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connectors;

impl ConnectorRegistry for Connectors {
    fn open_source(&self, request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
        thalweg_connect::open_source(request)
    }

    fn check_source(&self, request: &SourceRequest) -> Vec<OptionError> {
        thalweg_connect::check_source(request)
    }

    fn open_sink(&self, request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
        thalweg_connect::open_sink(request)
    }
}
