//! Window assignment without aggregation: adds `window_start` and `window_end` to each row.
//!
//! A row of overlapping windows is repeated once per window. Windows that were over when the row came are left out; a
//! row for which none is left is late.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::grid::WindowGrid;
use super::times::{Closed, TimeColumn};
use crate::{Batch, Emit, EngineError, EventTime, Operator, WindowAssignSpec};

pub(super) struct WindowAssign {
    schema: SchemaRef,
    grid: WindowGrid,
    time: TimeColumn,
    event_watermark: EventTime,
    late_rows: u64,
    panes: Vec<i64>,
}

impl WindowAssign {
    pub fn new(spec: &WindowAssignSpec, schema: SchemaRef, input: &SchemaRef) -> Result<Self, EngineError> {
        let (grid, time) = (WindowGrid::new(spec.kind)?, TimeColumn::new(input, spec.time_column)?);
        Ok(Self { schema, grid, time, event_watermark: EventTime::MIN, late_rows: 0, panes: Vec::new() })
    }

    fn emit(
        &self,
        rows: RecordBatch,
        row_watermark: Option<Int64Array>,
        bounds: [ArrayRef; 2],
        out: &mut dyn Emit,
    ) -> Result<(), EngineError> {
        let mut columns = rows.columns().to_vec();
        columns.extend(bounds);
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        out.emit(Batch::with_row_watermark(rows, row_watermark))
    }
}

impl Operator for WindowAssign {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let times = self.time.micros(&batch.rows)?;
        self.panes.clear();
        let earliest = self.grid.panes_of(&times, &mut self.panes);
        let closed = Closed::new(&batch, self.event_watermark);
        if self.grid.is_tumbling() && closed.is_before(earliest) {
            let starts = self.time.column(self.panes.iter().copied());
            let ends = self.time.column(self.panes.iter().map(|&pane| self.grid.window_at(pane).end));
            return self.emit(batch.rows, batch.row_watermark, [starts, ends], out);
        }
        let (mut indices, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &pane) in self.panes.iter().enumerate() {
            let before = indices.len();
            for window in self.grid.windows_of(pane, closed.at(row)) {
                indices.push(row as u32);
                starts.push(window.start);
                ends.push(window.end);
            }
            if indices.len() == before && self.grid.last_end(pane).is_some() {
                self.late_rows += 1;
            }
        }
        if indices.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from(indices);
        let rows = take_record_batch(&batch.rows, &indices)?;
        let row_watermark = match &batch.row_watermark {
            Some(times) => Some(take(times, &indices, None)?.as_primitive().clone()),
            None => None,
        };
        self.emit(rows, row_watermark, [self.time.column(starts), self.time.column(ends)], out)
    }

    fn watermark(&mut self, event_watermark: EventTime, _out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        self.event_watermark = self.event_watermark.max(event_watermark);
        Ok(Some(self.event_watermark))
    }

    fn late_rows(&self) -> u64 {
        self.late_rows
    }
}
