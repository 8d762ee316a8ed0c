//! How commands end: exit codes, and the one shape of an error that a person sees.
//!
//! The code tells a script what kind of remedy is needed; the text tells a person which thing and what next.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use thalweg_engine::{EngineError, ErrorKind};
use thalweg_state::StateError;

use crate::output::style;

/// Exit codes of every command; `thalweg help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// The operation failed.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// SQL, configuration or a test file is wrong.
    Validation = 3,
    NotFound = 4,
    /// The system or the target did not allow it.
    Denied = 5,
    /// Somebody else holds it, or it is in another state than was asked for.
    Conflict = 6,
    /// A store or target did not answer.
    Unreachable = 7,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error on its way to the person: what failed, why (the chain), what to do.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// Lower case, no full stop. Empty if what there is to say was said already.
    pub message: String,
    /// Causes, outermost first.
    pub causes: Vec<String>,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Ends with `exit`; everything was printed already.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn cause(mut self, cause: impl Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// An IO error on a named thing; missing and forbidden things have exit codes of their own.
    pub fn io(what: impl Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::BrokenPipe => return Self::silent(Exit::Ok),
            _ => Exit::Failed,
        };
        Self::new(exit, format!("cannot {what}")).cause(error)
    }

    pub fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        let mut err = io::stderr().lock();
        // Nobody is left to tell if stderr is closed.
        let _ = writeln!(err, "{} {}", style::error("error:"), self.message);
        let mut said = self.message.clone();
        for cause in &self.causes {
            if !said.contains(cause.as_str()) {
                let _ = writeln!(err, "  caused by: {cause}");
                said = cause.clone();
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "  {} {hint}", style::hint("hint:"));
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::io("write the output", &error)
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        if find_io(&error).is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe) {
            return Self::silent(Exit::Ok);
        }
        Self::new(Exit::Failed, "cannot turn the result into text").cause(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let exit = match find_io(&error).map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe) => return Self::silent(Exit::Ok),
            Some(io::ErrorKind::NotFound) => Exit::NotFound,
            Some(io::ErrorKind::PermissionDenied) => Exit::Denied,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Exit::Failed,
            // Worth another try, but nobody failed to answer.
            Some(kind) if error.kind == ErrorKind::Retry && !is_about_reaching(kind) => Exit::Failed,
            _ => match error.kind {
                ErrorKind::Retry => Exit::Unreachable,
                ErrorKind::FixRequest => Exit::Validation,
                ErrorKind::FixData => Exit::Failed,
                ErrorKind::Fenced => Exit::Conflict,
                ErrorKind::Bug => Exit::Failed,
            },
        };
        let mut failure = Self::new(exit, error.message.clone());
        if error.kind == ErrorKind::Bug {
            failure.hint = Some("this is a fault in thalweg itself: please report it with the lines above".into());
        }
        failure.causes = causes_of(&error);
        failure
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let exit = match find_io(&error).map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => Exit::Denied,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Exit::Failed,
            _ => match error.kind() {
                thalweg_state::ErrorKind::Retry => Exit::Unreachable,
                thalweg_state::ErrorKind::FixRequest => Exit::Validation,
                thalweg_state::ErrorKind::FixData | thalweg_state::ErrorKind::Bug => Exit::Failed,
                thalweg_state::ErrorKind::Fenced => Exit::Conflict,
            },
        };
        let mut failure = Self::new(exit, error.to_string());
        failure.causes = causes_of(&error);
        failure
    }
}

/// The texts of an error's sources, outermost first.
pub fn causes_of(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        causes.push(source.to_string());
        next = source.source();
    }
    causes
}

/// Whether an IO error says that somebody could not be reached.
fn is_about_reaching(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, NotConnected, TimedOut,
    };
    matches!(
        kind,
        AddrNotAvailable
            | ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
    )
}

/// The IO error at the bottom of a chain, if there is one.
fn find_io<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = current.source();
    }
    None
}

/// Prints a line of talk.
pub fn talk(line: impl Display) {
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether a person is likely to read stdout as it comes.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_inside_engine_errors_choose_the_code() {
        for (kind, exit) in [
            (io::ErrorKind::NotFound, Exit::NotFound),
            (io::ErrorKind::PermissionDenied, Exit::Denied),
            (io::ErrorKind::BrokenPipe, Exit::Ok),
            (io::ErrorKind::StorageFull, Exit::Failed),
        ] {
            let error = EngineError::with_source(ErrorKind::FixData, "cannot open f", io::Error::new(kind, "inner"));
            assert_eq!(Failure::from(error).exit, exit);
        }
    }

    #[test]
    fn only_what_was_not_reached_is_unreachable() {
        for (kind, exit) in [
            (io::ErrorKind::ConnectionRefused, Exit::Unreachable),
            (io::ErrorKind::TimedOut, Exit::Unreachable),
            (io::ErrorKind::StorageFull, Exit::Failed),
            (io::ErrorKind::FileTooLarge, Exit::Failed),
        ] {
            let error = EngineError::with_source(ErrorKind::Retry, "cannot write f", io::Error::new(kind, "inner"));
            assert_eq!(Failure::from(error).exit, exit);
        }
    }

    #[test]
    fn engine_error_kinds_map_to_codes() {
        for (kind, exit) in [
            (ErrorKind::Retry, Exit::Unreachable),
            (ErrorKind::FixRequest, Exit::Validation),
            (ErrorKind::FixData, Exit::Failed),
            (ErrorKind::Fenced, Exit::Conflict),
            (ErrorKind::Bug, Exit::Failed),
        ] {
            assert_eq!(Failure::from(EngineError::new(kind, "m")).exit, exit);
        }
    }
}
