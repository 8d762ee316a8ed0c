//! Garbage collection: deletes what no kept manifest needs.
//!
//! Order matters. Segments are listed first, then this process's unnamed segments are noted, then the manifests are
//! read. So a segment that is a candidate was either noted as unnamed, or its manifest, if it has one, is seen.
//! Manifests go before the segments that only they named, so a crash in between leaves garbage, never a gap.

use std::collections::HashSet;
use std::sync::Arc;

use crate::claim::{Folder, ManifestSummary};
use crate::names::{ManifestName, SEGMENTS, SegmentName, base_name, generation_name};
use crate::{CheckpointStore, StateError};

/// So many generation files are kept: old ones have no more to say.
const GENERATIONS_KEPT: u64 = 16;

/// What garbage collection deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    pub manifests: u64,
    pub segments: u64,
    /// Bytes of those segments.
    pub segment_bytes: u64,
    /// Left half-written by crashed processes.
    pub temporary_files: u64,
}

impl CheckpointStore {
    /// Deletes manifests older than the newest `keep` (at least one is kept) that are not savepoints, and segments that
    /// no kept manifest names. Spares what this process is writing: deltas of checkpoints above the newest manifest, and
    /// merged segments until a manifest named them.
    ///
    /// # Errors
    /// `Fenced` if another process took over; `FixData` if a manifest cannot be read (then nothing is deleted, for it may
    /// be a savepoint); store errors.
    pub async fn collect_garbage(&self, keep: usize) -> Result<Collected, StateError> {
        let claim = self.claimed()?;
        self.check_fence().await?;
        let listed = self.blobs.list(SEGMENTS).await?;
        let pending = claim.pending();
        let folder = self.folder().await?;

        let (kept, old, named) = self.sort_manifests(&folder, keep.max(1)).await?;
        let newest_epoch = kept.last().map(|name| name.epoch);
        let mut names: Vec<String> = old.iter().chain(&folder.strays).map(ToString::to_string).collect();
        let manifests = names.len() as u64;
        names.extend(outdated_generations(&folder, claim.generation));
        self.blobs.delete(&names).await?;
        claim.forget(&old);

        let mut collected = Collected { manifests, ..Collected::default() };
        let mut garbage = Vec::new();
        for entry in listed {
            let path = format!("{SEGMENTS}/{}", entry.name);
            let Some(name) = SegmentName::parse(&path) else { continue };
            let is_over = name.generation < claim.generation
                || (name.generation == claim.generation && newest_epoch.is_some_and(|newest| name.epoch <= newest));
            if is_over && !named.contains(&path) && !pending.contains(&path) {
                collected.segments += 1;
                collected.segment_bytes += entry.bytes;
                garbage.push(path);
            }
        }
        self.blobs.delete(&garbage).await?;
        collected.temporary_files = self.blobs.sweep_temporary().await?;
        Ok(collected)
    }

    /// Manifests to keep and to delete, both ascending, and the segments which the former name.
    async fn sort_manifests(
        &self,
        folder: &Folder,
        keep: usize,
    ) -> Result<(Vec<ManifestName>, Vec<ManifestName>, HashSet<String>), StateError> {
        let (mut kept, mut old, mut named) = (Vec::new(), Vec::new(), HashSet::new());
        let newest = folder.manifests.len().saturating_sub(keep);
        for (at, name) in folder.manifests.iter().enumerate() {
            let Some(summary) = self.summary(*name).await? else { continue };
            if at < newest && !summary.savepoint {
                old.push(*name);
                continue;
            }
            named.extend(summary.segments.iter().cloned());
            kept.push(*name);
        }
        Ok((kept, old, named))
    }

    /// `None` if it is gone.
    async fn summary(&self, name: ManifestName) -> Result<Option<Arc<ManifestSummary>>, StateError> {
        let claim = self.claimed()?;
        if let Some(summary) = claim.known(name) {
            return Ok(Some(summary));
        }
        let Some(manifest) = self.read_manifest(name).await? else { return Ok(None) };
        let summary = ManifestSummary::of(&manifest);
        claim.remember(name, summary.clone());
        Ok(Some(summary))
    }

    /// Deletes all checkpoints of this pipeline, savepoints in its folder too, damaged files too. Generation numbers go
    /// on rising. If it is interrupted, either the newest manifest is still whole or there is none.
    ///
    /// # Errors
    /// `Bug` without a claim, `Fenced` if another process took over, store errors.
    pub async fn reset(&self) -> Result<(), StateError> {
        let claim = self.claimed()?;
        self.check_fence().await?;
        let folder = self.folder().await?;
        let manifests = folder.strays.iter().chain(&folder.manifests).map(ToString::to_string);
        // One after the other, the newest last.
        for name in manifests {
            self.blobs.delete(&[name]).await?;
        }
        claim.forget_manifests();
        let segments = self.blobs.list(SEGMENTS).await?;
        let mut names: Vec<String> = segments
            .iter()
            .map(|entry| format!("{SEGMENTS}/{}", entry.name))
            .filter(|path| SegmentName::parse(path).is_some_and(|name| name.generation <= claim.generation))
            .collect();
        let generations = folder.generations.iter().filter(|generation| **generation < claim.generation);
        names.extend(generations.map(|generation| generation_name(*generation)));
        let bases = folder.bases.iter().filter(|(generation, _)| *generation < claim.generation);
        names.extend(bases.map(|(generation, epoch)| base_name(*generation, *epoch)));
        names.push(crate::names::MARKER.into());
        self.blobs.delete(&names).await?;
        self.blobs.sweep_temporary().await?;
        self.put_marker(crate::store::FolderKind::Pipeline).await
    }
}

fn outdated_generations(folder: &Folder, own: u64) -> Vec<String> {
    let outdated = |generation: u64| generation + GENERATIONS_KEPT <= own;
    let generations = folder.generations.iter().filter(|generation| outdated(**generation));
    let bases = folder.bases.iter().filter(|(generation, _)| outdated(*generation));
    generations
        .map(|generation| generation_name(*generation))
        .chain(bases.map(|(generation, epoch)| base_name(*generation, *epoch)))
        .collect()
}
