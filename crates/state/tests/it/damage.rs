//! What must not be read is refused, by name and with a next step.

use std::fs;
use std::path::{Path, PathBuf};

use thalweg_state::{CheckpointStore, ErrorKind, StateError, StoreLocation};

use crate::support::{PIPELINE, claimed, files, location, manifest, segment};

async fn checkpointed(folder: &tempfile::TempDir) -> CheckpointStore {
    let store = claimed(&location(folder)).await;
    let first = segment(&store, 1, &[1]).await;
    store.commit(&manifest(&store, 1, None, vec![first.clone()])).await.unwrap();
    let second = segment(&store, 2, &[2]).await;
    store.commit(&manifest(&store, 2, Some(1), vec![first, second])).await.unwrap();
    store
}

fn file(folder: &tempfile::TempDir, part: &str) -> PathBuf {
    let name = files(folder).into_iter().rfind(|name| name.contains(part)).unwrap();
    folder.path().join(PIPELINE).join(name)
}

/// Everything a restart reads.
async fn restore(location: &StoreLocation) -> Result<(), StateError> {
    let store = CheckpointStore::open(location, PIPELINE).await?;
    let manifest = store.latest().await?.expect("there is one");
    for segment in manifest.operators.values().flat_map(|operator| &operator.segments) {
        store.read_segment(segment).await?;
    }
    Ok(())
}

async fn check_every_byte(folder: &tempfile::TempDir, path: &Path) {
    let bytes = fs::read(path).unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(path, flipped).unwrap();
        let error = restore(&location(folder)).await.unwrap_err();
        let (name, message) = (path.file_name().unwrap().to_str().unwrap(), error.to_string());
        assert_eq!(error.kind(), ErrorKind::FixData, "byte {at} of {name}: {message}");
        assert!(message.contains(name) && message.contains("--from") && message.contains("--restart"), "{message}");
    }
    fs::write(path, bytes).unwrap();
    restore(&location(folder)).await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    checkpointed(&folder).await;
    for part in ["manifest-", "segments/", "generation-", "thalweg-checkpoints"] {
        check_every_byte(&folder, &file(&folder, part)).await;
    }
}

#[tokio::test]
async fn damaged_state_can_be_started_over() {
    for part in ["manifest-", "segments/", "generation-", "thalweg-checkpoints"] {
        let folder = tempfile::tempdir().unwrap();
        checkpointed(&folder).await;
        fs::write(file(&folder, part), "rubbish").unwrap();
        assert!(restore(&location(&folder)).await.is_err());
        let mut store = CheckpointStore::open_for_reset(&location(&folder), PIPELINE).await.unwrap();
        store.claim().await.unwrap();
        store.reset().await.unwrap();
        let again = CheckpointStore::open(&location(&folder), PIPELINE).await.unwrap();
        assert_eq!(again.latest().await.unwrap(), None, "after damage of {part}");
    }
}

#[tokio::test]
async fn missing_and_swapped_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    checkpointed(&folder).await;
    let segment = file(&folder, "segments/");
    let moved = folder.path().join("elsewhere");
    fs::rename(&segment, &moved).unwrap();
    let error = restore(&location(&folder)).await.unwrap_err();
    assert!(error.to_string().contains("missing") && error.kind() == ErrorKind::FixData, "{error}");
    fs::rename(&moved, &segment).unwrap();

    let newest = file(&folder, "manifest-");
    let older = newest.to_str().unwrap().replace("manifest-00000000000000000002", "manifest-00000000000000000001");
    fs::copy(older, &newest).unwrap();
    let error = restore(&location(&folder)).await.unwrap_err();
    assert!(error.to_string().contains("another manifest"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    checkpointed(&folder).await;
    fs::remove_file(file(&folder, "thalweg-checkpoints")).unwrap();
    let error = restore(&location(&folder)).await.unwrap_err();
    assert!(error.to_string().contains("thalweg-checkpoints is missing"), "{error}");
}

#[tokio::test]
async fn newer_versions_are_refused() {
    for part in ["manifest-", "generation-", "thalweg-checkpoints"] {
        let folder = tempfile::tempdir().unwrap();
        checkpointed(&folder).await;
        let path = file(&folder, part);
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let head = lines.next().unwrap().replace(" 1", " 2");
        let body = format!("{head}\n{}\n", lines.next().unwrap());
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, body.as_bytes());
        fs::write(&path, format!("{body}crc64nvme {crc:016x}\n")).unwrap();
        let error = restore(&location(&folder)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FixRequest);
        let message = error.to_string();
        assert!(message.contains("newer Thalweg") && message.contains("upgrade"), "{message}");
        assert!(message.contains(path.file_name().unwrap().to_str().unwrap()), "{message}");
    }
}

#[tokio::test]
async fn other_things_in_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(PIPELINE)).unwrap();
    fs::write(folder.path().join(PIPELINE).join("holiday.jpg"), "x").unwrap();
    let error = CheckpointStore::open(&location(&folder), PIPELINE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FixRequest);
    assert!(error.to_string().contains("holiday.jpg") && error.to_string().contains("--data-dir"), "{error}");
    assert!(CheckpointStore::open_for_reset(&location(&folder), PIPELINE).await.is_err());
}

#[tokio::test]
async fn the_state_of_another_pipeline_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    checkpointed(&folder).await;
    fs::rename(folder.path().join(PIPELINE), folder.path().join("rides")).unwrap();
    let error = CheckpointStore::open(&location(&folder), "rides").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FixRequest);
    assert!(error.to_string().contains("'flights', not of 'rides'"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let proc = PathBuf::from("/proc/thalweg");
    for (place, named) in
        [(in_the_way.clone(), &in_the_way), (in_the_way.join("below"), &in_the_way), (proc.clone(), &proc)]
    {
        let error = CheckpointStore::open(&place.into(), PIPELINE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FixRequest, "{error}");
        assert!(error.to_string().contains(named.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn names_cannot_leave_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    for name in ["..", "../up", "a/b", ".hidden", "ä b"] {
        let store = CheckpointStore::open(&inner.clone().into(), name).await.unwrap();
        assert!(Path::new(&store.place()).parent().unwrap() == inner, "{}", store.place());
    }
    for name in [String::new(), "x".repeat(300)] {
        let error = CheckpointStore::open(&inner.clone().into(), &name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FixRequest, "{error}");
    }
}
