//! CSV (RFC 4180) straight from bytes into Arrow columns, typed as Postgres' `COPY` does it.
//!
//! A field that begins with the quote runs to the next single quote and may hold delimiters, line breaks and doubled quotes; a
//! quote elsewhere is an ordinary byte (the same rule as in [`crate::RowCutter`]). An unquoted field equal to the null text
//! (empty by default) is null; a quoted one never is.
//!
//! Invariants: every row is walked to its end, whatever is wrong with it, so that the next one begins where the cutter thinks
//! it does. Between rows all columns have `rows` values.

mod field;
mod infer;
mod scan;

#[cfg(test)]
mod tests;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use self::field::push_field;
use self::scan::{Field, RowScan};
use crate::column::Row;
use crate::cut::ROW_BYTES_MAX;
use crate::json::BLOCK_BYTES_MAX;
use crate::{BadRow, DecodeOptions, ExtraColumns, FormatError, MissingColumns, RowPlace};

pub use self::infer::infer_csv;

/// How a CSV file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvDialect {
    /// One ASCII byte.
    pub delimiter: u8,
    /// One ASCII byte.
    pub quote: u8,
    /// Whether the first row names the columns.
    pub header: bool,
    /// What an unquoted field says to be null.
    pub null: String,
}

impl Default for CsvDialect {
    fn default() -> Self {
        Self { delimiter: b',', quote: b'"', header: true, null: String::new() }
    }
}

impl CsvDialect {
    /// Refuses bytes that cannot separate or quote.
    pub fn check(&self) -> Result<(), FormatError> {
        let refuse = |option, byte: u8| Err(FormatError::Dialect { option, value: (byte as char).to_string() });
        let usable = |byte: u8| byte.is_ascii() && !matches!(byte, b'\n' | b'\r');
        if !usable(self.delimiter) {
            return refuse("delimiter", self.delimiter);
        }
        if !usable(self.quote) || self.quote == self.delimiter {
            return refuse("quote", self.quote);
        }
        Ok(())
    }
}

/// Decodes blocks of CSV rows. The header is not part of a block: see [`CsvDecoder::set_header`].
#[derive(Debug)]
pub struct CsvDecoder {
    options: DecodeOptions,
    dialect: CsvDialect,
    schema: SchemaRef,
    row: Row,
    /// For each field of a row its column; `None`: nobody asked for it.
    fields: Vec<Option<usize>>,
    /// Columns that no field fills.
    absent: Vec<usize>,
    /// The header that `fields` was made from.
    header: Option<Vec<u8>>,
    rows: usize,
    scratch: Vec<u8>,
}

impl CsvDecoder {
    /// Until a header is set, fields are the declared columns in order.
    pub fn new(options: DecodeOptions, dialect: CsvDialect) -> Result<Self, FormatError> {
        dialect.check()?;
        let schema = options.projected()?;
        let known = options.schema.fields().iter().map(|field| field.name().as_str());
        let row = Row::new(schema.fields(), known, "csv", false)?;
        let mut decoder = Self {
            options,
            dialect,
            schema,
            row,
            fields: Vec::new(),
            absent: Vec::new(),
            header: None,
            rows: 0,
            scratch: Vec::new(),
        };
        let columns = 0..decoder.options.schema.fields().len();
        decoder.fields = columns.map(|declared| decoder.column_of(declared)).collect();
        Ok(decoder)
    }

    /// The schema of the batches: the projected columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Says how the fields of the following blocks are called: the header row of their file. Setting the same one again costs a
    /// comparison. Names match exactly, or else without regard to case.
    pub fn set_header(&mut self, header: &[u8]) -> Result<(), FormatError> {
        if self.header.as_deref() == Some(header) {
            return Ok(());
        }
        let names = parse_header(header, &self.dialect)?;
        let schema = self.options.schema.clone();
        let mut fields = vec![None; names.len()];
        let mut absent = Vec::new();
        let mut taken = vec![false; names.len()];
        for (declared, field) in schema.fields().iter().enumerate() {
            let Some(place) = find_name(&names, field.name()) else {
                if self.options.missing_columns == MissingColumns::Error || !field.is_nullable() {
                    return Err(header_missing(field.name(), &names));
                }
                absent.extend(self.column_of(declared));
                continue;
            };
            taken[place] = true;
            fields[place] = self.column_of(declared);
        }
        if !schema.fields().is_empty() && !taken.contains(&true) {
            return Err(header_missing(schema.field(0).name(), &names));
        }
        if let Some(extra) = taken.iter().position(|taken| !taken)
            && self.options.extra_columns == ExtraColumns::Error
        {
            return Err(FormatError::HeaderExtra { column: names[extra].clone() });
        }
        (self.fields, self.absent, self.header) = (fields, absent, Some(header.to_vec()));
        Ok(())
    }

    fn column_of(&self, declared: usize) -> Option<usize> {
        self.options.projection.iter().position(|&index| index == declared)
    }

    /// Decodes whole rows without the header; the last one may lack its line break. Appends as
    /// [`crate::JsonDecoder::decode`] does.
    pub fn decode(
        &mut self,
        block: &[u8],
        batches: &mut Vec<RecordBatch>,
        bad: &mut Vec<BadRow>,
        mut places: Option<&mut Vec<RowPlace>>,
    ) -> Result<(), FormatError> {
        if block.len() > BLOCK_BYTES_MAX {
            return Err(FormatError::BlockTooLarge { bytes: block.len(), max: BLOCK_BYTES_MAX });
        }
        let valid = simdutf8::basic::from_utf8(block).is_ok();
        let mut scan = RowScan::new(block, &self.dialect);
        let mut line = 0;
        while !scan.is_at_end() {
            let start = scan.begin_row();
            if scan.is_blank() && self.fields.len() != 1 {
                scan.skip_line();
                line += 1;
                continue;
            }
            let outcome = decode_row(&mut scan, &mut self.row, &self.fields, &self.dialect, &mut self.scratch);
            let (end, lines) = scan.end_row();
            match outcome.and_then(|()| check_row(&block[start..end], valid)).and_then(|()| self.fill_absent()) {
                Ok(()) => {
                    self.rows += 1;
                    if let Some(places) = &mut places {
                        places.push(RowPlace { start, line });
                    }
                    if self.rows == self.options.batch_rows.max(1) {
                        self.finish_batch(batches)?;
                    }
                }
                Err(error) => {
                    self.row.truncate(self.rows);
                    bad.push(BadRow { start, len: end - start, line, error });
                }
            }
            line += lines;
        }
        self.finish_batch(batches)
    }

    fn fill_absent(&mut self) -> Result<(), String> {
        for &column in &self.absent {
            self.row.columns[column].push_null();
        }
        Ok(())
    }

    fn finish_batch(&mut self, batches: &mut Vec<RecordBatch>) -> Result<(), FormatError> {
        if self.rows == 0 {
            return Ok(());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), self.row.finish(), &options);
        batches.push(batch.map_err(|source| FormatError::Batch { source })?);
        Ok(())
    }
}

/// Pushes the fields of one row; stays in step with the row's end whatever it meets.
fn decode_row(
    scan: &mut RowScan<'_>,
    row: &mut Row,
    fields: &[Option<usize>],
    dialect: &CsvDialect,
    scratch: &mut Vec<u8>,
) -> Result<(), String> {
    let (mut outcome, mut count) = (Ok(()), 0);
    while let Some(field) = scan.next_field() {
        let place = count;
        count += 1;
        if outcome.is_err() {
            continue;
        }
        match field {
            Err(why) => outcome = Err(why.to_owned()),
            Ok(Field { raw, quoted, doubled }) => {
                let Some(Some(column)) = fields.get(place) else { continue };
                let column = &mut row.columns[*column];
                let text = if doubled { undouble(raw, dialect.quote, scratch) } else { raw };
                let null = !quoted && text == dialect.null.as_bytes();
                outcome = push_field(column, if null { None } else { Some(text) })
                    .map_err(|error| format!("column \"{}\": {error}", column.name));
            }
        }
    }
    outcome?;
    if count != fields.len() {
        return Err(format!("row has {count} fields, expected {}", fields.len()));
    }
    Ok(())
}

fn check_row(row: &[u8], valid: bool) -> Result<(), String> {
    if row.len() > ROW_BYTES_MAX {
        return Err(format!("row has {} bytes, more than the {ROW_BYTES_MAX} allowed", row.len()));
    }
    if valid {
        return Ok(());
    }
    simdutf8::compat::from_utf8(row)
        .map(|_| ())
        .map_err(|error| format!("invalid UTF-8 at byte {} of the row", error.valid_up_to()))
}

fn undouble<'a>(raw: &[u8], quote: u8, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        scratch.push(byte);
        if byte == quote {
            bytes.next();
        }
    }
    scratch
}

/// The names in a header row, unquoted.
fn parse_header(header: &[u8], dialect: &CsvDialect) -> Result<Vec<String>, FormatError> {
    let wrong = |detail: &str| FormatError::HeaderRow { detail: detail.to_owned() };
    let mut scan = RowScan::new(header, dialect);
    let (mut names, mut scratch) = (Vec::new(), Vec::new());
    scan.begin_row();
    while let Some(field) = scan.next_field() {
        let Field { raw, doubled, .. } = field.map_err(wrong)?;
        let name = if doubled { undouble(raw, dialect.quote, &mut scratch) } else { raw };
        let name = std::str::from_utf8(name).map_err(|_| wrong("invalid UTF-8"))?.trim().to_owned();
        if !name.is_empty() && names.contains(&name) {
            return Err(FormatError::HeaderDuplicate { column: name });
        }
        names.push(name);
    }
    Ok(names)
}

fn find_name(names: &[String], wanted: &str) -> Option<usize> {
    let exact = names.iter().position(|name| name == wanted);
    exact.or_else(|| {
        let mut alike = names.iter().enumerate().filter(|(_, name)| name.to_lowercase() == wanted.to_lowercase());
        match (alike.next(), alike.next()) {
            (Some((place, _)), None) => Some(place),
            _ => None,
        }
    })
}

fn header_missing(column: &str, names: &[String]) -> FormatError {
    const SHOWN: usize = 20;
    let squeeze = |name: &str| name.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "");
    let near = names.iter().find(|name| squeeze(name) == squeeze(column));
    let hint = near.map_or(String::new(), |near| format!(" (did you mean {near:?}?)"));
    let mut found = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        found += &format!(" and {} more", names.len() - SHOWN);
    }
    FormatError::HeaderMissing { column: column.to_owned(), hint, found }
}
