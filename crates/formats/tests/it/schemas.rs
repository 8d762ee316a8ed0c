//! Random column types, and the values of arrays in the words of JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Fields, Float64Type, Int32Type, Int64Type, Schema, SchemaRef,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use proptest::prelude::*;
use serde_json::{Value, json};

pub fn scalar_type() -> impl Strategy<Value = DataType> {
    prop_oneof![
        Just(DataType::Boolean),
        Just(DataType::Int32),
        Just(DataType::Int64),
        Just(DataType::Int64),
        Just(DataType::Float64),
        Just(DataType::Utf8),
        Just(DataType::Utf8),
        Just(DataType::Date32),
        Just(DataType::Time64(TimeUnit::Microsecond)),
        Just(DataType::Timestamp(TimeUnit::Microsecond, None)),
        Just(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        (1u8..=12, 0i8..=4).prop_map(|(whole, scale)| DataType::Decimal128(whole + scale as u8, scale)),
    ]
}

pub fn any_type() -> impl Strategy<Value = DataType> {
    scalar_type().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>())
                .prop_map(|(item, null)| DataType::List(Arc::new(Field::new("item", item, null)))),
            fields(inner).prop_map(DataType::Struct),
        ]
    })
}

fn fields(inner: impl Strategy<Value = DataType>) -> impl Strategy<Value = Fields> {
    proptest::collection::vec((inner, proptest::bool::weighted(0.8)), 1..5).prop_map(|columns| {
        let names = ["a", "delay_minutes", "é\"x", "a_name_that_is_longer_than_sixteen_bytes_by_far", "b"];
        columns.into_iter().zip(names).map(|((data_type, null), name)| Field::new(name, data_type, null)).collect()
    })
}

pub fn any_schema(inner: impl Strategy<Value = DataType>) -> impl Strategy<Value = SchemaRef> {
    fields(inner).prop_map(|fields| Arc::new(Schema::new(fields)))
}

/// The value of an array's row: decimals as their units, times as their ticks.
pub fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => json!(array.as_primitive::<Decimal128Type>().value(row) as i64),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => json!(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(..) => json!(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|item| value(&items, item)).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), value(column, row))).collect()
        }
        other => panic!("no test makes a column of {other}"),
    }
}
