//! Panes merged in advance, for windows of many panes.
//!
//! Why: a window of an hour that slides by the second has 3600 panes, and its successor shares all but one of them.
//! Blocks of 2, 4, 8, .. panes, aligned to their length, are merged once; a window then is the merge of a few blocks,
//! logarithmic in its number of panes. Blocks are derived from panes, in no checkpoint, and only of panes to which
//! nothing is added any more. A block that is hardly smaller than its parts (keys that do not repeat) is not kept, nor
//! any that would contain it, so blocks together hold at most a few times what the panes hold.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::grid::{Window, WindowGrid};
use super::groups::sliced_bytes;
use super::layout::StateLayout;
use super::panes::{Pane, merge_into};
use crate::EngineError;

/// What merging the panes of a block gave.
enum Block {
    Merged {
        rows: RecordBatch,
        bytes: usize,
    },
    /// Not much less than its parts, so its parts are used.
    Useless,
}

#[derive(Default)]
pub(super) struct Blocks {
    /// By number of the first pane, and level (a block of level `l` has 2^l panes).
    blocks: BTreeMap<(i64, u32), Block>,
}

/// What blocks are made of.
pub(super) struct Ground<'a> {
    pub layout: &'a StateLayout,
    pub grid: &'a WindowGrid,
    pub panes: &'a BTreeMap<i64, Pane>,
}

impl Blocks {
    /// Partial states of all panes of `window`, in few batches. Blocks that start before `reusable_from`, a time, are of
    /// no use to later windows and are not made.
    pub fn sources(
        &mut self,
        ground: &Ground<'_>,
        window: Window,
        reusable_from: i64,
    ) -> Result<Vec<RecordBatch>, EngineError> {
        let (mut pane, end) = (ground.grid.pane_number(window.start), ground.grid.pane_number(window.end));
        let reusable_from = ground.grid.pane_number(reusable_from);
        let mut sources = Vec::new();
        while pane < end {
            let level = pane.trailing_zeros().min((end - pane).ilog2());
            self.gather(ground, pane, level, reusable_from, &mut sources)?;
            pane += 1 << level;
        }
        Ok(sources)
    }

    /// Adds the partial states of a block to `sources`; false if it, or a block in it, is useless.
    fn gather(
        &mut self,
        ground: &Ground<'_>,
        pane: i64,
        level: u32,
        reusable_from: i64,
        sources: &mut Vec<RecordBatch>,
    ) -> Result<bool, EngineError> {
        if level == 0 {
            if let Some(pane) = ground.panes.get(&ground.grid.pane_at(pane)) {
                sources.extend(pane.runs().map(|run| run.rows.clone()));
            }
            return Ok(true);
        }
        let known = self.blocks.get(&(pane, level));
        if let Some(Block::Merged { rows, .. }) = known {
            sources.push(rows.clone());
            return Ok(true);
        }
        let is_useless = matches!(known, Some(Block::Useless));
        let mut parts = Vec::new();
        let left = self.gather(ground, pane, level - 1, reusable_from, &mut parts)?;
        let right = self.gather(ground, pane + (1 << (level - 1)), level - 1, reusable_from, &mut parts)?;
        if is_useless || !left || !right || pane < reusable_from || parts.len() < 2 {
            sources.extend(parts);
            return Ok(!is_useless && left && right);
        }
        let mut table = ground.layout.table()?;
        for part in &parts {
            merge_into(ground.layout, &mut table, part)?;
        }
        let before: usize = parts.iter().map(RecordBatch::num_rows).sum();
        if table.len() * 4 > before * 3 {
            self.blocks.insert((pane, level), Block::Useless);
            sources.extend(parts);
            return Ok(false);
        }
        let rows = table.len();
        let (keys, states) = table.into_states()?;
        let rows = ground.layout.passing_rows(rows, keys, states)?;
        sources.push(rows.clone());
        let bytes = sliced_bytes(&rows);
        self.blocks.insert((pane, level), Block::Merged { rows, bytes });
        Ok(true)
    }

    /// Drops blocks that no window from `time` on can use.
    pub fn forget_before(&mut self, grid: &WindowGrid, time: i64) {
        self.blocks = self.blocks.split_off(&(grid.pane_number(time), 0));
    }

    pub fn clear(&mut self) {
        self.blocks.clear();
    }

    pub fn memory_bytes(&self) -> usize {
        let bytes = |block: &Block| match block {
            Block::Merged { bytes, .. } => *bytes,
            Block::Useless => 0,
        };
        self.blocks.values().map(bytes).sum()
    }
}
