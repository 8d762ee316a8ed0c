//! Open, claim, write, commit, restore.

use thalweg_state::{CheckpointStore, ErrorKind};

use crate::support::{PIPELINE, claimed, location, manifest, segment, values};

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
