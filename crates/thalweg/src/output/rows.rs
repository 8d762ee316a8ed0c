//! Prints record batches in any [`Format`].
//!
//! Line formats (jsonl, csv) can be written batch by batch for as long as a query runs; table, json, yaml and markdown
//! need the end. [`Printer`] hides the difference.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Format;
use super::table::{Column, Table, terminal_width};
use crate::exit::Failure;

/// How a cell without a value is shown in tables.
pub const NULL: &str = "NULL";

/// Options that the shell can switch.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub format: Format,
    /// Without the header of table and csv.
    pub no_header: bool,
    /// One line per column (`\x`), tables only.
    pub expanded: bool,
    /// Rows of a table at most; the rest is counted.
    pub max_rows: usize,
}

impl Layout {
    pub fn new(format: Format) -> Self {
        Self { format, no_header: false, expanded: false, max_rows: 10_000 }
    }
}

/// Takes batches of one schema and writes them.
pub struct Printer<W: Write> {
    out: W,
    layout: Layout,
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    rows: usize,
    started: bool,
}

impl<W: Write> Printer<W> {
    pub fn new(out: W, layout: Layout, schema: SchemaRef) -> Self {
        Self { out, layout, schema, held: Vec::new(), rows: 0, started: false }
    }

    /// Writes line formats at once and keeps the others.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.rows += batch.num_rows();
        match self.layout.format {
            Format::Jsonl => {
                let mut writer = json_writer::<_, arrow::json::writer::LineDelimited>(&mut self.out);
                writer.write(batch)?;
                writer.finish()?;
            }
            Format::Csv => {
                let header = !self.started && !self.layout.no_header;
                let mut writer = arrow::csv::WriterBuilder::new().with_header(header).build(&mut self.out);
                writer.write(batch)?;
            }
            // Bounded: what a table would not show is counted but not kept.
            Format::Table | Format::Markdown if self.rows - batch.num_rows() >= self.layout.max_rows => {}
            _ => self.held.push(batch.clone()),
        }
        self.started = true;
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Writes what was kept. Returns the number of rows.
    pub fn finish(mut self) -> Result<usize, Failure> {
        match self.layout.format {
            Format::Jsonl => {}
            Format::Csv => {
                if !self.started && !self.layout.no_header {
                    let empty = RecordBatch::new_empty(self.schema.clone());
                    arrow::csv::WriterBuilder::new().with_header(true).build(&mut self.out).write(&empty)?;
                }
            }
            Format::Json => {
                let lines: Vec<String> = json_lines(&self.held)?.iter().map(|row| format!("  {row}")).collect();
                if lines.is_empty() {
                    writeln!(self.out, "[]")?;
                } else {
                    writeln!(self.out, "[\n{}\n]", lines.join(",\n"))?;
                }
            }
            Format::Yaml => {
                let values = ordered_rows(&self.schema, &self.held)?;
                let text = serde_saphyr::to_string(&values)
                    .map_err(|error| std::io::Error::other(format!("cannot write YAML: {error}")))?;
                writeln!(self.out, "{}", text.trim_end())?;
            }
            Format::Markdown => write!(self.out, "{}", self.table()?.markdown())?,
            Format::Table if self.layout.expanded => self.write_expanded()?,
            Format::Table => self.write_table()?,
        }
        self.out.flush()?;
        Ok(self.rows)
    }

    fn table(&self) -> Result<Table, Failure> {
        let mut table = table_of(&self.schema, &self.held)?;
        table.rows.truncate(self.layout.max_rows);
        Ok(table)
    }

    fn write_table(&mut self) -> Result<(), Failure> {
        let table = self.table()?;
        let lines = table.lines(terminal_width());
        for (index, line) in lines.iter().enumerate() {
            match (index, self.layout.no_header) {
                (0 | 1, true) => {}
                (0, false) => writeln!(self.out, "{}", super::style::header(line))?,
                _ => writeln!(self.out, "{line}")?,
            }
        }
        if !self.layout.no_header {
            let footer = match (self.rows, table.rows.len()) {
                (rows, shown) if shown < rows => format!("({shown} of {rows} rows)"),
                (1, _) => "(1 row)".into(),
                (rows, _) => format!("({rows} rows)"),
            };
            writeln!(self.out, "{}", super::style::dim(&footer))?;
        }
        Ok(())
    }

    fn write_expanded(&mut self) -> Result<(), Failure> {
        let table = self.table()?;
        let width = table.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
        for (index, row) in table.rows.iter().enumerate() {
            writeln!(self.out, "─ row {} ─", index + 1)?;
            for (column, cell) in table.columns.iter().zip(row) {
                writeln!(self.out, "{:width$}  {cell}", column.name)?;
            }
        }
        Ok(())
    }
}

fn json_writer<W: Write, F: arrow::json::writer::JsonFormat>(out: W) -> arrow::json::Writer<W, F> {
    arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(out)
}

/// Rows as JSON objects, one text each; keys in the order of the columns, nulls kept.
pub fn json_lines(batches: &[RecordBatch]) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for batch in batches {
        let mut bytes = Vec::new();
        let mut writer = json_writer::<_, arrow::json::writer::LineDelimited>(&mut bytes);
        writer.write(batch)?;
        writer.finish()?;
        let text = String::from_utf8(bytes).map_err(std::io::Error::other)?;
        lines.extend(text.lines().map(str::to_string));
    }
    Ok(lines)
}

/// A row whose keys stay in the order of the columns.
pub struct OrderedRow(pub Vec<(String, serde_json::Value)>);

impl serde::Serialize for OrderedRow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Rows as values, keys in the order of the columns.
pub fn ordered_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<OrderedRow>, Failure> {
    let mut rows = Vec::new();
    for line in json_lines(batches)? {
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&line).map_err(std::io::Error::other)?;
        let cells = schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), object.remove(field.name()).unwrap_or(serde_json::Value::Null)));
        rows.push(OrderedRow(cells.collect()));
    }
    Ok(rows)
}

/// Cells as text, for people.
pub fn table_of(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Table, Failure> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| Column { name: field.name().clone(), right: field.data_type().is_numeric() })
        .collect();
    let mut rows = Vec::new();
    let options = cell_options();
    for batch in batches {
        let formatters = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = formatters
                .iter()
                .zip(batch.columns())
                .map(|(formatter, column)| cell(formatter, column.data_type(), row))
                .collect::<Result<Vec<_>, Failure>>()?;
            rows.push(cells);
        }
    }
    Ok(Table { columns, rows })
}

/// Times are shown to the second when they fall on one.
pub fn cell_options() -> FormatOptions<'static> {
    FormatOptions::new()
        .with_null(NULL)
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.fZ"))
}

fn cell(formatter: &ArrayFormatter<'_>, data_type: &DataType, row: usize) -> Result<String, Failure> {
    let mut text = formatter.value(row).try_to_string()?;
    if matches!(data_type, DataType::Float32 | DataType::Float64) {
        text = short_float(text);
    }
    Ok(text)
}

/// Floats are cut to six decimals in tables; the other formats keep every digit.
fn short_float(text: String) -> String {
    match text.split_once('.') {
        Some((_, decimals)) if decimals.len() > 6 && !decimals.contains('e') => {
            text.parse::<f64>().map_or(text, |value| {
                let cut = format!("{value:.6}");
                let short = cut.trim_end_matches('0').trim_end_matches('.');
                // What is too small for six decimals is not shown as nothing.
                if short.parse() == Ok(0.0) { format!("{value:e}") } else { short.to_string() }
            })
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef, true),
            ("s", Arc::new(StringArray::from(vec!["a,b", "é"])) as ArrayRef, true),
            ("f", Arc::new(Float64Array::from(vec![1.0 / 3.0, 2.0])) as ArrayRef, true),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000]).with_timezone("UTC")) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn print(format: Format, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, Layout::new(format), batch().schema());
        for batch in batches {
            printer.write(batch).unwrap();
        }
        assert_eq!(printer.finish().unwrap(), batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_of_two_rows() {
        let rows = [batch()];
        assert_eq!(
            print(Format::Jsonl, &rows),
            "{\"n\":1,\"s\":\"a,b\",\"f\":0.3333333333333333,\"t\":\"1970-01-01T00:00:00Z\"}\n\
             {\"n\":null,\"s\":\"é\",\"f\":2.0,\"t\":\"1970-01-01T00:00:01.500Z\"}\n"
        );
        assert!(print(Format::Json, &rows).starts_with("[\n  {\"n\":1,"));
        assert!(print(Format::Csv, &rows).starts_with("n,s,f,t\n1,\"a,b\",0.3333333333333333,"));
        assert!(print(Format::Yaml, &rows).contains("s: é"));
        assert!(print(Format::Markdown, &rows).starts_with("| n | s | f | t |\n| ---: |"));
        let table = print(Format::Table, &rows);
        assert!(table.contains("0.333333 ") && table.contains("NULL") && table.contains("(2 rows)"), "{table}");
        assert!(table.contains("1970-01-01 00:00:01.500Z"), "{table}");
    }

    #[test]
    fn no_rows_still_say_so() {
        assert_eq!(print(Format::Json, &[]), "[]\n");
        assert_eq!(print(Format::Csv, &[]), "n,s,f,t\n");
        assert!(print(Format::Table, &[]).contains("(0 rows)"));
        assert_eq!(print(Format::Jsonl, &[]), "");
    }

    #[test]
    fn floats_are_short_but_never_nothing() {
        for (text, short) in [
            ("0.30000000000000004", "0.3"),
            ("0.3333333333", "0.333333"),
            ("0.000000012345", "1.2345e-8"),
            ("1.5", "1.5"),
        ] {
            assert_eq!(short_float(text.into()), short);
        }
    }

    #[test]
    fn csv_header_stands_once() {
        assert_eq!(print(Format::Csv, &[batch(), batch()]).matches("n,s,f,t").count(), 1);
    }
}
