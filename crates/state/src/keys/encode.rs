//! Encodes the value of one row of one column; the bytes are documented in the parent module.

use arrow::array::{
    Array, ArrayAccessor, ArrowPrimitiveType, AsArray, BooleanArray, MapArray, OffsetSizeTrait, RunArray, types::*,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit, i256};

use crate::StateError;

pub(super) const TAG_NULL: u8 = 0x00;
const TAG_FALSE: u8 = 0x01;
const TAG_TRUE: u8 = 0x02;
pub(super) const TAG_INTEGER: u8 = 0x03;
const TAG_LARGE_INTEGER: u8 = 0x04;
const TAG_FLOAT: u8 = 0x05;
const TAG_DECIMAL: u8 = 0x06;
const TAG_LARGE_DECIMAL: u8 = 0x07;
pub(super) const TAG_TEXT: u8 = 0x08;
const TAG_BYTES: u8 = 0x09;
const TAG_DATE: u8 = 0x0a;
const TAG_TIMESTAMP: u8 = 0x0b;
const TAG_TIME: u8 = 0x0c;
const TAG_DURATION: u8 = 0x0d;
const TAG_INTERVAL: u8 = 0x0e;
const TAG_LIST: u8 = 0x0f;
const TAG_STRUCT: u8 = 0x10;
const TAG_MAP: u8 = 0x11;

const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

type Result<T> = std::result::Result<T, StateError>;

/// A column, ready to encode its rows.
pub(super) struct Encoder<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

/// Where the values are; one variant per way to read them.
enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Integer(Box<dyn Fn(usize) -> i64 + 'a>),
    UInt64(&'a [u64]),
    Float(Box<dyn Fn(usize) -> f64 + 'a>),
    Decimal(Box<dyn Fn(usize) -> i256 + 'a>, i8),
    Text(Box<dyn Fn(usize) -> &'a [u8] + 'a>),
    Bytes(Box<dyn Fn(usize) -> &'a [u8] + 'a>),
    Date(Box<dyn Fn(usize) -> i64 + 'a>),
    Instant {
        tag: u8,
        values: &'a [i64],
        per_second: i64,
    },
    Time(Box<dyn Fn(usize) -> i64 + 'a>),
    Interval(Box<dyn Fn(usize) -> (i32, i32, i64) + 'a>),
    /// The range of a row's elements among the elements.
    List {
        tag: u8,
        range: Box<dyn Fn(usize) -> (usize, usize) + 'a>,
        elements: Box<Encoder<'a>>,
    },
    Struct(Vec<Encoder<'a>>),
    /// An element of a map: key, then value, without a tag of its own.
    Entry(Vec<Encoder<'a>>),
    /// The row of the value a row stands for.
    Indirect {
        index: Box<dyn Fn(usize) -> usize + 'a>,
        values: Box<Encoder<'a>>,
    },
}

impl Encoder<'_> {
    /// Appends the bytes of `row`'s value.
    pub fn encode(&self, row: usize, key: &mut Vec<u8>) -> Result<()> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            key.push(TAG_NULL);
            return Ok(());
        }
        match &self.values {
            Values::Null => key.push(TAG_NULL),
            Values::Boolean(values) => key.push(if values.value(row) { TAG_TRUE } else { TAG_FALSE }),
            Values::Integer(value) => tagged(key, TAG_INTEGER, &value(row).to_le_bytes()),
            Values::UInt64(values) => match i64::try_from(values[row]) {
                Ok(value) => tagged(key, TAG_INTEGER, &value.to_le_bytes()),
                Err(_) => tagged(key, TAG_LARGE_INTEGER, &values[row].to_le_bytes()),
            },
            Values::Float(value) => tagged(key, TAG_FLOAT, &float_bits(value(row)).to_le_bytes()),
            Values::Decimal(value, scale) => decimal(key, value(row), *scale),
            Values::Text(value) => sized(key, TAG_TEXT, value(row))?,
            Values::Bytes(value) => sized(key, TAG_BYTES, value(row))?,
            Values::Date(value) => tagged(key, TAG_DATE, &value(row).to_le_bytes()),
            Values::Instant { tag, values, per_second } => instant(key, *tag, values[row], *per_second),
            Values::Time(value) => tagged(key, TAG_TIME, &value(row).to_le_bytes()),
            Values::Interval(value) => {
                let (months, days, nanoseconds) = value(row);
                tagged(key, TAG_INTERVAL, &months.to_le_bytes());
                key.extend_from_slice(&days.to_le_bytes());
                key.extend_from_slice(&nanoseconds.to_le_bytes());
            }
            Values::List { tag, range, elements } => {
                let (start, end) = range(row);
                tagged(key, *tag, &length(end - start)?.to_le_bytes());
                for element in start..end {
                    elements.encode(element, key)?;
                }
            }
            Values::Struct(fields) => {
                tagged(key, TAG_STRUCT, &length(fields.len())?.to_le_bytes());
                for field in fields {
                    field.encode(row, key)?;
                }
            }
            Values::Entry(fields) => {
                for field in fields {
                    field.encode(row, key)?;
                }
            }
            Values::Indirect { index, values } => values.encode(index(row), key)?,
        }
        Ok(())
    }
}

fn tagged(key: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    key.push(tag);
    key.extend_from_slice(bytes);
}

fn length(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| StateError::request("a key value of 4 GiB or more; use a shorter key"))
}

fn sized(key: &mut Vec<u8>, tag: u8, bytes: &[u8]) -> Result<()> {
    tagged(key, tag, &length(bytes.len())?.to_le_bytes());
    key.extend_from_slice(bytes);
    Ok(())
}

fn float_bits(value: f64) -> u64 {
    if value.is_nan() {
        return CANONICAL_NAN;
    }
    // -0.0 + 0.0 is 0.0.
    (value + 0.0).to_bits()
}

fn decimal(key: &mut Vec<u8>, mut value: i256, mut scale: i8) {
    let ten = i256::from_i128(10);
    if value == i256::ZERO {
        scale = 0;
    } else if let Some(mut small) = value.to_i128() {
        while small % 10 == 0 && scale > i8::MIN {
            small /= 10;
            scale -= 1;
        }
        value = i256::from_i128(small);
    } else {
        while value % ten == i256::ZERO && scale > i8::MIN {
            value /= ten;
            scale -= 1;
        }
    }
    match value.to_i128() {
        Some(small) => {
            tagged(key, TAG_DECIMAL, &scale.to_le_bytes());
            key.extend_from_slice(&small.to_le_bytes());
        }
        None => {
            tagged(key, TAG_LARGE_DECIMAL, &scale.to_le_bytes());
            key.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn instant(key: &mut Vec<u8>, tag: u8, value: i64, per_second: i64) {
    let nanoseconds = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    tagged(key, tag, &value.div_euclid(per_second).to_le_bytes());
    key.extend_from_slice(&(nanoseconds as u32).to_le_bytes());
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Makes the encoder of a column, down to its innermost values.
pub(super) fn encoder(array: &dyn Array) -> Result<Encoder<'_>> {
    let values = match array.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Boolean(array.as_boolean()),
        data_type if data_type.is_numeric() => numeric(array)?,
        data_type if data_type.is_temporal() => temporal(array)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Values::Text(text(array)?),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Values::Bytes(bytes(array)?)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            Values::Indirect { index: dictionary_index(array)?, values: Box::new(encoder(dictionary.values())?) }
        }
        DataType::RunEndEncoded(..) => run_end_encoded(array)?,
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter().map(|column| encoder(column));
            Values::Struct(fields.collect::<Result<_>>()?)
        }
        DataType::Map(..) => map(array.as_map())?,
        _ => list(array)?,
    };
    // A dictionary's own nulls are its keys'; its values have their own encoder.
    Ok(Encoder { nulls: array.nulls(), values })
}

fn unsupported(array: &dyn Array) -> StateError {
    StateError::UnsupportedKey { data_type: array.data_type().to_string() }
}

/// A reader of a primitive array's values through `convert`.
fn read<'a, T: ArrowPrimitiveType, V>(
    array: &'a dyn Array,
    convert: impl Fn(T::Native) -> V + 'a,
) -> Box<dyn Fn(usize) -> V + 'a> {
    let values: &[T::Native] = array.as_primitive::<T>().values();
    Box::new(move |row| convert(values[row]))
}

fn numeric(array: &dyn Array) -> Result<Values<'_>> {
    Ok(match array.data_type() {
        DataType::Int8 => Values::Integer(read::<Int8Type, _>(array, i64::from)),
        DataType::Int16 => Values::Integer(read::<Int16Type, _>(array, i64::from)),
        DataType::Int32 => Values::Integer(read::<Int32Type, _>(array, i64::from)),
        DataType::Int64 => Values::Integer(read::<Int64Type, _>(array, |value| value)),
        DataType::UInt8 => Values::Integer(read::<UInt8Type, _>(array, i64::from)),
        DataType::UInt16 => Values::Integer(read::<UInt16Type, _>(array, i64::from)),
        DataType::UInt32 => Values::Integer(read::<UInt32Type, _>(array, i64::from)),
        DataType::UInt64 => Values::UInt64(array.as_primitive::<UInt64Type>().values()),
        DataType::Float16 => Values::Float(read::<Float16Type, _>(array, f64::from)),
        DataType::Float32 => Values::Float(read::<Float32Type, _>(array, f64::from)),
        DataType::Float64 => Values::Float(read::<Float64Type, _>(array, |value| value)),
        DataType::Decimal32(_, scale) => {
            Values::Decimal(read::<Decimal32Type, _>(array, |value| i256::from_i128(value.into())), *scale)
        }
        DataType::Decimal64(_, scale) => {
            Values::Decimal(read::<Decimal64Type, _>(array, |value| i256::from_i128(value.into())), *scale)
        }
        DataType::Decimal128(_, scale) => Values::Decimal(read::<Decimal128Type, _>(array, i256::from_i128), *scale),
        DataType::Decimal256(_, scale) => Values::Decimal(read::<Decimal256Type, _>(array, |value| value), *scale),
        _ => return Err(unsupported(array)),
    })
}

fn temporal(array: &dyn Array) -> Result<Values<'_>> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    const DAY_MS: i64 = 86_400_000;
    Ok(match array.data_type() {
        DataType::Date32 => Values::Date(read::<Date32Type, _>(array, |days| i64::from(days) * DAY_MS)),
        DataType::Date64 => Values::Date(read::<Date64Type, _>(array, |milliseconds| milliseconds)),
        DataType::Time32(Second) => Values::Time(read::<Time32SecondType, _>(array, |s| i64::from(s) * 1_000_000_000)),
        DataType::Time32(Millisecond) => {
            Values::Time(read::<Time32MillisecondType, _>(array, |ms| i64::from(ms) * 1_000_000))
        }
        DataType::Time64(Microsecond) => {
            Values::Time(read::<Time64MicrosecondType, _>(array, |us| us.saturating_mul(1_000)))
        }
        DataType::Time64(Nanosecond) => Values::Time(read::<Time64NanosecondType, _>(array, |ns| ns)),
        DataType::Timestamp(unit, _) => {
            let values: &[i64] = match unit {
                Second => array.as_primitive::<TimestampSecondType>().values(),
                Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
                Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
                Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
            };
            Values::Instant { tag: TAG_TIMESTAMP, values, per_second: per_second(*unit) }
        }
        DataType::Duration(unit) => {
            let values: &[i64] = match unit {
                Second => array.as_primitive::<DurationSecondType>().values(),
                Millisecond => array.as_primitive::<DurationMillisecondType>().values(),
                Microsecond => array.as_primitive::<DurationMicrosecondType>().values(),
                Nanosecond => array.as_primitive::<DurationNanosecondType>().values(),
            };
            Values::Instant { tag: TAG_DURATION, values, per_second: per_second(*unit) }
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            Values::Interval(read::<IntervalYearMonthType, _>(array, |months| (months, 0, 0)))
        }
        DataType::Interval(IntervalUnit::DayTime) => Values::Interval(read::<IntervalDayTimeType, _>(array, |value| {
            (0, value.days, i64::from(value.milliseconds) * 1_000_000)
        })),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Values::Interval(read::<IntervalMonthDayNanoType, _>(array, |value| {
                (value.months, value.days, value.nanoseconds)
            }))
        }
        _ => return Err(unsupported(array)),
    })
}

type ReadBytes<'a> = Box<dyn Fn(usize) -> &'a [u8] + 'a>;

fn text(array: &dyn Array) -> Result<ReadBytes<'_>> {
    fn read<'a>(array: impl ArrayAccessor<Item = &'a str> + 'a) -> ReadBytes<'a> {
        Box::new(move |row| array.value(row).as_bytes())
    }
    Ok(match array.data_type() {
        DataType::Utf8 => read(array.as_string::<i32>()),
        DataType::LargeUtf8 => read(array.as_string::<i64>()),
        DataType::Utf8View => read(array.as_string_view()),
        _ => return Err(unsupported(array)),
    })
}

fn bytes(array: &dyn Array) -> Result<ReadBytes<'_>> {
    fn read<'a>(array: impl ArrayAccessor<Item = &'a [u8]> + 'a) -> ReadBytes<'a> {
        Box::new(move |row| array.value(row))
    }
    Ok(match array.data_type() {
        DataType::Binary => read(array.as_binary::<i32>()),
        DataType::LargeBinary => read(array.as_binary::<i64>()),
        DataType::BinaryView => read(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => read(array.as_fixed_size_binary()),
        _ => return Err(unsupported(array)),
    })
}

fn dictionary_index(array: &dyn Array) -> Result<Box<dyn Fn(usize) -> usize + '_>> {
    let keys = array.as_any_dictionary().keys();
    // Only keys that are not null are looked up, and those are not negative.
    Ok(match keys.data_type() {
        DataType::Int8 => read::<Int8Type, _>(keys, |key| key as usize),
        DataType::Int16 => read::<Int16Type, _>(keys, |key| key as usize),
        DataType::Int32 => read::<Int32Type, _>(keys, |key| key as usize),
        DataType::Int64 => read::<Int64Type, _>(keys, |key| key as usize),
        DataType::UInt8 => read::<UInt8Type, _>(keys, usize::from),
        DataType::UInt16 => read::<UInt16Type, _>(keys, usize::from),
        DataType::UInt32 => read::<UInt32Type, _>(keys, |key| key as usize),
        DataType::UInt64 => read::<UInt64Type, _>(keys, |key| key as usize),
        _ => return Err(unsupported(array)),
    })
}

fn run_end_encoded(array: &dyn Array) -> Result<Values<'_>> {
    fn values<R: RunEndIndexType>(array: &RunArray<R>) -> Result<Values<'_>> {
        let index = Box::new(|row| array.get_physical_index(row));
        Ok(Values::Indirect { index, values: Box::new(encoder(array.values())?) })
    }
    match array.data_type() {
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => values(array.as_run::<Int16Type>()),
            DataType::Int32 => values(array.as_run::<Int32Type>()),
            DataType::Int64 => values(array.as_run::<Int64Type>()),
            _ => Err(unsupported(array)),
        },
        _ => Err(unsupported(array)),
    }
}

fn map(array: &MapArray) -> Result<Values<'_>> {
    let offsets = array.value_offsets();
    let range = Box::new(|row| (offsets[row] as usize, offsets[row + 1] as usize));
    let entry = vec![encoder(array.keys())?, encoder(array.values())?];
    let elements = Box::new(Encoder { nulls: None, values: Values::Entry(entry) });
    Ok(Values::List { tag: TAG_MAP, range, elements })
}

fn list(array: &dyn Array) -> Result<Values<'_>> {
    fn offsets<'a, O: OffsetSizeTrait>(array: &'a dyn Array) -> Result<Values<'a>> {
        let list = array.as_list::<O>();
        let offsets = list.value_offsets();
        let range = Box::new(move |row: usize| (offsets[row].as_usize(), offsets[row + 1].as_usize()));
        Ok(Values::List { tag: TAG_LIST, range, elements: Box::new(encoder(list.values())?) })
    }
    fn views<'a, O: OffsetSizeTrait>(array: &'a dyn Array) -> Result<Values<'a>> {
        let list = array.as_list_view::<O>();
        let (offsets, sizes) = (list.value_offsets(), list.value_sizes());
        let range = Box::new(move |row: usize| {
            let start = offsets[row].as_usize();
            (start, start + sizes[row].as_usize())
        });
        Ok(Values::List { tag: TAG_LIST, range, elements: Box::new(encoder(list.values())?) })
    }
    match array.data_type() {
        DataType::List(_) => offsets::<i32>(array),
        DataType::LargeList(_) => offsets::<i64>(array),
        DataType::ListView(_) => views::<i32>(array),
        DataType::LargeListView(_) => views::<i64>(array),
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let size = list.value_length() as usize;
            let range = Box::new(move |row: usize| (row * size, (row + 1) * size));
            Ok(Values::List { tag: TAG_LIST, range, elements: Box::new(encoder(list.values())?) })
        }
        _ => Err(unsupported(array)),
    }
}
