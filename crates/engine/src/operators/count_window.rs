//! Count windows: every `size` rows of a key, in order of arrival, make one result.
//!
//! Each batch is aggregated into one fragment per key and window; a window is emitted when its fragments hold `size`
//! rows. The last window of a key, if not full, is never emitted. Keys are remembered for ever, since their row numbers
//! go on: a full window leaves its last fragment behind as a marker of where the key stands. For the same reason a
//! fragment's `__count` holds the rows of its window up to its own end: the largest of them tells how full the window is.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

use super::fragments::{Chain, FragmentStore, NONE, RunId};
use super::keys::KeyTable;
use super::layout::StateLayout;
use super::limits::{CHAIN_MAX, LONG_FRAGMENTS_MAX, SLICE_ROWS, SWEEP_MIN};
use super::local_window::emit_sliced;
use super::unsaved::Unsaved;
use crate::{
    Batch, CountWindowSpec, Emit, EngineError, Operator, OperatorContext, RestoredState, StateDelta, StateRows,
};

/// Where a key stands.
#[derive(Clone, Copy)]
struct Progress {
    /// Number of the current window.
    window: i64,
    /// Rows in it; `size` if it was emitted and the next row opens a new one.
    filled: i64,
    /// Its fragments; one marker if it was emitted, nothing before the key's first row.
    chain: Option<Chain>,
    /// The batch that last touched the key, and the key's fragment there.
    touched: (u64, u32),
}

pub(super) struct CountWindow {
    schema: SchemaRef,
    size: i64,
    layout: StateLayout,
    batch_rows: usize,
    keys: KeyTable,
    progress: Vec<Progress>,
    store: FragmentStore,
    unsaved: Unsaved,
    batches: u64,
    /// Where rewriting all keys has come to, if it is under way.
    sweep: Option<u32>,
    /// Keys with long chains, and how many fragments they gained beyond that.
    long: Vec<u32>,
    long_fragments: usize,
    numbers: Vec<usize>,
}

/// Fragments of one batch.
#[derive(Default)]
struct Pieces {
    keys: Vec<u32>,
    windows: Vec<i64>,
    /// Rows of the window before and after the fragment.
    before: Vec<i64>,
    after: Vec<i64>,
    first_rows: Vec<u32>,
}

impl CountWindow {
    pub fn new(spec: &CountWindowSpec, schema: SchemaRef, context: &OperatorContext) -> Result<Self, EngineError> {
        let size = i64::try_from(spec.size).ok().filter(|&size| size > 0);
        let size = size.ok_or_else(|| {
            EngineError::request(format!("a count window needs a size from 1 to {}, got {}", i64::MAX, spec.size))
        })?;
        let layout = StateLayout::new(&spec.keys, &spec.input_schema, &spec.aggregates, &["__window", "__count"])?;
        let columns = spec.keys.len() + 2 + spec.aggregates.len();
        if schema.fields().len() != columns {
            return Err(EngineError::bug(format!(
                "a count window of {columns} columns (keys, window bounds, results) has an output of {}",
                schema.fields().len()
            )));
        }
        Ok(Self {
            schema,
            size,
            keys: layout.keys.table()?,
            layout,
            batch_rows: context.batch_rows.max(1),
            progress: Vec::new(),
            store: FragmentStore::default(),
            unsaved: Unsaved::default(),
            batches: 0,
            sweep: None,
            long: Vec::new(),
            long_fragments: 0,
            numbers: Vec::new(),
        })
    }

    fn reserve_keys(&mut self) {
        let unseen = Progress { window: -1, filled: self.size, chain: None, touched: (0, NONE) };
        self.progress.resize(self.keys.len(), unseen);
    }

    /// Turns key numbers into numbers of fragments of this batch.
    fn place(&mut self) -> Pieces {
        self.batches += 1;
        let mut pieces = Pieces::default();
        for (row, number) in self.numbers.iter_mut().enumerate() {
            let progress = &mut self.progress[*number];
            let opens = progress.filled == self.size;
            if opens {
                progress.window += 1;
                progress.filled = 0;
            }
            if opens || progress.touched.0 != self.batches {
                progress.touched = (self.batches, pieces.keys.len() as u32);
                pieces.keys.push(*number as u32);
                pieces.windows.push(progress.window);
                pieces.before.push(progress.filled);
                pieces.after.push(progress.filled);
                pieces.first_rows.push(row as u32);
            }
            progress.filled += 1;
            *number = progress.touched.1 as usize;
            pieces.after[*number] += 1;
        }
        pieces
    }

    /// Adds the fragments of a run to their windows and returns the full ones, as (window, chain).
    fn link(&mut self, run: RunId, pieces: &Pieces) -> Vec<(i64, Chain)> {
        let mut full = Vec::new();
        for (row, &key) in pieces.keys.iter().enumerate() {
            let single = self.store.single(run, row);
            let progress = &mut self.progress[key as usize];
            let chain = match progress.chain.take() {
                Some(marker) if pieces.before[row] == 0 => {
                    self.store.release(marker);
                    single
                }
                Some(chain) => self.store.concat(chain, single),
                None => single,
            };
            if chain.len > CHAIN_MAX {
                self.long_fragments += 1;
                if chain.len == CHAIN_MAX + 1 {
                    self.long.push(key);
                }
            }
            if pieces.after[row] == self.size {
                full.push((pieces.windows[row], chain));
                progress.chain = Some(self.store.single(run, row));
            } else {
                progress.chain = Some(chain);
            }
        }
        self.store.seal(run);
        full
    }

    fn emit_full(&mut self, full: Vec<(i64, Chain)>, out: &mut dyn Emit) -> Result<(), EngineError> {
        if full.is_empty() {
            return Ok(());
        }
        let chains: Vec<Chain> = full.iter().map(|&(_, chain)| chain).collect();
        let [mut columns, results] = self.store.evaluate(&self.layout, &chains)?;
        let starts = || full.iter().map(|&(window, _)| window.saturating_mul(self.size));
        columns.push(Arc::new(Int64Array::from_iter_values(starts())));
        columns.push(Arc::new(Int64Array::from_iter_values(starts().map(|start| start.saturating_add(self.size)))));
        columns.extend(results);
        emit_sliced(RecordBatch::try_new(self.schema.clone(), columns)?, chains.len(), self.batch_rows, out)?;
        for chain in chains {
            self.store.release(chain);
        }
        Ok(())
    }

    /// Keeps memory in proportion to the number of keys, with work in proportion to the `rows` that came.
    fn tidy(&mut self, rows: usize) -> Result<(), EngineError> {
        if self.long_fragments > LONG_FRAGMENTS_MAX {
            let long = std::mem::take(&mut self.long);
            self.long_fragments = 0;
            self.rewrite(long)?;
        }
        self.store.join_small_runs(&self.layout)?;
        if self.sweep.is_none() && self.store.is_sparse() {
            self.sweep = Some(0);
        }
        if let Some(from) = self.sweep {
            let to = (from as usize + SWEEP_MIN + 2 * rows).min(self.progress.len()) as u32;
            self.rewrite((from..to).collect())?;
            self.sweep = ((to as usize) < self.progress.len()).then_some(to);
        }
        Ok(())
    }

    /// Merges the fragments of each of these keys into one.
    fn rewrite(&mut self, mut keys: Vec<u32>) -> Result<(), EngineError> {
        keys.sort_unstable();
        keys.dedup();
        for keys in keys.chunks(SLICE_ROWS) {
            let found = keys.iter().filter_map(|&key| Some((key, self.progress[key as usize].chain?)));
            let (keys, chains): (Vec<u32>, Vec<Chain>) = found.unzip();
            if keys.is_empty() {
                continue;
            }
            let [key_columns, states] = self.store.merge(&self.layout, &chains)?;
            let of = |value: fn(&Progress) -> i64| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(keys.iter().map(|&key| value(&self.progress[key as usize]))))
            };
            let extra = [of(|progress| progress.window), of(|progress| progress.filled)];
            let rows = self.layout.state_rows(keys.len(), i64::MAX, &extra, key_columns, states)?;
            let run = self.store.add_run(rows);
            for (row, (&key, chain)) in keys.iter().zip(chains).enumerate() {
                self.progress[key as usize].chain = Some(self.store.single(run, row));
                self.store.supersede(chain);
            }
        }
        Ok(())
    }

    /// First pass over restored rows: how far each key's latest window is filled.
    fn recount(&mut self, rows: &RecordBatch) -> Result<(), EngineError> {
        self.keys.intern(self.layout.keys_of(rows), rows.num_rows(), &mut self.numbers)?;
        let (windows, counts) = (self.layout.extra(rows, 0)?, self.layout.extra(rows, 1)?);
        self.reserve_keys();
        for (row, &key) in self.numbers.iter().enumerate() {
            let (window, count) = (windows.value(row), counts.value(row));
            let progress = &mut self.progress[key];
            if window > progress.window {
                (progress.window, progress.filled) = (window, count);
            } else if window == progress.window {
                progress.filled = progress.filled.max(count);
            }
        }
        Ok(())
    }

    /// Second pass: the fragments of those windows.
    fn relink(&mut self, rows: RecordBatch) -> Result<(), EngineError> {
        self.keys.intern(self.layout.keys_of(&rows), rows.num_rows(), &mut self.numbers)?;
        let windows = self.layout.extra(&rows, 0)?.values().clone();
        let run = self.store.add_run(rows);
        for (row, &key) in self.numbers.iter().enumerate() {
            let progress = &mut self.progress[key];
            if windows[row] != progress.window {
                continue;
            }
            let single = self.store.single(run, row);
            progress.chain = Some(match progress.chain {
                Some(chain) => self.store.concat(chain, single),
                None => single,
            });
        }
        self.store.seal(run);
        Ok(())
    }
}

impl Operator for CountWindow {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn batch(&mut self, _port: usize, batch: Batch, out: &mut dyn Emit) -> Result<(), EngineError> {
        let rows = batch.rows;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let keys = self.layout.keys.evaluate(&rows)?;
        let inputs = self.layout.aggregates.evaluate_inputs(&rows)?;
        self.keys.intern(&keys, rows.num_rows(), &mut self.numbers)?;
        self.reserve_keys();
        let pieces = self.place();
        let mut accumulators = self.layout.aggregates.accumulators()?;
        accumulators.update(&inputs, &self.numbers, pieces.keys.len())?;
        let first_rows = UInt32Array::from(pieces.first_rows.clone());
        let keys: Vec<_> = keys.iter().map(|key| take(key, &first_rows, None)).collect::<Result<_, _>>()?;
        let extra: [ArrayRef; 2] =
            [Arc::new(Int64Array::from(pieces.windows.clone())), Arc::new(Int64Array::from(pieces.after.clone()))];
        let states = accumulators.take_states()?;
        let rows = self.layout.state_rows(pieces.keys.len(), i64::MAX, &extra, keys, states)?;
        let count = rows.num_rows();
        self.unsaved.push(rows.clone(), self.store.rows());
        let run = self.store.add_run(rows);
        let full = self.link(run, &pieces);
        self.emit_full(full, out)?;
        self.tidy(count)
    }

    fn snapshot(&mut self) -> Result<StateDelta, EngineError> {
        if self.unsaved.wants_all(self.store.rows()) {
            return Ok(self.unsaved.take_all(self.store.all_rows()?));
        }
        self.unsaved.take_delta(&self.layout.schema)
    }

    fn restore(&mut self, state: RestoredState) -> Result<(), EngineError> {
        let batches = state.rows.iter().map(|StateRows { rows }| self.layout.restored(rows));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        for rows in &batches {
            self.unsaved.restored(rows.num_rows());
            self.recount(rows)?;
        }
        for rows in batches {
            self.relink(rows)?;
        }
        self.tidy(SLICE_ROWS)
    }

    fn state_bytes(&self) -> usize {
        let progress = self.progress.capacity() * size_of::<Progress>();
        self.store.memory_bytes() + self.keys.memory_bytes() + progress + self.unsaved.memory_bytes()
    }

    fn state_rows(&self) -> usize {
        self.progress.len()
    }
}
