//! Errors of the engine; the kind is the remedy.

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same call may succeed later: a store or a target did not answer.
    Retry,
    /// The configuration or the statement has to change.
    FixRequest,
    /// A row, file or segment has to change, or the policy for bad rows.
    FixData,
    /// Another process runs this pipeline with a newer generation; this one must stop.
    Fenced,
    /// A promise of our own was broken.
    Bug,
}

/// An error of a running pipeline: what failed, on which thing, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: ErrorKind,
    pub message: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    pub fn request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FixRequest, message)
    }

    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FixData, message)
    }
}

impl From<datafusion::error::DataFusionError> for EngineError {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Self::with_source(
            ErrorKind::FixData,
            format!("cannot evaluate an expression: {}", error.strip_backtrace()),
            error,
        )
    }
}

impl From<arrow::error::ArrowError> for EngineError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::with_source(ErrorKind::FixData, format!("cannot compute on a batch: {error}"), error)
    }
}

impl From<thalweg_state::StateError> for EngineError {
    fn from(error: thalweg_state::StateError) -> Self {
        use thalweg_state::ErrorKind as State;
        let kind = match error.kind() {
            State::Retry => ErrorKind::Retry,
            State::FixRequest => ErrorKind::FixRequest,
            State::FixData => ErrorKind::FixData,
            State::Fenced => ErrorKind::Fenced,
            State::Bug => ErrorKind::Bug,
        };
        Self { kind, message: error.to_string(), source: Some(Box::new(error)) }
    }
}
