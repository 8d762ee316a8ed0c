//! Options of the files sink, and what they resolve to.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use thalweg_formats::{Compression, CsvDialect};

use crate::files::config::FileFormat;
use crate::files::storage::Location;
use crate::options::{ByteSize, Interval, character, error, flag, parse};
use crate::registry::{OptionError, SinkRequest};

/// Options of the `files` sink.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilesSinkOptions {
    /// A folder that is empty, absent, or was written by the same sink; or a URL (`file://`, `s3://bucket/folder`).
    #[schemars(extend("x-required" = true))]
    path: Option<String>,
    /// How rows are written.
    #[schemars(extend("default" = "ndjson"))]
    format: FileFormat,
    /// ndjson and csv: how files are compressed. Parquet compresses by itself.
    #[schemars(extend("default" = "none"))]
    compression: SinkCompression,
    /// csv: each file begins with the names of the columns.
    #[serde(deserialize_with = "flag")]
    #[schemars(extend("default" = true))]
    header: bool,
    /// csv: character between fields. Default `,`.
    #[serde(deserialize_with = "character")]
    delimiter: Option<char>,
    /// Columns (`a, b`) by whose values files go into folders `a=1/b=2/`. The columns stay in the files.
    partition_by: Option<String>,
    /// A file that has grown to this is closed and the next begun.
    #[schemars(extend("default" = "128 MiB"))]
    roll_bytes: ByteSize,
    /// A file that has been written to for so long is closed and the next begun. Files are closed at every checkpoint
    /// anyway, so a value above the checkpoint interval has no effect.
    roll_interval: Option<Interval>,
}

impl Default for FilesSinkOptions {
    fn default() -> Self {
        Self {
            path: None,
            format: FileFormat::Ndjson,
            compression: SinkCompression::None,
            header: true,
            delimiter: None,
            partition_by: None,
            roll_bytes: ByteSize(128 << 20),
            roll_interval: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SinkCompression {
    None,
    Gzip,
    Zstd,
}

/// Options, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) location: Location,
    pub(crate) format: FileFormat,
    pub(crate) compression: Compression,
    pub(crate) dialect: CsvDialect,
    pub(crate) partition_by: Vec<String>,
    pub(crate) roll_bytes: u64,
    pub(crate) roll_interval: Option<Duration>,
}

impl Config {
    /// What file names end with.
    pub(crate) fn extension(&self) -> String {
        let compression = match self.compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        };
        format!(".{}{compression}", self.format.name())
    }
}

/// Typed options, or all that is wrong with them.
pub(crate) fn resolve(request: &SinkRequest) -> Result<Config, Vec<OptionError>> {
    let options: FilesSinkOptions = parse("the files sink", &request.options)?;
    let mut errors = Vec::new();
    let path = options.path.unwrap_or_default();
    let location = Location::parse(&path, &request.working_dir).map_err(|error| errors.push(error)).ok();
    if location.as_ref().is_some_and(Location::is_glob) {
        errors.push(error("path", "a sink writes into one folder, not a glob", "name the folder"));
    }
    if options.format == FileFormat::Parquet && options.compression != SinkCompression::None {
        errors.push(error("compression", "parquet files are compressed inside (zstd)", "leave it out"));
    }
    for key in ["header", "delimiter"] {
        if request.options.contains_key(key) && options.format != FileFormat::Csv {
            let message = format!("option '{key}' is for csv, but the format is {}", options.format.name());
            errors.push(error(key, message, "leave it out, or write format = 'csv'"));
        }
    }
    let dialect = CsvDialect {
        header: options.header,
        delimiter: options.delimiter.unwrap_or(',') as u8,
        ..CsvDialect::default()
    };
    if let Err(wrong) = dialect.check() {
        errors.push(error("delimiter", wrong.to_string(), "choose another character"));
    }
    let partition_by: Vec<String> =
        options.partition_by.iter().flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()).collect();
    if partition_by.iter().any(String::is_empty) {
        errors.push(error("partition_by", "option 'partition_by' has an empty name in it", "write e.g. 'a, b'"));
    }
    let Some(location) = location.filter(|_| errors.is_empty()) else { return Err(errors) };
    Ok(Config {
        location,
        format: options.format,
        compression: match options.compression {
            SinkCompression::None => Compression::None,
            SinkCompression::Gzip => Compression::Gzip,
            SinkCompression::Zstd => Compression::Zstd,
        },
        dialect,
        partition_by,
        roll_bytes: options.roll_bytes.0,
        roll_interval: options.roll_interval.map(|interval| interval.0),
    })
}
