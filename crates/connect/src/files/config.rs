//! Options of the files source, and what they resolve to.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use thalweg_formats::{Compression, CsvDialect, ExtraColumns, MissingColumns};

use super::storage::Location;
use crate::options::{Interval, character, error, flag, parse};
use crate::registry::{OptionError, SourceRequest};

/// Options of the `files` source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilesSourceOptions {
    /// A file, a folder (read with its subfolders), a glob (`logs/2024-*.ndjson`, `logs/**/*.csv`) or a URL (`file://`,
    /// `s3://bucket/...`). Relative paths start at the working directory.
    #[schemars(extend("x-required" = true))]
    path: Option<String>,
    /// How rows are written. Default: by the file's extension (.ndjson, .jsonl, .json; .csv, .tsv; .parquet, .pq).
    format: Option<FileFormat>,
    /// How files are compressed. `auto`: by the extension (.gz; .zst, .zstd).
    #[schemars(extend("default" = "auto"))]
    compression: CompressionChoice,
    /// csv: the first line names the columns.
    #[serde(deserialize_with = "flag")]
    #[schemars(extend("default" = true))]
    header: bool,
    /// csv: character between fields. Default `,` (in .tsv files a tab).
    #[serde(deserialize_with = "character")]
    delimiter: Option<char>,
    /// csv: character around fields. Default `"`.
    #[serde(deserialize_with = "character")]
    quote: Option<char>,
    /// csv: what an unquoted field says to be null. Default: nothing at all.
    null: Option<String>,
    /// What happens with keys or columns in the file that are not declared.
    #[schemars(extend("default" = "ignore"))]
    extra_columns: ExtraChoice,
    /// What happens when a declared column is absent from a row (or from the csv header).
    #[schemars(extend("default" = "null"))]
    missing_columns: MissingChoice,
    /// With `--watch`: how often to look for new files and growth.
    #[schemars(extend("default" = "1 s"))]
    watch_interval: Interval,
}

impl Default for FilesSourceOptions {
    fn default() -> Self {
        Self {
            path: None,
            format: None,
            compression: CompressionChoice::Auto,
            header: true,
            delimiter: None,
            quote: None,
            null: None,
            extra_columns: ExtraChoice::Ignore,
            missing_columns: MissingChoice::Null,
            watch_interval: Interval(Duration::from_secs(1)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileFormat {
    /// One JSON object per line.
    Ndjson,
    Csv,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum CompressionChoice {
    Auto,
    None,
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ExtraChoice {
    Ignore,
    /// The row is bad (see `on_error`).
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum MissingChoice {
    Null,
    /// The row is bad (see `on_error`).
    Error,
}

/// Options, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) location: Location,
    /// `None`: by the extension of the files found.
    pub(crate) format: Option<FileFormat>,
    compression: CompressionChoice,
    dialect: CsvDialect,
    delimiter_given: bool,
    pub(crate) extra_columns: ExtraColumns,
    pub(crate) missing_columns: MissingColumns,
    pub(crate) watch_interval: Duration,
}

impl Config {
    /// How the file `name` is compressed.
    pub(crate) fn compression_of(&self, name: &str) -> Compression {
        match self.compression {
            CompressionChoice::Auto => Compression::of_path(name),
            CompressionChoice::None => Compression::None,
            CompressionChoice::Gzip => Compression::Gzip,
            CompressionChoice::Zstd => Compression::Zstd,
        }
    }

    /// How csv is written in the file `name`.
    pub(crate) fn dialect_of(&self, name: &str) -> CsvDialect {
        let mut dialect = self.dialect.clone();
        if !self.delimiter_given && extension(Compression::strip_extension(name)) == "tsv" {
            dialect.delimiter = b'\t';
        }
        dialect
    }
}

impl FileFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// By the extension, ignoring that of compression.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match extension(Compression::strip_extension(name)).as_str() {
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "csv" | "tsv" => Some(Self::Csv),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

fn extension(name: &str) -> String {
    Path::new(name).extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Typed options, or all that is wrong with them.
pub(crate) fn resolve(request: &SourceRequest) -> Result<Config, Vec<OptionError>> {
    let options: FilesSourceOptions = parse("the files source", &request.options)?;
    let mut errors = Vec::new();
    let path = options.path.unwrap_or_default();
    let location = Location::parse(&path, &request.working_dir).map_err(|error| errors.push(error)).ok();
    let format = options.format.or_else(|| FileFormat::of_name(&path));
    for (key, _) in request.options.iter().filter(|(key, _)| {
        matches!(key.as_str(), "header" | "delimiter" | "quote" | "null")
            && format.is_some_and(|f| f != FileFormat::Csv)
    }) {
        let message = format!("option '{key}' is for csv, but the format is {}", format.map_or("", FileFormat::name));
        errors.push(error(key, message, "leave it out, or write format = 'csv'"));
    }
    if format == Some(FileFormat::Parquet) && request.options.contains_key("compression") {
        errors.push(error("compression", "parquet files say themselves how they are compressed", "leave it out"));
    }
    let delimiter_given = options.delimiter.is_some();
    let dialect = CsvDialect {
        delimiter: options.delimiter.unwrap_or(',') as u8,
        quote: options.quote.unwrap_or('"') as u8,
        header: options.header,
        null: options.null.unwrap_or_default(),
    };
    if let Err(wrong) = dialect.check() {
        errors.push(error("delimiter", wrong.to_string(), "choose another character"));
    }
    let Some(location) = location.filter(|_| errors.is_empty()) else { return Err(errors) };
    Ok(Config {
        location,
        format,
        compression: options.compression,
        dialect,
        delimiter_given,
        extra_columns: match options.extra_columns {
            ExtraChoice::Ignore => ExtraColumns::Ignore,
            ExtraChoice::Error => ExtraColumns::Error,
        },
        missing_columns: match options.missing_columns {
            MissingChoice::Null => MissingColumns::Null,
            MissingChoice::Error => MissingColumns::Error,
        },
        watch_interval: options.watch_interval.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(options: &[(&str, &str)]) -> SourceRequest {
        SourceRequest {
            name: "s".into(),
            connector: "files".into(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            columns: None,
            metadata: vec![],
            working_dir: ".".into(),
        }
    }

    #[test]
    fn extensions_tell_format_and_compression() {
        for (name, format, compression) in [
            ("a.ndjson", Some(FileFormat::Ndjson), Compression::None),
            ("b/a.JSONL.gz", Some(FileFormat::Ndjson), Compression::Gzip),
            ("a.csv.zst", Some(FileFormat::Csv), Compression::Zstd),
            ("s3://b/a.parquet", Some(FileFormat::Parquet), Compression::None),
            ("a.gz", None, Compression::Gzip),
            ("a", None, Compression::None),
        ] {
            let config = resolve(&request(&[("path", name)])).unwrap();
            assert_eq!((FileFormat::of_name(name), config.compression_of(name)), (format, compression), "{name}");
        }
        assert_eq!(resolve(&request(&[("path", "a.tsv")])).unwrap().dialect_of("a.tsv").delimiter, b'\t');
    }

    #[test]
    fn options_that_do_not_fit_are_refused_together() {
        let wrong = [("path", "x.parquet"), ("header", "true"), ("compression", "gzip")];
        let messages: Vec<String> =
            resolve(&request(&wrong)).unwrap_err().into_iter().map(|error| error.message).collect();
        assert_eq!(
            messages,
            [
                "option 'header' is for csv, but the format is parquet",
                "parquet files say themselves how they are compressed",
            ]
        );
        assert_eq!(
            resolve(&request(&[("path", "ftp://x/y.csv")])).unwrap_err()[0].message,
            "option 'path': ftp:// is not supported"
        );
    }
}
