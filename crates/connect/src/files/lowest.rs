//! The lowest event time of a file, seen from its first row or from Parquet's statistics.

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, min};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use thalweg_engine::EventTime;
use thalweg_formats::{CsvDecoder, DecodeOptions, JsonDecoder, first_csv_row};

use super::config::FileFormat;
use super::parquet::ParquetFile;
use super::schema::Reading;
use super::storage::{Entry, Storage};
use super::text::read_text_start;

/// So much of a text is looked at for its first row.
const PEEK_BYTES: usize = 64 << 10;

/// `None` where it cannot be told; that is never an error here, whoever reads the file will meet it.
pub(crate) fn lowest_event_time(
    reading: &Reading,
    storage: &Storage,
    entry: &Entry,
    time_column: usize,
    follow: bool,
) -> Option<EventTime> {
    let field = reading.physical.fields().get(time_column)?;
    if !matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32) || entry.size == 0 {
        return None;
    }
    if reading.format == FileFormat::Parquet {
        return ParquetFile::open(storage, entry).ok()?.lowest_time(field.name());
    }
    let options = reading.text_options(&entry.name, PEEK_BYTES, follow);
    let start = read_text_start(storage, &entry.name, &options, entry.size, PEEK_BYTES).ok()?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    let decode = DecodeOptions::new(reading.physical.clone()).with_projection(vec![time_column]).with_batch_rows(1);
    let (mut batches, mut bad) = (vec![], vec![]);
    match options.dialect {
        None => {
            let rows = &start[..first_line(start)];
            JsonDecoder::new(decode).ok()?.decode(rows, &mut batches, &mut bad, None).ok()?;
        }
        Some(dialect) => {
            let mut decoder = CsvDecoder::new(decode, dialect.clone()).ok()?;
            let body = if dialect.header { first_csv_row(start, &dialect)? } else { 0 };
            if dialect.header {
                decoder.set_header(&start[..body]).ok()?;
            }
            let rest = &start[body..];
            let end = first_csv_row(rest, &dialect).unwrap_or(rest.len());
            decoder.decode(&rest[..end], &mut batches, &mut bad, None).ok()?;
        }
    }
    first_or_least(batches.first()?.column(0))
}

fn first_line(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte == b'\n').map_or(text.len(), |line_break| line_break + 1)
}

/// The least of some times (of one, that one), in microseconds.
pub(crate) fn first_or_least(times: &dyn Array) -> Option<EventTime> {
    let micros = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?;
    min(micros.as_primitive::<TimestampMicrosecondType>()).map(EventTime)
}
