//! JSON values into columns: for each type the usual form at once, everything else on a slow path that also finds the words
//! for what is wrong.

use super::fault::Fault;
use super::keys::{Found, Keys};
use super::skip::{check_depth, ends_value, skip_literal, skip_number, skip_value};
use super::string::unescape_into;
use super::text::Text;
use crate::column::{Column, Kind, Lists, Row, Structs};
use crate::number::{Decimal, exact_float, leading_digits, power_of_ten, value_of_digits};
use crate::time::{parse_date, parse_time, parse_timestamp};
use crate::{ExtraColumns, MissingColumns};

/// The part of the options that reading a value depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub extra_columns: ExtraColumns,
    pub missing_columns: MissingColumns,
    pub any_into_text: bool,
}

/// Reads the object whose `{` is at `at` as row number `rows` and returns the position behind it. On a fault the columns
/// hold a part of it; the caller truncates.
#[inline(always)]
pub(crate) fn read_object(
    row: &mut Row,
    text: Text<'_>,
    mut at: usize,
    rows: usize,
    depth: u32,
    rules: &Rules,
) -> Result<usize, Fault> {
    row.keys.object += 1;
    let object = row.keys.object;
    let (mut slot, mut first, mut filled) = (Keys::start(), true, 0);
    loop {
        let (next, field, value) = match row.keys.guess(text, at, slot) {
            Some(found) => found,
            None => match row.keys.find(text, at, slot, first, rules)? {
                Found::Key(slot, field, value) => (slot, field, value),
                Found::End(end) => {
                    at = end;
                    break;
                }
            },
        };
        (slot, first) = (next, false);
        at = if let Some(column) = row.columns.get_mut(field as usize) {
            let seen = &mut row.keys.seen[field as usize];
            if *seen == object {
                // A key given twice: the last one counts, though each has to fit.
                column.truncate(rows);
            } else {
                *seen = object;
                filled += 1;
            }
            match read_value(column, text, value, depth + 1, rules) {
                Ok(end) => end,
                Err(fault) => return Err(fault.within(&column.name)),
            }
        } else {
            skip_value(text, value, depth + 1)?
        };
        if text.byte(at) == b'}' {
            at += 1;
            break;
        }
    }
    if filled < row.columns.len() {
        fill_missing(row, rules)?;
    }
    Ok(at)
}

#[inline(never)]
fn fill_missing(row: &mut Row, rules: &Rules) -> Result<(), Fault> {
    let object = row.keys.object;
    for (column, seen) in row.columns.iter_mut().zip(&row.keys.seen) {
        if *seen == object {
            continue;
        }
        if rules.missing_columns == MissingColumns::Error {
            return Err(Fault::new("is missing").within(&column.name));
        }
        if !column.nullable {
            return Err(Fault::new("is missing, but may not be null").within(&column.name));
        }
        column.push_null();
    }
    Ok(())
}

/// Reads the value at `at` into a column and returns the position behind it.
#[inline(always)]
fn read_value(column: &mut Column, text: Text<'_>, at: usize, depth: u32, rules: &Rules) -> Result<usize, Fault> {
    match &mut column.kind {
        Kind::Int64(values) => {
            if let Some((value, end)) = plain_integer(text, at) {
                values.push(value);
                return Ok(end);
            }
        }
        Kind::Text(strings) if text.byte(at) == b'"' => {
            let stop = text.string_stop(at + 1);
            if text.byte(stop) == b'"' {
                text.copy_to(at + 1, stop, &mut strings.bytes);
                strings.end_value();
                return Ok(stop + 1);
            }
        }
        Kind::Float64(values) => {
            if let Some((value, end)) = plain_float(text, at) {
                values.push(value);
                return Ok(end);
            }
        }
        Kind::Int32(values) => {
            if let Some((value, end)) = plain_integer(text, at)
                && let Ok(value) = i32::try_from(value)
            {
                values.push(value);
                return Ok(end);
            }
        }
        Kind::Timestamp(values, unit, zone) if text.byte(at) == b'"' => {
            let stop = text.string_stop(at + 1);
            if text.byte(stop) == b'"'
                && let Ok(value) = parse_timestamp(text.slice(at + 1, stop), *unit, *zone)
            {
                values.push(value);
                return Ok(stop + 1);
            }
        }
        Kind::Boolean(values) => {
            if text.starts_with(at, b"true") {
                values.push(true);
                return Ok(at + 4);
            }
            if text.starts_with(at, b"false") {
                values.push(false);
                return Ok(at + 5);
            }
        }
        _ => {}
    }
    read_any(column, text, at, depth, rules)
}

/// The digits at `at`: their value and how many there are, 16 standing for "more than 15".
#[inline(always)]
fn plain_digits(text: Text<'_>, at: usize) -> (u64, u32) {
    let head = text.load8(at);
    let digits = leading_digits(head);
    if digits == 0 {
        return (0, 0);
    }
    if digits < 8 {
        return (value_of_digits(head, digits), digits);
    }
    let tail = text.load8(at + 8);
    let more = leading_digits(tail);
    let low = if more == 0 { 0 } else { value_of_digits(tail, more) };
    (value_of_digits(head, 8) * power_of_ten(more) + low, 8 + more)
}

/// An integer of at most 15 digits that a comma or bracket follows: value and end.
#[inline(always)]
fn plain_integer(text: Text<'_>, at: usize) -> Option<(i64, usize)> {
    let negative = text.byte(at) == b'-';
    let start = at + negative as usize;
    let (value, digits) = plain_digits(text, start);
    let end = start + digits as usize;
    let leading_zero = text.byte(start) == b'0' && digits > 1;
    if digits == 0 || digits > 15 || leading_zero || !ends_value(text.byte(end)) {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, end))
}

/// A number without exponent, of at most 15 digits on each side of the point and 2^53 without it, that a comma or bracket
/// follows: the nearest double, and the end.
#[inline(always)]
fn plain_float(text: Text<'_>, at: usize) -> Option<(f64, usize)> {
    let negative = text.byte(at) == b'-';
    let start = at + negative as usize;
    let (mut mantissa, digits) = plain_digits(text, start);
    let leading_zero = text.byte(start) == b'0' && digits > 1;
    if digits == 0 || digits > 15 || leading_zero {
        return None;
    }
    let (mut scale, mut end) = (0, start + digits as usize);
    if text.byte(end) == b'.' {
        let (fraction, count) = plain_digits(text, end + 1);
        if count == 0 || digits + count > 18 {
            return None;
        }
        mantissa = mantissa * power_of_ten(count) + fraction;
        scale = count;
        end += 1 + count as usize;
    }
    if !ends_value(text.byte(end)) {
        return None;
    }
    let value = exact_float(mantissa, scale)?;
    Some((if negative { -value } else { value }, end))
}

/// Reads any value of any type; slower, complete, and with a reason when it refuses.
#[inline(never)]
fn read_any(column: &mut Column, text: Text<'_>, at: usize, depth: u32, rules: &Rules) -> Result<usize, Fault> {
    match text.byte(at) {
        b' ' | b'\t' | b'\r' => return read_value(column, text, text.skip_space(at), depth, rules),
        b'n' => {
            let end = skip_literal(text, at, b"null")?;
            if !column.nullable {
                return Err(Fault::new("is null, but may not be"));
            }
            column.push_null();
            return Ok(end);
        }
        _ => {}
    }
    match &mut column.kind {
        Kind::Struct(structs) if text.byte(at) == b'{' => read_struct(structs, text, at, depth, rules),
        Kind::List(lists) if text.byte(at) == b'[' => read_list(lists, text, at, depth, rules),
        Kind::Text(strings) => match text.byte(at) {
            b'"' => {
                let end = unescape_into(text, at + 1, &mut strings.bytes)?;
                strings.end_value();
                Ok(end + 1)
            }
            b'{' | b'[' => {
                let end = skip_value(text, at, depth)?;
                strings.push(text.slice(at, end));
                Ok(end)
            }
            b'-' | b'0'..=b'9' | b't' | b'f' if rules.any_into_text => {
                let end = skip_value(text, at, depth)?;
                strings.push(text.slice(at, end));
                Ok(end)
            }
            _ => Err(refuse(column, text, at, depth)),
        },
        Kind::Struct(_) | Kind::List(_) => Err(refuse(column, text, at, depth)),
        _ => match text.byte(at) {
            b'-' | b'0'..=b'9' => read_number(column, text, at),
            b'"' => read_string(column, text, at),
            _ => Err(refuse(column, text, at, depth)),
        },
    }
}

/// The fault for a value of the wrong type, or for broken syntax if it is that.
#[cold]
fn refuse(column: &Column, text: Text<'_>, at: usize, depth: u32) -> Fault {
    match skip_value(text, at, depth) {
        Ok(_) => Fault::unexpected(column, text, at),
        Err(fault) => fault,
    }
}

fn read_struct(structs: &mut Structs, text: Text<'_>, at: usize, depth: u32, rules: &Rules) -> Result<usize, Fault> {
    check_depth(depth)?;
    let rows = structs.len();
    let end = read_nested_object(&mut structs.row, text, at, rows, depth, rules)?;
    structs.end_value();
    Ok(end)
}

/// [`read_object`] once more, not inlined, so that structs in structs do not grow the code without end.
#[inline(never)]
fn read_nested_object(
    row: &mut Row,
    text: Text<'_>,
    at: usize,
    rows: usize,
    depth: u32,
    rules: &Rules,
) -> Result<usize, Fault> {
    read_object(row, text, at, rows, depth, rules)
}

fn read_list(lists: &mut Lists, text: Text<'_>, at: usize, depth: u32, rules: &Rules) -> Result<usize, Fault> {
    check_depth(depth)?;
    let mut items = lists.items();
    let mut at = text.skip_space(at + 1);
    if text.byte(at) == b']' {
        lists.end_value(items);
        return Ok(at + 1);
    }
    loop {
        at = text.skip_space(read_value(&mut lists.item, text, at, depth + 1, rules)?);
        items += 1;
        match text.byte(at) {
            b',' => at = text.skip_space(at + 1),
            b']' => {
                lists.end_value(items);
                return Ok(at + 1);
            }
            _ => return Err(Fault::syntax(text, at, "`,` or `]`")),
        }
    }
}

/// Reads a number of any length into a column of a number type.
fn read_number(column: &mut Column, text: Text<'_>, at: usize) -> Result<usize, Fault> {
    let (end, _) = skip_number(text, at)?;
    let token = text.slice(at, end);
    let stored = match &mut column.kind {
        Kind::Float64(values) => {
            lexical_core::parse(token).ok().filter(|value: &f64| value.is_finite()).map(|v| values.push(v))
        }
        Kind::Float32(values) => {
            lexical_core::parse(token).ok().filter(|value: &f32| value.is_finite()).map(|v| values.push(v))
        }
        Kind::Decimal(values, precision, scale) => {
            Decimal::parse(token).and_then(|value| value.to_decimal(*precision, *scale)).map(|value| values.push(value))
        }
        Kind::Date(_) | Kind::Time(_) | Kind::Timestamp(..) | Kind::Boolean(_) | Kind::Binary(_) => {
            return Err(Fault::unexpected(column, text, at));
        }
        kind => {
            let Some(value) = Decimal::parse(token).and_then(Decimal::to_integer) else {
                return Err(Fault::unexpected(column, text, at));
            };
            match kind {
                Kind::Int8(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::Int16(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::Int32(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::Int64(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::UInt8(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::UInt16(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::UInt32(values) => value.try_into().ok().map(|value| values.push(value)),
                Kind::UInt64(values) => value.try_into().ok().map(|value| values.push(value)),
                _ => unreachable!("all other kinds are handled by the caller"),
            }
        }
    };
    match stored {
        Some(()) => Ok(end),
        None => Err(Fault::refused(column, text, at, "is out of range")),
    }
}

/// Reads a string into a column of dates, times or bytes.
fn read_string(column: &mut Column, text: Text<'_>, at: usize) -> Result<usize, Fault> {
    let mut content = Vec::new();
    let end = unescape_into(text, at + 1, &mut content)? + 1;
    let stored = match &mut column.kind {
        Kind::Date(values) => {
            parse_date(&content).map(|value| values.push(value)).ok_or("is not a date of the form 2024-01-31")
        }
        Kind::Time(values) => {
            parse_time(&content).map(|value| values.push(value)).ok_or("is not a time of the form 12:30:05.123")
        }
        Kind::Timestamp(values, unit, zone) => parse_timestamp(&content, *unit, *zone).map(|value| values.push(value)),
        Kind::Binary(strings) => crate::column::push_binary(strings, &content),
        _ => return Err(Fault::unexpected(column, text, at)),
    };
    match stored {
        Ok(()) => Ok(end),
        Err(why) => Err(Fault::refused(column, text, at, why)),
    }
}
