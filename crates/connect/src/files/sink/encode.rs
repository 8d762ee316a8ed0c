//! One output file's bytes, on the worker: rows or Parquet, compressed.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use flate2::write::GzEncoder;
use thalweg_engine::{EngineError, ErrorKind};
use thalweg_formats::{Compression, FormatError, ParquetEncoder, RowFormat, RowsEncoder};

use super::config::Config;
use crate::files::config::FileFormat;

/// Rows of a Parquet row group, which is held in memory while it is written.
const ROW_GROUP_ROWS: usize = 128 << 10;

pub(crate) struct FileEncoder {
    format: Format,
    /// Encoded rows that were not compressed yet.
    plain: Vec<u8>,
    taken: u64,
}

enum Format {
    Rows(RowsEncoder, Codec),
    Parquet(ParquetEncoder),
}

/// Compresses into memory; what it holds is taken away by the caller.
enum Codec {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl FileEncoder {
    pub(crate) fn new(config: &Config, schema: &SchemaRef) -> Result<Self, EngineError> {
        let rows = match config.format {
            FileFormat::Ndjson => RowFormat::Ndjson,
            FileFormat::Csv => RowFormat::Csv(config.dialect.clone()),
            FileFormat::Parquet => {
                let encoder = ParquetEncoder::new(schema.clone(), ROW_GROUP_ROWS).map_err(encode_error)?;
                return Ok(Self { format: Format::Parquet(encoder), plain: vec![], taken: 0 });
            }
        };
        let encoder = RowsEncoder::new(schema, rows).map_err(encode_error)?;
        let codec = match config.compression {
            Compression::None => Codec::None(vec![]),
            Compression::Gzip => Codec::Gzip(GzEncoder::new(vec![], flate2::Compression::default())),
            Compression::Zstd => {
                let encoder = zstd::Encoder::new(vec![], 0);
                Codec::Zstd(encoder.map_err(|error| EngineError::bug(format!("cannot set up zstd: {error}")))?)
            }
        };
        let mut plain = Vec::new();
        encoder.header(&mut plain);
        Ok(Self { format: Format::Rows(encoder, codec), plain, taken: 0 })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        match &mut self.format {
            Format::Parquet(encoder) => encoder.encode(batch).map_err(encode_error),
            Format::Rows(encoder, codec) => {
                encoder.encode(batch, &mut self.plain).map_err(encode_error)?;
                codec.write(&mut self.plain);
                Ok(())
            }
        }
    }

    /// Bytes that wait to be taken.
    pub(crate) fn ready(&self) -> usize {
        match &self.format {
            Format::Parquet(encoder) => encoder.ready(),
            Format::Rows(_, Codec::None(out)) => out.len(),
            Format::Rows(_, Codec::Gzip(encoder)) => encoder.get_ref().len(),
            Format::Rows(_, Codec::Zstd(encoder)) => encoder.get_ref().len(),
        }
    }

    /// About how many bytes are held here, with those that are not ready.
    pub(crate) fn held(&self) -> u64 {
        match &self.format {
            Format::Parquet(encoder) => encoder.bytes() as u64 - self.taken,
            Format::Rows(..) => self.ready() as u64,
        }
    }

    /// The bytes that are ready: all of rows, whole row groups of Parquet.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let bytes = self.take_ready();
        self.taken += bytes.len() as u64;
        bytes
    }

    fn take_ready(&mut self) -> Vec<u8> {
        match &mut self.format {
            Format::Parquet(encoder) => encoder.take(),
            Format::Rows(_, Codec::None(out)) => std::mem::take(out),
            Format::Rows(_, Codec::Gzip(encoder)) => std::mem::take(encoder.get_mut()),
            Format::Rows(_, Codec::Zstd(encoder)) => std::mem::take(encoder.get_mut()),
        }
    }

    /// The last bytes.
    pub(crate) fn finish(self) -> Result<Vec<u8>, EngineError> {
        let in_memory = |error: std::io::Error| EngineError::bug(format!("compressing into memory failed: {error}"));
        match self.format {
            Format::Parquet(encoder) => encoder.finish().map_err(encode_error),
            Format::Rows(_, mut codec) => {
                let mut plain = self.plain;
                codec.write(&mut plain);
                match codec {
                    Codec::None(out) => Ok(out),
                    Codec::Gzip(encoder) => encoder.finish().map_err(in_memory),
                    Codec::Zstd(encoder) => encoder.finish().map_err(in_memory),
                }
            }
        }
    }
}

impl Codec {
    /// Takes all of `plain` and leaves it empty.
    fn write(&mut self, plain: &mut Vec<u8>) {
        match self {
            Self::None(out) if out.is_empty() => std::mem::swap(out, plain),
            Self::None(out) => out.append(plain),
            Self::Gzip(encoder) => encoder.write_all(plain).expect("memory takes any write"),
            Self::Zstd(encoder) => encoder.write_all(plain).expect("memory takes any write"),
        }
        plain.clear();
    }
}

fn encode_error(error: FormatError) -> EngineError {
    let kind = match error.kind() {
        thalweg_formats::FormatErrorKind::FixRequest => ErrorKind::FixRequest,
        thalweg_formats::FormatErrorKind::FixData => ErrorKind::FixData,
        thalweg_formats::FormatErrorKind::Bug => ErrorKind::Bug,
    };
    EngineError::with_source(kind, error.to_string(), error)
}
