//! Arrow batches into bytes: rows (ndjson, CSV) and whole Parquet files.
//!
//! Rows are written so that the decoders of this crate read the same values back: timestamps in RFC 3339, decimals as exact
//! numbers, binary in base64.

mod cell;
mod csv;
mod json;
mod parquet;

#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use self::cell::Cells;
use crate::{CsvDialect, FormatError};

pub use self::parquet::ParquetEncoder;

/// A format of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowFormat {
    Ndjson,
    Csv(CsvDialect),
}

/// Writes rows one after another; what is written for a row does not depend on the rows before it.
#[derive(Debug)]
pub struct RowsEncoder {
    format: RowFormat,
    /// Each column's name as it stands in a row: an ndjson key with its separator, or a CSV header field.
    names: Vec<Vec<u8>>,
}

impl RowsEncoder {
    pub fn new(schema: &SchemaRef, format: RowFormat) -> Result<Self, FormatError> {
        if let RowFormat::Csv(dialect) = &format {
            dialect.check()?;
        }
        let names = schema.fields().iter().enumerate().map(|(index, field)| match &format {
            RowFormat::Ndjson => json::key(field.name(), index == 0),
            RowFormat::Csv(dialect) => {
                let mut name = Vec::new();
                csv::write_text(&mut name, field.name().as_bytes(), dialect);
                name
            }
        });
        Ok(Self { names: names.collect(), format })
    }

    /// What a file begins with: the CSV header, if the dialect has one.
    pub fn header(&self, out: &mut Vec<u8>) {
        let RowFormat::Csv(dialect) = &self.format else { return };
        if !dialect.header {
            return;
        }
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(dialect.delimiter);
            }
            out.extend_from_slice(name);
        }
        out.push(b'\n');
    }

    /// Appends a line per row. The batch has the schema that was announced, by position.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if batch.num_columns() != self.names.len() {
            return Err(FormatError::BatchColumns { expected: self.names.len(), found: batch.num_columns() });
        }
        let cells = batch.columns().iter().map(Cells::new).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            match &self.format {
                RowFormat::Ndjson => json::write_row(out, &self.names, &cells, row)?,
                RowFormat::Csv(dialect) => csv::write_row(out, &cells, row, dialect)?,
            }
        }
        Ok(())
    }
}
