//! Batches into one Parquet file; whole row groups may be taken away while it is written.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, IntervalUnit, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::{FormatError, type_name};

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
        if let Some(field) = schema.fields().iter().find(|field| !holds(field.data_type())) {
            let (column, data_type) = (field.name().clone(), type_name(field.data_type()));
            return Err(FormatError::UnsupportedType { column, data_type, format: "parquet" });
        }
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

    /// Bytes of row groups that are whole and were not taken yet.
    pub fn ready(&self) -> usize {
        self.writer.inner().len()
    }

    /// Takes what is ready. The file is what was taken, call after call, and then what `finish` returns.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.inner_mut())
    }

    /// The rest of the file: all of it, if nothing was taken.
    pub fn finish(self) -> Result<Vec<u8>, FormatError> {
        self.writer.into_inner().map_err(|source| FormatError::Parquet { source })
    }
}

/// Whether a Parquet file can hold the type. The library panics on some that it cannot write.
fn holds(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => holds(item.data_type()),
        DataType::Map(entries, _) => holds(entries.data_type()),
        DataType::Struct(fields) => !fields.is_empty() && fields.iter().all(|field| holds(field.data_type())),
        DataType::Dictionary(_, value) => !value.is_nested() && holds(value),
        DataType::Interval(unit) => *unit != IntervalUnit::MonthDayNano,
        DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::ListView(_) | DataType::LargeListView(_) => false,
        _ => true,
    }
}
