//! The same life cycle on an S3-compatible server, where `THALWEG_TEST_S3_ENDPOINT` names one (bucket `THALWEG_TEST_S3_BUCKET`,
//! default `thalweg-test`, which must exist; keys and the rest from `AWS_*`). Skipped loudly otherwise.

use thalweg_state::{CheckpointStore, ErrorKind, StoreLocation};

use crate::support::{PIPELINE, claimed, manifest, segment, values};

/// A prefix of its own for each test.
fn s3(test: &str) -> Option<StoreLocation> {
    let Ok(endpoint) = std::env::var("THALWEG_TEST_S3_ENDPOINT") else {
        eprintln!("SKIPPED: THALWEG_TEST_S3_ENDPOINT is not set");
        return None;
    };
    let used = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
    assert_eq!(used, Some(endpoint), "set AWS_ENDPOINT_URL to the same server, AWS_ALLOW_HTTP=true and keys");
    let bucket = std::env::var("THALWEG_TEST_S3_BUCKET").unwrap_or_else(|_| "thalweg-test".into());
    let unique = tempfile::Builder::new().prefix("").tempdir().unwrap().path().file_name().unwrap().to_owned();
    let unique = unique.to_str().unwrap();
    Some(StoreLocation::parse(&format!("s3://{bucket}/state-{test}-{unique}")).unwrap())
}

#[tokio::test]
async fn a_life_on_s3() {
    let Some(location) = s3("life") else { return };
    let old = claimed(&location).await;
    let first = segment(&old, 1, &[1, 2]).await;
    old.commit(&manifest(&old, 1, None, vec![first.clone()])).await.unwrap();
    let new = claimed(&location).await;
    let error = old.commit(&manifest(&old, 2, Some(1), vec![])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    let second = segment(&new, 2, &[3]).await;
    let newest = manifest(&new, 2, Some(1), vec![first, second]);
    new.commit(&newest).await.unwrap();
    new.commit(&newest).await.expect("a conditional put that finds its own bytes has succeeded");
    segment(&new, 2, &[4]).await;
    let collected = new.collect_garbage(1).await.unwrap();
    assert_eq!((collected.manifests, collected.segments), (1, 0));
    let third = manifest(&new, 3, Some(2), newest.operators.values().next().unwrap().segments.clone());
    new.commit(&third).await.unwrap();
    assert_eq!(new.collect_garbage(1).await.unwrap().segments, 1);

    let restored = CheckpointStore::open(&location, PIPELINE).await.unwrap();
    assert_eq!(restored.latest().await.unwrap(), Some(third.clone()));
    assert_eq!(values(&restored, &third).await, [1, 2, 3]);

    let savepoint = location.join("savepoint");
    new.copy_savepoint(&third, &savepoint).await.unwrap();
    new.reset().await.unwrap();
    assert_eq!(new.latest().await.unwrap(), None);
    let (from, copied) = CheckpointStore::open_savepoint(&savepoint).await.unwrap();
    let imported = new.import(&from, &copied).await.unwrap();
    assert_eq!(values(&new, &imported).await, [1, 2, 3]);
}

#[tokio::test]
async fn conditional_puts_let_one_of_many_win() {
    let Some(location) = s3("race") else { return };
    let mut stores = Vec::new();
    for _ in 0..6 {
        stores.push(CheckpointStore::open(&location, PIPELINE).await.unwrap());
    }
    let claims = futures::future::join_all(stores.iter_mut().map(|store| store.claim())).await;
    let mut generations: Vec<u64> = claims.iter().flatten().map(|generation| generation.0).collect();
    let count = generations.len();
    generations.sort_unstable();
    generations.dedup();
    assert!(count > 0 && generations.len() == count, "{generations:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_says_so() {
    if s3("missing").is_none() {
        return;
    }
    let location = StoreLocation::parse("s3://thalweg-no-such-bucket/x").unwrap();
    let error = CheckpointStore::open(&location, PIPELINE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FixRequest, "{error}");
    assert!(error.to_string().contains("bucket"), "{error}");
}

/// Needs no server: nothing listens on the discard port.
#[test]
fn a_wrong_endpoint_is_told_soon() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3::answers_of_a_wrong_endpoint", "--ignored", "--nocapture"])
        .envs([("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), ("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "x")])
        .envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")])
        .env_remove("AWS_ENDPOINT")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Run by the test above, in a process with the environment of its own that it needs.
#[tokio::test]
#[ignore = "run by a_wrong_endpoint_is_told_soon"]
async fn answers_of_a_wrong_endpoint() {
    let location = StoreLocation::parse("s3://bucket/x").unwrap();
    let opened = tokio::time::timeout(std::time::Duration::from_secs(30), CheckpointStore::open(&location, PIPELINE));
    let error = opened.await.expect("within 30 seconds").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("s3://bucket/x/flights") && error.to_string().contains("AWS_ENDPOINT_URL"));
}
