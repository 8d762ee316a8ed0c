//! Parquet files: slices of row groups, decoded on the workers.
//!
//! A local file is read by the worker that decodes, column chunk by column chunk; of an object the column chunks that are
//! needed are fetched ahead. Row groups of many rows are handed out in slices, so that what a worker holds at once stays
//! bounded.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::FormatOptions;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use thalweg_engine::{EngineError, ErrorKind, EventTime};

use super::storage::{Entry, Storage};

/// Rows of a slice.
const SLICE_ROWS: usize = 128 << 10;

/// A file, opened.
#[derive(Debug, Clone)]
pub(crate) struct ParquetFile {
    pub(crate) name: Arc<str>,
    pub(crate) size: u64,
    metadata: ArrowReaderMetadata,
    input: ParquetInput,
}

/// Consecutive rows of one row group.
#[derive(Debug)]
pub(crate) struct ParquetSlice {
    pub(crate) file: ParquetFile,
    row_group: usize,
    /// Rows of the group before the slice.
    offset: usize,
    pub(crate) rows: usize,
    /// Number in the file of the first row.
    pub(crate) first_row: u64,
}

impl ParquetFile {
    pub(crate) fn open(storage: &Storage, entry: &Entry) -> Result<Self, EngineError> {
        let input = match storage {
            Storage::Local(_) => ParquetInput::Local(Arc::new(storage.open_local(&entry.name)?), entry.size),
            Storage::Object(_) => ParquetInput::Remote(storage.clone(), entry.clone()),
        };
        let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new())
            .map_err(|error| parquet_error(&entry.name, entry.size, error))?;
        Ok(Self { name: entry.name.clone(), size: entry.size, metadata, input })
    }

    /// The file's columns, with types that SQL has.
    pub(crate) fn schema(&self) -> Schema {
        let fields = self.metadata.schema().fields().iter();
        Schema::new(fields.map(|f| Field::new(f.name(), sql_type(f.data_type()), true)).collect::<Vec<_>>())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.metadata.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// The lowest value of a time column, if every row group says.
    pub(crate) fn lowest_time(&self, column: &str) -> Option<EventTime> {
        let schema = self.metadata.schema();
        let place = find_column(schema, column)?;
        let converter =
            StatisticsConverter::try_new(schema.field(place).name(), schema, self.metadata.parquet_schema()).ok()?;
        let lowest = converter.row_group_mins(self.metadata.metadata().row_groups()).ok()?;
        if lowest.null_count() > 0 || lowest.is_empty() {
            return None;
        }
        super::lowest::first_or_least(&lowest)
    }

    /// The slice that begins with row `first_row`; `None` at the end.
    pub(crate) fn slice(
        &self,
        first_row: u64,
        columns: &[usize],
        declared: &Schema,
    ) -> Result<Option<ParquetSlice>, EngineError> {
        let mut before = 0;
        for (row_group, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let rows = group.num_rows().max(0) as u64;
            if first_row < before + rows {
                let offset = (first_row - before) as usize;
                let rows = (rows as usize - offset).min(SLICE_ROWS);
                let mut file = self.clone();
                if let ParquetInput::Remote(storage, entry) = &self.input {
                    file.input = self.fetch(storage, entry, row_group, columns, declared)?;
                }
                return Ok(Some(ParquetSlice { file, row_group, offset, rows, first_row }));
            }
            before += rows;
        }
        Ok(None)
    }

    /// The column chunks of a row group that are asked for.
    fn fetch(
        &self,
        storage: &Storage,
        entry: &Entry,
        row_group: usize,
        columns: &[usize],
        declared: &Schema,
    ) -> Result<ParquetInput, EngineError> {
        let roots = self.roots(columns, declared)?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let group = self.metadata.metadata().row_group(row_group);
        let mut pieces = Vec::new();
        for (leaf, column) in group.columns().iter().enumerate() {
            if mask.leaf_included(leaf) {
                let (start, length) = column.byte_range();
                pieces.push((start, storage.read_range(&entry.name, start..start + length)?));
            }
        }
        Ok(ParquetInput::Memory(Arc::new(pieces), entry.size))
    }

    /// Places in the file of declared columns.
    fn roots(&self, columns: &[usize], declared: &Schema) -> Result<Vec<usize>, EngineError> {
        let place = |&column: &usize| {
            let name = declared.field(column).name();
            find_column(self.metadata.schema(), name).ok_or_else(|| {
                let names: Vec<&str> = self.metadata.schema().fields().iter().map(|f| f.name().as_str()).collect();
                let hint = crate::options::suggestion(name, names);
                EngineError::data(format!("{}: there is no column {name}; {hint}", self.name))
            })
        };
        columns.iter().map(place).collect()
    }
}

impl ParquetSlice {
    /// Compressed bytes this stands for, about.
    pub(crate) fn input_bytes(&self) -> u64 {
        let all = self.file.rows().max(1);
        (self.file.size as u128 * self.rows as u128 / u128::from(all)) as u64
    }

    /// The rows, as `columns` of `declared`.
    pub(crate) fn decode(
        self,
        columns: &[usize],
        declared: &SchemaRef,
        batch_rows: usize,
    ) -> Result<Vec<RecordBatch>, EngineError> {
        let projected = Arc::new(declared.project(columns)?);
        let roots = self.file.roots(columns, declared)?;
        let ParquetFile { name, size, metadata, input } = self.file;
        let failed = |error| parquet_error(&name, size, error);
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
        let mut in_file_order: Vec<usize> = roots.clone();
        in_file_order.sort_unstable();
        in_file_order.dedup();
        let places: Vec<usize> =
            roots.iter().map(|root| in_file_order.binary_search(root).expect("sorted from the same")).collect();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata)
            .with_row_groups(vec![self.row_group])
            .with_projection(mask)
            .with_offset(self.offset)
            .with_limit(self.rows)
            .with_batch_size(batch_rows.max(1))
            .build()
            .map_err(failed)?;
        let mut batches = Vec::new();
        for batch in reader {
            let batch = batch.map_err(|error| failed(ParquetError::ArrowError(error.to_string())))?;
            let mut arrays = Vec::with_capacity(places.len());
            for (&place, field) in places.iter().zip(projected.fields()) {
                arrays.push(into_declared(&name, batch.column(place), field)?);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            batches.push(RecordBatch::try_new_with_options(projected.clone(), arrays, &options)?);
        }
        Ok(batches)
    }
}

fn find_column(schema: &Schema, name: &str) -> Option<usize> {
    let fields = schema.fields();
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| fields.iter().position(|field| field.name().eq_ignore_ascii_case(name)))
}

fn into_declared(name: &str, array: &ArrayRef, field: &Field) -> Result<ArrayRef, EngineError> {
    if !field.is_nullable() && array.null_count() > 0 {
        let message =
            format!("{name}: column {} is declared NOT NULL and the file has nulls in it; drop NOT NULL", field.name());
        return Err(EngineError::data(message));
    }
    if array.data_type() == field.data_type() {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(array, field.data_type(), &options).map_err(|error| {
        let message = format!(
            "{name}: column {} is {} in the file and cannot become {}; declare another type",
            field.name(),
            array.data_type(),
            field.data_type()
        );
        EngineError::with_source(ErrorKind::FixData, message, error)
    })
}

/// The nearest type that columns in SQL have.
fn sql_type(data_type: &DataType) -> DataType {
    use DataType as T;
    let item = |field: &Field| Arc::new(Field::new("item", sql_type(field.data_type()), true));
    match data_type {
        T::Int8 | T::UInt8 | T::Int16 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Date64 => T::Date32,
        T::Dictionary(_, value) => sql_type(value),
        T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _) => T::List(item(field)),
        T::Struct(fields) => {
            T::Struct(fields.iter().map(|field| Field::new(field.name(), sql_type(field.data_type()), true)).collect())
        }
        other => other.clone(),
    }
}

fn parquet_error(name: &str, size: u64, error: ParquetError) -> EngineError {
    let message = if size == 0 {
        format!("{name}: the file is empty and so not a parquet file; remove it or write it again")
    } else {
        format!("{name}: cannot be read as parquet ({error}); is the file whole, and parquet? fetch or write it again")
    };
    EngineError::with_source(ErrorKind::FixData, message, error)
}

/// Bytes of a parquet file.
#[derive(Debug, Clone)]
enum ParquetInput {
    Local(Arc<File>, u64),
    /// For the footer only.
    Remote(Storage, Entry),
    /// The ranges that were fetched, by where they begin, and the size of the file.
    Memory(Arc<Vec<(u64, Bytes)>>, u64),
}

impl Length for ParquetInput {
    fn len(&self) -> u64 {
        match self {
            Self::Local(_, size) | Self::Memory(_, size) => *size,
            Self::Remote(_, entry) => entry.size,
        }
    }
}

impl ChunkReader for ParquetInput {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(match self {
            Self::Local(file, _) => Box::new(BufReader::new(ReadAt { file: file.clone(), at: start })),
            Self::Remote(storage, entry) => Box::new(
                storage.open(&entry.name, start, entry.size).map_err(|error| ParquetError::External(error.into()))?,
            ),
            Self::Memory(pieces, _) => Box::new(find_piece(pieces, start..start)?.reader()),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let range = start..start + length as u64;
        match self {
            Self::Local(file, _) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            Self::Remote(storage, entry) => {
                storage.read_range(&entry.name, range).map_err(|error| ParquetError::External(error.into()))
            }
            Self::Memory(pieces, _) => Ok(find_piece(pieces, range)?.slice(..length)),
        }
    }
}

/// What was fetched from `range.start` on, at least up to its end.
fn find_piece(pieces: &[(u64, Bytes)], range: Range<u64>) -> parquet::errors::Result<Bytes> {
    let found = pieces.iter().find(|(start, bytes)| {
        *start <= range.start && range.start < start + bytes.len() as u64 && range.end <= start + bytes.len() as u64
    });
    let (start, bytes) = found.ok_or_else(|| ParquetError::General(format!("bytes {range:?} were not fetched")))?;
    Ok(bytes.slice((range.start - start) as usize..))
}

/// A place in a file that others read at the same time.
struct ReadAt {
    file: Arc<File>,
    at: u64,
}

impl Read for ReadAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
