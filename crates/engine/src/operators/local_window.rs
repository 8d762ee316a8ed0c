//! First half of a window aggregation: rows to partial states per key and pane, in front of the exchange.
//!
//! Why: what crosses between workers shrinks from rows to groups. No state outlives an epoch: everything held is flushed
//! at the barrier, earlier if the table grows large. While rows are held, the watermark is held back behind them.
//! Where keys hardly repeat, grouping here would be wasted: then rows pass as partial states of their own for a while.
//!
//! Lateness is decided here, per row, from the row's own watermark. A row of overlapping windows can be late for the
//! first of them only. Its pane would bring it into all, so such rows (rare ones) are kept apart: cumulating windows
//! shift it to a later pane that exactly the open windows cover; for hopping windows the row is repeated per open
//! window, marked by `__pane` = window start + 1, which no pane has (see [`PaneCode`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use super::aggregates::{Accumulators, Aggregates};
use super::grid::{Window, WindowGrid};
use super::keys::{KeyTable, Keys};
use super::limits::{BYTES_MAX, GROUPS_MAX, JUDGED_ROWS};
use super::times::{Closed, TimeColumn};
use crate::{Barrier, Batch, Emit, EngineError, EventTime, Operator, OperatorContext, WindowAggregateSpec};

/// What the `__pane` of a partial state means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaneCode {
    /// All windows that cover the pane of this start.
    Pane(i64),
    /// The one hopping window of this start; written as start + 1.
    Window(i64),
}

impl PaneCode {
    pub fn read(code: i64, grid: &WindowGrid) -> Self {
        let pane = grid.pane_of(code);
        if pane == code { Self::Pane(pane) } else { Self::Window(pane) }
    }

    pub fn write(self) -> i64 {
        match self {
            Self::Pane(start) => start,
            Self::Window(start) => start + 1,
        }
    }
}

/// A number for each (key, pane) that holds rows.
#[derive(Default)]
struct PanedGroups {
    /// By key number: the pane it was last seen in, and its group there. Nearly always the right one.
    latest: Vec<(i64, u32)>,
    /// Groups that are no longer, or not, their key's latest.
    others: HashMap<(u32, i64), u32>,
    keys: Vec<u32>,
    panes: Vec<i64>,
}

const NO_GROUP: u32 = u32::MAX;

impl PanedGroups {
    /// Turns key numbers into group numbers.
    fn intern(&mut self, key_count: usize, panes: &[i64], numbers: &mut [usize]) {
        self.latest.resize(key_count, (0, NO_GROUP));
        for (number, &pane) in numbers.iter_mut().zip(panes) {
            let (latest_pane, group) = self.latest[*number];
            *number = if latest_pane == pane && group != NO_GROUP {
                group as usize
            } else {
                self.switch_pane(*number as u32, pane) as usize
            };
        }
    }

    #[cold]
    fn switch_pane(&mut self, key: u32, pane: i64) -> u32 {
        let (left_pane, left_group) = self.latest[key as usize];
        let mut known = None;
        if left_group != NO_GROUP {
            self.others.insert((key, left_pane), left_group);
            known = self.others.get(&(key, pane)).copied();
        }
        let group = known.unwrap_or_else(|| {
            self.keys.push(key);
            self.panes.push(pane);
            (self.panes.len() - 1) as u32
        });
        self.latest[key as usize] = (pane, group);
        group
    }

    fn len(&self) -> usize {
        self.panes.len()
    }

    fn memory_bytes(&self) -> usize {
        self.latest.capacity() * 16 + self.others.capacity() * 24 + self.panes.capacity() * 12
    }

    /// Group numbers by pane, or `None` if they already stand so.
    fn order_by_pane(&self) -> Option<UInt32Array> {
        if self.panes.is_sorted() {
            return None;
        }
        let mut order: Vec<u32> = (0..self.panes.len() as u32).collect();
        order.sort_by_key(|&group| self.panes[group as usize]);
        Some(UInt32Array::from(order))
    }
}

/// Whether grouping shrinks the rows, judged over many of them and again after many more.
struct Benefit {
    can_pass: bool,
    rows: usize,
    groups: usize,
    /// Rows still to pass ungrouped.
    passing: usize,
}

impl Benefit {
    fn new(can_pass: bool) -> Self {
        Self { can_pass, rows: 0, groups: 0, passing: 0 }
    }

    /// `rows` became `groups`.
    fn judge(&mut self, rows: usize, groups: usize) {
        self.rows += rows;
        self.groups += groups;
        if self.rows >= JUDGED_ROWS {
            if self.can_pass && 2 * self.groups > self.rows {
                self.passing = 16 * JUDGED_ROWS;
            }
            (self.rows, self.groups) = (0, 0);
        }
    }

    fn is_passing(&mut self, rows: usize) -> bool {
        let is_passing = self.passing > 0;
        self.passing = self.passing.saturating_sub(rows);
        is_passing
    }
}

/// Rows held since the last flush.
struct Held {
    keys: KeyTable,
    groups: PanedGroups,
    accumulators: Accumulators,
    rows: usize,
}

pub(super) struct LocalWindowAggregate {
    schema: SchemaRef,
    grid: WindowGrid,
    time: TimeColumn,
    keys: Keys,
    aggregates: Aggregates,
    batch_rows: usize,
    held: Option<Held>,
    benefit: Benefit,
    event_watermark: EventTime,
    /// The watermark went up while rows were held.
    withheld: Option<EventTime>,
    late_rows: u64,
    panes: Vec<i64>,
    numbers: Vec<usize>,
}

impl LocalWindowAggregate {
    pub fn new(spec: &WindowAggregateSpec, schema: SchemaRef, context: &OperatorContext) -> Result<Self, EngineError> {
        let keys = Keys::new(&spec.keys, &spec.input_schema)?;
        let aggregates = Aggregates::new(&spec.aggregates)?;
        let aggregates_convert = aggregates.converts();
        let columns = keys.width() + 1 + aggregates.state_width();
        if schema.fields().len() != columns {
            return Err(EngineError::bug(format!(
                "a local window aggregation of {columns} columns (keys, __pane, states) has an output of {}",
                schema.fields().len()
            )));
        }
        Ok(Self {
            schema,
            grid: WindowGrid::new(spec.kind)?,
            time: TimeColumn::new(&spec.input_schema, spec.time_column)?,
            keys,
            aggregates,
            batch_rows: context.batch_rows.max(1),
            held: None,
            benefit: Benefit::new(aggregates_convert),
            event_watermark: EventTime::MIN,
            withheld: None,
            late_rows: 0,
            panes: Vec::new(),
            numbers: Vec::new(),
        })
    }

    /// Fills `self.panes` for the rows to aggregate, and returns them.
    fn place(&mut self, batch: Batch) -> Result<RecordBatch, EngineError> {
        let times = self.time.micros(&batch.rows)?;
        self.panes.clear();
        let earliest = self.grid.panes_of(&times, &mut self.panes);
        let closed = Closed::new(&batch, self.event_watermark);
        if closed.is_before(earliest) && !self.grid.has_gaps() {
            return Ok(batch.rows);
        }
        let (mut indices, mut codes) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
        for (row, &pane) in self.panes.iter().enumerate() {
            let closed = closed.at(row);
            if self.grid.is_fully_open(pane, closed) {
                indices.push(row as u32);
                codes.push(pane);
            } else if self.grid.is_cumulating() {
                match self.grid.shifted_pane(pane, closed) {
                    Some(pane) => {
                        indices.push(row as u32);
                        codes.push(pane);
                    }
                    None => self.late_rows += 1,
                }
            } else {
                let before = indices.len();
                for Window { start, .. } in self.grid.windows_of(pane, closed) {
                    indices.push(row as u32);
                    codes.push(PaneCode::Window(start).write());
                }
                let late = indices.len() == before && self.grid.last_end(pane).is_some();
                self.late_rows += u64::from(late);
            }
        }
        let all = indices.len() == self.panes.len() && indices.iter().enumerate().all(|(i, &row)| i == row as usize);
        self.panes = codes;
        if all { Ok(batch.rows) } else { Ok(take_record_batch(&batch.rows, &UInt32Array::from(indices))?) }
    }

    fn hold(&mut self, rows: &RecordBatch) -> Result<(), EngineError> {
        if self.held.is_none() {
            let (keys, accumulators) = (self.keys.table()?, self.aggregates.accumulators()?);
            self.held = Some(Held { keys, groups: PanedGroups::default(), accumulators, rows: 0 });
        }
        let held = self.held.as_mut().expect("set above");
        held.rows += rows.num_rows();
        let keys = self.keys.evaluate(rows)?;
        let inputs = self.aggregates.evaluate_inputs(rows)?;
        held.keys.intern(&keys, rows.num_rows(), &mut self.numbers)?;
        held.groups.intern(held.keys.len(), &self.panes, &mut self.numbers);
        held.accumulators.update(&inputs, &self.numbers, held.groups.len())
    }

    /// Each row as a partial state of its own.
    fn pass(&mut self, rows: &RecordBatch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let inputs = self.aggregates.evaluate_inputs(rows)?;
        let mut columns = self.keys.evaluate(rows)?;
        columns.push(Arc::new(Int64Array::from(self.panes.clone())));
        columns.extend(self.aggregates.accumulators()?.convert(&inputs)?);
        emit_sliced(RecordBatch::try_new(self.schema.clone(), columns)?, rows.num_rows(), self.batch_rows, out)
    }

    fn flush(&mut self, out: &mut dyn Emit) -> Result<(), EngineError> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        let rows = held.groups.len();
        self.benefit.judge(held.rows, rows);
        let mut columns = per_group(held.keys.take()?, &held.groups.keys)?;
        let order = held.groups.order_by_pane();
        columns.push(Arc::new(Int64Array::from(held.groups.panes)));
        columns.extend(held.accumulators.take_states()?);
        if let Some(order) = order {
            columns = columns.iter().map(|column| take(column, &order, None)).collect::<Result<_, _>>()?;
        }
        emit_sliced(RecordBatch::try_new(self.schema.clone(), columns)?, rows, self.batch_rows, out)
    }
}

/// One key per group.
pub(super) fn per_group(keys: Vec<ArrayRef>, key_of_group: &[u32]) -> Result<Vec<ArrayRef>, EngineError> {
    if key_of_group.iter().enumerate().all(|(group, &key)| group == key as usize) {
        return Ok(keys);
    }
    let indices = UInt32Array::from(key_of_group.to_vec());
    Ok(keys.iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>()?)
}

/// Emits `rows` in slices of at most `batch_rows`.
pub(super) fn emit_sliced(
    batch: RecordBatch,
    rows: usize,
    batch_rows: usize,
    out: &mut dyn Emit,
) -> Result<(), EngineError> {
    assert_eq!(batch.num_rows(), rows, "every column has one value per group");
    for start in (0..rows).step_by(batch_rows) {
        out.emit(Batch::new(batch.slice(start, batch_rows.min(rows - start))))?;
    }
    Ok(())
}

impl Operator for LocalWindowAggregate {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let rows = self.place(batch)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.held.is_none() && self.benefit.is_passing(rows.num_rows()) {
            return self.pass(&rows, out);
        }
        self.hold(&rows)?;
        let full = self.held.as_ref().is_some_and(|held| held.groups.len() >= GROUPS_MAX);
        if full || self.aggregates.needs_order() || self.state_bytes() >= BYTES_MAX {
            self.flush(out)?;
        }
        Ok(())
    }

    fn watermark(&mut self, event_watermark: EventTime, _out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        self.event_watermark = self.event_watermark.max(event_watermark);
        if self.held.is_some() {
            self.withheld = Some(self.event_watermark);
            return Ok(None);
        }
        self.withheld = None;
        Ok(Some(self.event_watermark))
    }

    fn epoch_end(&mut self, _barrier: Barrier, out: &mut dyn Emit) -> Result<Option<EventTime>, EngineError> {
        self.flush(out)?;
        Ok(self.withheld.take())
    }

    fn state_bytes(&self) -> usize {
        self.held
            .as_ref()
            .map_or(0, |held| held.keys.memory_bytes() + held.groups.memory_bytes() + held.accumulators.memory_bytes())
    }

    fn state_rows(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.groups.len())
    }

    fn late_rows(&self) -> u64 {
        self.late_rows
    }
}
