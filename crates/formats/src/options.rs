//! What a decoder is told, and what it says about single rows.

use arrow::datatypes::SchemaRef;

use crate::FormatError;

/// What happens with a key or CSV column that the schema does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExtraColumns {
    #[default]
    Ignore,
    /// The row (in CSV with a header: the file) is bad.
    Error,
}

/// What happens when a declared column is absent from a row. `null` written out is never "missing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingColumns {
    /// Null; a column declared `NOT NULL` makes the row bad.
    #[default]
    Null,
    /// The row (in CSV with a header: the file) is bad.
    Error,
}

/// What to decode.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    /// All declared columns, in order.
    pub schema: SchemaRef,
    /// Columns of `schema` to produce, in this order. The others are skipped: their syntax is checked, their type is not.
    pub projection: Vec<usize>,
    /// Upper bound of rows in a batch; at least 1.
    pub batch_rows: usize,
    pub extra_columns: ExtraColumns,
    pub missing_columns: MissingColumns,
    /// Numbers and booleans go into TEXT columns as they are written, instead of making the row bad. For inferred schemas,
    /// where TEXT may mean "mixed".
    pub any_into_text: bool,
}

impl DecodeOptions {
    /// All columns, 8192 rows a batch, extra columns ignored, missing ones null.
    pub fn new(schema: SchemaRef) -> Self {
        let projection = (0..schema.fields().len()).collect();
        Self {
            schema,
            projection,
            batch_rows: 8192,
            extra_columns: ExtraColumns::default(),
            missing_columns: MissingColumns::default(),
            any_into_text: false,
        }
    }

    pub fn with_projection(mut self, projection: Vec<usize>) -> Self {
        self.projection = projection;
        self
    }

    pub fn with_batch_rows(mut self, batch_rows: usize) -> Self {
        self.batch_rows = batch_rows;
        self
    }

    /// The schema of the batches.
    pub(crate) fn projected(&self) -> Result<SchemaRef, FormatError> {
        let columns = self.schema.fields().len();
        if let Some(&index) = self.projection.iter().find(|&&index| index >= columns) {
            return Err(FormatError::Projection { index, columns });
        }
        let project = || self.schema.project(&self.projection);
        Ok(std::sync::Arc::new(project().map_err(|source| FormatError::Batch { source })?))
    }
}

/// A row of a block that could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Byte position of the row in its block.
    pub start: usize,
    /// Bytes of the row, without its line end.
    pub len: usize,
    /// Lines of the block in front of it.
    pub line: u64,
    pub error: String,
}

/// Where a good row stood in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Byte position of the row in its block.
    pub start: usize,
    /// Lines of the block in front of it.
    pub line: u64,
}
