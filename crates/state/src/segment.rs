//! Segments: immutable files with rows of one operator's state.
//!
//! ```text
//! 0   8   "THWGSEG\0"
//! 8   4   format version, u32 little endian
//! 12  4   zero
//! 16  n   Arrow IPC stream, buffers compressed with zstd
//! +0  8   n, u64 little endian
//! +8  8   CRC-64/NVME of everything before this field, u64 little endian
//! +16 8   "GESGWHT\0"
//! ```
//! Checked on reading, in this order: length and checksum against the manifest's reference, the file's own checksum, the
//! version, the rows.

use std::io::Cursor;
use std::ops::Range;

use arrow::array::{Array, Int64Array, RecordBatch, UInt16Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, max, min};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::sealed::crc64;
use crate::{StateError, VNODES};

/// The newest segment format this version writes and reads.
pub const SEGMENT_FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"THWGSEG\0";
const END_MAGIC: &[u8; 8] = b"GESGWHT\0";
const HEADER_BYTES: usize = 16;
/// Checkpoints compete with the pipeline for processors: the fastest regular level.
const ZSTD_LEVEL: i32 = 1;
const TRAILER_BYTES: usize = 24;

/// How a manifest names a segment, with what is known of it without reading it.
///
/// The range of vnodes is also a filter: rows outside of it do not count. So an operator that replaces its state on one
/// worker narrows the references to older segments instead of rewriting them; one file may be named by several
/// references with disjoint ranges.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SegmentRef {
    /// In the pipeline's folder.
    pub path: String,
    pub format_version: u32,
    /// Length of the file.
    pub bytes: u64,
    /// Rows in the file.
    pub rows: u64,
    /// The checksum in the file's trailer.
    #[serde(with = "hex")]
    pub crc: u64,
    /// Lowest and highest vnode of its rows that count (both inclusive).
    pub vnode_low: u16,
    pub vnode_high: u16,
    /// Highest `__expires` of its rows in microseconds: all are dead once the watermark reaches it.
    pub max_expires: i64,
}

impl SegmentRef {
    /// The vnodes whose rows count.
    pub fn vnodes(&self) -> Range<u16> {
        self.vnode_low..self.vnode_high.saturating_add(1)
    }

    /// Whether it may hold rows of these vnodes.
    pub fn overlaps(&self, vnodes: &Range<u16>) -> bool {
        self.rows > 0 && self.vnode_low < vnodes.end && vnodes.start <= self.vnode_high
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// A segment in the making, in memory.
pub(crate) struct SegmentWriter {
    stream: StreamWriter<Vec<u8>>,
    schema: SchemaRef,
    rows: u64,
    vnode_low: u16,
    vnode_high: u16,
    max_expires: i64,
}

impl SegmentWriter {
    pub fn new(schema: SchemaRef) -> Result<Self, StateError> {
        check_schema(&schema)?;
        let mut bytes = Vec::with_capacity(64 * 1024);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&SEGMENT_FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::ZSTD))
            .and_then(|options| options.try_with_compression_level(Some(ZSTD_LEVEL)))
            .map_err(encoding)?;
        let stream = StreamWriter::try_new_with_options(bytes, &schema, options).map_err(encoding)?;
        Ok(Self { stream, schema, rows: 0, vnode_low: u16::MAX, vnode_high: 0, max_expires: i64::MIN })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes written so far, as they will stand in the file.
    pub fn bytes(&self) -> usize {
        self.stream.get_ref().len()
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), StateError> {
        if batch.schema_ref() != &self.schema {
            return Err(StateError::bug("the batches of one segment differ in their schema"));
        }
        let (vnodes, expires) = state_columns(batch)?;
        let (Some(low), Some(high), Some(latest)) = (min(vnodes), max(vnodes), max(expires)) else {
            return Ok(());
        };
        if high >= VNODES {
            return Err(StateError::bug(format!("a state row has vnode {high}")));
        }
        self.vnode_low = self.vnode_low.min(low);
        self.vnode_high = self.vnode_high.max(high);
        self.max_expires = self.max_expires.max(latest);
        self.rows += batch.num_rows() as u64;
        self.stream.write(batch).map_err(encoding)
    }

    /// The file, and its reference under `path`.
    pub fn finish(mut self, path: String) -> Result<(Bytes, SegmentRef), StateError> {
        self.stream.finish().map_err(encoding)?;
        let mut bytes = self.stream.into_inner().map_err(encoding)?;
        let length = (bytes.len() - HEADER_BYTES) as u64;
        bytes.extend_from_slice(&length.to_le_bytes());
        let crc = crc64(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(END_MAGIC);
        let segment = SegmentRef {
            path,
            format_version: SEGMENT_FORMAT_VERSION,
            bytes: bytes.len() as u64,
            rows: self.rows,
            crc,
            vnode_low: self.vnode_low.min(self.vnode_high),
            vnode_high: self.vnode_high,
            max_expires: self.max_expires,
        };
        Ok((bytes.into(), segment))
    }
}

fn encoding(error: arrow::error::ArrowError) -> StateError {
    StateError::bug(format!("cannot encode a segment: {error}"))
}

/// Shows that the file is the one that `segment` names, unchanged, and of a version that can be read.
pub(crate) fn verify(place: &str, segment: &SegmentRef, bytes: &[u8]) -> Result<(), StateError> {
    let damaged = |what: String| StateError::damaged(place, what);
    if segment.format_version > SEGMENT_FORMAT_VERSION {
        let (found, supported) = (segment.format_version, SEGMENT_FORMAT_VERSION);
        return Err(StateError::Newer { place: place.into(), found, supported });
    }
    if bytes.len() as u64 != segment.bytes {
        return Err(damaged(format!("it has {} bytes instead of {}", bytes.len(), segment.bytes)));
    }
    let Some(trailer_at) = bytes.len().checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES) else {
        return Err(damaged(format!("it has only {} bytes", bytes.len())));
    };
    let trailer = &bytes[trailer_at..];
    let word = |at: usize| u64::from_le_bytes(trailer[at..at + 8].try_into().expect("eight bytes"));
    let crc = crc64(&bytes[..trailer_at + 8]);
    if crc != word(8) || &trailer[16..] != END_MAGIC || &bytes[..8] != MAGIC {
        return Err(damaged("its checksum differs".into()));
    }
    if crc != segment.crc {
        return Err(damaged("it is another segment than the one that was written there".into()));
    }
    let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    if version > SEGMENT_FORMAT_VERSION {
        return Err(StateError::Newer { place: place.into(), found: version, supported: SEGMENT_FORMAT_VERSION });
    }
    if word(0) != (trailer_at - HEADER_BYTES) as u64 {
        return Err(damaged("its length field is wrong".into()));
    }
    Ok(())
}

/// Verifies and decodes a segment's file; only rows that count, never an empty batch.
pub(crate) fn decode(place: &str, segment: &SegmentRef, bytes: &Bytes) -> Result<Vec<RecordBatch>, StateError> {
    verify(place, segment, bytes)?;
    let unreadable =
        |error: arrow::error::ArrowError| StateError::damaged(place, format!("its rows cannot be read ({error})"));
    let stream = bytes.slice(HEADER_BYTES..bytes.len() - TRAILER_BYTES);
    let reader = StreamReader::try_new(Cursor::new(stream), None).map_err(unreadable)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if rows != segment.rows {
        return Err(StateError::damaged(place, format!("it has {rows} rows instead of {}", segment.rows)));
    }
    let mut counting = Vec::with_capacity(batches.len());
    for batch in &batches {
        let batch = rows_where(batch, |vnode, _| segment.vnodes().contains(&vnode))
            .map_err(|error| StateError::damaged(place, error.to_string()))?;
        if batch.num_rows() > 0 {
            counting.push(batch);
        }
    }
    Ok(counting)
}

/// The rows of `batch` that belong to `vnodes` and are alive at `event_watermark` (microseconds).
///
/// # Errors
/// `Bug` if the batch does not begin with the columns `__vnode` and `__expires`.
pub fn select_rows(batch: &RecordBatch, vnodes: &Range<u16>, event_watermark: i64) -> Result<RecordBatch, StateError> {
    rows_where(batch, |vnode, expires| vnodes.contains(&vnode) && expires > event_watermark)
}

fn rows_where(batch: &RecordBatch, counts: impl Fn(u16, i64) -> bool) -> Result<RecordBatch, StateError> {
    let (vnodes, expires) = state_columns(batch)?;
    let (vnodes, expires) = (vnodes.values(), expires.values());
    let keep = BooleanBuffer::collect_bool(batch.num_rows(), |row| counts(vnodes[row], expires[row]));
    if keep.count_set_bits() == batch.num_rows() {
        return Ok(batch.clone());
    }
    filter_record_batch(batch, &keep.into())
        .map_err(|error| StateError::bug(format!("cannot filter state rows: {error}")))
}

fn check_schema(schema: &SchemaRef) -> Result<(), StateError> {
    let is = |at: usize, name: &str, data_type: &DataType| {
        schema.fields().get(at).is_some_and(|field| field.name() == name && field.data_type() == data_type)
    };
    if is(0, "__vnode", &DataType::UInt16) && is(1, "__expires", &DataType::Int64) {
        return Ok(());
    }
    Err(StateError::bug("state rows must begin with the columns __vnode UInt16 and __expires Int64"))
}

fn state_columns(batch: &RecordBatch) -> Result<(&UInt16Array, &Int64Array), StateError> {
    check_schema(batch.schema_ref())?;
    let vnodes = batch.column(0).as_any().downcast_ref::<UInt16Array>().expect("checked above");
    let expires = batch.column(1).as_any().downcast_ref::<Int64Array>().expect("checked above");
    if vnodes.null_count() + expires.null_count() > 0 {
        return Err(StateError::bug("__vnode and __expires of state rows must not be null"));
    }
    Ok((vnodes, expires))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::ErrorKind;

    /// State rows with one value column.
    pub(crate) fn state_rows(rows: &[(u16, i64, i64)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("__vnode", DataType::UInt16, false),
            Field::new("__expires", DataType::Int64, false),
            Field::new("value", DataType::Int64, true),
        ]);
        let vnodes = UInt16Array::from_iter_values(rows.iter().map(|row| row.0));
        let expires = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        let values = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(vnodes), Arc::new(expires), Arc::new(values)]).unwrap()
    }

    fn segment(batches: &[RecordBatch]) -> (Bytes, SegmentRef) {
        let mut writer = SegmentWriter::new(batches[0].schema()).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.finish("segments/x.seg".into()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let batches = [state_rows(&[(3, 10, 1), (900, 20, 2)]), state_rows(&[(7, i64::MAX, 3)])];
        let (bytes, segment) = segment(&batches);
        assert_eq!(decode("x", &segment, &bytes).unwrap(), batches);
        assert_eq!((segment.rows, segment.vnode_low, segment.vnode_high), (3, 3, 900));
        assert_eq!(segment.max_expires, i64::MAX);
        assert!(segment.overlaps(&(900..901)) && !segment.overlaps(&(901..1024)) && !segment.overlaps(&(0..3)));
    }

    #[test]
    fn rows_outside_a_narrowed_range_do_not_count() {
        let (bytes, mut segment) =
            segment(&[state_rows(&[(3, 10, 1), (7, 20, 2), (9, 30, 3)]), state_rows(&[(3, 1, 4)])]);
        (segment.vnode_low, segment.vnode_high) = (4, 8);
        assert_eq!(decode("x", &segment, &bytes).unwrap(), [state_rows(&[(7, 20, 2)])]);
    }

    #[test]
    fn a_segment_without_rows_overlaps_nothing() {
        let (bytes, segment) = segment(&[state_rows(&[])]);
        assert!(decode("x", &segment, &bytes).unwrap().is_empty());
        assert_eq!((segment.rows, segment.max_expires), (0, i64::MIN));
        assert!(!segment.overlaps(&(0..VNODES)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let (bytes, segment) = segment(&[state_rows(&[(1, 2, 3), (4, 5, 6)])]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                let error = decode("x.seg", &segment, &flipped.into()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::FixData, "byte {at}, bit {bit}: {error}");
                assert!(error.to_string().contains("x.seg") && error.to_string().contains("--restart"));
            }
            assert!(decode("x.seg", &segment, &bytes.slice(..at)).is_err());
        }
    }

    #[test]
    fn swapped_segments_are_refused() {
        let (_, first) = segment(&[state_rows(&[(1, 2, 3)])]);
        let (second_bytes, second) = segment(&[state_rows(&[(1, 2, 4)])]);
        assert_eq!(first.bytes, second.bytes);
        let error = decode("x", &first, &second_bytes).unwrap_err();
        assert!(error.to_string().contains("another segment"), "{error}");
    }

    #[test]
    fn a_newer_version_is_refused() {
        let (bytes, mut segment) = segment(&[state_rows(&[(1, 2, 3)])]);
        let mut newer = bytes.to_vec();
        newer[8] = 2;
        let crc_at = newer.len() - 16;
        let crc = crc64(&newer[..crc_at]);
        newer[crc_at..crc_at + 8].copy_from_slice(&crc.to_le_bytes());
        segment.crc = crc;
        let error = decode("x", &segment, &newer.into()).unwrap_err();
        assert!(matches!(error, StateError::Newer { found: 2, supported: 1, .. }), "{error}");
    }

    #[test]
    fn rows_are_selected_by_vnode_and_life() {
        let rows = state_rows(&[(1, 10, 1), (2, 11, 2), (2, 10, 3), (3, 99, 4)]);
        assert_eq!(select_rows(&rows, &(1..3), 10).unwrap(), state_rows(&[(2, 11, 2)]));
        assert_eq!(select_rows(&rows, &(0..VNODES), i64::MIN).unwrap(), rows);
    }

    #[test]
    fn other_columns_are_refused() {
        let rows = state_rows(&[(1, 2, 3)]);
        let other = rows.project(&[1, 0, 2]).unwrap();
        assert!(SegmentWriter::new(other.schema()).is_err());
        let mut writer = SegmentWriter::new(rows.schema()).unwrap();
        assert!(writer.write(&rows.project(&[0, 1]).unwrap()).is_err());
        assert!(writer.write(&state_rows(&[(1024, 0, 0)])).is_err());
    }
}
