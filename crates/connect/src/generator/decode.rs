//! Makes the rows of a claimed range, on a worker.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use thalweg_engine::{Chunk, DecodedChunk, Decoder, EngineError, SourceContext};

use super::config::Config;
use super::kind::Rows;
use super::schema::Binding;

/// Payload of a chunk.
pub(crate) struct Range {
    pub(crate) first: u64,
    pub(crate) count: usize,
}

pub(crate) struct GeneratorDecoder {
    rows: Arc<dyn Rows>,
    /// Projected.
    schema: SchemaRef,
    /// Per projected column: index into the kind's fields.
    columns: Vec<usize>,
}

impl GeneratorDecoder {
    pub(crate) fn new(
        config: &Config,
        binding: &Binding,
        context: &SourceContext,
        rows: Arc<dyn Rows>,
    ) -> Result<Self, EngineError> {
        let projection: Vec<usize> = match &context.projection {
            Some(columns) => columns.clone(),
            None => (0..binding.columns.len()).collect(),
        };
        let schema = Arc::new(binding.schema.project(&projection)?);
        let columns = projection.iter().map(|&column| binding.columns[column]).collect();
        tracing::debug!(kind = config.kind.name(), ?projection, "generator decodes");
        Ok(Self { rows, schema, columns })
    }
}

impl Decoder for GeneratorDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<DecodedChunk, EngineError> {
        let range = chunk.payload.downcast::<Range>().map_err(|_| EngineError::bug("not a chunk of a generator"))?;
        let made = self.rows.make(range.first, range.count, &self.columns);
        let mut arrays = Vec::with_capacity(made.len());
        for (array, field) in made.into_iter().zip(self.schema.fields()) {
            arrays.push(into_type(array, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(range.count));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        Ok(DecodedChunk { batches: vec![batch], errors: vec![], input_bytes: range.count as u64 })
    }
}

/// Numbers that become timestamps are milliseconds.
fn into_type(array: ArrayRef, to: &DataType) -> Result<ArrayRef, EngineError> {
    if array.data_type() == to {
        return Ok(array);
    }
    if array.data_type() == &DataType::Int64 {
        let micros: Int64Array = array.as_primitive::<Int64Type>().unary(|millis| millis * 1000);
        let micros = cast(&micros, &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))?;
        return Ok(cast(&micros, to)?);
    }
    Ok(cast(&array, to)?)
}
