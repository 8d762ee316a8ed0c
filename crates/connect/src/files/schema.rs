//! Columns of a files source: declared, or inferred from the first file that has rows; then metadata columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_engine::EngineError;
use thalweg_formats::{Compression, CsvDialect, FormatError, cut_lines, infer_csv, infer_json};

use super::config::{Config, FileFormat};
use super::error::format_error;
use super::parquet::ParquetFile;
use super::storage::{Entry, Listing, Storage};
use super::text::{TextOptions, read_text_start};

/// Metadata keys with their SQL types.
pub(crate) const METADATA: [(&str, &str); 4] =
    [("path", "TEXT"), ("line", "BIGINT"), ("position", "BIGINT"), ("modified_at", "TIMESTAMP WITH TIME ZONE")];

/// So much text, and so many rows, are looked at to infer columns.
const INFER_BYTES: usize = 1 << 20;
const INFER_ROWS: usize = 10_000;

/// What a metadata column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// Path or URL of the row's file.
    Path,
    /// Line of the row in its file, from 1; null in Parquet.
    Line,
    /// Byte position of the row in its (decompressed) file; the row's number from 0 in Parquet.
    Position,
    /// When the file was changed last.
    ModifiedAt,
}

impl Metadata {
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        match key {
            "path" => Some(Self::Path),
            "line" => Some(Self::Line),
            "position" => Some(Self::Position),
            "modified_at" => Some(Self::ModifiedAt),
            _ => None,
        }
    }

    pub(crate) fn field(self, name: &str) -> Field {
        match self {
            Self::Path => Field::new(name, DataType::Utf8, false),
            Self::Line => Field::new(name, DataType::Int64, true),
            Self::Position => Field::new(name, DataType::Int64, false),
            Self::ModifiedAt => Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        }
    }

    /// Values for rows that stand at `places` (position and line) of a file; `places` are only looked at where needed.
    pub(crate) fn column(
        self,
        rows: usize,
        name: &str,
        modified_at: i64,
        mut place: impl FnMut(usize) -> (u64, Option<u64>),
    ) -> ArrayRef {
        match self {
            Self::Path => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows))),
            Self::Line => Arc::new((0..rows).map(|row| place(row).1.map(|line| line as i64)).collect::<Int64Array>()),
            Self::Position => Arc::new(Int64Array::from_iter_values((0..rows).map(|row| place(row).0 as i64))),
            Self::ModifiedAt => Arc::new(TimestampMicrosecondArray::from_value(modified_at, rows).with_timezone("UTC")),
        }
    }
}

/// How the files of a source are read, once format and columns are known.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) config: Config,
    pub(crate) format: FileFormat,
    pub(crate) dialect: CsvDialect,
    pub(crate) physical: SchemaRef,
    /// Types were guessed from the first rows.
    pub(crate) inferred: bool,
    /// Columns behind the physical ones, with their names.
    pub(crate) metadata: Vec<(String, Metadata)>,
}

impl Reading {
    pub(crate) fn text_options(&self, name: &str, block_bytes: usize, follow: bool) -> TextOptions {
        text_options(&self.config, self.format, &self.dialect, name, block_bytes, follow)
    }
}

fn text_options(
    config: &Config,
    format: FileFormat,
    dialect: &CsvDialect,
    name: &str,
    block_bytes: usize,
    follow: bool,
) -> TextOptions {
    let compression = config.compression_of(name);
    let dialect = (format == FileFormat::Csv).then(|| dialect.clone());
    TextOptions { compression, dialect, block_bytes, follow }
}

/// The format of the files found, if the options do not say it.
pub(crate) fn format_of(config: &Config, listing: &Listing) -> Result<(FileFormat, CsvDialect), EngineError> {
    let first = listing.entries.first().map_or(config.location.path.as_str(), |entry| &entry.name);
    let dialect = config.dialect_of(first);
    if let Some(format) = config.format {
        return Ok((format, dialect));
    }
    let Some(format) = FileFormat::of_name(first) else {
        let message =
            format!("{first}: the extension does not tell the format; write format = 'ndjson', 'csv' or 'parquet'");
        return Err(EngineError::request(message));
    };
    if let Some(other) = listing.entries.iter().find(|entry| FileFormat::of_name(&entry.name) != Some(format)) {
        let message = format!(
            "{}: {first} is {} and {} is not; write format = '{}' or a glob that matches one kind",
            config.location.path,
            format.name(),
            other.name,
            format.name()
        );
        return Err(EngineError::request(message));
    }
    Ok((format, dialect))
}

/// Refuses a path under which there is nothing to read.
pub(crate) fn check_not_empty(config: &Config, listing: &Listing) -> Result<(), EngineError> {
    if !listing.entries.is_empty() {
        return Ok(());
    }
    let path = &config.location.path;
    let message = match &listing.left_out {
        _ if config.location.is_glob() => format!("{path}: no file matches; check the glob, or the working directory"),
        Some(other) => format!(
            "{path}: no file in this folder has the extension of {}; {other} for one was left out: write format = '...' that \
             fits, or a glob such as '{}/*'",
            config.format.map_or("a known format", FileFormat::name),
            path.trim_end_matches('/')
        ),
        None => format!("{path}: the folder has no files; put some in, or follow it with --watch"),
    };
    Err(EngineError::request(message))
}

/// Columns of the first file that has rows.
pub(crate) fn infer(
    config: &Config,
    storage: &Storage,
    listing: &Listing,
    format: FileFormat,
    dialect: &CsvDialect,
) -> Result<SchemaRef, EngineError> {
    check_not_empty(config, listing)?;
    let mut names_only = None;
    for entry in listing.entries.iter().filter(|entry| entry.size > 0) {
        if format == FileFormat::Parquet {
            return Ok(Arc::new(ParquetFile::open(storage, entry)?.schema()));
        }
        match infer_text(config, storage, entry, format, dialect)? {
            Some((schema, true)) => return Ok(schema),
            Some((schema, false)) => drop(names_only.get_or_insert(schema)),
            None => {}
        }
    }
    names_only.ok_or_else(|| {
        let message =
            format!("{}: there is no row to infer columns from; declare them in CREATE SOURCE", config.location.path);
        EngineError::request(message)
    })
}

/// The columns, and whether any row was seen (a csv file may have only its header).
fn infer_text(
    config: &Config,
    storage: &Storage,
    entry: &Entry,
    format: FileFormat,
    dialect: &CsvDialect,
) -> Result<Option<(SchemaRef, bool)>, EngineError> {
    let options = text_options(config, format, dialect, &entry.name, INFER_BYTES, true);
    let mut sample = read_text_start(storage, &entry.name, &options, entry.size, INFER_BYTES)?;
    if sample.len() == INFER_BYTES {
        sample.truncate(cut_lines(&sample));
    }
    let schema = match format {
        FileFormat::Csv => infer_csv(&sample, dialect, INFER_ROWS),
        _ => infer_json(&sample, INFER_ROWS),
    };
    let lines = sample.iter().filter(|&&byte| byte == b'\n').count() + usize::from(sample.last() != Some(&b'\n'));
    let has_rows = format != FileFormat::Csv || !dialect.header || lines > 1;
    match schema {
        Ok(schema) if options.compression == Compression::None || !schema.fields().is_empty() => {
            Ok(Some((Arc::new(schema), has_rows)))
        }
        Ok(_) | Err(FormatError::InferEmpty) => Ok(None),
        Err(error) => Err(format_error(&entry.name, error)),
    }
}

/// Physical columns, then metadata columns.
pub(crate) fn whole_schema(physical: &Schema, metadata: &[(String, Metadata)]) -> SchemaRef {
    let mut fields: Vec<_> = physical.fields().iter().cloned().collect();
    fields.extend(metadata.iter().map(|(name, key)| Arc::new(key.field(name))));
    Arc::new(Schema::new(fields))
}
