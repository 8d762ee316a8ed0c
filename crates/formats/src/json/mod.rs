//! Newline-delimited JSON straight from bytes into Arrow columns: one pass, no tree, no allocation per row.
//!
//! How: keys are compared with the keys of earlier rows ([`keys`]), values go from the bytes into the column's buffer
//! ([`value`]), columns nobody asked for are stepped over ([`skip`]). UTF-8 is validated once per block; only if that fails,
//! row by row. A fault takes back what its row had pushed and the scan goes on at the next line break.
//!
//! Invariants: between rows all columns have `rows` values. No scanner steps over a line break ([`text`]).

mod fault;
mod infer;
mod keys;
mod skip;
mod string;
mod text;
mod value;

#[cfg(test)]
mod tests;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use self::fault::Fault;
use self::text::{PADDING, Text};
use self::value::{Rules, read_object};
use crate::column::Row;
use crate::cut::ROW_BYTES_MAX;
use crate::{BadRow, DecodeOptions, FormatError, RowPlace};

pub(crate) use self::fault::shown;
pub use self::infer::infer_json;
pub(crate) use self::keys::Keys;

/// The largest block: offsets of text columns are 32 bits.
pub(crate) const BLOCK_BYTES_MAX: usize = i32::MAX as usize - PADDING;

/// Decodes blocks of ndjson; keeps what it learned about the rows from block to block.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    row: Row,
    rules: Rules,
    batch_rows: usize,
    /// Rows in the columns now.
    rows: usize,
    /// The last rows of a block, padded.
    tail: Vec<u8>,
}

/// Where the results of one block go.
struct Results<'a> {
    batches: &'a mut Vec<RecordBatch>,
    bad: &'a mut Vec<BadRow>,
    places: Option<&'a mut Vec<RowPlace>>,
    line: u64,
}

impl JsonDecoder {
    pub fn new(options: DecodeOptions) -> Result<Self, FormatError> {
        let schema = options.projected()?;
        let known = options.schema.fields().iter().map(|field| field.name().as_str());
        Ok(Self {
            row: Row::new(schema.fields(), known, "ndjson", true)?,
            schema,
            rules: Rules {
                extra_columns: options.extra_columns,
                missing_columns: options.missing_columns,
                any_into_text: options.any_into_text,
            },
            batch_rows: options.batch_rows.max(1),
            rows: 0,
            tail: Vec::new(),
        })
    }

    /// The schema of the batches: the projected columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes whole lines; the last one may lack its line break. Appends batches of at most `batch_rows` rows, the rows that
    /// were refused, and, where asked for, the place of each row of the batches, all in the order of the block.
    pub fn decode(
        &mut self,
        block: &[u8],
        batches: &mut Vec<RecordBatch>,
        bad: &mut Vec<BadRow>,
        places: Option<&mut Vec<RowPlace>>,
    ) -> Result<(), FormatError> {
        if block.len() > BLOCK_BYTES_MAX {
            return Err(FormatError::BlockTooLarge { bytes: block.len(), max: BLOCK_BYTES_MAX });
        }
        let valid = simdutf8::basic::from_utf8(block).is_ok();
        let mut results = Results { batches, bad, places, line: 0 };
        // Rows that have enough bytes behind them are read in place, the last ones from a padded copy.
        let body_end = block.len().checked_sub(PADDING).map_or(0, |end| crate::cut_lines(&block[..end]));
        if body_end > 0 {
            self.decode_rows(Text::new(block, body_end), 0, body_end, valid, &mut results)?;
        }
        let mut tail = std::mem::take(&mut self.tail);
        tail.clear();
        tail.extend_from_slice(&block[body_end..]);
        if tail.last().is_some_and(|&byte| byte != b'\n') {
            tail.push(b'\n');
        }
        let tail_end = tail.len();
        if tail_end > 0 {
            tail.resize(tail_end + PADDING, b'\n');
            self.decode_rows(Text::new(&tail, tail_end), body_end, tail_end, valid, &mut results)?;
        }
        self.tail = tail;
        self.finish_batch(results.batches)
    }

    /// Decodes the rows of `text`, which begins at `base` in the block.
    fn decode_rows(
        &mut self,
        text: Text<'_>,
        base: usize,
        end: usize,
        valid: bool,
        results: &mut Results<'_>,
    ) -> Result<(), FormatError> {
        let mut at = 0;
        while at < end {
            let start = at;
            match self.decode_row(text, start, valid) {
                Ok(None) => at = text.row_end(start) + 1,
                Ok(Some(line_break)) => {
                    at = line_break + 1;
                    self.rows += 1;
                    if let Some(places) = &mut results.places {
                        places.push(RowPlace { start: base + start, line: results.line });
                    }
                    if self.rows == self.batch_rows {
                        self.finish_batch(results.batches)?;
                    }
                }
                Err(fault) => {
                    self.row.truncate(self.rows);
                    let line_break = text.row_end(start);
                    let row = text.slice(start, line_break);
                    let len = row.strip_suffix(b"\r").unwrap_or(row).len();
                    let error = fault.into_message();
                    results.bad.push(BadRow { start: base + start, len, line: results.line, error });
                    at = line_break + 1;
                }
            }
            results.line += 1;
        }
        Ok(())
    }

    /// Reads one row into the columns and returns where its line break is; `None` if the line is blank.
    #[inline(always)]
    fn decode_row(&mut self, text: Text<'_>, start: usize, valid: bool) -> Result<Option<usize>, Fault> {
        if !valid {
            check_utf8(text, start)?;
        }
        let mut at = start;
        if text.byte(at) != b'{' {
            at = skip_to_object(text, at)?;
            if text.byte(at) == b'\n' {
                return Ok(None);
            }
        }
        let mut end = read_object(&mut self.row, text, at, self.rows, 0, &self.rules)?;
        if text.byte(end) != b'\n' {
            end = text.skip_space(end);
            if text.byte(end) != b'\n' {
                return Err(Fault::syntax(text, end, "the end of the row"));
            }
        }
        if end - start > ROW_BYTES_MAX {
            return Err(Fault::new(format!("row has {} bytes, more than the {ROW_BYTES_MAX} allowed", end - start)));
        }
        Ok(Some(end))
    }

    fn finish_batch(&mut self, batches: &mut Vec<RecordBatch>) -> Result<(), FormatError> {
        if self.rows == 0 {
            return Ok(());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let arrays = self.row.finish();
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        batches.push(batch.map_err(|source| FormatError::Batch { source })?);
        Ok(())
    }
}

/// Steps over space and a byte order mark in front of a row; stops at its `{` or at the line break of a blank line.
#[cold]
fn skip_to_object(text: Text<'_>, start: usize) -> Result<usize, Fault> {
    let start = if text.starts_with(start, b"\xef\xbb\xbf") { start + 3 } else { start };
    let at = text.skip_space(start);
    if matches!(text.byte(at), b'{' | b'\n') { Ok(at) } else { Err(Fault::syntax(text, at, "a JSON object")) }
}

#[cold]
fn check_utf8(text: Text<'_>, start: usize) -> Result<(), Fault> {
    match simdutf8::compat::from_utf8(text.slice(start, text.row_end(start))) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::new(format!("invalid UTF-8 at byte {} of the row", error.valid_up_to()))),
    }
}
