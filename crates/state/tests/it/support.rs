//! Makers of rows, manifests and stores for the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema};
use thalweg_state::{
    CheckpointStore, KEY_ENCODING_VERSION, MANIFEST_FORMAT_VERSION, Manifest, OperatorState, SegmentRef, StoreLocation,
    Totals, VNODES,
};

pub const PIPELINE: &str = "flights";
pub const STATE_ID: &str = "0123456789abcdef";

/// State rows (vnode, expires, value).
pub fn state_rows(rows: &[(u16, i64, i64)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("__vnode", DataType::UInt16, false),
        Field::new("__expires", DataType::Int64, false),
        Field::new("value", DataType::Int64, false),
    ]);
    let vnodes = UInt16Array::from_iter_values(rows.iter().map(|row| row.0));
    let expires = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(vnodes), Arc::new(expires), Arc::new(values)]).unwrap()
}

pub fn location(folder: &tempfile::TempDir) -> StoreLocation {
    folder.path().to_path_buf().into()
}

pub async fn claimed(location: &StoreLocation) -> CheckpointStore {
    let mut store = CheckpointStore::open(location, PIPELINE).await.unwrap();
    store.claim().await.unwrap();
    store
}

/// A manifest of one operator that follows `parent`.
pub fn manifest(store: &CheckpointStore, epoch: u64, parent: Option<u64>, segments: Vec<SegmentRef>) -> Manifest {
    let state = OperatorState { name: "window aggregate".into(), event_watermark: 0, segments };
    Manifest {
        format_version: MANIFEST_FORMAT_VERSION,
        pipeline: store.pipeline().into(),
        generation: store.generation().unwrap().0,
        checkpoint_epoch: epoch,
        parent,
        fingerprint: "f".into(),
        key_encoding_version: KEY_ENCODING_VERSION,
        vnodes: VNODES,
        workers: 2,
        sources: BTreeMap::new(),
        operators: BTreeMap::from([(STATE_ID.into(), state)]),
        sinks: BTreeMap::from([("out".into(), vec![serde_json::json!({"file": "a", "rows": 3})])]),
        totals: Totals::default(),
        finished: false,
        sql: "SELECT 1".into(),
        savepoint: false,
    }
}

/// Writes one segment with these values (never expiring).
pub async fn segment(store: &CheckpointStore, epoch: u64, values: &[i64]) -> SegmentRef {
    let rows: Vec<_> = values.iter().map(|value| ((*value as u16) % VNODES, i64::MAX, *value)).collect();
    store.write_segment(epoch, STATE_ID, 0, &[state_rows(&rows)]).await.unwrap()
}

/// All values of the operator's state, ascending.
pub async fn values(store: &CheckpointStore, manifest: &Manifest) -> Vec<i64> {
    let mut values = Vec::new();
    for segment in &manifest.operators[STATE_ID].segments {
        for batch in store.read_segment(segment).await.unwrap() {
            let column = batch.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
            values.extend(column.values());
        }
    }
    values.sort_unstable();
    values
}

/// Names of all files below the pipeline's folder, sorted.
pub fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let root = folder.path().join(PIPELINE);
    let mut names = Vec::new();
    for dir in ["", "segments"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                names.push(std::path::Path::new(dir).join(entry.file_name()).to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}
