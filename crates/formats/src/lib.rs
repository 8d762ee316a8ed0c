//! Bytes to Arrow and back: ndjson, CSV, Parquet files, gzip and zstd.
//!
//! Decoders take blocks of whole rows and append record batches; a row that cannot be taken in becomes a [`BadRow`] and
//! costs no other row. Encoders take batches and append bytes. Nothing here does IO, keeps a clock or knows where the
//! bytes come from: who reads cuts the stream into blocks with a [`RowCutter`] and keeps the positions.

mod column;
mod compress;
mod csv;
mod cut;
mod encode;
mod error;
mod find;
mod gzip;
mod infer;
mod json;
mod number;
mod options;
mod time;
mod type_name;

pub use crate::compress::{Compression, DecompressReader, Decompressor};
pub use crate::csv::{CsvDecoder, CsvDialect, infer_csv};
pub use crate::cut::{ROW_BYTES_MAX, RowCutter, cut_lines, first_csv_row};
pub use crate::encode::{ParquetEncoder, RowFormat, RowsEncoder};
pub use crate::error::{FormatError, FormatErrorKind};
pub use crate::json::{JsonDecoder, infer_json};
pub use crate::options::{BadRow, DecodeOptions, ExtraColumns, MissingColumns, RowPlace};
pub use crate::type_name::type_name;
