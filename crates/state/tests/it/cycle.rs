//! Open, claim, write, commit, restore.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use thalweg_state::{CheckpointStore, ErrorKind, key_hashes, select_rows, vnode_of, vnodes_of_worker, worker_of};

use crate::support::{PIPELINE, STATE_ID, claimed, files, location, manifest, segment, state_rows, values};

#[tokio::test]
async fn a_committed_checkpoint_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    assert_eq!(store.latest().await.unwrap(), None);
    let first = segment(&store, 1, &[1, 2, 3]).await;
    store.commit(&manifest(&store, 1, None, vec![first.clone()])).await.unwrap();
    let second = segment(&store, 2, &[4]).await;
    let newest = manifest(&store, 2, Some(1), vec![first, second]);
    store.commit(&newest).await.unwrap();
    store.commit(&newest).await.expect("a commit whose reply was lost is repeated");

    let again = CheckpointStore::open(&location(&folder), PIPELINE).await.unwrap();
    let latest = again.latest().await.unwrap().unwrap();
    assert_eq!(latest, newest);
    assert_eq!(values(&again, &latest).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn an_older_process_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let old = claimed(&location(&folder)).await;
    old.commit(&manifest(&old, 1, None, vec![])).await.unwrap();
    let new = claimed(&location(&folder)).await;
    let error = old.commit(&manifest(&old, 2, Some(1), vec![])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    new.commit(&manifest(&new, 2, Some(1), vec![])).await.unwrap();
    for fenced in [old.collect_garbage(1).await.map(|_| ()), old.reset().await] {
        assert_eq!(fenced.unwrap_err().kind(), ErrorKind::Fenced);
    }
}

/// A pause of the old process at any moment cannot bring its manifest in; `simulation.rs` tries them all.
#[tokio::test]
async fn two_processes_race_for_a_claim_and_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(CheckpointStore::open(&location(&folder), PIPELINE).await.unwrap());
    }
    let claims = futures::future::join_all(stores.iter_mut().map(|store| store.claim())).await;
    let mut generations: Vec<u64> = claims.iter().flatten().map(|generation| generation.0).collect();
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), claims.iter().flatten().count(), "no generation is given twice");
    let mut committed = 0;
    for store in stores.iter().filter(|store| store.generation().is_some()) {
        match store.commit(&manifest(store, 1, None, vec![])).await {
            Ok(()) => committed += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
        }
    }
    assert_eq!(committed, 1);
}

#[tokio::test]
async fn a_commit_that_does_not_follow_is_a_bug() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    store.commit(&manifest(&store, 5, None, vec![])).await.unwrap();
    let mut other = manifest(&store, 6, Some(5), vec![]);
    other.pipeline = "rides".into();
    let mut elsewhere = segment(&store, 6, &[1]).await;
    elsewhere.path = "../../secret.seg".into();
    for wrong in [
        manifest(&store, 6, Some(4), vec![]),
        manifest(&store, 6, None, vec![]),
        manifest(&store, 4, Some(5), vec![]),
        manifest(&store, 5, None, vec![segment(&store, 5, &[1]).await]),
        manifest(&store, 6, Some(5), vec![elsewhere]),
        other,
    ] {
        let error = store.commit(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug, "{error}");
    }
    store.commit(&manifest(&store, 6, Some(5), vec![])).await.unwrap();
    let unclaimed = CheckpointStore::open(&location(&folder), PIPELINE).await.unwrap();
    assert_eq!(unclaimed.commit(&manifest(&store, 7, Some(6), vec![])).await.unwrap_err().kind(), ErrorKind::Bug);
}

#[tokio::test]
async fn reset_leaves_nothing_but_the_generation() {
    let folder = tempfile::tempdir().unwrap();
    let old = claimed(&location(&folder)).await;
    let kept = segment(&old, 1, &[1]).await;
    old.commit(&manifest(&old, 1, None, vec![kept])).await.unwrap();
    let store = claimed(&location(&folder)).await;
    store.reset().await.unwrap();
    assert_eq!(store.latest().await.unwrap(), None);
    assert_eq!(
        files(&folder),
        ["base-0000000002-00000000000000000001", "generation-0000000002", "thalweg-checkpoints"]
    );
    let first = segment(&store, 1, &[7]).await;
    store.commit(&manifest(&store, 1, None, vec![first])).await.unwrap();
    let again = claimed(&location(&folder)).await;
    let latest = again.latest().await.unwrap().unwrap();
    assert_eq!(values(&again, &latest).await, [7]);
}

/// Whatever the number of workers, each row is restored on exactly one, that of its key.
#[tokio::test]
async fn restored_rows_are_partitioned_by_worker() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let rows: Vec<(u16, i64, i64)> = (0..5000)
        .map(|value| {
            let key: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            let mut hashes = Vec::new();
            key_hashes(&[key], 1, &mut hashes).unwrap();
            (vnode_of(hashes[0]), if value % 7 == 0 { 50 } else { 51 }, value)
        })
        .collect();
    let mut segments = Vec::new();
    for part in rows.chunks(1700) {
        segments.push(store.write_segment(1, STATE_ID, 0, &[state_rows(part)]).await.unwrap());
    }
    for workers in [1, 2, 3, 8, 1024] {
        let mut restored = Vec::new();
        for worker in 0..workers {
            let vnodes = vnodes_of_worker(worker, workers);
            for segment in segments.iter().filter(|segment| segment.overlaps(&vnodes)) {
                // Read by every worker only where that is quick.
                let batches = if workers < 100 || worker % 100 == 0 {
                    store.read_segment(segment).await.unwrap()
                } else {
                    vec![]
                };
                for batch in batches {
                    let mine = select_rows(&batch, &vnodes, 50).unwrap();
                    let column = mine.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
                    restored.extend(column.values().iter().map(|value| (*value, worker)));
                }
            }
        }
        restored.sort_unstable();
        let alive = rows.iter().filter(|row| row.1 > 50);
        let expect: Vec<_> = alive
            .map(|row| (row.2, worker_of(row.0, workers)))
            .filter(|(_, worker)| workers < 100 || worker % 100 == 0)
            .collect();
        assert_eq!(restored, expect, "{workers} workers");
    }
}
