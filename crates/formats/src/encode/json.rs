//! Rows as JSON objects, one a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cell::{
    CellValues, Cells, displayed, write_clock, write_date, write_decimal, write_integer, write_timestamp,
};
use crate::FormatError;
use crate::find::{JsonSpecial, find};

/// `"name":` with the separator in front of it, unless it is the first.
pub(super) fn key(name: &str, first: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 4);
    if !first {
        key.push(b',');
    }
    write_string(&mut key, name.as_bytes());
    key.push(b':');
    key
}

pub(super) fn write_row(out: &mut Vec<u8>, keys: &[Vec<u8>], cells: &[Cells], row: usize) -> Result<(), FormatError> {
    write_object(out, keys, cells, row)?;
    out.push(b'\n');
    Ok(())
}

fn write_object(out: &mut Vec<u8>, keys: &[Vec<u8>], cells: &[Cells], row: usize) -> Result<(), FormatError> {
    out.push(b'{');
    for (key, cells) in keys.iter().zip(cells) {
        out.extend_from_slice(key);
        write_value(out, cells, row)?;
    }
    out.push(b'}');
    Ok(())
}

pub(super) fn write_value(out: &mut Vec<u8>, cells: &Cells, row: usize) -> Result<(), FormatError> {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match &cells.values {
        CellValues::Null => out.extend_from_slice(b"null"),
        CellValues::Boolean(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
        CellValues::Signed(values) => write_integer(out, values[row]),
        CellValues::Unsigned(values) => write_integer(out, values[row]),
        CellValues::Float64(values) => write_float(out, values[row].is_finite().then(|| values[row])),
        CellValues::Float32(values) => write_float(out, values[row].is_finite().then(|| values[row])),
        CellValues::Decimal(values, scale) => write_decimal(out, values[row], *scale),
        CellValues::Text(values) => write_string(out, values.value(row).as_bytes()),
        CellValues::Binary(values) => {
            quoted(out, |out| out.extend_from_slice(STANDARD.encode(values.value(row)).as_bytes()))
        }
        CellValues::Date(values) => quoted(out, |out| write_date(out, values[row] as i64)),
        CellValues::Time(values) => quoted(out, |out| {
            write_clock(out, (values[row] / 1_000_000) as u32, (values[row] % 1_000_000 * 1000) as u32);
        }),
        CellValues::Timestamp { values, unit, zone } => {
            quoted(out, |out| write_timestamp(out, values[row], *unit, zone))
        }
        CellValues::List(list, items) => {
            let offsets = list.value_offsets();
            write_list(out, items, offsets[row] as usize, offsets[row + 1] as usize)?;
        }
        CellValues::Struct(keys, columns) => write_object(out, keys, columns, row)?,
        CellValues::Map(map, keys, values) => {
            let offsets = map.value_offsets();
            write_map(out, keys, values, offsets[row] as usize, offsets[row + 1] as usize)?;
        }
        CellValues::Displayed(array) => write_string(out, displayed(array, row)?.as_bytes()),
    }
    Ok(())
}

fn write_list(out: &mut Vec<u8>, items: &Cells, from: usize, to: usize) -> Result<(), FormatError> {
    out.push(b'[');
    for item in from..to {
        if item > from {
            out.push(b',');
        }
        write_value(out, items, item)?;
    }
    out.push(b']');
    Ok(())
}

fn write_map(out: &mut Vec<u8>, keys: &Cells, values: &Cells, from: usize, to: usize) -> Result<(), FormatError> {
    out.push(b'{');
    for entry in from..to {
        if entry > from {
            out.push(b',');
        }
        let mut key = Vec::new();
        write_value(&mut key, keys, entry)?;
        // Keys of JSON objects are strings, whatever the map's keys are.
        if key.first() == Some(&b'"') {
            out.extend_from_slice(&key)
        } else {
            write_string(out, &key)
        }
        out.push(b':');
        write_value(out, values, entry)?;
    }
    out.push(b'}');
    Ok(())
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// JSON has no NaN and no infinities: they become null.
fn write_float<F: ryu::Float>(out: &mut Vec<u8>, value: Option<F>) {
    match value {
        Some(value) => out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a string in quotes with the escapes JSON demands.
fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut plain = 0;
    while let Some(at) = find(text, plain, JsonSpecial) {
        out.extend_from_slice(&text[plain..at]);
        plain = at + 1;
        match text[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[byte as usize >> 4], HEX[byte as usize & 15]]);
            }
        }
    }
    out.extend_from_slice(&text[plain..]);
    out.push(b'"');
}
