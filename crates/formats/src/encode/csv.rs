//! Rows as CSV: quoted only where needed, null as the dialect's null text, nested values as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cell::{
    CellValues, Cells, displayed, write_clock, write_date, write_decimal, write_integer, write_timestamp,
};
use super::json;
use crate::find::{AnyOf, find};
use crate::{CsvDialect, FormatError};

pub(super) fn write_row(
    out: &mut Vec<u8>,
    cells: &[Cells],
    row: usize,
    dialect: &CsvDialect,
) -> Result<(), FormatError> {
    for (index, cells) in cells.iter().enumerate() {
        if index > 0 {
            out.push(dialect.delimiter);
        }
        if cells.is_null(row) {
            out.extend_from_slice(dialect.null.as_bytes());
        } else {
            write_value(out, cells, row, dialect)?;
        }
    }
    out.push(b'\n');
    Ok(())
}

fn write_value(out: &mut Vec<u8>, cells: &Cells, row: usize, dialect: &CsvDialect) -> Result<(), FormatError> {
    let from = out.len();
    match &cells.values {
        CellValues::Null => {}
        CellValues::Text(values) => {
            write_text(out, values.value(row).as_bytes(), dialect);
            return Ok(());
        }
        CellValues::Boolean(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
        CellValues::Signed(values) => write_integer(out, values[row]),
        CellValues::Unsigned(values) => write_integer(out, values[row]),
        CellValues::Float64(values) => write_float(out, values[row], values[row].is_nan(), values[row] < 0.0),
        CellValues::Float32(values) => write_float(out, values[row], values[row].is_nan(), values[row] < 0.0),
        CellValues::Decimal(values, scale) => write_decimal(out, values[row], *scale),
        CellValues::Binary(values) => out.extend_from_slice(STANDARD.encode(values.value(row)).as_bytes()),
        CellValues::Date(values) => write_date(out, values[row] as i64),
        CellValues::Time(values) => {
            write_clock(out, (values[row] / 1_000_000) as u32, (values[row] % 1_000_000 * 1000) as u32);
        }
        CellValues::Timestamp { values, unit, zone } => write_timestamp(out, values[row], *unit, zone),
        CellValues::List(..) | CellValues::Struct(..) | CellValues::Map(..) => json::write_value(out, cells, row)?,
        CellValues::Displayed(array) => out.extend_from_slice(displayed(array, row)?.as_bytes()),
    }
    if needs_quotes(&out[from..], dialect) {
        let plain = out.split_off(from);
        write_quoted(out, &plain, dialect);
    }
    Ok(())
}

/// Appends text, in quotes if it would be read back as something else without them.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8], dialect: &CsvDialect) {
    if needs_quotes(text, dialect) { write_quoted(out, text, dialect) } else { out.extend_from_slice(text) }
}

fn needs_quotes(text: &[u8], dialect: &CsvDialect) -> bool {
    text.is_empty()
        || text == dialect.null.as_bytes()
        || text.starts_with(b"\xef\xbb\xbf")
        || find(text, 0, AnyOf([dialect.delimiter, dialect.quote, b'\n', b'\r'])).is_some()
}

fn write_quoted(out: &mut Vec<u8>, text: &[u8], dialect: &CsvDialect) {
    out.push(dialect.quote);
    for &byte in text {
        if byte == dialect.quote {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(dialect.quote);
}

/// Appends a number, or the words Postgres has for what is none.
fn write_float<F: ryu::Float>(out: &mut Vec<u8>, value: F, nan: bool, negative: bool) {
    let text = ryu::Buffer::new().format(value).to_owned();
    out.extend_from_slice(match text.as_str() {
        _ if nan => b"NaN",
        "inf" | "-inf" if negative => b"-Infinity",
        "inf" | "-inf" => b"Infinity",
        number => number.as_bytes(),
    });
}
