//! Garbage collection: what no kept manifest needs goes, all else stays.

use std::fs;

use thalweg_state::{CheckpointStore, Collected, Manifest, SegmentRef};

use crate::support::{PIPELINE, claimed, files, location, manifest, segment, values};

/// Commits epochs `1..=epochs`, each with a segment of its own and that of the epoch before; epoch 2 is a savepoint.
async fn commit_epochs(store: &CheckpointStore, epochs: u64) -> Vec<Manifest> {
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut before: Option<SegmentRef> = None;
    for epoch in 1..=epochs {
        let own = segment(store, epoch, &[epoch as i64]).await;
        let segments = before.into_iter().chain([own.clone()]).collect();
        before = Some(own);
        let mut manifest = manifest(store, epoch, (epoch > 1).then(|| epoch - 1), segments);
        manifest.savepoint = epoch == 2;
        store.commit(&manifest).await.unwrap();
        manifests.push(manifest);
    }
    manifests
}

#[tokio::test]
async fn kept_manifests_and_savepoints_keep_their_segments() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let manifests = commit_epochs(&store, 8).await;
    let collected = store.collect_garbage(2).await.unwrap();
    // Kept: savepoint 2 (segments 1, 2), 7 (6, 7), 8 (7, 8).
    assert_eq!((collected.manifests, collected.segments), (5, 3));
    assert!(collected.segment_bytes > 0);
    let again = claimed(&location(&folder)).await;
    for (epoch, expect) in [(2, [1, 2]), (7, [6, 7]), (8, [7, 8])] {
        assert_eq!(values(&again, &manifests[epoch - 1]).await, expect);
    }
    assert_eq!(again.latest().await.unwrap().unwrap().checkpoint_epoch, 8);
    // A process that has to read the manifests decides likewise.
    assert_eq!(again.collect_garbage(2).await.unwrap(), Collected::default());
    assert_eq!(again.collect_garbage(0).await.unwrap().manifests, 1, "one is always kept");
}

#[tokio::test]
async fn files_in_the_making_are_spared_and_given_up_ones_collected() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let first = segment(&store, 1, &[1]).await;
    store.commit(&manifest(&store, 1, None, vec![first.clone()])).await.unwrap();
    let given_up = segment(&store, 2, &[2]).await;
    let next = segment(&store, 3, &[3]).await;
    assert_eq!(store.collect_garbage(1).await.unwrap().segments, 0);
    let newest = manifest(&store, 3, Some(1), vec![first, next]);
    store.commit(&newest).await.unwrap();
    assert_eq!(store.collect_garbage(1).await.unwrap().segments, 1);
    assert!(store.read_segment(&given_up).await.is_err());
    assert_eq!(values(&store, &newest).await, [1, 3]);
}

#[tokio::test]
async fn leftovers_of_a_crash_do_not_matter_and_are_collected() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = claimed(&location(&folder)).await;
    let first = segment(&crashed, 1, &[1]).await;
    let newest = manifest(&crashed, 1, None, vec![first]);
    crashed.commit(&newest).await.unwrap();
    // Uploaded, but its manifest was never written; and two files cut off in the middle.
    segment(&crashed, 2, &[2]).await;
    let root = folder.path().join(PIPELINE);
    fs::write(root.join(".tmp-0000000000000001-000000"), "half a man").unwrap();
    fs::write(root.join("segments/.tmp-0000000000000001-000001"), "half a seg").unwrap();

    let store = claimed(&location(&folder)).await;
    assert_eq!(store.latest().await.unwrap(), Some(newest.clone()));
    let collected = store.collect_garbage(3).await.unwrap();
    assert_eq!((collected.segments, collected.temporary_files), (1, 2));
    assert_eq!(values(&store, &newest).await, [1]);
    assert!(!files(&folder).iter().any(|name| name.contains(".tmp")));
}

#[tokio::test]
async fn nothing_is_deleted_while_a_manifest_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    commit_epochs(&claimed(&location(&folder)).await, 5).await;
    let oldest = files(&folder).into_iter().find(|name| name.starts_with("manifest-")).unwrap();
    fs::write(folder.path().join(PIPELINE).join(&oldest), "rubbish").unwrap();
    let store = claimed(&location(&folder)).await;
    let before = files(&folder);
    let error = store.collect_garbage(1).await.unwrap_err();
    assert!(error.to_string().contains(&oldest), "{error}");
    assert_eq!(files(&folder), before);
}

#[tokio::test]
async fn old_generation_files_go() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        claimed(&location(&folder)).await;
    }
    let store = claimed(&location(&folder)).await;
    store.collect_garbage(1).await.unwrap();
    let kept = files(&folder).iter().filter(|name| name.starts_with("generation-")).count();
    assert_eq!(kept, 16);
    assert_eq!(claimed(&location(&folder)).await.generation().unwrap().0, 22);
}
