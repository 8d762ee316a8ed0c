//! Batches into one Parquet file, kept in memory until it is finished.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::FormatError;

/// Writes one Parquet file, compressed with zstd.
pub struct ParquetEncoder {
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
}

impl std::fmt::Debug for ParquetEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ParquetEncoder({} rows)", self.rows)
    }
}

impl ParquetEncoder {
    /// `row_group_rows` is the most rows of a row group.
    pub fn new(schema: SchemaRef, row_group_rows: usize) -> Result<Self, FormatError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(row_group_rows.max(1)))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties));
        Ok(Self { writer: writer.map_err(|source| FormatError::Parquet { source })?, rows: 0 })
    }

    pub fn encode(&mut self, batch: &RecordBatch) -> Result<(), FormatError> {
        self.writer.write(batch).map_err(|source| FormatError::Parquet { source })?;
        self.rows += batch.num_rows();
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About how long the file would be if it were finished now.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// The whole file.
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        self.writer.into_inner().map_err(|source| FormatError::Parquet { source })
    }
}
