//! Partial states whose owners (open sessions, current count windows) come and go one by one.
//!
//! Accumulators cannot give up single groups. So the parts of an owner stay where they arrived, as rows of immutable
//! runs, and an owner is a chain of references; they are merged when the owner ends, or when its chain grows long.
//! A checkpoint of everything is then all runs as they are, for nothing: rows of owners that ended are known as such
//! when they are read back, and rows that were merged into others are left out.
//! Invariants: a run lives as long as one of its rows is in a chain; rows in memory are bounded by
//! [`FragmentStore::is_sparse`], on which the owner rewrites all chains into fresh runs, little by little.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave, take, take_record_batch};

use super::groups::sliced_bytes;
use super::layout::StateLayout;
use super::limits::{SLACK_ROWS, SMALL_RUN_ROWS, SMALL_RUNS_MAX};
use crate::EngineError;

pub(super) const NONE: u32 = u32::MAX;

/// Fragments of one owner, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    head: u32,
    tail: u32,
    pub len: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    run: u32,
    row: u32,
    next: u32,
}

struct Run {
    rows: RecordBatch,
    live: usize,
    bytes: usize,
    /// Rows whose content lives on in other runs.
    superseded: Vec<u32>,
}

#[derive(Default)]
pub(super) struct FragmentStore {
    runs: Vec<Option<Run>>,
    free_runs: Vec<u32>,
    links: Vec<Link>,
    free_links: Vec<u32>,
    /// Rows of all runs, in chains or not.
    rows: usize,
    bytes: usize,
    /// Runs of few rows, and ids of others that were so once.
    small: Vec<u32>,
}

/// Number of a run in its store.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunId(u32);

impl FragmentStore {
    /// Adds state rows; none is in a chain yet, so [`Self::seal`] follows once the rows are linked.
    pub fn add_run(&mut self, rows: RecordBatch) -> RunId {
        self.rows += rows.num_rows();
        let bytes = sliced_bytes(&rows);
        self.bytes += bytes;
        let is_small = rows.num_rows() < SMALL_RUN_ROWS;
        let run = Some(Run { rows, live: 0, bytes, superseded: Vec::new() });
        let id = match self.free_runs.pop() {
            Some(id) => {
                self.runs[id as usize] = run;
                id
            }
            None => {
                self.runs.push(run);
                (self.runs.len() - 1) as u32
            }
        };
        if is_small {
            self.small.push(id);
        }
        RunId(id)
    }

    /// Drops the run if no row of it came into a chain.
    pub fn seal(&mut self, RunId(id): RunId) {
        if self.runs[id as usize].as_ref().is_some_and(|run| run.live == 0) {
            self.drop_run(id);
        }
    }

    fn drop_run(&mut self, id: u32) {
        if let Some(run) = self.runs[id as usize].take() {
            self.rows -= run.rows.num_rows();
            self.bytes -= run.bytes;
            self.free_runs.push(id);
        }
    }

    /// A chain of one row.
    pub fn single(&mut self, RunId(run): RunId, row: usize) -> Chain {
        self.runs[run as usize].as_mut().expect("the run was just added").live += 1;
        let link = Link { run, row: row as u32, next: NONE };
        let id = match self.free_links.pop() {
            Some(id) => {
                self.links[id as usize] = link;
                id
            }
            None => {
                self.links.push(link);
                (self.links.len() - 1) as u32
            }
        };
        Chain { head: id, tail: id, len: 1 }
    }

    /// `first`, then `second`.
    pub fn concat(&mut self, first: Chain, second: Chain) -> Chain {
        self.links[first.tail as usize].next = second.head;
        Chain { head: first.head, tail: second.tail, len: first.len + second.len }
    }

    fn links_of(&self, chain: Chain) -> impl Iterator<Item = (u32, Link)> + '_ {
        let link = |id: u32| (id != NONE).then(|| (id, self.links[id as usize]));
        std::iter::successors(link(chain.head), move |(_, last)| link(last.next))
    }

    /// The owner ended.
    pub fn release(&mut self, chain: Chain) {
        self.free(chain, false);
    }

    /// The content of the chain has been added as another row.
    pub fn supersede(&mut self, chain: Chain) {
        self.free(chain, true);
    }

    fn free(&mut self, chain: Chain, lives_on: bool) {
        let mut id = chain.head;
        while id != NONE {
            let Link { run, row, next } = self.links[id as usize];
            self.free_links.push(id);
            let owner = self.runs[run as usize].as_mut().expect("a linked run lives");
            owner.live -= 1;
            if lives_on {
                owner.superseded.push(row);
            }
            if owner.live == 0 {
                self.drop_run(run);
            }
            id = next;
        }
    }

    /// All rows that matter, and some of owners that ended: what a checkpoint of everything holds.
    pub fn all_rows(&self) -> Result<Vec<RecordBatch>, EngineError> {
        self.runs.iter().flatten().map(Run::without_superseded).collect()
    }

    /// How many rows [`Self::all_rows`] has at most.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Joins small runs if there are many.
    pub fn join_small_runs(&mut self, layout: &StateLayout) -> Result<(), EngineError> {
        if self.small.len() < SMALL_RUNS_MAX {
            return Ok(());
        }
        let mut ids = std::mem::take(&mut self.small);
        ids.sort_unstable();
        ids.dedup();
        let is_small = |run: &Run| run.rows.num_rows() < SMALL_RUN_ROWS;
        ids.retain(|&id| self.runs[id as usize].as_ref().is_some_and(is_small));
        let parts: Vec<(u32, Run)> = ids.iter().filter_map(|&id| Some((id, self.runs[id as usize].take()?))).collect();
        if parts.len() < 2 {
            for (id, run) in parts {
                self.runs[id as usize] = Some(run);
                self.small.push(id);
            }
            return Ok(());
        }
        let rows = concat_batches(&layout.schema, parts.iter().map(|(_, run)| &run.rows))?;
        let mut offsets = vec![NONE; self.runs.len()];
        let (mut offset, mut live, mut superseded) = (0, 0, Vec::new());
        for (id, run) in &parts {
            offsets[*id as usize] = offset;
            superseded.extend(run.superseded.iter().map(|row| row + offset));
            offset += run.rows.num_rows() as u32;
            live += run.live;
            self.rows -= run.rows.num_rows();
            self.bytes -= run.bytes;
            self.free_runs.push(*id);
        }
        let RunId(joined) = self.add_run(rows);
        let run = self.runs[joined as usize].as_mut().expect("just added");
        (run.live, run.superseded) = (live, superseded);
        // Links on the free list are moved along; they are written anew before they are used.
        for link in &mut self.links {
            let offset = offsets[link.run as usize];
            if offset != NONE {
                (link.run, link.row) = (joined, link.row + offset);
            }
        }
        Ok(())
    }

    /// Fragments in chains.
    pub fn live(&self) -> usize {
        self.links.len() - self.free_links.len()
    }

    /// Most rows in memory belong to no owner any more.
    pub fn is_sparse(&self) -> bool {
        self.rows > 2 * self.live() + SLACK_ROWS
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.links.capacity() * size_of::<Link>() + self.free_links.capacity() * 4
    }

    /// Keys and results of each chain's owner.
    pub fn evaluate(&self, layout: &StateLayout, chains: &[Chain]) -> Result<[Vec<ArrayRef>; 2], EngineError> {
        let gathered = self.gather(layout, chains)?;
        let mut accumulators = layout.aggregates.accumulators()?;
        accumulators.merge(&gathered.states, &gathered.owners, chains.len())?;
        Ok([gathered.keys, accumulators.evaluate()?])
    }

    /// Keys and partial states of each chain's owner.
    pub fn merge(&self, layout: &StateLayout, chains: &[Chain]) -> Result<[Vec<ArrayRef>; 2], EngineError> {
        let gathered = self.gather(layout, chains)?;
        let mut accumulators = layout.aggregates.accumulators()?;
        accumulators.merge(&gathered.states, &gathered.owners, chains.len())?;
        Ok([gathered.keys, accumulators.take_states()?])
    }

    fn gather(&self, layout: &StateLayout, chains: &[Chain]) -> Result<Gathered, EngineError> {
        let mut place_of_run = vec![NONE; self.runs.len()];
        let mut used = Vec::new();
        let (mut all, mut firsts) = (Vec::new(), Vec::with_capacity(chains.len()));
        let mut owners = Vec::new();
        for (owner, &chain) in chains.iter().enumerate() {
            firsts.push(all.len());
            for (_, link) in self.links_of(chain) {
                let place = &mut place_of_run[link.run as usize];
                if *place == NONE {
                    *place = used.len() as u32;
                    used.push(&self.runs[link.run as usize].as_ref().expect("a linked run lives").rows);
                }
                all.push((*place as usize, link.row as usize));
                owners.push(owner);
            }
        }
        let firsts: Vec<_> = firsts.into_iter().map(|first| all[first]).collect();
        let keys = layout.key_columns().map(|column| pick(&used, column, &firsts)).collect::<Result<_, _>>()?;
        let states = layout.state_columns().map(|column| pick(&used, column, &all)).collect::<Result<_, _>>()?;
        Ok(Gathered { keys, states, owners })
    }

    #[cfg(test)]
    pub fn check_invariants(&self) {
        let live: usize = self.runs.iter().flatten().map(|run| run.live).sum();
        assert_eq!(live, self.live(), "every link refers to a live row");
        assert!(self.runs.iter().flatten().all(|run| run.live > 0), "no run without an owner");
        assert_eq!(self.rows, self.runs.iter().flatten().map(|run| run.rows.num_rows()).sum::<usize>());
    }
}

impl Run {
    fn without_superseded(&self) -> Result<RecordBatch, EngineError> {
        if self.superseded.is_empty() {
            return Ok(self.rows.clone());
        }
        let mut kept = vec![true; self.rows.num_rows()];
        for &row in &self.superseded {
            kept[row as usize] = false;
        }
        let kept = (0..self.rows.num_rows() as u32).filter(|&row| kept[row as usize]);
        Ok(take_record_batch(&self.rows, &UInt32Array::from_iter_values(kept))?)
    }
}

struct Gathered {
    /// Of each owner.
    keys: Vec<ArrayRef>,
    /// Of each fragment.
    states: Vec<ArrayRef>,
    /// Of each fragment: the position of its chain.
    owners: Vec<usize>,
}

/// Values of one column at (batch, row) places.
fn pick(batches: &[&RecordBatch], column: usize, places: &[(usize, usize)]) -> Result<ArrayRef, EngineError> {
    if let [batch] = batches {
        let rows = UInt32Array::from_iter_values(places.iter().map(|&(_, row)| row as u32));
        return Ok(take(batch.column(column), &rows, None)?);
    }
    let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(column).as_ref()).collect();
    Ok(interleave(&arrays, places)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::super::tests::model;
    use super::*;

    /// Joining small runs keeps every chain's content, and rows that live on elsewhere stay out of checkpoints.
    #[test]
    fn joined_runs_keep_what_is_live_and_leave_out_what_was_merged() {
        let names = model::keys(&["key"]);
        let layout =
            StateLayout::new(&names, &model::input_schema(), &[model::count_star()], &["__start", "__end"]).unwrap();
        let mut store = FragmentStore::default();
        let (mut kept, mut counts) = (Vec::new(), Vec::new());
        for run in 0..SMALL_RUNS_MAX as i64 {
            let column = |values: [i64; 3]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
            let bounds = [column([0; 3]), column([1; 3])];
            let keys = vec![column([run * 10, run * 10 + 1, run * 10 + 2])];
            let states = vec![column([run * 100 + 1, run * 100 + 2, run * 100 + 3])];
            let id = store.add_run(layout.state_rows(3, i64::MAX, &bounds, keys, states).unwrap());
            let chains = [0, 1, 2].map(|row| store.single(id, row));
            store.supersede(chains[1]);
            kept.push(store.concat(chains[0], chains[2]));
            counts.push(2 * (run * 100) + 4);
        }
        store.join_small_runs(&layout).unwrap();
        store.check_invariants();
        assert_eq!(store.runs.iter().flatten().count(), 1, "all are one run now");
        let all = store.all_rows().unwrap();
        assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 2 * SMALL_RUNS_MAX);
        assert!(layout.keys_of(&all[0])[0].as_primitive::<Int64Type>().values().iter().all(|key| key % 10 != 1));
        let [_, results] = store.evaluate(&layout, &kept).unwrap();
        assert_eq!(results[0].as_primitive::<Int64Type>().values().as_ref(), &counts);
        for chain in kept {
            store.release(chain);
        }
        assert_eq!((store.live(), store.rows()), (0, 0));
    }
}
