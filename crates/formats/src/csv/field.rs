//! Text fields into typed columns, with the spellings Postgres takes.

use crate::column::{Column, Kind, push_binary};
use crate::json::shown;
use crate::number::Decimal;
use crate::time::{parse_date, parse_time, parse_timestamp};
use crate::type_name;

/// Longest piece of a field shown in a message, in bytes.
const SHOWN_BYTES: usize = 64;

/// Pushes a field; `None` is null. Text is taken as it is, other types without the space around them.
pub(super) fn push_field(column: &mut Column, text: Option<&[u8]>) -> Result<(), String> {
    let Some(text) = text else {
        if !column.nullable {
            return Err("is null, but declared NOT NULL".into());
        }
        column.push_null();
        return Ok(());
    };
    if let Kind::Text(strings) = &mut column.kind {
        strings.push(text);
        return Ok(());
    }
    let text = text.trim_ascii();
    let refused = match &mut column.kind {
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
            Ok(value) if value.is_infinite() && text.iter().any(u8::is_ascii_digit) => Some("is out of range"),
            Ok(value) => keep(values.push(value)),
            Err(_) => Some(""),
        },
        Kind::Float32(values) => match lexical_core::parse::<f32>(text) {
            Ok(value) if value.is_infinite() && text.iter().any(u8::is_ascii_digit) => Some("is out of range"),
            Ok(value) => keep(values.push(value)),
            Err(_) => Some(""),
        },
        Kind::Decimal(values, precision, scale) => match Decimal::parse(text) {
            None => Some(""),
            Some(value) => match value.to_decimal(*precision, *scale) {
                Some(value) => keep(values.push(value)),
                None => Some("is out of range"),
            },
        },
        Kind::Boolean(values) => match parse_boolean(text) {
            Some(value) => keep(values.push(value)),
            None => Some(""),
        },
        Kind::Date(values) => match parse_date(text) {
            Some(value) => keep(values.push(value)),
            None => Some("is not a date of the form 2024-01-31"),
        },
        Kind::Time(values) => match parse_time(text) {
            Some(value) => keep(values.push(value)),
            None => Some("is not a time of the form 12:30:05.123"),
        },
        Kind::Timestamp(values, unit, zone) => match parse_timestamp(text, *unit, *zone) {
            Ok(value) => keep(values.push(value)),
            Err(why) => Some(why),
        },
        Kind::Binary(strings) => push_binary(strings, text).err(),
        Kind::Text(_) | Kind::List(_) | Kind::Struct(_) => {
            unreachable!("text is pushed above, nested types are refused")
        }
    };
    match refused {
        None => Ok(()),
        Some(why) => Err(message(column, text, why)),
    }
}

fn keep((): ()) -> Option<&'static str> {
    None
}

#[cold]
fn message(column: &Column, text: &[u8], why: &str) -> String {
    let (found, expected) = (shown(text, SHOWN_BYTES), type_name(&column.data_type));
    if why.is_empty() {
        format!("expected {expected}, found {found:?}")
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

/// Pushes an integer of any spelling; why it was refused (empty: it is no integer).
fn push_integer(column: &mut Column, text: &[u8]) -> Option<&'static str> {
    let value = match plain_integer(text) {
        Some(value) => value as i128,
        None => match Decimal::parse(text).and_then(Decimal::to_integer) {
            Some(value) => value,
            None => return Some(""),
        },
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
    if stored.is_some() { None } else { Some("is out of range") }
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
