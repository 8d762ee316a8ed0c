//! Keys of groups: from values to dense numbers and back; vnodes of keys.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt16Array};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::{EngineError, ErrorKind, NamedExpr};

/// The key columns of an operator.
pub(super) struct Keys {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Keys {
    /// `input` is the schema that the expressions are over.
    pub fn new(keys: &[NamedExpr], input: &Schema) -> Result<Self, EngineError> {
        let field = |key: &NamedExpr| Ok(Field::new(&key.name, key.expr.data_type(input)?, true));
        let fields = keys.iter().map(field).collect::<Result<Vec<_>, EngineError>>()?;
        let exprs = keys.iter().map(|key| key.expr.clone()).collect();
        Ok(Self { exprs, schema: Arc::new(Schema::new(fields)) })
    }

    /// Number of key columns.
    pub fn width(&self) -> usize {
        self.exprs.len()
    }

    pub fn fields(&self) -> impl Iterator<Item = FieldRef> + '_ {
        self.schema.fields().iter().cloned()
    }

    pub fn evaluate(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, EngineError> {
        let columns = self.exprs.iter().map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()));
        Ok(columns.collect::<Result<_, _>>()?)
    }

    pub fn table(&self) -> Result<KeyTable, EngineError> {
        let values = match self.width() {
            0 => None,
            _ => Some(new_group_values(self.schema.clone(), &GroupOrdering::None)?),
        };
        Ok(KeyTable { values, only_group: false })
    }
}

/// Gives each distinct key a dense number, in order of first appearance.
pub(super) struct KeyTable {
    /// `None`: there are no key columns, all rows are one group.
    values: Option<Box<dyn GroupValues>>,
    only_group: bool,
}

impl KeyTable {
    /// Sets `numbers` to the number of each row's key.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize, numbers: &mut Vec<usize>) -> Result<(), EngineError> {
        if let Some(values) = &mut self.values {
            return Ok(values.intern(columns, numbers)?);
        }
        numbers.clear();
        numbers.resize(rows, 0);
        self.only_group |= rows > 0;
        Ok(())
    }

    pub fn len(&self) -> usize {
        match &self.values {
            Some(values) => values.len(),
            None => usize::from(self.only_group),
        }
    }

    /// The keys by number; the table is empty afterwards.
    pub fn take(&mut self) -> Result<Vec<ArrayRef>, EngineError> {
        self.only_group = false;
        Ok(match &mut self.values {
            Some(values) if !values.is_empty() => values.emit(EmitTo::All)?,
            _ => Vec::new(),
        })
    }

    pub fn memory_bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }
}

/// The vnode of each row's key; vnode 0 without key columns.
pub(super) fn vnodes(keys: &[ArrayRef], rows: usize) -> Result<UInt16Array, EngineError> {
    if keys.is_empty() {
        return Ok(UInt16Array::from_value(0, rows));
    }
    let mut hashes = Vec::new();
    thalweg_state::key_hashes(keys, rows, &mut hashes)
        .map_err(|error| EngineError::with_source(ErrorKind::FixRequest, "cannot group by these columns", error))?;
    Ok(UInt16Array::from_iter_values(hashes.into_iter().map(thalweg_state::vnode_of)))
}
