//! The unit of data between operators: an Arrow batch, with what lateness needs to know about its rows.

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

/// An instant of event time in microseconds since the Unix epoch; also the unit of every watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before any row: the watermark of an input that has said nothing yet.
    pub const MIN: Self = Self(i64::MIN);
    /// After any row: the watermark of an input that has ended.
    pub const MAX: Self = Self(i64::MAX);
}

/// Rows on an edge of the graph.
///
/// `row_watermark` makes lateness reproducible. For each row it holds the event watermark of the row's own source
/// partition just before that row (the running maximum over the rows in front of it), in microseconds. It is `None` when
/// no row of the batch lies behind its own partition's watermark, which is nearly always: then no row can be late.
/// A null entry means "not behind". Because it depends only on the order of rows inside one partition, which rows are
/// late does not depend on batch size, parallelism, interleaving of partitions, or restarts.
///
/// Invariant: `row_watermark`, if there, is as long as `rows`.
#[derive(Debug, Clone)]
pub struct Batch {
    pub rows: RecordBatch,
    pub row_watermark: Option<Int64Array>,
}

impl Batch {
    pub fn new(rows: RecordBatch) -> Self {
        Self { rows, row_watermark: None }
    }

    pub fn with_row_watermark(rows: RecordBatch, row_watermark: Option<Int64Array>) -> Self {
        if let Some(times) = &row_watermark {
            assert_eq!(times.len(), rows.num_rows(), "one row watermark per row");
        }
        Self { rows, row_watermark }
    }

    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Bytes of the rows themselves, also where they are a slice of larger arrays; what credits count.
    pub fn memory_bytes(&self) -> usize {
        let bytes =
            |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size());
        self.rows.columns().iter().map(bytes).sum()
    }
}
