//! Decodes the pieces of files on a worker: blocks of text by the formats' decoders, slices of Parquet; then metadata.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use thalweg_engine::{Chunk, DecodedChunk, Decoder, EngineError, RowError};
use thalweg_formats::{BadRow, CsvDecoder, DecodeOptions, JsonDecoder, RowPlace};

use super::config::FileFormat;
use super::error::format_error;
use super::reader::{Piece, ReaderContext};
use super::schema::{Metadata, Reading, whole_schema};
use super::text::Block;

/// Bytes kept of a bad row.
const BAD_ROW_BYTES_MAX: usize = 64 << 10;

/// Payload of a chunk.
pub(crate) struct FilesChunk {
    pub(crate) piece: Piece,
    pub(crate) origin: Origin,
}

/// The file of a piece.
pub(crate) struct Origin {
    pub(crate) name: Arc<str>,
    pub(crate) modified_at: i64,
}

pub(crate) struct FilesDecoder {
    reading: Arc<Reading>,
    /// Physical columns to decode.
    columns: Arc<[usize]>,
    /// Metadata columns behind them.
    metadata: Vec<Metadata>,
    /// Of the batches.
    schema: SchemaRef,
    batch_rows: usize,
    rows: RowDecoder,
    places: Vec<RowPlace>,
}

enum RowDecoder {
    Json(Box<JsonDecoder>),
    Csv(Box<CsvDecoder>),
    Parquet,
}

impl FilesDecoder {
    pub(crate) fn new(context: &ReaderContext) -> Result<Self, EngineError> {
        let reading = context.reading.clone();
        let physical = reading.physical.fields().len();
        let all = whole_schema(&reading.physical, &reading.metadata);
        let projection = context.source.projection.clone().unwrap_or_else(|| (0..all.fields().len()).collect());
        let behind = projection.iter().filter_map(|column| column.checked_sub(physical));
        let metadata = behind.map(|place| reading.metadata[place].1).collect();
        let schema = Arc::new(all.project(&projection)?);
        let batch_rows = context.source.batch_rows.max(1);
        let mut options = DecodeOptions::new(without_null_times(&reading.physical, context.source.time_column))
            .with_projection(context.columns.to_vec())
            .with_batch_rows(batch_rows);
        options.extra_columns = reading.config.extra_columns;
        options.missing_columns = reading.config.missing_columns;
        options.any_into_text = reading.inferred;
        let failed = |error| format_error(&reading.config.location.path, error);
        let rows = match reading.format {
            FileFormat::Ndjson => RowDecoder::Json(Box::new(JsonDecoder::new(options).map_err(failed)?)),
            FileFormat::Csv => {
                RowDecoder::Csv(Box::new(CsvDecoder::new(options, reading.dialect.clone()).map_err(failed)?))
            }
            FileFormat::Parquet => RowDecoder::Parquet,
        };
        let columns = context.columns.clone();
        Ok(Self { reading, columns, metadata, schema, batch_rows, rows, places: vec![] })
    }

    fn decode_text(&mut self, block: &Block, origin: &Origin) -> Result<DecodedChunk, EngineError> {
        let (mut batches, mut bad) = (Vec::new(), Vec::new());
        self.places.clear();
        let wants_places = self.metadata.iter().any(|key| matches!(key, Metadata::Line | Metadata::Position));
        let places = wants_places.then_some(&mut self.places);
        let decoded = match &mut self.rows {
            RowDecoder::Json(decoder) => decoder.decode(&block.bytes, &mut batches, &mut bad, places),
            RowDecoder::Csv(decoder) => {
                let headed = block.header.as_ref().map_or(Ok(()), |header| decoder.set_header(header));
                headed.and_then(|()| decoder.decode(&block.bytes, &mut batches, &mut bad, places))
            }
            RowDecoder::Parquet => return Err(EngineError::bug("a block of text for parquet")),
        };
        decoded.map_err(|error| format_error(&origin.name, error))?;
        let mut first = 0;
        for batch in &mut batches {
            let rows = batch.num_rows();
            let places = &self.places;
            self.add_metadata(batch, origin, |row| {
                let place = places[first + row];
                (block.at + place.start as u64, Some(block.line + place.line + 1))
            })?;
            first += rows;
        }
        let errors = bad.into_iter().map(|bad| row_error(bad, block, &origin.name)).collect();
        Ok(DecodedChunk { batches, errors, input_bytes: block.bytes.len() as u64 })
    }

    /// Gives the batch the source's schema: metadata columns behind, nulls allowed where they were declared.
    fn add_metadata(
        &self,
        batch: &mut RecordBatch,
        origin: &Origin,
        mut place: impl FnMut(usize) -> (u64, Option<u64>),
    ) -> Result<(), EngineError> {
        if self.metadata.is_empty() && batch.schema_ref() == &self.schema {
            return Ok(());
        }
        let rows = batch.num_rows();
        let mut columns = batch.columns().to_vec();
        for key in &self.metadata {
            columns.push(key.column(rows, &origin.name, origin.modified_at, &mut place));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        *batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(())
    }
}

/// A row without event time is a bad row. The decoder says so, because it still knows the row's line and bytes.
fn without_null_times(physical: &SchemaRef, time_column: Option<usize>) -> SchemaRef {
    let Some(time) = time_column.filter(|&column| column < physical.fields().len()) else { return physical.clone() };
    let fields = physical.fields().iter().enumerate();
    let strict = fields.map(|(at, field)| field.as_ref().clone().with_nullable(field.is_nullable() && at != time));
    Arc::new(Schema::new_with_metadata(strict.collect::<Vec<_>>(), physical.metadata().clone()))
}

impl Decoder for FilesDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError> {
        let chunk =
            chunk.payload.downcast::<FilesChunk>().map_err(|_| EngineError::bug("not a chunk of a files source"))?;
        let FilesChunk { piece, origin } = *chunk;
        let slice = match piece {
            Piece::Text(block) => return self.decode_text(&block, &origin),
            Piece::Slice(slice) => *slice,
        };
        let (input_bytes, mut row) = (slice.input_bytes(), slice.first_row);
        let mut batches = slice.decode(&self.columns, &self.reading.physical, self.batch_rows)?;
        for batch in &mut batches {
            let first = row;
            row += batch.num_rows() as u64;
            self.add_metadata(batch, &origin, |row| (first + row as u64, None))?;
        }
        Ok(DecodedChunk { batches, errors: vec![], input_bytes })
    }
}

fn row_error(bad: BadRow, block: &Block, name: &Arc<str>) -> RowError {
    let bytes = &block.bytes[bad.start..bad.start + bad.len.min(BAD_ROW_BYTES_MAX)];
    RowError {
        bytes: bytes.to_vec(),
        split: name.clone(),
        position: block.at + bad.start as u64,
        line: Some(block.line + bad.line + 1),
        error: bad.error,
    }
}
