//! Guesses columns from the first rows.

use arrow::datatypes::{Field as ArrowField, Schema};

use super::scan::{Field, RowScan};
use super::{CsvDialect, parse_header, undouble};
use crate::infer::Guess;
use crate::{FormatError, first_csv_row};

/// Columns of CSV, guessed from up to `max_rows` rows of `sample` (whole rows; with the header, if the dialect has one). Names come
/// from the header, otherwise they are `column1`, `column2` and so on. Every column is nullable. Digits with leading zeros are
/// TEXT, so that postal codes survive.
pub fn infer_csv(sample: &[u8], dialect: &CsvDialect, max_rows: usize) -> Result<Schema, FormatError> {
    dialect.check()?;
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    if sample.is_empty() {
        return Err(FormatError::InferEmpty);
    }
    let body = if dialect.header { first_csv_row(sample, dialect).unwrap_or(sample.len()) } else { 0 };
    let mut names = if dialect.header { parse_header(&sample[..body], dialect)? } else { Vec::new() };
    let mut guesses = vec![Guess::Nothing; names.len()];
    let (mut scan, mut scratch, mut rows) = (RowScan::new(&sample[body..], dialect), Vec::new(), 0);
    while !scan.is_at_end() && rows < max_rows {
        scan.begin_row();
        if scan.is_blank() {
            scan.skip_line();
            continue;
        }
        rows += 1;
        let mut row = Vec::new();
        while let Some(field) = scan.next_field() {
            let Ok(Field { raw, quoted, doubled }) = field else { continue };
            let text = if doubled { undouble(raw, dialect.quote, &mut scratch) } else { raw };
            let null = !quoted && text == dialect.null.as_bytes();
            row.push(if null { Guess::Nothing } else { guess(text) });
        }
        if guesses.is_empty() {
            guesses.resize(row.len(), Guess::Nothing);
        }
        // A row with another count of fields will be a bad row; it says nothing about types.
        if row.len() == guesses.len() {
            guesses = guesses.into_iter().zip(row).map(|(left, right)| left.merge(right)).collect();
        }
    }
    names.resize(guesses.len(), String::new());
    let columns = names.into_iter().zip(guesses).enumerate().map(|(index, (name, guess))| {
        let name = if name.is_empty() { format!("column{}", index + 1) } else { name };
        ArrowField::new(name, guess.into_type(), true)
    });
    Ok(Schema::new(columns.collect::<Vec<_>>()))
}

fn guess(text: &[u8]) -> Guess {
    let text = text.trim_ascii();
    if text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false") {
        return Guess::Boolean;
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.first().is_some_and(u8::is_ascii_digit) {
        let leading_zero = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
        if !leading_zero && lexical_core::parse::<i64>(text).is_ok() {
            return Guess::Integer;
        }
        if !leading_zero && lexical_core::parse::<f64>(text).is_ok() {
            return Guess::Double;
        }
    }
    Guess::of_string(text)
}
