//! Many processes on one pipeline, under a seeded scheduler, on a store that stops anywhere.
//!
//! Every call to the store yields before and after its effect; the scheduler decides who goes on, lets calls fail with
//! and without effect, and kills processes. Each process claims, restores, appends to a log kept in the manifests, and
//! collects garbage. What must hold, whatever happens: every acknowledged commit is in every later log, in order, and
//! every segment that a restored manifest names is there.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};

use crate::blobs::{Blobs, Entry, Put};
use crate::claim::Pending;
use crate::names::{generation_name, segment_path};
use crate::{
    CheckpointStore, ErrorKind, KEY_ENCODING_VERSION, MANIFEST_FORMAT_VERSION, Manifest, OperatorState, SegmentRef,
    SourceState, StateError, Totals, VNODES,
};

/// What all processes see.
#[derive(Debug)]
struct World {
    blobs: BTreeMap<String, Bytes>,
    random: fastrand::Rng,
    /// Logs of acknowledged commits, in the order of acknowledgement.
    acknowledged: Vec<Vec<u64>>,
    next_entry: u64,
    /// Percent of calls that fail.
    failures: u32,
}

#[derive(Debug, Clone)]
struct SimulatedBlobs(Arc<Mutex<World>>);

impl SimulatedBlobs {
    fn call<'a, T: Send + 'a>(
        &'a self,
        effect: impl FnOnce(&mut BTreeMap<String, Bytes>) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StateError>> {
        async move {
            yield_once().await;
            let failed = || StateError::io("simulate", "a call", std::io::ErrorKind::TimedOut.into());
            let (fails, has_effect) = {
                let mut world = self.0.lock().unwrap();
                let failures = world.failures;
                (world.random.u32(..100) < failures, world.random.bool())
            };
            if fails && !has_effect {
                return Err(failed());
            }
            let value = effect(&mut self.0.lock().unwrap().blobs);
            yield_once().await;
            if fails { Err(failed()) } else { Ok(value) }
        }
        .boxed()
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Blobs for SimulatedBlobs {
    fn place(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async { Ok(()) }.boxed()
    }

    fn put_new<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<Put, StateError>> {
        self.call(move |blobs| {
            if blobs.contains_key(name) {
                return Put::Exists;
            }
            blobs.insert(name.into(), bytes);
            Put::Created
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StateError>> {
        self.call(move |blobs| blobs.get(name).cloned())
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StateError>> {
        self.call(move |blobs| {
            let inside = |path: &String| match folder {
                "" => (!path.contains('/')).then(|| path.clone()),
                _ => path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
            };
            blobs.keys().filter_map(inside).map(|name| Entry { name, bytes: 0 }).collect()
        })
    }

    fn delete<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<(), StateError>> {
        async move {
            for name in names {
                self.call(move |blobs| blobs.remove(name)).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn sweep_temporary(&self) -> BoxFuture<'_, Result<u64, StateError>> {
        async { Ok(0) }.boxed()
    }
}

/// One life of a process; it ends when it is fenced or after some commits.
async fn process(world: SimulatedBlobs) -> Result<(), StateError> {
    let blobs: Arc<dyn Blobs> = Arc::new(world.clone());
    let mut store = CheckpointStore { blobs, pipeline: "p".into(), claim: None };
    retried(async |store| store.claim().await, &mut store).await?;
    let restored = retried(async |store| store.latest().await, &mut store).await?;
    if let Some(manifest) = &restored {
        let there = &world.0.lock().unwrap().blobs;
        // Once another took over, that one may collect them.
        let is_newest = !there.contains_key(&generation_name(store.generation().unwrap().0 + 1));
        for path in manifest.segment_paths().filter(|_| is_newest) {
            assert!(there.contains_key(path), "{path} of restored manifest {} is gone", manifest.checkpoint_epoch);
        }
    }
    let mut last = restored;
    for _ in 0..6 {
        // In the middle of writing the next checkpoint.
        let collector = store.clone();
        let (next, collected) =
            futures::join!(checkpoint(&world, &mut store, last), collect_sometimes(&world, &collector));
        last = Some(next?);
        collected?;
    }
    Ok(())
}

async fn collect_sometimes(world: &SimulatedBlobs, store: &CheckpointStore) -> Result<(), StateError> {
    let (keep, pause) = {
        let mut world = world.0.lock().unwrap();
        if world.random.bool() {
            return Ok(());
        }
        (world.random.usize(1..3), world.random.usize(0..12))
    };
    for _ in 0..pause {
        yield_once().await;
    }
    match store.collect_garbage(keep).await {
        Err(error) if error.kind() != ErrorKind::Retry => Err(error),
        _ => Ok(()),
    }
}

async fn retried<T>(
    call: impl AsyncFn(&mut CheckpointStore) -> Result<T, StateError>,
    store: &mut CheckpointStore,
) -> Result<T, StateError> {
    loop {
        match call(store).await {
            Err(error) if error.kind() == ErrorKind::Retry => {}
            result => return result,
        }
    }
}

/// Appends one entry to the log, with a segment for it; sometimes replaces all segments by one, as a merge does.
async fn checkpoint(
    world: &SimulatedBlobs,
    store: &mut CheckpointStore,
    last: Option<Manifest>,
) -> Result<Manifest, StateError> {
    let (entry, merges) = {
        let mut world = world.0.lock().unwrap();
        world.next_entry += 1;
        (world.next_entry, world.random.u8(..4) == 0)
    };
    let epoch = last.as_ref().map_or(1, |last| last.checkpoint_epoch + 1);
    let (mut log, mut segments) = (Vec::new(), Vec::new());
    if let Some(last) = &last {
        log = last.sources["log"].positions.clone();
        segments = last.operators["state"].segments.clone();
    }
    log.push(entry.into());
    if merges && epoch > 1 {
        segments = vec![put(store, epoch - 1, Pending::Merged).await?];
    }
    segments.push(put(store, epoch, Pending::Delta).await?);
    let manifest = Manifest {
        format_version: MANIFEST_FORMAT_VERSION,
        pipeline: "p".into(),
        generation: store.generation().unwrap().0,
        checkpoint_epoch: epoch,
        parent: last.map(|last| last.checkpoint_epoch),
        fingerprint: String::new(),
        key_encoding_version: KEY_ENCODING_VERSION,
        vnodes: VNODES,
        workers: 1,
        sources: [("log".into(), SourceState { positions: log.clone(), ..SourceState::default() })].into(),
        operators: [("state".into(), OperatorState { name: String::new(), event_watermark: 0, segments })].into(),
        sinks: BTreeMap::new(),
        totals: Totals::default(),
        finished: false,
        sql: String::new(),
        savepoint: false,
    };
    retried(async |store| store.commit(&manifest).await, store).await?;
    let log = log.iter().map(|entry| entry.as_u64().unwrap()).collect();
    world.0.lock().unwrap().acknowledged.push(log);
    Ok(manifest)
}

async fn put(store: &mut CheckpointStore, epoch: u64, pending: Pending) -> Result<SegmentRef, StateError> {
    let claim = store.claimed().unwrap();
    let path = segment_path(epoch, claim.generation, 0, claim.next_segment(), "state");
    retried(async |store| store.put_pending(&path, Bytes::from_static(b"rows"), pending).await, store).await?;
    let (vnode_low, vnode_high) = (0, VNODES - 1);
    Ok(SegmentRef { path, format_version: 1, bytes: 4, rows: 1, crc: 0, vnode_low, vnode_high, max_expires: 0 })
}

fn simulate(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World {
        blobs: BTreeMap::new(),
        random: fastrand::Rng::with_seed(seed ^ 1),
        acknowledged: Vec::new(),
        next_entry: 0,
        failures: if seed.is_multiple_of(2) { 0 } else { 5 },
    };
    let world = SimulatedBlobs(Arc::new(Mutex::new(world)));
    let mut processes: Vec<LocalBoxFuture<'_, Result<(), StateError>>> = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..random.usize(50..400) {
        if processes.is_empty() || (processes.len() < 4 && random.u8(..60) == 0) {
            processes.push(process(world.clone()).boxed_local());
        }
        let chosen = random.usize(..processes.len());
        if random.u16(..200) == 0 {
            drop(processes.swap_remove(chosen));
            continue;
        }
        // A burst, so that some processes get far while others stand still.
        for _ in 0..random.usize(1..30) {
            let Poll::Ready(ended) = processes[chosen].as_mut().poll(&mut context) else { continue };
            if let Err(error) = ended {
                assert_eq!(error.kind(), ErrorKind::Fenced, "seed {seed}: {error}");
            }
            drop(processes.swap_remove(chosen));
            break;
        }
    }
    drop(processes);
    check(&world, seed);
}

/// Faults stop; one more process must restore the log of everything acknowledged and go on.
fn check(world: &SimulatedBlobs, seed: u64) {
    world.0.lock().unwrap().failures = 0;
    let mut last: Pin<Box<dyn Future<Output = _>>> = Box::pin(process(world.clone()));
    let mut context = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while last.as_mut().poll(&mut context).map(|ended: Result<(), StateError>| ended.unwrap()).is_pending() {
        polls += 1;
        assert!(polls < 10_000, "seed {seed}: the last process does not end");
    }
    let world = world.0.lock().unwrap();
    // The reply to an older process may come after the reply to the one that took over from its manifest.
    let newest = world.acknowledged.iter().max_by_key(|log| log.len()).unwrap();
    for log in &world.acknowledged {
        assert!(newest.starts_with(log), "seed {seed}: {:?} was acknowledged and lost", log.last());
    }
}

#[test]
fn acknowledged_commits_and_their_segments_survive_everything() {
    for seed in 0..100 {
        simulate(seed);
    }
}
