//! Fencing: which process may write, and which manifests count.
//!
//! A process claims a pipeline by creating `generation-<n>` (put-if-absent), then looks which manifest is the newest and
//! records it as `base-<n>-<epoch>`. A commit checks *after* its manifest is written that no newer generation exists.
//! So for a process of generation g that was taken over by n, either its manifest was there when n looked, then n goes
//! on from it; or it came later, then the check after it sees generation n, the commit fails, and everybody knows from
//! `base-n` that this manifest does not count. Names alone decide: no file has to be read, damaged ones do not matter.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::names::{ManifestName, Name, SegmentName};
use crate::{Manifest, StateError};

/// Rises with each process that takes the pipeline over; starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Generation(pub u64);

/// The names in a pipeline's folder, sorted by meaning.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub has_marker: bool,
    pub generations: Vec<u64>,
    pub bases: Vec<(u64, Option<u64>)>,
    /// Those that count, ascending.
    pub manifests: Vec<ManifestName>,
    /// Those of processes that had been taken over.
    pub strays: Vec<ManifestName>,
    /// Not ours.
    pub foreign: Vec<String>,
}

impl Folder {
    pub fn read<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut folder = Self::default();
        let mut manifests = Vec::new();
        for name in names {
            match Name::parse(name) {
                Some(Name::Marker) => folder.has_marker = true,
                Some(Name::Segments | Name::Temporary) => {}
                Some(Name::Generation(generation)) => folder.generations.push(generation),
                Some(Name::Base { generation, epoch }) => folder.bases.push((generation, epoch)),
                Some(Name::Manifest(manifest)) => manifests.push(manifest),
                None => folder.foreign.push(name.to_owned()),
            }
        }
        manifests.sort_unstable();
        let bases = &folder.bases;
        let counts = |manifest: &ManifestName| {
            let overtaken = |(generation, epoch): &(u64, Option<u64>)| {
                *generation > manifest.generation && epoch.is_none_or(|epoch| manifest.epoch > epoch)
            };
            !bases.iter().any(overtaken)
        };
        (folder.manifests, folder.strays) = manifests.into_iter().partition(counts);
        folder
    }

    pub fn newest_generation(&self) -> u64 {
        self.generations.iter().copied().max().unwrap_or(0)
    }

    pub fn newest_manifest(&self) -> Option<ManifestName> {
        self.manifests.last().copied()
    }
}

/// What a process that holds a generation remembers; shared by all clones of its store.
#[derive(Debug)]
pub(crate) struct Claim {
    pub generation: u64,
    next_segment: AtomicU64,
    session: Mutex<Session>,
}

#[derive(Debug, Default)]
struct Session {
    /// Epoch of the newest manifest: restored, then committed.
    last: Option<u64>,
    /// A commit whose outcome is not known; it has to be repeated before another.
    unsettled: Option<u64>,
    /// Segments of this process that no manifest names yet.
    pending: HashMap<String, Pending>,
    /// What garbage collection has to know of manifests read or written before.
    known: HashMap<ManifestName, Arc<ManifestSummary>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Written for a checkpoint: belongs to its manifest or to none.
    Delta,
    /// Written by a merge: some later manifest will name it.
    Merged,
}

/// What garbage collection has to know of a manifest.
#[derive(Debug)]
pub(crate) struct ManifestSummary {
    pub savepoint: bool,
    pub segments: HashSet<String>,
}

impl ManifestSummary {
    pub fn of(manifest: &Manifest) -> Arc<Self> {
        let segments = manifest.segment_paths().map(str::to_owned).collect();
        Arc::new(Self { savepoint: manifest.savepoint, segments })
    }
}

impl Claim {
    pub fn new(generation: u64, last: Option<u64>) -> Self {
        let session = Session { last, ..Session::default() };
        Self { generation, next_segment: AtomicU64::new(0), session: Mutex::new(session) }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().expect("no code that holds this lock panics")
    }

    pub fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// Refuses a commit that does not follow what this process restored and committed before.
    pub fn begin_commit(&self, manifest: &Manifest) -> Result<(), StateError> {
        let (epoch, parent) = (manifest.checkpoint_epoch, manifest.parent);
        let mut session = self.session();
        if let Some(unsettled) = session.unsettled.filter(|unsettled| *unsettled != epoch) {
            return Err(StateError::bug(format!(
                "manifest {epoch} is committed while the outcome of {unsettled} is unknown; commit that one again first"
            )));
        }
        if session.last == Some(epoch) {
            return Ok(());
        }
        if parent != session.last {
            return Err(StateError::bug(format!(
                "manifest {epoch} names parent {parent:?}, but the newest manifest is {:?}",
                session.last
            )));
        }
        if parent.is_some_and(|parent| epoch <= parent) {
            return Err(StateError::bug(format!("manifest {epoch} does not rise above its parent {parent:?}")));
        }
        session.unsettled = Some(epoch);
        Ok(())
    }

    pub fn committed(&self, name: ManifestName, summary: Arc<ManifestSummary>) {
        let mut session = self.session();
        session.last = Some(name.epoch);
        session.unsettled = None;
        session.pending.retain(|path, pending| {
            let given_up = *pending == Pending::Delta
                && SegmentName::parse(path).is_none_or(|segment| segment.epoch <= name.epoch);
            !given_up && !summary.segments.contains(path)
        });
        session.known.insert(name, summary);
    }

    /// All manifests were deleted.
    pub fn forget_manifests(&self) {
        let mut session = self.session();
        session.last = None;
        session.unsettled = None;
        session.known.clear();
    }

    pub fn add_pending(&self, path: &str, pending: Pending) {
        self.session().pending.insert(path.to_owned(), pending);
    }

    pub fn pending(&self) -> HashSet<String> {
        self.session().pending.keys().cloned().collect()
    }

    pub fn known(&self, name: ManifestName) -> Option<Arc<ManifestSummary>> {
        self.session().known.get(&name).cloned()
    }

    pub fn remember(&self, name: ManifestName, summary: Arc<ManifestSummary>) {
        self.session().known.insert(name, summary);
    }

    pub fn forget(&self, names: &[ManifestName]) {
        let mut session = self.session();
        for name in names {
            session.known.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{base_name, generation_name};

    fn manifest(epoch: u64, generation: u64) -> ManifestName {
        ManifestName { epoch, generation }
    }

    fn folder(names: &[String]) -> Folder {
        Folder::read(names.iter().map(String::as_str))
    }

    #[test]
    fn a_manifest_that_came_after_the_takeover_does_not_count() {
        let mut names = vec![generation_name(1), base_name(1, None), generation_name(2)];
        names.extend([manifest(4, 1), manifest(5, 1)].map(|name| name.to_string()));
        assert_eq!(folder(&names).newest_manifest(), Some(manifest(5, 1)), "claimed, but not looked yet");
        names.push(base_name(2, Some(4)));
        let taken_over = folder(&names);
        assert_eq!(taken_over.newest_manifest(), Some(manifest(4, 1)));
        assert_eq!(taken_over.strays, [manifest(5, 1)]);
        names.push(manifest(5, 2).to_string());
        assert_eq!(folder(&names).newest_manifest(), Some(manifest(5, 2)));
        assert_eq!(folder(&names).newest_generation(), 2);
    }

    #[test]
    fn nothing_older_counts_after_a_fresh_start() {
        let names = [base_name(3, None), manifest(9, 2).to_string(), "other".into()];
        assert_eq!(folder(&names).newest_manifest(), None);
        assert_eq!(folder(&names).foreign, ["other"]);
    }
}
