//! Why a row is bad: built on the cold path only, so that the hot path carries one pointer.

use super::text::Text;
use crate::column::Column;
use crate::type_name;

/// Longest piece of a row shown in a message, in bytes.
const SHOWN_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct Fault(Box<Detail>);

#[derive(Debug)]
struct Detail {
    /// Names from the innermost column outwards.
    path: Vec<String>,
    message: String,
}

impl Fault {
    #[cold]
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Detail { path: Vec::new(), message: message.into() }))
    }

    /// The value at `at` is not what the column's type takes.
    #[cold]
    pub fn unexpected(column: &Column, text: Text<'_>, at: usize) -> Self {
        let found = describe(text, at);
        let hint = match (&column.data_type, text.byte(at)) {
            (arrow::datatypes::DataType::Timestamp(..), b'-' | b'0'..=b'9') => {
                format!(
                    "; declare it BIGINT and add a computed column, e.g. {}_time AS to_timestamp_millis({})",
                    column.name, column.name
                )
            }
            _ => String::new(),
        };
        Self::new(format!("expected {}, found {found}{hint}", type_name(&column.data_type)))
    }

    /// The value at `at` has the right form, but not a value the column can take.
    #[cold]
    pub fn refused(column: &Column, text: Text<'_>, at: usize, why: &str) -> Self {
        Self::new(format!("{} {why} (column is {})", describe(text, at), type_name(&column.data_type)))
    }

    /// The syntax breaks at `at`.
    #[cold]
    pub fn syntax(text: Text<'_>, at: usize, expected: &str) -> Self {
        if text.byte(at) == b'\n' {
            return Self::new(format!("row ends where {expected} was expected"));
        }
        let rest = text.slice(at, text.row_end(at));
        Self::new(format!("expected {expected}, found `{}`", shown(rest, 16)))
    }

    #[cold]
    pub fn within(mut self, column: &str) -> Self {
        self.0.path.push(column.to_owned());
        self
    }

    pub fn into_message(self) -> String {
        let Detail { mut path, message } = *self.0;
        if path.is_empty() {
            return message;
        }
        path.reverse();
        format!("column \"{}\": {message}", path.join("."))
    }
}

/// The JSON value at `at`, in words.
fn describe(text: Text<'_>, at: usize) -> String {
    let rest = text.slice(at, text.row_end(at));
    match rest.first() {
        Some(b'"') => {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            format!("string {}", shown(&rest[..(end + 1).min(rest.len())], SHOWN_BYTES))
        }
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b'n') if rest.starts_with(b"null") => "null".into(),
        Some(b't' | b'f') if rest.starts_with(b"true") || rest.starts_with(b"false") => {
            format!("boolean {}", rest[0] == b't')
        }
        Some(b'-' | b'0'..=b'9') => {
            let is_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
            let end = rest.iter().position(|byte| !is_number(byte)).unwrap_or(rest.len());
            format!("number {}", shown(&rest[..end], SHOWN_BYTES))
        }
        Some(_) => format!("`{}`", shown(rest, 16)),
        None => "the end of the row".into(),
    }
}

pub(crate) fn shown(bytes: &[u8], max: usize) -> String {
    let cut = bytes.len() > max;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned();
    if cut { text + "..." } else { text }
}
