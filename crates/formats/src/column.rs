//! Growing columns: what decoders push values into, one row after another, and turn into Arrow arrays.
//!
//! Why not Arrow's builders: a decoder must take a half-decoded row back ([`Column::truncate`]), and pushing a value that is
//! not null must cost one store. So nulls are kept as a sparse list of rows and become a bitmap only at the end.
//!
//! Invariants: between rows all columns of a row set have equal length; in the middle of a row they may differ, and
//! truncating to the number of whole rows restores the invariant whatever was pushed since. Text is valid UTF-8: decoders
//! validate a row before its bytes come here.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, ListArray, PrimitiveArray, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::json::Keys;
use crate::time::Zone;
use crate::{FormatError, type_name};

/// A column of one type.
#[derive(Debug)]
pub(crate) struct Column {
    pub name: String,
    pub nullable: bool,
    pub data_type: DataType,
    pub kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Boolean(Values<bool>),
    Int8(Values<i8>),
    Int16(Values<i16>),
    Int32(Values<i32>),
    Int64(Values<i64>),
    UInt8(Values<u8>),
    UInt16(Values<u16>),
    UInt32(Values<u32>),
    UInt64(Values<u64>),
    Float32(Values<f32>),
    Float64(Values<f64>),
    Decimal(Values<i128>, u8, i8),
    Text(Strings),
    Binary(Strings),
    Date(Values<i32>),
    /// Microseconds of the day.
    Time(Values<i64>),
    Timestamp(Values<i64>, TimeUnit, Zone),
    List(Lists),
    Struct(Structs),
}

/// Values of fixed size; a null holds the default value.
#[derive(Debug, Default)]
pub(crate) struct Values<T> {
    pub values: Vec<T>,
    nulls: Nulls,
}

/// Values of variable size; offsets begin with 0 and are one more than the rows.
#[derive(Debug)]
pub(crate) struct Strings {
    offsets: Vec<i32>,
    pub bytes: Vec<u8>,
    nulls: Nulls,
}

#[derive(Debug)]
pub(crate) struct Lists {
    item_field: FieldRef,
    offsets: Vec<i32>,
    pub item: Box<Column>,
    nulls: Nulls,
}

#[derive(Debug)]
pub(crate) struct Structs {
    fields: Fields,
    pub row: Row,
    len: usize,
    nulls: Nulls,
}

/// Columns that grow together, and what the JSON decoder remembers about their keys.
#[derive(Debug)]
pub(crate) struct Row {
    pub columns: Vec<Column>,
    pub keys: Keys,
}

/// Rows that are null, ascending.
#[derive(Debug, Default)]
struct Nulls(Vec<u32>);

impl Column {
    /// A column for values of `field`; `nested`: whether the format can hold lists and structs.
    pub fn new(field: &Field, format: &'static str, nested: bool) -> Result<Self, FormatError> {
        let kind = match field.data_type() {
            DataType::Boolean => Kind::Boolean(Values::default()),
            DataType::Int8 => Kind::Int8(Values::default()),
            DataType::Int16 => Kind::Int16(Values::default()),
            DataType::Int32 => Kind::Int32(Values::default()),
            DataType::Int64 => Kind::Int64(Values::default()),
            DataType::UInt8 => Kind::UInt8(Values::default()),
            DataType::UInt16 => Kind::UInt16(Values::default()),
            DataType::UInt32 => Kind::UInt32(Values::default()),
            DataType::UInt64 => Kind::UInt64(Values::default()),
            DataType::Float32 => Kind::Float32(Values::default()),
            DataType::Float64 => Kind::Float64(Values::default()),
            DataType::Decimal128(precision, scale) => Kind::Decimal(Values::default(), *precision, *scale),
            DataType::Utf8 => Kind::Text(Strings::default()),
            DataType::Binary => Kind::Binary(Strings::default()),
            DataType::Date32 => Kind::Date(Values::default()),
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time(Values::default()),
            DataType::Timestamp(unit, zone) => Kind::Timestamp(Values::default(), *unit, Zone::of(zone.as_deref())),
            DataType::List(item) if nested => Kind::List(Lists {
                item_field: item.clone(),
                offsets: vec![0],
                item: Box::new(Self::new(item, format, nested)?),
                nulls: Nulls::default(),
            }),
            DataType::Struct(fields) if nested => Kind::Struct(Structs {
                fields: fields.clone(),
                row: Row::new(fields, fields.iter().map(|field| field.name().as_str()), format, nested)?,
                len: 0,
                nulls: Nulls::default(),
            }),
            other => {
                return Err(FormatError::UnsupportedType {
                    column: field.name().clone(),
                    data_type: type_name(other),
                    format,
                });
            }
        };
        let data_type = field.data_type().clone();
        Ok(Self { name: field.name().clone(), nullable: field.is_nullable(), data_type, kind })
    }

    /// Takes back every row from `rows` on, and whatever a row that was not finished left behind.
    pub fn truncate(&mut self, rows: usize) {
        match &mut self.kind {
            Kind::Boolean(values) => values.truncate(rows),
            Kind::Int8(values) => values.truncate(rows),
            Kind::Int16(values) => values.truncate(rows),
            Kind::Int32(values) | Kind::Date(values) => values.truncate(rows),
            Kind::Int64(values) | Kind::Time(values) | Kind::Timestamp(values, ..) => values.truncate(rows),
            Kind::UInt8(values) => values.truncate(rows),
            Kind::UInt16(values) => values.truncate(rows),
            Kind::UInt32(values) => values.truncate(rows),
            Kind::UInt64(values) => values.truncate(rows),
            Kind::Float32(values) => values.truncate(rows),
            Kind::Float64(values) => values.truncate(rows),
            Kind::Decimal(values, ..) => values.truncate(rows),
            Kind::Text(strings) | Kind::Binary(strings) => strings.truncate(rows),
            Kind::List(lists) => lists.truncate(rows),
            Kind::Struct(structs) => structs.truncate(rows),
        }
    }

    /// Adds a row without a value. A column that is not nullable gets a placeholder, which only a null parent may hide.
    pub fn push_null(&mut self) {
        let null = self.nullable;
        match &mut self.kind {
            Kind::Boolean(values) => values.push_empty(null),
            Kind::Int8(values) => values.push_empty(null),
            Kind::Int16(values) => values.push_empty(null),
            Kind::Int32(values) | Kind::Date(values) => values.push_empty(null),
            Kind::Int64(values) | Kind::Time(values) | Kind::Timestamp(values, ..) => values.push_empty(null),
            Kind::UInt8(values) => values.push_empty(null),
            Kind::UInt16(values) => values.push_empty(null),
            Kind::UInt32(values) => values.push_empty(null),
            Kind::UInt64(values) => values.push_empty(null),
            Kind::Float32(values) => values.push_empty(null),
            Kind::Float64(values) => values.push_empty(null),
            Kind::Decimal(values, ..) => values.push_empty(null),
            Kind::Text(strings) | Kind::Binary(strings) => strings.push_empty(null),
            Kind::List(lists) => lists.push_empty(null),
            Kind::Struct(structs) => structs.push_empty(null),
        }
    }

    /// The rows so far as an array; the column is empty afterwards.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.kind {
            Kind::Boolean(values) => {
                let (values, nulls) = values.take();
                Arc::new(BooleanArray::new(BooleanBuffer::from_iter(values), nulls))
            }
            Kind::Int8(values) => values.array::<Int8Type>(),
            Kind::Int16(values) => values.array::<Int16Type>(),
            Kind::Int32(values) => values.array::<Int32Type>(),
            Kind::Int64(values) => values.array::<Int64Type>(),
            Kind::UInt8(values) => values.array::<UInt8Type>(),
            Kind::UInt16(values) => values.array::<UInt16Type>(),
            Kind::UInt32(values) => values.array::<UInt32Type>(),
            Kind::UInt64(values) => values.array::<UInt64Type>(),
            Kind::Float32(values) => values.array::<Float32Type>(),
            Kind::Float64(values) => values.array::<Float64Type>(),
            Kind::Date(values) => values.array::<Date32Type>(),
            Kind::Time(values) => values.array::<Time64MicrosecondType>(),
            Kind::Decimal(values, ..) => {
                let (values, nulls) = values.take();
                Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(self.data_type.clone()))
            }
            Kind::Timestamp(values, unit, _) => {
                let (values, nulls) = values.take();
                let (values, data_type) = (ScalarBuffer::from(values), self.data_type.clone());
                match unit {
                    TimeUnit::Second => Arc::new(TimestampSecondArray::new(values, nulls).with_data_type(data_type)),
                    TimeUnit::Millisecond => {
                        Arc::new(TimestampMillisecondArray::new(values, nulls).with_data_type(data_type))
                    }
                    TimeUnit::Microsecond => {
                        Arc::new(TimestampMicrosecondArray::new(values, nulls).with_data_type(data_type))
                    }
                    TimeUnit::Nanosecond => {
                        Arc::new(TimestampNanosecondArray::new(values, nulls).with_data_type(data_type))
                    }
                }
            }
            Kind::Text(strings) => {
                let (offsets, bytes, nulls) = strings.take();
                // SAFETY: offsets rise within the bytes by construction, and only valid UTF-8 is pushed into text columns
                // (the decoder validates a row's bytes first, and unescaping yields whole characters).
                Arc::new(unsafe { StringArray::new_unchecked(offsets, bytes, nulls) })
            }
            Kind::Binary(strings) => {
                let (offsets, bytes, nulls) = strings.take();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Kind::List(lists) => lists.finish(),
            Kind::Struct(structs) => structs.finish(),
        }
    }
}

impl<T: Copy + Default> Values<T> {
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        self.values.push(value);
    }

    fn push_empty(&mut self, null: bool) {
        if null {
            self.nulls.push(self.values.len());
        }
        self.values.push(T::default());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn take(&mut self) -> (Vec<T>, Option<NullBuffer>) {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        let nulls = self.nulls.take(values.len());
        (values, nulls)
    }
}

impl<T: Copy + Default + arrow::datatypes::ArrowNativeType> Values<T> {
    fn array<P: ArrowPrimitiveType<Native = T>>(&mut self) -> ArrayRef {
        let (values, nulls) = self.take();
        Arc::new(PrimitiveArray::<P>::new(values.into(), nulls))
    }
}

impl Default for Strings {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new(), nulls: Nulls::default() }
    }
}

impl Strings {
    /// Ends the value that was appended to `bytes`.
    #[inline(always)]
    pub fn end_value(&mut self) {
        // A block is at most `i32::MAX` bytes and values are not longer than what they were read from.
        self.offsets.push(self.bytes.len() as i32);
    }

    #[inline(always)]
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.end_value();
    }

    fn push_empty(&mut self, null: bool) {
        if null {
            self.nulls.push(self.offsets.len() - 1);
        }
        self.end_value();
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.offsets[self.offsets.len() - 1] as usize);
        self.nulls.truncate(rows);
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let offsets = take_offsets(&mut self.offsets);
        let next = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 16);
        let bytes = Buffer::from_vec(std::mem::replace(&mut self.bytes, next));
        let nulls = self.nulls.take(offsets.len() - 1);
        (offsets, bytes, nulls)
    }
}

impl Lists {
    /// Ends the list whose items were pushed into `item`; `items` is the new length of `item`.
    pub fn end_value(&mut self, items: usize) {
        self.offsets.push(items as i32);
    }

    /// Items of all whole lists so far.
    pub fn items(&self) -> usize {
        self.offsets[self.offsets.len() - 1] as usize
    }

    fn push_empty(&mut self, null: bool) {
        if null {
            self.nulls.push(self.offsets.len() - 1);
        }
        self.end_value(self.items());
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.item.truncate(self.items());
        self.nulls.truncate(rows);
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = take_offsets(&mut self.offsets);
        let nulls = self.nulls.take(offsets.len() - 1);
        Arc::new(ListArray::new(self.item_field.clone(), offsets, self.item.finish(), nulls))
    }
}

impl Structs {
    /// Ends the value whose fields were pushed into `row`.
    pub fn end_value(&mut self) {
        self.len += 1;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn push_empty(&mut self, null: bool) {
        if null {
            self.nulls.push(self.len);
        }
        self.row.columns.iter_mut().for_each(Column::push_null);
        self.end_value();
    }

    fn truncate(&mut self, rows: usize) {
        self.len = self.len.min(rows);
        self.row.truncate(rows);
        self.nulls.truncate(rows);
    }

    fn finish(&mut self) -> ArrayRef {
        let len = std::mem::take(&mut self.len);
        let nulls = self.nulls.take(len);
        let arrays = self.row.finish();
        if arrays.is_empty() {
            return Arc::new(StructArray::new_empty_fields(len, nulls));
        }
        Arc::new(StructArray::new(self.fields.clone(), arrays, nulls))
    }
}

impl Row {
    /// Columns for `fields`; `known` are all declared names, whether they have a column or not.
    pub fn new<'a>(
        fields: &'a Fields,
        known: impl Iterator<Item = &'a str>,
        format: &'static str,
        nested: bool,
    ) -> Result<Self, FormatError> {
        let columns = fields.iter().map(|field| Column::new(field, format, nested)).collect::<Result<Vec<_>, _>>()?;
        let keys = Keys::new(fields.iter().map(|field| field.name().as_str()), known);
        Ok(Self { columns, keys })
    }

    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

impl Nulls {
    #[cold]
    fn push(&mut self, row: usize) {
        self.0.push(row as u32);
    }

    fn truncate(&mut self, rows: usize) {
        while self.0.last().is_some_and(|&row| row as usize >= rows) {
            self.0.pop();
        }
    }

    /// The bitmap over `len` rows, if any is null.
    fn take(&mut self, len: usize) -> Option<NullBuffer> {
        if self.0.is_empty() {
            return None;
        }
        let mut bits = MutableBuffer::new(len.div_ceil(8)).with_bitset(len.div_ceil(8), true);
        for &row in &self.0 {
            arrow::util::bit_util::unset_bit(bits.as_slice_mut(), row as usize);
        }
        let count = self.0.len();
        self.0.clear();
        let bits = BooleanBuffer::new(bits.into(), 0, len);
        debug_assert_eq!(len - bits.count_set_bits(), count, "each null row is listed once");
        Some(NullBuffer::new(bits))
    }
}

/// Bytes from text: base64, as written by the encoders, or `\x` and hexadecimal digits, as Postgres writes them.
pub(crate) fn push_binary(strings: &mut Strings, text: &[u8]) -> Result<(), &'static str> {
    use base64::Engine;
    let before = strings.bytes.len();
    let done = match text {
        [b'\\', b'x', digits @ ..] => push_hex(&mut strings.bytes, digits),
        _ => base64::engine::general_purpose::STANDARD.decode_vec(text, &mut strings.bytes).is_ok(),
    };
    if !done {
        strings.bytes.truncate(before);
        return Err("is neither base64 nor \\x with hexadecimal digits");
    }
    strings.end_value();
    Ok(())
}

fn push_hex(bytes: &mut Vec<u8>, digits: &[u8]) -> bool {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        && pairs.iter().all(|&[high, low]| {
            let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
            bytes.push(high << 4 | low);
            true
        })
}

fn take_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut next = Vec::with_capacity(offsets.len());
    next.push(0);
    let offsets = std::mem::replace(offsets, next);
    // SAFETY: offsets begin with 0 and only ever grow by the bytes or items that were pushed.
    unsafe { OffsetBuffer::new_unchecked(offsets.into()) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn truncate_takes_back_values_nulls_and_nested_items() {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let mut column = Column::new(&Field::new("tags", DataType::List(item), true), "json", true).unwrap();
        let Kind::List(lists) = &mut column.kind else { panic!("a list column") };
        let Kind::Text(items) = &mut lists.item.kind else { panic!("a list of text") };
        items.push(b"a");
        items.push(b"b");
        lists.end_value(2);
        column.push_null();
        let Kind::List(lists) = &mut column.kind else { panic!("a list column") };
        lists.item.push_null();
        column.truncate(1);
        let array = column.finish();
        assert_eq!((array.len(), array.null_count()), (1, 0));
        assert_eq!(array.as_list::<i32>().value(0).as_string::<i32>().value(1), "b");
        assert_eq!(column.finish().len(), 0);
    }
}
