//! Words for what goes wrong with files: each message names the file and the next step.

use std::io;

use thalweg_engine::{EngineError, ErrorKind};
use thalweg_formats::{FormatError, FormatErrorKind};

/// `what` could not be done, e.g. `cannot read`.
pub(crate) fn io_error(what: &str, name: &str, error: io::Error) -> EngineError {
    use io::ErrorKind as Io;
    let (kind, next) = match error.kind() {
        Io::NotFound => {
            (ErrorKind::FixRequest, "it does not exist; check the path (relative paths start at the working directory)")
        }
        Io::PermissionDenied => {
            (ErrorKind::FixRequest, "permission denied; give this user the right, or run as another user")
        }
        Io::StorageFull | Io::QuotaExceeded => {
            (ErrorKind::Retry, "the disk is full; free some space and start again, nothing is lost")
        }
        Io::IsADirectory | Io::NotADirectory => {
            (ErrorKind::FixRequest, "part of the path is not what it should be (file or folder); check the path")
        }
        _ => (ErrorKind::Retry, "start again, or check the disk"),
    };
    let cause = if matches!(kind, ErrorKind::Retry) { format!(" ({error})") } else { String::new() };
    EngineError::with_source(kind, format!("{what} {name}: {next}{cause}"), error)
}

pub(crate) fn store_error(what: &str, name: &str, error: object_store::Error) -> EngineError {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    let (kind, next) = match &error {
        NotFound { .. } => (ErrorKind::FixRequest, "it does not exist; check the URL"),
        PermissionDenied { .. } | Unauthenticated { .. } => (
            ErrorKind::FixRequest,
            "access was refused; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
        ),
        _ => {
            (ErrorKind::Retry, "the store did not answer as it should; check AWS_ENDPOINT and AWS_REGION, or try again")
        }
    };
    EngineError::with_source(kind, format!("{what} {name}: {next}"), error)
}

pub(crate) fn format_error(name: &str, error: FormatError) -> EngineError {
    let kind = match error.kind() {
        FormatErrorKind::FixRequest => ErrorKind::FixRequest,
        FormatErrorKind::FixData => ErrorKind::FixData,
        FormatErrorKind::Bug => ErrorKind::Bug,
    };
    EngineError::with_source(kind, format!("{name}: {error}"), error)
}

/// The error of reading a stream, which may hide what decompression has to say.
pub(crate) fn read_error(name: &str, error: io::Error) -> EngineError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<FormatError>()) {
        Some(inner) => EngineError::new(ErrorKind::FixData, format!("{name}: {inner}")),
        None => io_error("cannot read", name, error),
    }
}
