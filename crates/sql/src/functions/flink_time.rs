//! `date_format` and `to_timestamp_ltz`, as Flink defines them.
//!
//! `date_format(t, 'yyyy-MM-dd HH:mm:ss')` takes Java's pattern letters. The pattern is compiled once per call over a
//! batch; the calendar is computed with integers only, in UTC.

use std::fmt::Write;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::strings::over_arrays;

const DAY_US: i64 = 86_400_000_000;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Year,
    YearOfCentury,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// That many digits of the second's fraction.
    Fraction(usize),
    Text(String),
}

/// Compiles Java's pattern letters; the error says which are known.
fn compile(pattern: &str) -> std::result::Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let letters: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        let run = letters[at..].iter().take_while(|next| **next == letter).count();
        if letter == '\'' {
            let end = letters[at + 1..].iter().position(|next| *next == '\'');
            let end = end.ok_or_else(|| format!("'{pattern}' has a quote that is not closed"))?;
            let quoted: String = letters[at + 1..at + 1 + end].iter().collect();
            pieces.push(Piece::Text(if quoted.is_empty() { "'".to_string() } else { quoted }));
            at += end + 2;
            continue;
        }
        pieces.push(match (letter, run) {
            ('y' | 'u', 4) => Piece::Year,
            ('y' | 'u', 2) => Piece::YearOfCentury,
            ('M', 2) => Piece::Month,
            ('d', 2) => Piece::Day,
            ('H', 2) => Piece::Hour,
            ('m', 2) => Piece::Minute,
            ('s', 2) => Piece::Second,
            ('S', 1..=6) => Piece::Fraction(run),
            (letter, _) if letter.is_ascii_alphabetic() => {
                let part: String = letters[at..at + run].iter().collect();
                return Err(format!(
                    "date_format() does not know '{part}'; it knows yyyy yy MM dd HH mm ss SSS and 'text'"
                ));
            }
            (letter, run) => Piece::Text(std::iter::repeat_n(letter, run).collect()),
        });
        at += run;
    }
    Ok(pieces)
}

/// Year, month and day of a day counted from 1970-01-01 (Gregorian, also before 1582).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn format_into(out: &mut String, pieces: &[Piece], micros: i64) {
    let (year, month, day) = civil(micros.div_euclid(DAY_US));
    let of_day = micros.rem_euclid(DAY_US);
    for piece in pieces {
        // Writing into a String cannot fail.
        let _ = match piece {
            Piece::Year => write!(out, "{year:04}"),
            Piece::YearOfCentury => write!(out, "{:02}", year.rem_euclid(100)),
            Piece::Month => write!(out, "{month:02}"),
            Piece::Day => write!(out, "{day:02}"),
            Piece::Hour => write!(out, "{:02}", of_day / 3_600_000_000),
            Piece::Minute => write!(out, "{:02}", of_day / 60_000_000 % 60),
            Piece::Second => write!(out, "{:02}", of_day / 1_000_000 % 60),
            Piece::Fraction(digits) => {
                let fraction = of_day % 1_000_000 / 10_i64.pow(6 - *digits as u32);
                write!(out, "{fraction:0digits$}")
            }
            Piece::Text(text) => out.write_str(text),
        };
    }
}

/// `date_format(time, pattern)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateFormat(Signature);

impl Default for DateFormat {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for DateFormat {
    fn name(&self) -> &str {
        "date_format"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, pattern] = types else { return plan_err!("date_format() takes 2 arguments, not {}", types.len()) };
        let time = match time {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            DataType::Null | DataType::Date32 => DataType::Timestamp(TimeUnit::Microsecond, None),
            text if text.is_string() => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => {
                return plan_err!("date_format() takes a TIMESTAMP or DATE, not {}", crate::types::sql_name(other));
            }
        };
        if !pattern.is_string() && !pattern.is_null() {
            return plan_err!("the pattern of date_format() is TEXT, not {}", crate::types::sql_name(pattern));
        }
        Ok(vec![time, DataType::Utf8])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(args, |arrays| {
            let [times, patterns] = arrays else { return exec_err!("date_format() takes 2 arguments") };
            let (times, patterns) = (times.as_primitive::<TimestampMicrosecondType>(), patterns.as_string::<i32>());
            let mut compiled: Option<(&str, Vec<Piece>)> = None;
            let mut texts = StringBuilder::with_capacity(times.len(), times.len() * 10);
            let mut text = String::new();
            for (time, pattern) in times.iter().zip(patterns) {
                let (Some(time), Some(pattern)) = (time, pattern) else {
                    texts.append_null();
                    continue;
                };
                if compiled.as_ref().is_none_or(|(known, _)| *known != pattern) {
                    match compile(pattern) {
                        Ok(pieces) => compiled = Some((pattern, pieces)),
                        Err(message) => return exec_err!("{message}"),
                    }
                }
                if let Some((_, pieces)) = &compiled {
                    text.clear();
                    format_into(&mut text, pieces, time);
                    texts.append_value(&text);
                }
            }
            Ok(Arc::new(texts.finish()))
        })
    }
}

/// `to_timestamp_ltz(number, precision)`: seconds (0), milliseconds (3, the default) or microseconds (6) since 1970 as a
/// time with zone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ToTimestampLtz(Signature);

impl Default for ToTimestampLtz {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for ToTimestampLtz {
    fn name(&self) -> &str {
        "to_timestamp_ltz"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let numbers = types.iter().all(|found| found.is_integer() || found.is_null());
        if !numbers || !(1..=2).contains(&types.len()) {
            return plan_err!("to_timestamp_ltz() takes a BIGINT and a precision of 0, 3 or 6");
        }
        Ok(vec![DataType::Int64; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(args, |arrays| {
            let numbers = arrays[0].as_primitive::<Int64Type>();
            let precisions = arrays.get(1).map(|precisions| precisions.as_primitive::<Int64Type>());
            let times: Result<Int64Array> = (0..numbers.len()).map(|row| in_micros(numbers, precisions, row)).collect();
            let times = TimestampMicrosecondArray::new(times?.values().clone(), null_rows(arrays));
            Ok(Arc::new(times.with_timezone("UTC")))
        })
    }
}

/// 0 where an argument is null.
fn in_micros(numbers: &Int64Array, precisions: Option<&Int64Array>, row: usize) -> Result<Option<i64>> {
    if numbers.is_null(row) || precisions.is_some_and(|precisions| precisions.is_null(row)) {
        return Ok(Some(0));
    }
    let number = numbers.value(row);
    let factor = match precisions.map_or(3, |precisions| precisions.value(row)) {
        0 => 1_000_000,
        3 => 1000,
        6 => 1,
        other => return exec_err!("the precision of to_timestamp_ltz() is 0, 3 or 6, not {other}"),
    };
    match number.checked_mul(factor) {
        Some(micros) => Ok(Some(micros)),
        None => exec_err!("{number} is too large for a time"),
    }
}

fn null_rows(arrays: &[ArrayRef]) -> Option<arrow::buffer::NullBuffer> {
    let nulls = arrays.iter().map(|array| array.nulls().cloned());
    nulls.fold(None, |all, one| arrow::buffer::NullBuffer::union(all.as_ref(), one.as_ref()))
}
