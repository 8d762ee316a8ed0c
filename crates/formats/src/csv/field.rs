//! Text fields into typed columns, with the spellings Postgres takes.

use crate::column::{Column, Kind, push_binary};
use crate::json::shown;
use crate::number::Decimal;
use crate::time::{parse_date, parse_time, parse_timestamp};
use crate::type_name;

/// Longest piece of a field shown in a message, in bytes.
const SHOWN_BYTES: usize = 64;

const NOT_THE_TYPE: &str = "is not of the type";
const OUT_OF_RANGE: &str = "is out of range";

/// Pushes a field; `None` is null. Text is taken as it is, other types without the space around them.
pub(super) fn push_field(column: &mut Column, text: Option<&[u8]>) -> Result<(), String> {
    let Some(text) = text else {
        if !column.nullable {
            return Err("is null, but may not be".into());
        }
        column.push_null();
        return Ok(());
    };
    if let Kind::Text(strings) = &mut column.kind {
        strings.push(text);
        return Ok(());
    }
    let text = text.trim_ascii();
    let stored = match &mut column.kind {
        Kind::Int64(values) => match plain_integer(text) {
            Some(value) => {
                values.push(value);
                return Ok(());
            }
            None => push_integer(column, text),
        },
        Kind::Int8(_) | Kind::Int16(_) | Kind::Int32(_) => push_integer(column, text),
        Kind::UInt8(_) | Kind::UInt16(_) | Kind::UInt32(_) | Kind::UInt64(_) => push_integer(column, text),
        Kind::Float64(values) => match lexical_core::parse::<f64>(text) {
            Ok(value) if value.is_infinite() && text.iter().any(u8::is_ascii_digit) => Err(OUT_OF_RANGE),
            parsed => parsed.map(|value| values.push(value)).map_err(|_| NOT_THE_TYPE),
        },
        Kind::Float32(values) => match lexical_core::parse::<f32>(text) {
            Ok(value) if value.is_infinite() && text.iter().any(u8::is_ascii_digit) => Err(OUT_OF_RANGE),
            parsed => parsed.map(|value| values.push(value)).map_err(|_| NOT_THE_TYPE),
        },
        Kind::Decimal(values, precision, scale) => match Decimal::parse(text) {
            None => Err(NOT_THE_TYPE),
            Some(value) => value.to_decimal(*precision, *scale).map(|value| values.push(value)).ok_or(OUT_OF_RANGE),
        },
        Kind::Boolean(values) => parse_boolean(text).map(|value| values.push(value)).ok_or(NOT_THE_TYPE),
        Kind::Date(values) => {
            parse_date(text).map(|value| values.push(value)).ok_or("is not a date of the form 2024-01-31")
        }
        Kind::Time(values) => {
            parse_time(text).map(|value| values.push(value)).ok_or("is not a time of the form 12:30:05.123")
        }
        Kind::Timestamp(values, unit, zone) => parse_timestamp(text, *unit, *zone).map(|value| values.push(value)),
        Kind::Binary(strings) => push_binary(strings, text),
        Kind::Text(_) | Kind::List(_) | Kind::Struct(_) => {
            unreachable!("text is pushed above, nested types are refused")
        }
    };
    stored.map_err(|why| message(column, text, why))
}

#[cold]
fn message(column: &Column, text: &[u8], why: &str) -> String {
    let (found, expected) = (shown(text, SHOWN_BYTES), type_name(&column.data_type));
    if why == NOT_THE_TYPE {
        let seems_null = ["na", "n/a", "null", "none", "nan", "\\n", "-"].contains(&found.to_lowercase().as_str());
        let hint = if seems_null { "; if that means null, declare it as the null text" } else { "" };
        format!("expected {expected}, found {found:?}{hint}")
    } else {
        format!("{found:?} {why} (column is {expected})")
    }
}

/// An integer of at most 18 digits.
fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + digit as i64;
    }
    Some(if negative { -value } else { value })
}

/// Pushes an integer of any spelling.
fn push_integer(column: &mut Column, text: &[u8]) -> Result<(), &'static str> {
    let value = match plain_integer(text) {
        Some(value) => value as i128,
        None => Decimal::parse(text).and_then(Decimal::to_integer).ok_or(NOT_THE_TYPE)?,
    };
    let stored = match &mut column.kind {
        Kind::Int8(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::Int16(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::Int32(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::Int64(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::UInt8(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::UInt16(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::UInt32(values) => value.try_into().ok().map(|value| values.push(value)),
        Kind::UInt64(values) => value.try_into().ok().map(|value| values.push(value)),
        _ => unreachable!("only called for integers"),
    };
    stored.ok_or(OUT_OF_RANGE)
}

fn parse_boolean(text: &[u8]) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["true", "t", "yes", "y", "on", "1"]) {
        Some(true)
    } else if is(&["false", "f", "no", "n", "off", "0"]) {
        Some(false)
    } else {
        None
    }
}
