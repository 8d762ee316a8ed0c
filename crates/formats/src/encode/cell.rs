//! Typed access to the values of a column, looked up once per batch instead of once per value.

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Offset, TimeZone};

use super::json;
use crate::FormatError;
use crate::time::civil_from_days;

/// A column ready to be written.
#[derive(Debug)]
pub(super) struct Cells {
    nulls: Option<NullBuffer>,
    pub values: CellValues,
}

#[derive(Debug)]
pub(super) enum CellValues {
    Null,
    Boolean(BooleanArray),
    Signed(ScalarBuffer<i64>),
    Unsigned(ScalarBuffer<u64>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    Decimal(ScalarBuffer<i128>, i8),
    Text(StringArray),
    Binary(BinaryArray),
    Date(ScalarBuffer<i32>),
    /// Microseconds of the day.
    Time(ScalarBuffer<i64>),
    Timestamp {
        values: ScalarBuffer<i64>,
        unit: TimeUnit,
        zone: CellZone,
    },
    List(ListArray, Box<Cells>),
    /// Keys as ndjson keys.
    Struct(Vec<Vec<u8>>, Vec<Cells>),
    /// Keys and values.
    Map(MapArray, Box<Cells>, Box<Cells>),
    /// Types that no row format knows, as Arrow displays them.
    Displayed(ArrayRef),
}

#[derive(Debug)]
pub(super) enum CellZone {
    None,
    Utc,
    Other(Tz),
}

impl Cells {
    pub fn new(array: &ArrayRef) -> Result<Self, FormatError> {
        let values = match array.data_type() {
            DataType::Null => CellValues::Null,
            DataType::Boolean => CellValues::Boolean(array.as_boolean().clone()),
            DataType::Int64 => CellValues::Signed(array.as_primitive::<Int64Type>().values().clone()),
            DataType::Int32 => signed(array.as_primitive::<Int32Type>()),
            DataType::Int16 => signed(array.as_primitive::<Int16Type>()),
            DataType::Int8 => signed(array.as_primitive::<Int8Type>()),
            DataType::UInt64 => CellValues::Unsigned(array.as_primitive::<UInt64Type>().values().clone()),
            DataType::UInt32 => signed(array.as_primitive::<UInt32Type>()),
            DataType::UInt16 => signed(array.as_primitive::<UInt16Type>()),
            DataType::UInt8 => signed(array.as_primitive::<UInt8Type>()),
            DataType::Float64 => CellValues::Float64(array.as_primitive::<Float64Type>().values().clone()),
            DataType::Float32 => CellValues::Float32(array.as_primitive::<Float32Type>().values().clone()),
            DataType::Float16 => {
                let values = array.as_primitive::<Float16Type>().values().iter().map(|value| value.to_f32());
                CellValues::Float32(values.collect())
            }
            DataType::Decimal128(_, scale) => {
                let array: &Decimal128Array = array.as_primitive();
                CellValues::Decimal(array.values().clone(), *scale)
            }
            DataType::Utf8 => CellValues::Text(array.as_string().clone()),
            DataType::Binary => CellValues::Binary(array.as_binary().clone()),
            DataType::LargeUtf8 | DataType::Utf8View => return Self::of_cast(array, &DataType::Utf8),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                return Self::of_cast(array, &DataType::Binary);
            }
            DataType::Dictionary(_, value) => return Self::of_cast(array, value),
            DataType::Date32 => CellValues::Date(array.as_primitive::<Date32Type>().values().clone()),
            DataType::Date64 => return Self::of_cast(array, &DataType::Date32),
            DataType::Time64(TimeUnit::Microsecond) => {
                CellValues::Time(array.as_primitive::<Time64MicrosecondType>().values().clone())
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                return Self::of_cast(array, &DataType::Time64(TimeUnit::Microsecond));
            }
            DataType::Timestamp(unit, zone) => {
                CellValues::Timestamp { values: ticks(array, *unit), unit: *unit, zone: CellZone::of(zone.as_deref())? }
            }
            DataType::List(_) => {
                let list: &ListArray = array.as_list();
                CellValues::List(list.clone(), Box::new(Self::new(list.values())?))
            }
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::ListView(item) => {
                return Self::of_cast(array, &DataType::List(item.clone()));
            }
            DataType::Struct(fields) => {
                let keys =
                    fields.iter().enumerate().map(|(index, field)| json::key(field.name(), index == 0)).collect();
                let columns = array.as_struct().columns().iter().map(Self::new).collect::<Result<_, _>>()?;
                CellValues::Struct(keys, columns)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (keys, values) = (Self::new(map.keys())?, Self::new(map.values())?);
                CellValues::Map(map.clone(), Box::new(keys), Box::new(values))
            }
            _ => CellValues::Displayed(array.clone()),
        };
        Ok(Self { nulls: array.nulls().cloned(), values })
    }

    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.values, CellValues::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn of_cast(array: &ArrayRef, to: &DataType) -> Result<Self, FormatError> {
        Self::new(&cast(array, to).map_err(|source| FormatError::Batch { source })?)
    }
}

impl CellZone {
    fn of(zone: Option<&str>) -> Result<Self, FormatError> {
        match crate::time::Zone::of(zone) {
            crate::time::Zone::None => Ok(Self::None),
            crate::time::Zone::Utc => Ok(Self::Utc),
            crate::time::Zone::Other => {
                let zone = zone.unwrap_or_default().parse().map_err(|source| FormatError::Batch { source })?;
                Ok(Self::Other(zone))
            }
        }
    }
}

fn signed<T: arrow::datatypes::ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> CellValues
where
    T::Native: Into<i64>,
{
    CellValues::Signed(array.values().iter().map(|&value| value.into()).collect())
}

fn ticks(array: &ArrayRef, unit: TimeUnit) -> ScalarBuffer<i64> {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values().clone(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values().clone(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values().clone(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values().clone(),
    }
}

/// A value as Arrow displays it.
pub(super) fn displayed(array: &ArrayRef, row: usize) -> Result<String, FormatError> {
    let failed = |source| FormatError::Batch { source };
    let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()).map_err(failed)?;
    formatter.value(row).try_to_string().map_err(failed)
}

/// Appends a decimal in full: `-0.05`, `1200`.
pub(super) fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    if scale <= 0 {
        out.extend_from_slice(digits);
        if value != 0 {
            out.extend(std::iter::repeat_n(b'0', scale.unsigned_abs() as usize));
        }
        return;
    }
    let scale = scale as usize;
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits);
    }
}

/// Appends `2024-01-31`.
pub(super) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        // ISO 8601's expanded form; RFC 3339 has none.
        let sign = if year < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs()).as_bytes());
        return;
    }
    let ([c1, c2], [y1, y2]) = (two(year as u32 / 100), two(year as u32 % 100));
    let ([m1, m2], [d1, d2]) = (two(month), two(day));
    out.extend_from_slice(&[c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2]);
}

/// Appends `12:30:05.123`, with as few digits of the fraction as it needs.
pub(super) fn write_clock(out: &mut Vec<u8>, second_of_day: u32, nanos: u32) {
    let [h1, h2] = two(second_of_day / 3600);
    let [m1, m2] = two(second_of_day / 60 % 60);
    let [s1, s2] = two(second_of_day % 60);
    out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
    if nanos == 0 {
        return;
    }
    let mut digits = [b'.'; 10];
    let mut rest = nanos;
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let len = digits.iter().rposition(|&digit| digit != b'0').expect("the point is no zero") + 1;
    out.extend_from_slice(&digits[..len]);
}

/// Appends a timestamp in RFC 3339: `Z` in UTC, the offset in other zones, nothing without a zone.
pub(super) fn write_timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit, zone: &CellZone) {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let (seconds, ticks) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let nanos = (ticks * (1_000_000_000 / per_second)) as u32;
    let offset = match zone {
        CellZone::Other(zone) => DateTime::from_timestamp(seconds, 0)
            // Offsets of times before standard time have seconds, which RFC 3339 cannot say: whole minutes name the instant too.
            .map_or(0, |instant| zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc() / 60 * 60),
        _ => 0,
    };
    let local = seconds.saturating_add(offset as i64);
    write_date(out, local.div_euclid(86_400));
    out.push(b'T');
    write_clock(out, local.rem_euclid(86_400) as u32, nanos);
    match zone {
        CellZone::None => {}
        CellZone::Utc => out.push(b'Z'),
        CellZone::Other(_) => {
            out.push(if offset < 0 { b'-' } else { b'+' });
            out.extend_from_slice(&two(offset.unsigned_abs() / 3600));
            out.push(b':');
            out.extend_from_slice(&two(offset.unsigned_abs() / 60 % 60));
        }
    }
}

/// Appends a signed integer.
pub(super) fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn two(value: u32) -> [u8; 2] {
    [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]
}
