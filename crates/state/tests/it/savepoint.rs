//! Savepoints: copied out, opened, started from.

use std::fs;

use thalweg_state::{CheckpointStore, ErrorKind, StoreLocation};

use crate::support::{PIPELINE, claimed, location, manifest, segment, values};

async fn checkpointed(location: &StoreLocation) -> (CheckpointStore, thalweg_state::Manifest) {
    let store = claimed(location).await;
    let segments = vec![segment(&store, 1, &[1, 2]).await, segment(&store, 1, &[3]).await];
    let newest = manifest(&store, 1, None, segments);
    store.commit(&newest).await.unwrap();
    (store, newest)
}

#[tokio::test]
async fn a_savepoint_outlives_its_pipeline_and_starts_another() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let savepoint: StoreLocation = kept.path().join("before upgrade").into();
    let (store, newest) = checkpointed(&location(&folder)).await;
    store.copy_savepoint(&newest, &savepoint).await.unwrap();
    store.copy_savepoint(&newest, &savepoint).await.expect("the same again changes nothing");
    drop(folder);

    let (from, copied) = CheckpointStore::open_savepoint(&savepoint).await.unwrap();
    assert_eq!(copied.checkpoint_epoch, 1);
    assert!(copied.savepoint);
    assert_eq!(values(&from, &copied).await, [1, 2, 3]);

    let other = tempfile::tempdir().unwrap();
    let mut store = CheckpointStore::open(&location(&other), "rides").await.unwrap();
    store.claim().await.unwrap();
    let imported = store.import(&from, &copied).await.unwrap();
    drop(kept);
    assert_eq!(store.latest().await.unwrap(), Some(imported.clone()));
    assert_eq!((imported.pipeline.as_str(), imported.parent, imported.savepoint), ("rides", None, false));
    assert_eq!(imported.sinks, copied.sinks);
    assert_eq!(values(&store, &imported).await, [1, 2, 3]);
    // It goes on from there, and nothing of it is garbage.
    let mut next = imported.clone();
    (next.checkpoint_epoch, next.parent) = (2, Some(1));
    store.commit(&next).await.unwrap();
    assert_eq!(store.collect_garbage(1).await.unwrap().segments, 0);
    let error = store.import(&from, &copied).await.unwrap_err();
    assert!(error.kind() == ErrorKind::FixRequest && error.to_string().contains("--restart"), "{error}");
}

#[tokio::test]
async fn an_interrupted_copy_is_no_savepoint_and_can_be_repeated() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, newest) = checkpointed(&location(&folder)).await;
    store.copy_savepoint(&newest, &location(&kept)).await.unwrap();
    let name = "manifest-00000000000000000001-0000000001";
    fs::remove_file(kept.path().join(name)).unwrap();
    fs::remove_file(kept.path().join(&newest.operators.values().next().unwrap().segments[0].path)).unwrap();
    let error = CheckpointStore::open_savepoint(&location(&kept)).await.unwrap_err();
    assert!(error.to_string().contains("incomplete"), "{error}");
    store.copy_savepoint(&newest, &location(&kept)).await.unwrap();
    let (from, copied) = CheckpointStore::open_savepoint(&location(&kept)).await.unwrap();
    assert_eq!(values(&from, &copied).await, [1, 2, 3]);
}

#[tokio::test]
async fn folders_with_other_content_take_no_savepoint() {
    let folder = tempfile::tempdir().unwrap();
    let (store, newest) = checkpointed(&location(&folder)).await;
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("notes.txt"), "").unwrap();
    for place in [location(&other), location(&folder).join(PIPELINE)] {
        let error = store.copy_savepoint(&newest, &place).await.unwrap_err();
        assert!(error.kind() == ErrorKind::FixRequest && error.to_string().contains("empty"), "{error}");
    }
    let kept = tempfile::tempdir().unwrap();
    store.copy_savepoint(&newest, &location(&kept)).await.unwrap();
    let mut next = newest.clone();
    (next.checkpoint_epoch, next.parent) = (2, Some(1));
    store.commit(&next).await.unwrap();
    assert_eq!(store.copy_savepoint(&next, &location(&kept)).await.unwrap_err().kind(), ErrorKind::FixRequest);
}

#[tokio::test]
async fn only_savepoints_are_opened_as_such_and_they_do_not_run() {
    let folder = tempfile::tempdir().unwrap();
    for place in [location(&folder), location(&folder).join("nowhere")] {
        let error = CheckpointStore::open_savepoint(&place).await.unwrap_err();
        assert!(error.kind() == ErrorKind::FixRequest && error.to_string().contains("no savepoint"), "{error}");
    }
    let (store, newest) = checkpointed(&location(&folder)).await;
    let kept = tempfile::tempdir().unwrap();
    store.copy_savepoint(&newest, &location(&kept).join(PIPELINE)).await.unwrap();
    let error = CheckpointStore::open(&location(&kept), PIPELINE).await.unwrap_err();
    assert!(error.to_string().contains("is a savepoint") && error.to_string().contains("--from"), "{error}");
    // The folder of a pipeline that stands still will do as one.
    let (_, opened) = CheckpointStore::open_savepoint(&location(&folder).join(PIPELINE)).await.unwrap();
    assert_eq!(opened, newest);
}

#[tokio::test]
async fn damaged_segments_are_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (store, newest) = checkpointed(&location(&folder)).await;
    let path = folder.path().join(PIPELINE).join(&newest.operators.values().next().unwrap().segments[0].path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let kept = tempfile::tempdir().unwrap();
    assert_eq!(store.copy_savepoint(&newest, &location(&kept)).await.unwrap_err().kind(), ErrorKind::FixData);
    assert!(CheckpointStore::open_savepoint(&location(&kept)).await.is_err());
}
