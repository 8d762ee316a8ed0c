//! What can go wrong with a whole block, file or schema; a single bad row is a value ([`crate::BadRow`]), not an error.

use crate::Compression;

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatErrorKind {
    /// The declaration (columns, options) has to change.
    FixRequest,
    /// The file has to change.
    FixData,
    /// A promise of our own was broken.
    Bug,
}

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error(
        "column {column:?} has type {data_type}, which {format} cannot hold; declare another type or convert it in the query"
    )]
    UnsupportedType { column: String, data_type: String, format: &'static str },
    #[error("projection names column {index}, but the schema has {columns} columns")]
    Projection { index: usize, columns: usize },
    #[error(
        "a block of {bytes} bytes is larger than the {max} bytes a decoder takes at once; cut it into smaller blocks"
    )]
    BlockTooLarge { bytes: usize, max: usize },
    #[error("the batch has {found} columns, but {expected} were announced")]
    BatchColumns { expected: usize, found: usize },
    #[error("csv header has no column {column:?}{hint}; it has {found}")]
    HeaderMissing { column: String, hint: String, found: String },
    #[error("csv header names column {column:?} twice; rename one of them")]
    HeaderDuplicate { column: String },
    #[error(
        "csv header has column {column:?}, which is not declared; declare it or set the option for extra columns to ignore"
    )]
    HeaderExtra { column: String },
    #[error("csv header is not a valid row: {detail}")]
    HeaderRow { detail: String },
    #[error("option {option} must be one ASCII character other than a line break, got {value:?}")]
    Dialect { option: &'static str, value: String },
    #[error("cannot infer columns from the first rows: line {line}: {detail}; declare the columns")]
    Infer { line: u64, detail: String },
    #[error("cannot infer columns: there is no row; declare the columns")]
    InferEmpty,
    #[error("{compression} data ends in the middle at compressed byte {position}; the file is cut off, fetch it again")]
    Truncated { compression: Compression, position: u64 },
    #[error("{compression} data is corrupt at compressed byte {position}: {detail}; fetch the file again")]
    Corrupt { compression: Compression, position: u64, detail: String },
    #[error("cannot set up {compression}")]
    Codec { compression: Compression, source: std::io::Error },
    #[error("cannot build a batch")]
    Batch { source: arrow::error::ArrowError },
    #[error("cannot write a parquet file")]
    Parquet { source: parquet::errors::ParquetError },
}

impl FormatError {
    pub fn kind(&self) -> FormatErrorKind {
        match self {
            Self::UnsupportedType { .. } | Self::Dialect { .. } => FormatErrorKind::FixRequest,
            Self::HeaderMissing { .. }
            | Self::HeaderDuplicate { .. }
            | Self::HeaderExtra { .. }
            | Self::HeaderRow { .. }
            | Self::Infer { .. }
            | Self::InferEmpty
            | Self::Truncated { .. }
            | Self::Corrupt { .. } => FormatErrorKind::FixData,
            Self::Projection { .. }
            | Self::BlockTooLarge { .. }
            | Self::BatchColumns { .. }
            | Self::Codec { .. }
            | Self::Batch { .. }
            | Self::Parquet { .. } => FormatErrorKind::Bug,
        }
    }
}
