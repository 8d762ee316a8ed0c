//! Partial states whose owners (open sessions, current count windows) come and go one by one.
//!
//! Accumulators cannot give up single groups. So the parts of an owner stay where they arrived, as rows of immutable
//! runs, and an owner is a chain of references; they are merged when the owner ends, or when its chain grows long.
//! Invariants: a run lives as long as one of its rows is in a chain; rows in memory are bounded by
//! [`FragmentStore::is_sparse`], on which the owner rewrites all chains into fresh runs.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};

use super::groups::sliced_bytes;
use super::layout::StateLayout;
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
        let run = Some(Run { rows, live: 0, bytes });
        match self.free_runs.pop() {
            Some(id) => {
                self.runs[id as usize] = run;
                RunId(id)
            }
            None => {
                self.runs.push(run);
                RunId((self.runs.len() - 1) as u32)
            }
        }
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

    pub fn release(&mut self, chain: Chain) {
        let mut id = chain.head;
        while id != NONE {
            let Link { run, next, .. } = self.links[id as usize];
            self.free_links.push(id);
            let owner = self.runs[run as usize].as_mut().expect("a linked run lives");
            owner.live -= 1;
            if owner.live == 0 {
                self.drop_run(run);
            }
            id = next;
        }
    }

    /// Fragments in chains.
    pub fn live(&self) -> usize {
        self.links.len() - self.free_links.len()
    }

    /// Most rows in memory belong to no owner any more, or they are spread over very many runs.
    pub fn is_sparse(&self) -> bool {
        self.rows > 2 * self.live() + 10_000 || self.runs.len() - self.free_runs.len() > 1024
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
