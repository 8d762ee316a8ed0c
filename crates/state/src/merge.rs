//! Background merge: fewer, larger segments, without the dead rows.
//!
//! State rows are mergeable partials, so merging is concatenation: no row is read twice, none is changed, and it does
//! not matter on which worker the rows were written. What to merge is decided by [`plan`] from references alone.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::claim::Pending;
use crate::segment::SegmentWriter;
use crate::store::blocking;
use crate::{CheckpointStore, OperatorState, SegmentRef, StateError, VNODES, select_rows};

/// More segments than this are merged.
const SEGMENTS_MAX: usize = 8;
/// Deltas are merged into the largest segment when together they exceed this part of it...
const DELTA_PERCENT_MAX: u64 = 30;
/// ...and this size; below it only their number matters.
const DELTA_BYTES_MIN: u64 = 1 << 20;
/// A merged segment is closed at this size, which bounds the memory of a merge. Closed segments are not merged again;
/// they go when all their rows are dead.
const SEGMENT_BYTES_CLOSED: u64 = 64 << 20;
/// Rows of one batch in a merged segment.
const BATCH_ROWS: usize = 64 * 1024;
/// In the name of a merged segment, in place of the worker's number.
const MERGE_WORKER: usize = 99_999;

/// What to do with each segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    /// All rows are dead.
    Drop,
    Merge,
}

fn plan(segments: &[SegmentRef], event_watermark: i64) -> Vec<Fate> {
    let is_dead = |segment: &SegmentRef| segment.rows == 0 || segment.max_expires <= event_watermark;
    let is_open = |segment: &SegmentRef| !is_dead(segment) && segment.bytes < SEGMENT_BYTES_CLOSED;
    let open = || segments.iter().filter(|segment| is_open(segment));
    let largest = open().map(|segment| segment.bytes).max().unwrap_or(0);
    let deltas = open().map(|segment| segment.bytes).sum::<u64>() - largest;
    let deltas_exceed = deltas * 100 > largest * DELTA_PERCENT_MAX;
    let merges = open().count() > SEGMENTS_MAX || (deltas_exceed && deltas > DELTA_BYTES_MIN);
    let mut largest_is_kept = false;
    segments
        .iter()
        .map(|segment| {
            if is_dead(segment) {
                return Fate::Drop;
            }
            if !is_open(segment) || !merges {
                return Fate::Keep;
            }
            // Many deltas beside a much larger segment are merged among themselves: rewriting it too would not pay.
            if !deltas_exceed && segment.bytes == largest && !largest_is_kept {
                largest_is_kept = true;
                return Fate::Keep;
            }
            Fate::Merge
        })
        .collect()
}

impl CheckpointStore {
    /// Merges the segments of `state` if there are many or the small ones have grown, and leaves out those whose rows
    /// are all dead. The result is not in force before a manifest names it; see [`OperatorState::apply_merge`]. The
    /// old segments stay until garbage collection finds that no kept manifest names them. `checkpoint_epoch` is the newest
    /// checkpoint's (or a later one); it only goes into names.
    ///
    /// `None`: nothing to do.
    ///
    /// # Errors
    /// As [`Self::read_segment`] and [`Self::write_segment`].
    pub async fn merge(
        &self,
        checkpoint_epoch: u64,
        state: &OperatorState,
    ) -> Result<Option<OperatorState>, StateError> {
        let fates = plan(&state.segments, state.event_watermark);
        if fates.iter().all(|fate| *fate == Fate::Keep) {
            return Ok(None);
        }
        self.check_fence().await?;
        let with = |wanted: Fate| {
            state
                .segments
                .iter()
                .zip(&fates)
                .filter(move |(_, fate)| **fate == wanted)
                .map(|(segment, _)| segment.clone())
        };
        let mut segments: Vec<SegmentRef> = with(Fate::Keep).collect();
        let inputs: Vec<SegmentRef> = with(Fate::Merge).collect();
        let merged = self.merge_segments(checkpoint_epoch, &state.name, &inputs, state.event_watermark).await?;
        segments.extend(merged);
        Ok(Some(OperatorState { segments, ..state.clone() }))
    }

    /// Reads one segment after the other; memory is one decoded input and one output.
    async fn merge_segments(
        &self,
        checkpoint_epoch: u64,
        name: &str,
        inputs: &[SegmentRef],
        event_watermark: i64,
    ) -> Result<Vec<SegmentRef>, StateError> {
        let mut merged = Vec::new();
        let mut output = Output::default();
        for input in inputs {
            let batches = self.read_segment(input).await?;
            let (next, full) = blocking(move || {
                let full = output.add(batches, event_watermark)?;
                Ok((output, full))
            })
            .await?;
            output = next;
            for writer in full {
                merged.push(self.put_segment(checkpoint_epoch, name, MERGE_WORKER, writer, Pending::Merged).await?);
            }
        }
        let last = blocking(move || output.finish()).await?;
        if let Some(writer) = last {
            merged.push(self.put_segment(checkpoint_epoch, name, MERGE_WORKER, writer, Pending::Merged).await?);
        }
        Ok(merged)
    }
}

/// Collects rows into batches of [`BATCH_ROWS`], and those into segments of [`SEGMENT_BYTES_CLOSED`].
#[derive(Default)]
struct Output {
    held: Vec<RecordBatch>,
    held_rows: usize,
    writer: Option<SegmentWriter>,
}

impl Output {
    /// Takes the living rows; returns segments that are full.
    fn add(&mut self, batches: Vec<RecordBatch>, event_watermark: i64) -> Result<Vec<SegmentWriter>, StateError> {
        let mut full = Vec::new();
        for batch in batches {
            let alive = select_rows(&batch, &(0..VNODES), event_watermark)?;
            if alive.num_rows() == 0 {
                continue;
            }
            if self.held.first().is_some_and(|held| held.schema_ref() != alive.schema_ref()) {
                full.extend(self.finish()?);
            }
            self.held_rows += alive.num_rows();
            self.held.push(alive);
            if self.held_rows >= BATCH_ROWS {
                self.write_held()?;
            }
            full.extend(self.writer.take_if(|writer| writer.bytes() as u64 >= SEGMENT_BYTES_CLOSED));
        }
        Ok(full)
    }

    fn write_held(&mut self) -> Result<(), StateError> {
        let Some(first) = self.held.first() else { return Ok(()) };
        let schema = first.schema();
        if self.writer.as_ref().is_none_or(|writer| writer.schema() != &schema) {
            assert!(self.writer.is_none(), "a segment ends where the schema changes");
            self.writer = Some(SegmentWriter::new(schema.clone())?);
        }
        let batch = concat_batches(&schema, &self.held)
            .map_err(|error| StateError::bug(format!("cannot join state rows: {error}")))?;
        self.held.clear();
        self.held_rows = 0;
        self.writer.as_mut().expect("made above").write(&batch)
    }

    /// Everything that is left.
    fn finish(&mut self) -> Result<Option<SegmentWriter>, StateError> {
        self.write_held()?;
        Ok(self.writer.take().filter(|writer| writer.rows() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(bytes: u64, max_expires: i64) -> SegmentRef {
        SegmentRef {
            path: String::new(),
            format_version: 1,
            bytes,
            rows: 1,
            crc: 0,
            vnode_low: 0,
            vnode_high: 0,
            max_expires,
        }
    }

    #[track_caller]
    fn check(sizes: &[u64], expect: &str) {
        let segments: Vec<_> = sizes.iter().map(|bytes| segment(*bytes, i64::MAX)).collect();
        let fates: String = plan(&segments, 0)
            .iter()
            .map(|fate| match fate {
                Fate::Keep => 'k',
                Fate::Drop => 'd',
                Fate::Merge => 'm',
            })
            .collect();
        assert_eq!(fates, expect);
    }

    const MB: u64 = 1 << 20;

    #[test]
    fn merges_by_number_and_by_size() {
        check(&[], "");
        check(&[10 * MB, MB, MB], "kkk");
        check(&[10 * MB, 2 * MB, 2 * MB], "mmm");
        check(&[1000, 900, 900], "kkk");
        check(&[1; 8], "kkkkkkkk");
        check(&[1; 9], "mmmmmmmmm");
        check(&[30 * MB, 1, 1, 1, 1, 1, 1, 1, 1], "kmmmmmmmm");
        check(&[64 * MB, 64 * MB, 64 * MB], "kkk");
        check(&[64 * MB, 10 * MB, 5 * MB], "kmm");
    }

    #[test]
    fn dead_segments_are_dropped_unread() {
        let segments = [segment(MB, 10), segment(MB, 11)];
        assert_eq!(plan(&segments, 10), [Fate::Drop, Fate::Keep]);
    }
}
