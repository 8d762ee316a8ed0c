//! Cuts a byte stream into blocks of whole rows.

use memchr::{memchr, memrchr};

use crate::CsvDialect;

/// The longest row that is taken in. A longer one is a bad row; who reads cuts by force when a buffer of more than this has no
/// end of row.
pub const ROW_BYTES_MAX: usize = 16 << 20;

/// Where the last whole line of `buffer` ends, just behind its line break; 0 if there is none.
pub fn cut_lines(buffer: &[u8]) -> usize {
    memrchr(b'\n', buffer).map_or(0, |line_break| line_break + 1)
}

/// Where the first row of `buffer` ends, just behind its line break; `None` if it has no end yet. For a header.
pub fn first_csv_row(buffer: &[u8], dialect: &CsvDialect) -> Option<usize> {
    let mut scan = QuoteScan::default();
    let mut from = 0;
    loop {
        let line_break = from + memchr(b'\n', &buffer[from..])?;
        scan.advance(&buffer[..line_break + 1], dialect);
        if !scan.in_quotes {
            return Some(line_break + 1);
        }
        from = line_break + 1;
    }
}

/// Finds the end of the last whole row of a growing buffer. Looks at each byte once: what the previous call left over, and the
/// next call gets again, is remembered.
///
/// Contract: the buffer of each call begins where the previous call's answer ended, which is always at the begin of a row.
#[derive(Debug, Clone)]
pub struct RowCutter {
    /// `None`: rows end at every line break.
    dialect: Option<CsvDialect>,
    scan: QuoteScan,
    /// End of the last whole row seen.
    end: usize,
}

impl RowCutter {
    /// For ndjson.
    pub fn lines() -> Self {
        Self { dialect: None, scan: QuoteScan::default(), end: 0 }
    }

    /// For CSV, where line breaks in quotes do not end a row.
    pub fn csv(dialect: CsvDialect) -> Self {
        Self { dialect: Some(dialect), ..Self::lines() }
    }

    /// Where the last whole row of `buffer` ends; 0 if there is none. The caller takes that many bytes away.
    pub fn cut(&mut self, buffer: &[u8]) -> usize {
        let Some(dialect) = &self.dialect else { return cut_lines(buffer) };
        if let Some(end) = self.scan.advance(buffer, dialect) {
            self.end = end;
        }
        let end = std::mem::take(&mut self.end);
        self.scan.rebase(end);
        end
    }

    /// Forgets what was left over: the next buffer begins at the begin of a row, whatever came before.
    pub fn reset(&mut self) {
        self.scan = QuoteScan::default();
        self.end = 0;
    }
}

/// Whether a byte is within quotes. A quote opens only at the begin of a field, as in the decoder; so a stray one within a field
/// does not swallow the rows behind it.
#[derive(Debug, Clone, Default)]
struct QuoteScan {
    /// Bytes looked at.
    at: usize,
    in_quotes: bool,
}

impl QuoteScan {
    /// Looks at the rest of `buffer`; the end of the last row that ended there, if one did.
    fn advance(&mut self, buffer: &[u8], dialect: &CsvDialect) -> Option<usize> {
        let mut end = None;
        while self.at < buffer.len() {
            if self.in_quotes {
                let Some(found) = memchr(dialect.quote, &buffer[self.at..]) else {
                    self.at = buffer.len();
                    break;
                };
                let quote = self.at + found;
                match buffer.get(quote + 1) {
                    Some(&next) if next == dialect.quote => self.at = quote + 2,
                    Some(_) => (self.at, self.in_quotes) = (quote + 1, false),
                    None => {
                        // Whether it is doubled shows with the next byte.
                        self.at = quote;
                        break;
                    }
                }
                continue;
            }
            let found = memchr(dialect.quote, &buffer[self.at..]);
            let quote = found.map_or(buffer.len(), |found| self.at + found);
            if let Some(line_break) = memrchr(b'\n', &buffer[self.at..quote]) {
                end = Some(self.at + line_break + 1);
            }
            self.at = quote;
            if found.is_some() {
                let opens = quote == 0 || buffer[quote - 1] == b'\n' || buffer[quote - 1] == dialect.delimiter;
                self.in_quotes = opens;
                self.at += 1;
            }
        }
        end
    }

    fn rebase(&mut self, by: usize) {
        self.at -= by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `step` bytes; the rows' ends.
    fn blocks(text: &[u8], step: usize) -> Vec<String> {
        let mut cutter = RowCutter::csv(CsvDialect::default());
        let (mut buffer, mut blocks) = (Vec::new(), Vec::new());
        for piece in text.chunks(step) {
            buffer.extend_from_slice(piece);
            let end = cutter.cut(&buffer);
            if end > 0 {
                blocks.push(String::from_utf8(buffer.drain(..end).collect()).unwrap());
            }
        }
        blocks.push(String::from_utf8(buffer).unwrap());
        blocks
    }

    #[test]
    fn line_breaks_in_quotes_do_not_end_rows() {
        let text = b"a,b\n1,\"x\ny\"\"\n\"\n2,5\" pipe\n\"\"\n3,\"\n";
        let rows = ["a,b\n", "1,\"x\ny\"\"\n\"\n", "2,5\" pipe\n", "\"\"\n", "3,\"\n"];
        assert_eq!(blocks(text, 1), rows);
        for step in 2..text.len() + 1 {
            let blocks = blocks(text, step);
            assert_eq!(blocks.concat().as_bytes(), text);
            let mut whole = rows.iter();
            for block in blocks.iter().filter(|block| !block.is_empty()) {
                let mut joined = String::new();
                while joined.len() < block.len() {
                    joined += whole.next().unwrap();
                }
                assert_eq!(&joined, block, "step {step}");
            }
        }
    }

    #[test]
    fn the_header_may_hold_a_quoted_line_break() {
        let dialect = CsvDialect::default();
        assert_eq!(first_csv_row(b"\"a\nb\",c\n1,2\n", &dialect), Some(8));
        assert_eq!(first_csv_row(b"\"a\nb", &dialect), None);
        assert_eq!(cut_lines(b"a\nb\nc"), 4);
        assert_eq!(cut_lines(b"abc"), 0);
    }
}
