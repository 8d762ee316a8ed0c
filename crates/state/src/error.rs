//! Errors of this crate; the kind is the remedy.

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same call may succeed later: the store did not answer.
    Retry,
    /// The location, the options or the version of Thalweg has to change.
    FixRequest,
    /// A stored file is damaged or missing.
    FixData,
    /// Another process runs this pipeline with a newer generation; this one must stop.
    Fenced,
    /// A promise of our own was broken.
    Bug,
}

/// What failed, on which thing, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store refused or did not answer.
    #[error("cannot {action} {place}; {next_step}")]
    Store {
        kind: ErrorKind,
        action: &'static str,
        place: String,
        next_step: String,
        #[source]
        source: Source,
    },
    /// The bytes are not those that were written.
    #[error(
        "{place} is damaged: {what}; restore the file from a backup, start from a savepoint with --from, or start over with --restart"
    )]
    Damaged { place: String, what: String },
    /// A file is gone that a manifest names.
    #[error(
        "{place} is missing though a manifest names it; restore the file from a backup, start from a savepoint with --from, or start over with --restart"
    )]
    Missing { place: String },
    /// Written in a format that this version does not know.
    #[error(
        "{place} was written by a newer Thalweg (format {found}, this one reads up to {supported}); upgrade Thalweg, or choose another folder"
    )]
    Newer { place: String, found: u32, supported: u32 },
    /// The folder holds something that is not this pipeline's state.
    #[error("{place} {what}; {next_step}")]
    Foreign { place: String, what: String, next_step: String },
    /// A newer process took over.
    #[error(
        "another process took over pipeline '{pipeline}' (generation {newest}, this one has {generation}); this one has to stop"
    )]
    Fenced { pipeline: String, generation: u64, newest: u64 },
    /// A key column's type has no stable encoding.
    #[error("a key cannot be of type {data_type}; cast it to a scalar type")]
    UnsupportedKey { data_type: String },
    #[error("{message}")]
    Request { message: String },
    #[error("{message}")]
    Bug { message: String },
}

impl StateError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { kind, .. } => *kind,
            Self::Damaged { .. } | Self::Missing { .. } => ErrorKind::FixData,
            Self::Newer { .. } | Self::Foreign { .. } | Self::UnsupportedKey { .. } | Self::Request { .. } => {
                ErrorKind::FixRequest
            }
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Bug { .. } => ErrorKind::Bug,
        }
    }

    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::Bug { message: message.into() }
    }

    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::Request { message: message.into() }
    }

    pub(crate) fn damaged(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged { place: place.into(), what: what.into() }
    }

    /// An error of the file system: the remedy follows from what it said.
    pub(crate) fn io(action: &'static str, place: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, next_step) = match source.kind() {
            Io::PermissionDenied | Io::ReadOnlyFilesystem => {
                (ErrorKind::FixRequest, "give this user write access, or choose another folder with --data-dir")
            }
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
                (ErrorKind::FixRequest, "free space on the disk, then start again")
            }
            Io::NotADirectory | Io::AlreadyExists | Io::IsADirectory => {
                (ErrorKind::FixRequest, "a file stands where a folder is needed (or the reverse); move it away")
            }
            Io::Unsupported => {
                (ErrorKind::FixRequest, "this file system has no hard links; choose a folder on another one")
            }
            Io::NotFound => (ErrorKind::FixRequest, "the folder is gone or cannot be made there; check the path"),
            Io::InvalidInput | Io::InvalidFilename => (ErrorKind::FixRequest, "choose another folder"),
            _ => (ErrorKind::Retry, "check the disk, then try again"),
        };
        Self::Store { kind, action, place: place.into(), next_step: next_step.into(), source: source.into() }
    }

    /// An error of an object store: the remedy follows from what it said.
    pub(crate) fn object_store(action: &'static str, place: impl Into<String>, source: object_store::Error) -> Self {
        use object_store::Error as E;
        let (kind, next_step) = match &source {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                (ErrorKind::FixRequest, "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy")
            }
            // Listings report a missing bucket only in their text.
            E::Generic { source, .. } if format!("{source:?}").contains("NoSuchBucket") => {
                (ErrorKind::FixRequest, "create the bucket, or check its name and AWS_ENDPOINT_URL")
            }
            E::NotFound { .. } => (ErrorKind::FixRequest, "check that the bucket exists and AWS_ENDPOINT_URL is right"),
            E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } | E::NotSupported { .. } => {
                (ErrorKind::FixRequest, "check the URL and the AWS_* settings")
            }
            E::NotImplemented { .. } => {
                (ErrorKind::FixRequest, "the store must support conditional puts (If-None-Match)")
            }
            _ => (ErrorKind::Retry, "check that the store answers at AWS_ENDPOINT_URL, then try again"),
        };
        Self::Store { kind, action, place: place.into(), next_step: next_step.into(), source: source.into() }
    }
}
