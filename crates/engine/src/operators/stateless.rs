//! Operators that look at one batch at a time: projection, filter, union.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use crate::{Batch, Emit, EngineError, NamedExpr, Operator};

/// Computes the output columns from each row.
pub(super) struct Project {
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Project {
    pub fn new(schema: SchemaRef, exprs: &[NamedExpr]) -> Result<Self, EngineError> {
        if schema.fields().len() != exprs.len() {
            return Err(EngineError::bug(format!(
                "a projection of {} expressions has {} output columns",
                exprs.len(),
                schema.fields().len()
            )));
        }
        Ok(Self { schema, exprs: exprs.iter().map(|named| named.expr.clone()).collect() })
    }
}

impl Operator for Project {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let columns = self
            .exprs
            .iter()
            .map(|expr| expr.evaluate(&batch.rows)?.into_array(batch.rows.num_rows()))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        out.emit(Batch::with_row_watermark(rows, batch.row_watermark))
    }
}

/// Keeps the rows for which the predicate is true (neither false nor NULL).
pub(super) struct Filter {
    schema: SchemaRef,
    predicate: Arc<dyn PhysicalExpr>,
}

impl Filter {
    pub fn new(schema: SchemaRef, predicate: Arc<dyn PhysicalExpr>) -> Self {
        Self { schema, predicate }
    }
}

impl Operator for Filter {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let verdict = self.predicate.evaluate(&batch.rows)?.into_array(batch.rows.num_rows())?;
        let verdict = verdict.as_boolean_opt().ok_or_else(|| {
            EngineError::request(format!("a filter needs a BOOLEAN, `{}` is {}", self.predicate, verdict.data_type()))
        })?;
        match filter_batch(batch, verdict)? {
            Some(kept) => out.emit(Batch { rows: with_schema(kept.rows, &self.schema)?, ..kept }),
            None => Ok(()),
        }
    }
}

/// The rows where `keep` is true; `None` if there are none, the batch itself if it is all of them.
pub(super) fn filter_batch(batch: Batch, keep: &BooleanArray) -> Result<Option<Batch>, EngineError> {
    let kept = keep.true_count();
    if kept == batch.num_rows() {
        return Ok((kept > 0).then_some(batch));
    }
    if kept == 0 {
        return Ok(None);
    }
    let keep = if keep.null_count() > 0 { prep_null_mask_filter(keep) } else { keep.clone() };
    let rows = filter_record_batch(&batch.rows, &keep)?;
    let row_watermark = match &batch.row_watermark {
        Some(times) => behind_only(filter(times, &keep)?.as_primitive().clone()),
        None => None,
    };
    Ok(Some(Batch::with_row_watermark(rows, row_watermark)))
}

/// No row watermarks at all where every entry says "not behind".
fn behind_only(times: Int64Array) -> Option<Int64Array> {
    (times.null_count() < times.len()).then_some(times)
}

/// The same columns under the output's names.
fn with_schema(rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, EngineError> {
    if Arc::ptr_eq(&rows.schema(), schema) {
        return Ok(rows);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)?)
}

/// Rows of all inputs as they come. The runtime takes the minimum of the inputs' watermarks.
pub(super) struct Union {
    schema: SchemaRef,
}

impl Union {
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl Operator for Union {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        out.emit(Batch { rows: with_schema(batch.rows, &self.schema)?, ..batch })
    }
}
