//! Builds text columns from bytes that are written in place.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

/// Builds a text column from bytes pushed one value at a time.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Text {
    pub(crate) fn with_capacity(rows: usize, bytes_per_row: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(rows * bytes_per_row), ends }
    }

    /// What was appended to `bytes` since the last call is the next value.
    #[inline(always)]
    pub(crate) fn end_value(&mut self) {
        self.ends.push(self.bytes.len() as i32);
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: &str) {
        self.bytes.extend_from_slice(value.as_bytes());
        self.end_value();
    }

    pub(crate) fn finish(self) -> ArrayRef {
        assert!(i32::try_from(self.bytes.len()).is_ok(), "a batch of text stays below 2 GiB");
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(self.bytes), None))
    }
}
