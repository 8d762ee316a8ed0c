//! Second half of a window aggregation: keeps partial states per pane and emits windows that closed.
//!
//! A window `[start, end)` closes when the watermark reaches `end`. Closing merges the runs and tables of its panes into
//! a fresh table, in bounded slices ([`Operator::poll_more`]); the watermark is forwarded once all slices are through.
//! It bounds the last instant of the windows still to come, `window_end` - 1 us, which is their event time downstream.
//! A pane is dropped when the last window that covers it begins to close.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::blocks::{Blocks, Ground};
use super::grid::{Window, WindowGrid};
use super::groups::GroupTable;
use super::layout::{StateLayout, int64};
use super::limits::{DELTA_ROWS_MIN, PLAIN_PANES_MAX, SLICE_ROWS};
use super::local_window::PaneCode;
use super::panes::{Pane, Place, merge_into};
use super::times::TimeColumn;
use crate::{
    Barrier, Batch, Emit, EngineError, EventTime, Operator, OperatorContext, RestoredState, StateDelta, StateRows,
    WindowAggregateSpec,
};

pub(super) struct GlobalWindowAggregate {
    schema: SchemaRef,
    grid: WindowGrid,
    time: TimeColumn,
    layout: StateLayout,
    batch_rows: usize,
    panes: BTreeMap<i64, Pane>,
    /// By window start: rows that came too late for other windows of their pane.
    corrections: BTreeMap<i64, Pane>,
    blocks: Blocks,
    event_watermark: EventTime,
    /// All windows that end here or earlier have begun to close.
    closed: i64,
    closing: Option<Closing>,
    /// A rise of the watermark that is not forwarded yet.
    withheld: bool,
    crowded: Vec<PaneCode>,
    late_rows: u64,
}

/// A window on its way out.
struct Closing {
    window: Window,
    table: GroupTable,
    /// Partial states still to merge.
    sources: Vec<RecordBatch>,
}

impl GlobalWindowAggregate {
    pub fn new(spec: &WindowAggregateSpec, schema: SchemaRef, context: &OperatorContext) -> Result<Self, EngineError> {
        let layout = StateLayout::new(&spec.keys, &spec.input_schema, &spec.aggregates, &["__pane"])?;
        let columns = spec.keys.len() + 2 + spec.aggregates.len();
        if schema.fields().len() != columns {
            return Err(EngineError::bug(format!(
                "a window aggregation of {columns} columns (keys, window bounds, results) has an output of {}",
                schema.fields().len()
            )));
        }
        Ok(Self {
            schema,
            grid: WindowGrid::new(spec.kind)?,
            time: TimeColumn::new(&spec.input_schema, spec.time_column)?,
            layout,
            batch_rows: context.batch_rows.max(1),
            panes: BTreeMap::new(),
            corrections: BTreeMap::new(),
            blocks: Blocks::default(),
            event_watermark: EventTime::MIN,
            closed: i64::MIN,
            closing: None,
            withheld: false,
            crowded: Vec::new(),
            late_rows: 0,
        })
    }

    fn place(&self, code: PaneCode) -> Option<Place> {
        let expires = match code {
            PaneCode::Pane(start) => self.grid.last_end(start)?,
            PaneCode::Window(start) => self.grid.window_at(start).end,
        };
        Some(Place { code: code.write(), expires })
    }

    fn pane(&mut self, code: PaneCode) -> &mut Pane {
        match code {
            PaneCode::Pane(start) => self.panes.entry(start).or_default(),
            PaneCode::Window(start) => self.corrections.entry(start).or_default(),
        }
    }

    /// Merges rows of one pane.
    fn merge(&mut self, code: i64, rows: &RecordBatch) -> Result<(), EngineError> {
        let code = PaneCode::read(code, &self.grid);
        if self.place(code).is_none_or(|place| place.expires <= self.event_watermark.0) {
            self.late_rows += rows.num_rows() as u64;
            return Ok(());
        }
        if matches!(code, PaneCode::Pane(start) if !self.grid.is_fully_open(start, self.closed)) {
            // Only the rows of a partition that was idle come so late.
            self.blocks.clear();
        }
        let (keys, rest) = rows.columns().split_at(self.layout.keys.width());
        let pane = match code {
            PaneCode::Pane(start) => self.panes.entry(start).or_default(),
            PaneCode::Window(start) => self.corrections.entry(start).or_default(),
        };
        pane.merge(&self.layout, keys, &rest[1..], rows.num_rows())
    }

    /// The next window to close, if the watermark is past its end.
    fn next_window(&self) -> Option<Window> {
        let of_panes = self.panes.first_key_value().and_then(|(&pane, _)| self.grid.next_window(pane, self.closed));
        let of_corrections = self.corrections.first_key_value().map(|(&start, _)| self.grid.window_at(start));
        let next = [of_panes, of_corrections].into_iter().flatten().min_by_key(|window| window.end)?;
        (next.end <= self.event_watermark.0).then_some(next)
    }

    /// Gathers what `window` is made of; drops the panes that no later window covers.
    fn begin_close(&mut self, window: Window) -> Result<Closing, EngineError> {
        self.closed = self.closed.max(window.end);
        if self.grid.panes_per_window() > PLAIN_PANES_MAX {
            return self.begin_close_of_many(window);
        }
        let mut ending = Vec::new();
        let mut sources = Vec::new();
        for (&start, pane) in self.panes.range_mut(window.start..window.end) {
            let expires = self.grid.last_end(start).unwrap_or(window.end);
            if expires <= window.end {
                ending.push(start);
                continue;
            }
            pane.drain(&self.layout, Place { code: start, expires })?;
            sources.extend(pane.runs().map(|run| run.rows.clone()));
            if pane.is_crowded() {
                self.crowded.push(PaneCode::Pane(start));
            }
        }
        let ending: Vec<_> = ending.iter().filter_map(|start| self.panes.remove(start)).collect();
        let correction = if self.grid.is_cumulating() { None } else { self.corrections.remove(&window.start) };
        let mut table = None;
        for mut pane in ending.into_iter().chain(correction) {
            match table {
                None => table = pane.recent.take(),
                Some(_) => pane.drain(&self.layout, Place { code: window.start, expires: window.end })?,
            }
            sources.extend(pane.into_runs().map(|run| run.rows));
        }
        let table = table.map_or_else(|| self.layout.table(), Ok)?;
        Ok(Closing { window, table, sources })
    }

    /// The same for a window of many panes.
    fn begin_close_of_many(&mut self, window: Window) -> Result<Closing, EngineError> {
        let mut ending = Vec::new();
        for (&start, pane) in self.panes.range_mut(window.start..window.end) {
            let expires = self.grid.last_end(start).unwrap_or(window.end);
            pane.drain(&self.layout, Place { code: start, expires })?;
            if expires <= window.end {
                ending.push(start);
            } else if pane.is_crowded() {
                self.crowded.push(PaneCode::Pane(start));
            }
        }
        let next_start = self.grid.next_start(window);
        let ground = Ground { layout: &self.layout, grid: &self.grid, panes: &self.panes };
        let mut sources = self.blocks.sources(&ground, window, next_start)?;
        self.blocks.forget_before(&self.grid, next_start);
        for start in ending {
            self.panes.remove(&start);
        }
        let mut table = None;
        if let Some(correction) = self.corrections.remove(&window.start).filter(|_| !self.grid.is_cumulating()) {
            sources.extend(correction.runs().map(|run| run.rows.clone()));
            table = correction.recent;
        }
        let table = table.map_or_else(|| self.layout.table(), Ok)?;
        Ok(Closing { window, table, sources })
    }

    /// Emits the results of a merged window; returns how many.
    fn emit_window(&self, window: Window, table: GroupTable, out: &mut dyn Emit) -> Result<usize, EngineError> {
        let rows = table.len();
        if rows == 0 {
            return Ok(0);
        }
        let (mut columns, results) = table.into_results()?;
        columns.push(self.time.column(std::iter::repeat_n(window.start, rows)));
        columns.push(self.time.column(std::iter::repeat_n(window.end, rows)));
        columns.extend(results);
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        super::local_window::emit_sliced(batch, rows, self.batch_rows, out)?;
        Ok(rows)
    }

    /// One slice of closing windows; true when none is left to close.
    fn close_some(&mut self, out: &mut dyn Emit) -> Result<bool, EngineError> {
        let mut budget = SLICE_ROWS;
        loop {
            let Some(closing) = &mut self.closing else {
                let Some(window) = self.next_window() else {
                    self.closed = self.closed.max(self.event_watermark.0);
                    return Ok(true);
                };
                self.closing = Some(self.begin_close(window)?);
                continue;
            };
            while let Some(rows) = closing.sources.pop() {
                merge_into(&self.layout, &mut closing.table, &rows)?;
                budget = budget.saturating_sub(rows.num_rows());
                if budget == 0 {
                    return Ok(false);
                }
            }
            let Closing { window, table, .. } = self.closing.take().expect("matched above");
            budget = budget.saturating_sub(self.emit_window(window, table, out)?);
            if budget == 0 {
                return Ok(false);
            }
        }
    }

    /// Merges runs of one pane that has many of them; true when no such pane is left.
    fn compact_one(&mut self) -> Result<bool, EngineError> {
        let Some(code) = self.crowded.pop() else { return Ok(true) };
        let Some(place) = self.place(code) else { return Ok(self.crowded.is_empty()) };
        let pane = match code {
            PaneCode::Pane(start) => self.panes.get_mut(&start),
            PaneCode::Window(start) => self.corrections.get_mut(&start),
        };
        if let Some(pane) = pane.filter(|pane| pane.is_crowded()) {
            pane.compact(&self.layout, place)?;
        }
        Ok(self.crowded.is_empty())
    }

    fn release_watermark(&mut self) -> Option<EventTime> {
        self.withheld = false;
        Some(self.event_watermark)
    }
}

/// Ranges of equal values, in order.
fn equal_ranges(values: &[i64]) -> impl Iterator<Item = (i64, usize, usize)> + '_ {
    let mut start = 0;
    values.chunk_by(|a, b| a == b).map(move |chunk| {
        start += chunk.len();
        (chunk[0], start - chunk.len(), chunk.len())
    })
}

/// The rows sorted by `codes`, if these jump about so much that slicing would make tiny pieces.
fn sorted_by_code(rows: &RecordBatch, codes: &[i64]) -> Result<Option<RecordBatch>, EngineError> {
    let pieces = codes.chunk_by(|a, b| a == b).count();
    if pieces <= 8 || codes.is_sorted() {
        return Ok(None);
    }
    let mut order: Vec<u32> = (0..codes.len() as u32).collect();
    order.sort_by_key(|&row| codes[row as usize]);
    Ok(Some(take_record_batch(rows, &UInt32Array::from(order))?))
}

/// Small batches as few larger ones.
fn joined(batches: Vec<RecordBatch>, schema: &SchemaRef) -> Result<Vec<StateRows>, EngineError> {
    let (small, mut large): (Vec<_>, Vec<_>) = batches.into_iter().partition(|rows| rows.num_rows() < DELTA_ROWS_MIN);
    if !small.is_empty() {
        large.push(concat_batches(schema, &small)?);
    }
    Ok(large.into_iter().map(|rows| StateRows { rows }).collect())
}

impl Operator for GlobalWindowAggregate {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, _out: &mut dyn Emit) -> Result<(), EngineError> {
        let codes_at = self.layout.keys.width();
        let mut rows = batch.rows;
        let mut values = int64(&rows, codes_at)?.values().clone();
        if let Some(sorted) = sorted_by_code(&rows, &values)? {
            values = int64(&sorted, codes_at)?.values().clone();
            rows = sorted;
        }
        for (code, start, len) in equal_ranges(&values) {
            self.merge(code, &rows.slice(start, len))?;
        }
        Ok(())
    }

    fn watermark(&mut self, event_watermark: EventTime, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        if event_watermark <= self.event_watermark {
            return Ok(None);
        }
        self.event_watermark = event_watermark;
        self.withheld = true;
        if self.close_some(out)? { Ok(self.release_watermark()) } else { Ok(None) }
    }

    fn epoch_end(&mut self, _barrier: Barrier, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        while !self.close_some(out)? {}
        Ok(if self.withheld { self.release_watermark() } else { None })
    }

    fn snapshot(&mut self) -> Result<StateDelta, EngineError> {
        assert!(self.closing.is_none(), "the epoch's end finished all closing windows");
        let mut unsaved = Vec::new();
        let codes = self.panes.keys().map(|&start| PaneCode::Pane(start));
        let codes: Vec<_> = codes.chain(self.corrections.keys().map(|&start| PaneCode::Window(start))).collect();
        for code in codes {
            let Some(place) = self.place(code) else { continue };
            let pane = match code {
                PaneCode::Pane(start) => self.panes.get_mut(&start),
                PaneCode::Window(start) => self.corrections.get_mut(&start),
            };
            let Some(pane) = pane else { continue };
            pane.drain(&self.layout, place)?;
            pane.take_unsaved(&mut unsaved);
            if pane.is_crowded() {
                self.crowded.push(code);
            }
        }
        self.crowded.sort_unstable_by_key(|code| code.write());
        self.crowded.dedup();
        Ok(StateDelta { rows: joined(unsaved, &self.layout.schema)?, replace: false })
    }

    fn restore(&mut self, state: RestoredState) -> Result<(), EngineError> {
        self.event_watermark = state.event_watermark;
        self.closed = state.event_watermark.0;
        for StateRows { rows } in state.rows {
            let rows = self.layout.restored(&rows)?;
            let (expires, codes) = (self.layout.expires(&rows)?, self.layout.extra(&rows, 0)?);
            let mut live: Vec<u32> = (0..rows.num_rows() as u32).collect();
            live.retain(|&row| expires.value(row as usize) > self.closed);
            live.sort_by_key(|&row| codes.value(row as usize));
            let rows = take_record_batch(&rows, &UInt32Array::from(live))?;
            let codes = self.layout.extra(&rows, 0)?.values().clone();
            for (code, start, len) in equal_ranges(&codes) {
                let code = PaneCode::read(code, &self.grid);
                let pane = self.pane(code);
                pane.restore(rows.slice(start, len));
                if pane.is_crowded() && !self.crowded.contains(&code) {
                    self.crowded.push(code);
                }
            }
        }
        Ok(())
    }

    fn poll_more(&mut self, out: &mut dyn Emit) -> Result<bool, EngineError> {
        if self.withheld {
            // What is through now is forwarded with the next watermark or at the epoch's end.
            if !self.close_some(out)? || self.next_window().is_some() {
                return Ok(true);
            }
        }
        Ok(!self.compact_one()?)
    }

    fn state_bytes(&self) -> usize {
        let closing = self.closing.as_ref().map_or(0, |closing| closing.table.memory_bytes());
        let panes = self.panes.values().chain(self.corrections.values());
        closing + self.blocks.memory_bytes() + panes.map(Pane::memory_bytes).sum::<usize>()
    }

    fn state_rows(&self) -> usize {
        self.panes.values().chain(self.corrections.values()).map(Pane::rows).sum()
    }

    fn late_rows(&self) -> u64 {
        self.late_rows
    }
}
