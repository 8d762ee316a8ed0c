//! Strings with escapes, off the hot path.

use super::fault::Fault;
use super::text::Text;

/// Appends the string whose first character is at `at` and returns the position of its closing quote. On a fault `out` holds
/// a part of it.
#[inline(never)]
pub(crate) fn unescape_into(text: Text<'_>, mut at: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    loop {
        let stop = text.string_stop(at);
        text.copy_to(at, stop, out);
        match text.byte(stop) {
            b'"' => return Ok(stop),
            b'\\' => at = unescape_one(text, stop, out)?,
            _ => return Err(control_character(text, stop)),
        }
    }
}

/// The position behind the string whose first character is at `at`; escapes are checked, surrogates are not paired.
#[inline(always)]
pub(crate) fn skip_string(text: Text<'_>, at: usize) -> Result<usize, Fault> {
    let stop = text.string_stop(at);
    if text.byte(stop) == b'"' { Ok(stop + 1) } else { skip_escaped(text, stop) }
}

#[inline(never)]
fn skip_escaped(text: Text<'_>, mut stop: usize) -> Result<usize, Fault> {
    loop {
        match text.byte(stop) {
            b'"' => return Ok(stop + 1),
            b'\\' => match text.byte(stop + 1) {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => stop = text.string_stop(stop + 2),
                b'u' => {
                    hex4(text, stop + 2)?;
                    stop = text.string_stop(stop + 6);
                }
                _ => return Err(bad_escape(text, stop)),
            },
            _ => return Err(control_character(text, stop)),
        }
    }
}

/// Unescapes what begins with the backslash at `at`; the position behind it.
fn unescape_one(text: Text<'_>, at: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let simple = match text.byte(at + 1) {
        byte @ (b'"' | b'\\' | b'/') => byte,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unescape_unicode(text, at, out),
        _ => return Err(bad_escape(text, at)),
    };
    out.push(simple);
    Ok(at + 2)
}

fn unescape_unicode(text: Text<'_>, at: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let lone = || {
        Fault::new(format!("string holds half a surrogate pair ({})", String::from_utf8_lossy(text.slice(at, at + 6))))
    };
    let unit = hex4(text, at + 2)?;
    let (code, end) = match unit {
        0xd800..=0xdbff => {
            if text.byte(at + 6) != b'\\' || text.byte(at + 7) != b'u' {
                return Err(lone());
            }
            let low = hex4(text, at + 8)?;
            if !(0xdc00..=0xdfff).contains(&low) {
                return Err(lone());
            }
            (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), at + 12)
        }
        _ => (unit, at + 6),
    };
    let character = char::from_u32(code).ok_or_else(lone)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

fn hex4(text: Text<'_>, at: usize) -> Result<u32, Fault> {
    let mut value = 0;
    for place in at..at + 4 {
        // A line break is no digit, so this stops at the end of the row.
        let digit = (text.byte(place) as char).to_digit(16);
        value = value * 16 + digit.ok_or_else(|| Fault::syntax(text, place, "four hexadecimal digits after \\u"))?;
    }
    Ok(value)
}

#[cold]
fn bad_escape(text: Text<'_>, at: usize) -> Fault {
    if text.byte(at + 1) == b'\n' {
        return Fault::new("row ends within a string");
    }
    Fault::syntax(text, at, "an escape such as \\n or \\u00e9")
}

#[cold]
fn control_character(text: Text<'_>, at: usize) -> Fault {
    match text.byte(at) {
        b'\n' => Fault::new("row ends within a string"),
        byte => Fault::new(format!("string holds the control character 0x{byte:02x}; write it as \\u{byte:04x}")),
    }
}
