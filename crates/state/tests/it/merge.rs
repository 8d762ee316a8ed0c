//! Background merge: the same rows in fewer segments, without the dead.

use thalweg_state::{OperatorState, SegmentRef};

use crate::support::{STATE_ID, claimed, location, manifest, segment, state_rows, values};

fn state(segments: Vec<SegmentRef>, event_watermark: i64) -> OperatorState {
    OperatorState { name: "window aggregate".into(), event_watermark, segments }
}

#[tokio::test]
async fn merge_drops_dead_rows_and_keeps_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let mut segments = Vec::new();
    for epoch in 1..=12 {
        // Expire at 10, 20, ... and never.
        let rows = [(1, epoch * 10, epoch), (2, i64::MAX, 100 + epoch)];
        let rows = if epoch == 1 { &rows[..1] } else { &rows[..] };
        segments.push(store.write_segment(epoch as u64, STATE_ID, 0, &[state_rows(rows)]).await.unwrap());
    }
    let before = state(segments.clone(), 100);
    let mut first = manifest(&store, 12, None, segments.clone());
    first.operators.insert(STATE_ID.into(), before.clone());
    store.commit(&first).await.unwrap();

    let after = store.merge(12, &before).await.unwrap().expect("twelve segments are too many");
    assert_eq!(after.segments.len(), 1);
    assert_eq!(
        after.segments[0].rows,
        2 + 11,
        "alive are the rows that expire at 110 and 120, and those that never do"
    );
    // A checkpoint happened meanwhile; the merged state is put in place of what was merged.
    let mut current = before.clone();
    current.segments.push(segment(&store, 13, &[13]).await);
    assert!(current.apply_merge(&before, after));
    // Before a manifest names the merged segment, nobody may collect it, nor the old ones.
    assert_eq!(store.collect_garbage(1).await.unwrap().segments, 0);
    let mut second = manifest(&store, 13, Some(12), vec![]);
    second.operators.insert(STATE_ID.into(), current);
    store.commit(&second).await.unwrap();
    assert_eq!(store.collect_garbage(1).await.unwrap().segments, 12);
    let mut expect: Vec<i64> = (102..=112).chain([11, 12, 13]).collect();
    expect.sort_unstable();
    assert_eq!(values(&store, &second).await, expect);
}

#[tokio::test]
async fn dead_segments_are_dropped_without_reading_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let dead = store.write_segment(1, STATE_ID, 0, &[state_rows(&[(1, 10, 1), (2, 9, 2)])]).await.unwrap();
    let alive = store.write_segment(1, STATE_ID, 1, &[state_rows(&[(1, 11, 3)])]).await.unwrap();
    std::fs::remove_file(folder.path().join("flights").join(&dead.path)).unwrap();
    let merged = store.merge(1, &state(vec![dead, alive.clone()], 10)).await.unwrap().unwrap();
    assert_eq!(merged.segments, std::slice::from_ref(&alive));
    assert_eq!(store.merge(1, &state(vec![alive], 10)).await.unwrap(), None);
    assert_eq!(store.merge(1, &state(vec![], 10)).await.unwrap(), None);
}

/// An operator that replaced its state on one worker has narrowed the references to the older segments.
#[tokio::test]
async fn rows_outside_a_narrowed_reference_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let old = store.write_segment(1, STATE_ID, 0, &[state_rows(&[(1, 99, 1), (5, 99, 5), (9, 99, 9)])]).await.unwrap();
    let (mut low, mut high) = (old.clone(), old);
    low.vnode_high = 4;
    high.vnode_low = 6;
    let mut segments = vec![low, high];
    for value in 10..17 {
        segments.push(segment(&store, 2, &[value]).await);
    }
    let before = state(segments, 0);
    let merged = store.merge(2, &before).await.unwrap().unwrap();
    let mut current = before.clone();
    assert!(current.apply_merge(&before, merged));
    let mut manifest = manifest(&store, 2, None, vec![]);
    manifest.operators.insert(STATE_ID.into(), current);
    assert_eq!(values(&store, &manifest).await, [1, 9, 10, 11, 12, 13, 14, 15, 16]);
}

#[tokio::test]
async fn a_merge_of_nothing_but_dead_rows_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = claimed(&location(&folder)).await;
    let segment = store.write_segment(1, STATE_ID, 0, &[state_rows(&[(1, 10, 1)])]).await.unwrap();
    assert_eq!(store.merge(1, &state(vec![segment], 10)).await.unwrap().unwrap().segments, []);
}

#[test]
fn a_merge_is_forgotten_if_the_state_was_replaced() {
    let segment = |path: &str| SegmentRef {
        path: path.into(),
        format_version: 1,
        bytes: 1,
        rows: 1,
        crc: 0,
        vnode_low: 0,
        vnode_high: 0,
        max_expires: 0,
    };
    let before = state(vec![segment("a"), segment("b")], 0);
    let mut replaced = state(vec![segment("c")], 0);
    assert!(!replaced.apply_merge(&before, state(vec![segment("ab")], 0)));
    assert_eq!(replaced.segments, [segment("c")]);
}
