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
    /// Bytes that were taken.
    taken: u64,
}

enum Format {
    Rows(Rows),
    Parquet(ParquetEncoder),
}

struct Rows {
    encoder: RowsEncoder,
    compression: Compression,
    /// Encoded rows that were not compressed yet.
    plain: Vec<u8>,
    /// Begun when bytes are taken for the first time, so that many small files cost little.
    codec: Option<Codec>,
}

/// Compresses into memory; what it holds is taken away by the caller.
enum Codec {
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
                return Ok(Self { format: Format::Parquet(encoder), taken: 0 });
            }
        };
        let encoder = RowsEncoder::new(schema, rows).map_err(encode_error)?;
        let mut plain = Vec::new();
        encoder.header(&mut plain);
        let rows = Rows { encoder, compression: config.compression, plain, codec: None };
        Ok(Self { format: Format::Rows(rows), taken: 0 })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        match &mut self.format {
            Format::Parquet(encoder) => encoder.encode(batch),
            Format::Rows(rows) => rows.encoder.encode(batch, &mut rows.plain),
        }
        .map_err(encode_error)
    }

    /// Bytes that can be taken (before compression).
    pub(crate) fn ready(&self) -> usize {
        match &self.format {
            Format::Parquet(encoder) => encoder.ready(),
            Format::Rows(rows) => rows.plain.len(),
        }
    }

    /// About how many bytes are held here, with those that are not ready.
    pub(crate) fn held(&self) -> u64 {
        match &self.format {
            Format::Parquet(encoder) => encoder.bytes() as u64 - self.taken,
            Format::Rows(rows) => rows.plain.len() as u64,
        }
    }

    /// What can be written now: of Parquet whole row groups, of rows all; a codec may hold some back.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>, EngineError> {
        let bytes = match &mut self.format {
            Format::Parquet(encoder) => encoder.take(),
            Format::Rows(rows) => rows.take()?,
        };
        self.taken += bytes.len() as u64;
        Ok(bytes)
    }

    /// The last bytes.
    pub(crate) fn finish(self) -> Result<Vec<u8>, EngineError> {
        match self.format {
            Format::Parquet(encoder) => encoder.finish().map_err(encode_error),
            Format::Rows(rows) => rows.finish(),
        }
    }
}

impl Rows {
    fn take(&mut self) -> Result<Vec<u8>, EngineError> {
        let plain = std::mem::take(&mut self.plain);
        match self.begun_codec()? {
            None => Ok(plain),
            Some(Codec::Gzip(encoder)) => {
                encoder.write_all(&plain).map_err(in_memory)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Some(Codec::Zstd(encoder)) => {
                encoder.write_all(&plain).map_err(in_memory)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, EngineError> {
        let mut bytes = self.take()?;
        bytes.append(&mut match self.codec {
            None => vec![],
            Some(Codec::Gzip(encoder)) => encoder.finish().map_err(in_memory)?,
            Some(Codec::Zstd(encoder)) => encoder.finish().map_err(in_memory)?,
        });
        Ok(bytes)
    }

    fn begun_codec(&mut self) -> Result<Option<&mut Codec>, EngineError> {
        if self.codec.is_none() {
            self.codec = match self.compression {
                Compression::None => None,
                Compression::Gzip => Some(Codec::Gzip(GzEncoder::new(vec![], flate2::Compression::default()))),
                Compression::Zstd => Some(Codec::Zstd(zstd::Encoder::new(vec![], 0).map_err(in_memory)?)),
            };
        }
        Ok(self.codec.as_mut())
    }
}

fn in_memory(error: std::io::Error) -> EngineError {
    EngineError::bug(format!("compressing into memory failed: {error}"))
}

fn encode_error(error: FormatError) -> EngineError {
    let kind = match error.kind() {
        thalweg_formats::FormatErrorKind::FixRequest => ErrorKind::FixRequest,
        thalweg_formats::FormatErrorKind::FixData => ErrorKind::FixData,
        thalweg_formats::FormatErrorKind::Bug => ErrorKind::Bug,
    };
    EngineError::with_source(kind, error.to_string(), error)
}
