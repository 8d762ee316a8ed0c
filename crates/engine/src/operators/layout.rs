//! How partial states lie in columns: the rows that checkpoints hold.
//!
//! Columns: `__vnode`, `__expires`, then Int64 columns that say which window a row belongs to (the operator names them),
//! key columns, and the state columns of every aggregate.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::aggregates::Aggregates;
use super::groups::GroupTable;
use super::keys::{Keys, vnodes};
use crate::{Aggregate, EngineError, ErrorKind, NamedExpr};

pub(super) struct StateLayout {
    pub schema: SchemaRef,
    pub keys: Keys,
    pub aggregates: Aggregates,
    /// Columns in front of the keys.
    leading: usize,
}

impl StateLayout {
    /// `input` is the schema that keys and aggregates are over; `extra` names the Int64 columns of the operator.
    pub fn new(
        keys: &[NamedExpr],
        input: &Schema,
        aggregates: &[Aggregate],
        extra: &[&str],
    ) -> Result<Self, EngineError> {
        let (keys, aggregates) = (Keys::new(keys, input)?, Aggregates::new(aggregates)?);
        let mut fields = vec![
            Arc::new(Field::new("__vnode", DataType::UInt16, false)),
            Arc::new(Field::new("__expires", DataType::Int64, false)),
        ];
        fields.extend(extra.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, false))));
        let leading = fields.len();
        fields.extend(keys.fields());
        fields.extend(aggregates.state_fields());
        Ok(Self { schema: Arc::new(Schema::new(fields)), keys, aggregates, leading })
    }

    pub fn table(&self) -> Result<GroupTable, EngineError> {
        GroupTable::new(&self.keys, &self.aggregates)
    }

    pub fn keys_of<'a>(&self, rows: &'a RecordBatch) -> &'a [ArrayRef] {
        &rows.columns()[self.leading..self.leading + self.keys.width()]
    }

    pub fn states_of<'a>(&self, rows: &'a RecordBatch) -> &'a [ArrayRef] {
        &rows.columns()[self.leading + self.keys.width()..]
    }

    /// Indices of the columns of keys and states.
    pub fn key_columns(&self) -> std::ops::Range<usize> {
        self.leading..self.leading + self.keys.width()
    }

    pub fn state_columns(&self) -> std::ops::Range<usize> {
        self.leading + self.keys.width()..self.schema.fields().len()
    }

    pub fn expires<'a>(&self, rows: &'a RecordBatch) -> Result<&'a Int64Array, EngineError> {
        int64(rows, 1)
    }

    /// The operator's own column of that number.
    pub fn extra<'a>(&self, rows: &'a RecordBatch, index: usize) -> Result<&'a Int64Array, EngineError> {
        int64(rows, 2 + index)
    }

    pub fn state_rows(
        &self,
        rows: usize,
        expires: i64,
        extra: &[ArrayRef],
        keys: Vec<ArrayRef>,
        states: Vec<ArrayRef>,
    ) -> Result<RecordBatch, EngineError> {
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(vnodes(&keys, rows)?), Arc::new(Int64Array::from_value(expires, rows))];
        columns.extend(extra.iter().cloned());
        columns.extend(keys);
        columns.extend(states);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// State rows that stay in memory: without vnode, place or expiry.
    pub fn passing_rows(
        &self,
        rows: usize,
        keys: Vec<ArrayRef>,
        states: Vec<ArrayRef>,
    ) -> Result<RecordBatch, EngineError> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt16Array::from_value(0, rows))];
        let blank: ArrayRef = Arc::new(Int64Array::from_value(0, rows));
        columns.extend((1..self.leading).map(|_| blank.clone()));
        columns.extend(keys);
        columns.extend(states);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// Rows of a checkpoint under the names of today's plan; the types must be the same.
    pub fn restored(&self, rows: &RecordBatch) -> Result<RecordBatch, EngineError> {
        RecordBatch::try_new(self.schema.clone(), rows.columns().to_vec()).map_err(|error| {
            let message = "the checkpoint's rows do not fit this plan; start it with a new data folder";
            EngineError::with_source(ErrorKind::FixRequest, message, error)
        })
    }
}

/// A column of whole numbers, by position.
pub(super) fn int64(rows: &RecordBatch, column: usize) -> Result<&Int64Array, EngineError> {
    let array = rows.column(column).as_primitive_opt();
    array.ok_or_else(|| EngineError::bug(format!("column {column} is {}, not Int64", rows.column(column).data_type())))
}
