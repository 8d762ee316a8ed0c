//! Steps over values: numbers, literals, and whole values that nobody asked for.

use super::fault::Fault;
use super::string::skip_string;
use super::text::Text;
use crate::number::leading_digits;

/// Objects and arrays within each other, at most.
pub(crate) const DEPTH_MAX: u32 = 128;

/// The position behind the value at `at`, whose syntax is checked.
#[inline(always)]
pub(crate) fn skip_value(text: Text<'_>, at: usize, depth: u32) -> Result<usize, Fault> {
    match text.byte(at) {
        b'"' => skip_string(text, at + 1),
        b'0'..=b'9' => match skip_plain_integer(text, at) {
            Some(end) => Ok(end),
            None => skip_number(text, at).map(|(end, _)| end),
        },
        _ => skip_other(text, at, depth),
    }
}

#[inline(never)]
fn skip_other(text: Text<'_>, at: usize, depth: u32) -> Result<usize, Fault> {
    match text.byte(at) {
        b'{' => skip_object(text, at, depth),
        b'[' => skip_array(text, at, depth),
        b'-' => skip_number(text, at).map(|(end, _)| end),
        b't' => skip_literal(text, at, b"true"),
        b'f' => skip_literal(text, at, b"false"),
        b'n' => skip_literal(text, at, b"null"),
        b' ' | b'\t' | b'\r' => skip_value(text, text.skip_space(at), depth),
        _ => Err(Fault::syntax(text, at, "a value")),
    }
}

/// Steps over `true`, `false` or `null`.
#[inline(always)]
pub(crate) fn skip_literal(text: Text<'_>, at: usize, literal: &[u8]) -> Result<usize, Fault> {
    if text.starts_with(at, literal) { Ok(at + literal.len()) } else { Err(Fault::syntax(text, at, "a value")) }
}

/// Steps over up to 15 digits without sign, fraction or exponent.
#[inline(always)]
fn skip_plain_integer(text: Text<'_>, at: usize) -> Option<usize> {
    let first = text.load8(at);
    let mut digits = leading_digits(first);
    if digits == 8 {
        digits += leading_digits(text.load8(at + 8));
    }
    let end = at + digits as usize;
    let leading_zero = first as u8 == b'0' && digits > 1;
    (digits < 16 && !leading_zero && ends_value(text.byte(end))).then_some(end)
}

/// Whether this byte may follow a number at once (others need the exact path to tell what is wrong).
#[inline(always)]
pub(crate) fn ends_value(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']')
}

/// The position behind the number at `at`, and whether it has neither fraction nor exponent.
#[inline(never)]
pub(crate) fn skip_number(text: Text<'_>, at: usize) -> Result<(usize, bool), Fault> {
    let start = if text.byte(at) == b'-' { at + 1 } else { at };
    let mut end = skip_digits(text, start)?;
    if text.byte(start) == b'0' && end > start + 1 {
        return Err(Fault::syntax(text, at, "a number without leading zeros"));
    }
    let mut integer = true;
    if text.byte(end) == b'.' {
        integer = false;
        end = skip_digits(text, end + 1)?;
    }
    if matches!(text.byte(end), b'e' | b'E') {
        integer = false;
        let sign = matches!(text.byte(end + 1), b'+' | b'-') as usize;
        end = skip_digits(text, end + 1 + sign)?;
    }
    Ok((end, integer))
}

fn skip_digits(text: Text<'_>, at: usize) -> Result<usize, Fault> {
    let mut end = at;
    while text.byte(end).is_ascii_digit() {
        end += 1;
    }
    if end == at { Err(Fault::syntax(text, at, "a digit")) } else { Ok(end) }
}

fn skip_object(text: Text<'_>, at: usize, depth: u32) -> Result<usize, Fault> {
    check_depth(depth)?;
    let mut at = text.skip_space(at + 1);
    if text.byte(at) == b'}' {
        return Ok(at + 1);
    }
    loop {
        if text.byte(at) != b'"' {
            return Err(Fault::syntax(text, at, "a key in double quotes"));
        }
        at = text.skip_space(skip_string(text, at + 1)?);
        if text.byte(at) != b':' {
            return Err(Fault::syntax(text, at, "`:` after a key"));
        }
        at = text.skip_space(skip_value(text, text.skip_space(at + 1), depth + 1)?);
        match text.byte(at) {
            b',' => at = text.skip_space(at + 1),
            b'}' => return Ok(at + 1),
            _ => return Err(Fault::syntax(text, at, "`,` or `}`")),
        }
    }
}

fn skip_array(text: Text<'_>, at: usize, depth: u32) -> Result<usize, Fault> {
    check_depth(depth)?;
    let mut at = text.skip_space(at + 1);
    if text.byte(at) == b']' {
        return Ok(at + 1);
    }
    loop {
        at = text.skip_space(skip_value(text, at, depth + 1)?);
        match text.byte(at) {
            b',' => at = text.skip_space(at + 1),
            b']' => return Ok(at + 1),
            _ => return Err(Fault::syntax(text, at, "`,` or `]`")),
        }
    }
}

#[inline(always)]
pub(crate) fn check_depth(depth: u32) -> Result<(), Fault> {
    if depth >= DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
}

#[cold]
fn too_deep() -> Fault {
    Fault::new(format!("objects and arrays are nested deeper than {DEPTH_MAX}"))
}
