//! Time columns of any unit as microseconds, and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Int64Array, PrimitiveArray, RecordBatch, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, cast::AsArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

use crate::{Batch, EngineError, EventTime};

/// The column of event time of an operator's input.
#[derive(Debug, Clone)]
pub(super) struct TimeColumn {
    index: usize,
    name: String,
    data_type: DataType,
}

impl TimeColumn {
    pub fn new(schema: &Schema, index: usize) -> Result<Self, EngineError> {
        let field = schema
            .fields()
            .get(index)
            .ok_or_else(|| EngineError::bug(format!("time column {index} is not among {}", schema.fields().len())))?;
        if !matches!(field.data_type(), DataType::Timestamp(..)) {
            return Err(EngineError::request(format!(
                "windows need a time column of a TIMESTAMP type, `{}` is {}; cast it in the source",
                field.name(),
                field.data_type()
            )));
        }
        Ok(Self { index, name: field.name().clone(), data_type: field.data_type().clone() })
    }

    /// The times of `rows` in microseconds (finer units round down), shared with the batch where possible.
    pub fn micros(&self, rows: &RecordBatch) -> Result<ScalarBuffer<i64>, EngineError> {
        let column = rows.column(self.index);
        if column.null_count() > 0 {
            return Err(EngineError::data(format!(
                "{} rows have no event time in `{}`; filter them out in front of the window",
                column.null_count(),
                self.name
            )));
        }
        let DataType::Timestamp(unit, _) = column.data_type() else {
            return Err(EngineError::bug(format!("time column `{}` arrived as {}", self.name, column.data_type())));
        };
        Ok(match unit {
            TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().values().clone(),
            TimeUnit::Second => scaled(column.as_primitive::<TimestampSecondType>(), |t| t.saturating_mul(1_000_000)),
            TimeUnit::Millisecond => {
                scaled(column.as_primitive::<TimestampMillisecondType>(), |t| t.saturating_mul(1000))
            }
            TimeUnit::Nanosecond => scaled(column.as_primitive::<TimestampNanosecondType>(), |t| t.div_euclid(1000)),
        })
    }

    /// Microseconds as a column of this column's type.
    pub fn column(&self, micros: impl IntoIterator<Item = i64>) -> ArrayRef {
        let micros = micros.into_iter();
        let DataType::Timestamp(unit, zone) = &self.data_type else { unreachable!("checked in `new`") };
        let zone = zone.clone();
        match unit {
            TimeUnit::Second => {
                let values = micros.map(|t| t.div_euclid(1_000_000));
                Arc::new(TimestampSecondArray::from_iter_values(values).with_timezone_opt(zone))
            }
            TimeUnit::Millisecond => {
                let values = micros.map(|t| t.div_euclid(1000));
                Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone_opt(zone))
            }
            TimeUnit::Microsecond => {
                Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone_opt(zone))
            }
            TimeUnit::Nanosecond => {
                let values = micros.map(|t| t.saturating_mul(1000));
                Arc::new(TimestampNanosecondArray::from_iter_values(values).with_timezone_opt(zone))
            }
        }
    }
}

fn scaled<T: arrow::datatypes::ArrowPrimitiveType<Native = i64>>(
    array: &PrimitiveArray<T>,
    scale: impl Fn(i64) -> i64,
) -> ScalarBuffer<i64> {
    array.values().iter().map(|&time| scale(time)).collect()
}

/// Up to which instant time is over for each row of a batch: the later of what its own partition and the operator know.
///
/// The partition's part makes lateness reproducible; the operator's is above it only when an idle partition came back.
pub(super) struct Closed<'a> {
    rows: Option<&'a Int64Array>,
    operator: i64,
}

impl<'a> Closed<'a> {
    pub fn new(batch: &'a Batch, operator: EventTime) -> Self {
        Self { rows: batch.row_watermark.as_ref(), operator: operator.0 }
    }

    pub fn at(&self, row: usize) -> i64 {
        match self.rows {
            Some(rows) if rows.is_valid(row) => rows.value(row).max(self.operator),
            _ => self.operator,
        }
    }

    /// Whether no row at or after `earliest` can be behind.
    pub fn is_before(&self, earliest: i64) -> bool {
        self.rows.is_none() && self.operator <= earliest
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn units_and_zones_survive_the_round_trip() {
        for (unit, micros) in [
            (TimeUnit::Second, -3_000_000),
            (TimeUnit::Millisecond, -7_000),
            (TimeUnit::Microsecond, -1),
            (TimeUnit::Nanosecond, 1_234_567),
        ] {
            let data_type = DataType::Timestamp(unit, Some("UTC".into()));
            let schema = Arc::new(Schema::new(vec![Field::new("t", data_type.clone(), false)]));
            let time = TimeColumn::new(&schema, 0).unwrap();
            let column = time.column([micros]);
            assert_eq!(column.data_type(), &data_type);
            let rows = RecordBatch::try_new(schema, vec![column]).unwrap();
            assert_eq!(time.micros(&rows).unwrap()[0], micros);
        }
    }

    #[test]
    fn other_types_are_refused_with_their_name() {
        let schema = Schema::new(vec![Field::new("when", DataType::Utf8, false)]);
        let error = TimeColumn::new(&schema, 0).unwrap_err();
        assert!(error.to_string().contains("`when` is Utf8"), "{error}");
    }
}
