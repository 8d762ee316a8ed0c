//! Walks over the fields of CSV rows.

use memchr::memchr;

use super::CsvDialect;
use crate::find::{AnyOf, find};

/// A field as it stands in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Without the quotes around it.
    pub raw: &'a [u8],
    pub quoted: bool,
    /// Whether quotes in it are doubled.
    pub doubled: bool,
}

pub(super) struct RowScan<'a> {
    bytes: &'a [u8],
    delimiter: u8,
    quote: u8,
    at: usize,
    start: usize,
    /// The row's last byte is behind us.
    row_done: bool,
    /// Line breaks in the row so far.
    lines: u64,
}

impl<'a> RowScan<'a> {
    pub fn new(bytes: &'a [u8], dialect: &CsvDialect) -> Self {
        let (delimiter, quote) = (dialect.delimiter, dialect.quote);
        Self { bytes, delimiter, quote, at: 0, start: 0, row_done: true, lines: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Where the row begins.
    pub fn begin_row(&mut self) -> usize {
        if self.bytes[self.at..].starts_with(b"\xef\xbb\xbf") {
            self.at += 3;
        }
        (self.start, self.row_done, self.lines) = (self.at, false, 0);
        self.at
    }

    pub fn is_blank(&self) -> bool {
        matches!(self.bytes[self.at..], [] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..])
    }

    pub fn skip_line(&mut self) {
        self.at = memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |found| self.at + found + 1);
    }

    /// The next field of the row, or why it is none; `None` behind the last one.
    #[inline(always)]
    pub fn next_field(&mut self) -> Option<Result<Field<'a>, &'static str>> {
        if self.row_done {
            return None;
        }
        if self.bytes.get(self.at) == Some(&self.quote) {
            return Some(self.quoted_field());
        }
        let (from, end) = (self.at, self.field_end(self.at));
        let raw = &self.bytes[from..end];
        let raw = if self.row_done { raw.strip_suffix(b"\r").unwrap_or(raw) } else { raw };
        Some(Ok(Field { raw, quoted: false, doubled: false }))
    }

    /// Where the row ended (without its line break) and how many lines it took. All fields have been taken.
    pub fn end_row(&mut self) -> (usize, u64) {
        debug_assert!(self.row_done, "a row is walked to its end");
        let row = &self.bytes[self.start..self.at];
        let row = row.strip_suffix(b"\n").unwrap_or(row);
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        (self.start + row.len(), self.lines)
    }

    #[inline(never)]
    fn quoted_field(&mut self) -> Result<Field<'a>, &'static str> {
        let from = self.at + 1;
        let (mut at, mut doubled) = (from, false);
        let close = loop {
            let Some(found) = memchr(self.quote, &self.bytes[at..]) else {
                self.lines += count_lines(&self.bytes[self.at..]) + 1;
                (self.at, self.row_done) = (self.bytes.len(), true);
                return Err("a quoted field is not closed");
            };
            if self.bytes.get(at + found + 1) != Some(&self.quote) {
                break at + found;
            }
            doubled = true;
            at += found + 2;
        };
        let raw = &self.bytes[from..close];
        self.lines += count_lines(raw);
        let end = self.field_end(close + 1);
        let rest = &self.bytes[close + 1..end];
        let rest = if self.row_done { rest.strip_suffix(b"\r").unwrap_or(rest) } else { rest };
        if rest.is_empty() { Ok(Field { raw, quoted: true, doubled }) } else { Err("text follows a closing quote") }
    }

    /// Steps behind the delimiter or line break that ends the field, and returns where that is.
    #[inline(always)]
    fn field_end(&mut self, from: usize) -> usize {
        match find(self.bytes, from, AnyOf([self.delimiter, b'\n'])) {
            Some(end) => {
                self.at = end + 1;
                self.row_done = self.bytes[end] == b'\n';
                self.lines += self.row_done as u64;
                end
            }
            None => {
                (self.at, self.row_done) = (self.bytes.len(), true);
                self.lines += 1;
                self.bytes.len()
            }
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
