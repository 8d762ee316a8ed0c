//! The same through an S3-compatible store, when one is at hand: `THALWEG_TEST_S3_ENDPOINT=http://127.0.0.1:5000`.

use std::sync::Once;

use crate::harness::*;

/// A folder of its own in the store; `None` (and a word about it) without one.
fn folder(test: &str) -> Option<String> {
    static SET: Once = Once::new();
    let Ok(endpoint) = std::env::var("THALWEG_TEST_S3_ENDPOINT") else {
        eprintln!("skipped: THALWEG_TEST_S3_ENDPOINT is not set");
        return None;
    };
    SET.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ];
        for (key, value) in settings {
            // SAFETY: within `Once`, before any test of this module reads the environment.
            unsafe { std::env::set_var(key, value) };
        }
    });
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let bucket = std::env::var("THALWEG_TEST_S3_BUCKET").unwrap_or_else(|_| "thalweg-test".into());
    Some(format!("s3://{bucket}/{test}-{nanos}"))
}

#[test]
fn what_the_sink_writes_the_source_reads() {
    let Some(url) = folder("round-trip") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (format, compression) in [("ndjson", "none"), ("csv", "gzip"), ("parquet", "none")] {
        let url = format!("{url}/{format}");
        let pairs = [("path", url.as_str()), ("format", format), ("compression", compression), ("partition_by", "k")];
        let run = Run::new(sink(dir.path(), &pairs).unwrap());
        run.recover(None).unwrap();
        let staged = run.stage(1, &[numbers(0..150_000), numbers(150_000..200_000)]).unwrap();
        run.commit(1, &staged).unwrap();
        run.commit(1, &staged).unwrap();
        run.recover(Some((1, &staged))).unwrap();
        let mut got = read_all(dir.path(), &[("path", &url)]).numbers("n");
        got.sort_unstable();
        assert!(got.into_iter().eq(0..200_000), "{format}");
        let glob = format!("{url}/k=k1/*");
        let got = read_all(dir.path(), &[("path", &glob), ("format", format)]).numbers("n");
        assert!(got.iter().all(|n| n % 3 == 1) && !got.is_empty());
        assert!(run.recover(None).unwrap_err().message.contains("--restart"));
        run.reset().unwrap();
        run.recover(None).unwrap();
    }
}

#[test]
fn large_objects_are_uploaded_in_parts_and_restored_within() {
    let Some(url) = folder("parts") else { return };
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(sink(dir.path(), &[("path", &url)]).unwrap());
    run.recover(None).unwrap();
    let staged = run.stage(1, &[numbers(0..1_000_000)]).unwrap();
    assert!(staged[0]["bytes"].as_u64().unwrap() > 20 << 20);
    run.commit(1, &staged).unwrap();
    let source = source(dir.path(), &[("path", &url)]).unwrap();
    let mut reading = Reading::open(&source, Open::default()).unwrap();
    let mut read: Vec<i64> = (0..7).flat_map(|_| reading.next().unwrap().unwrap().numbers("n")).collect();
    let positions = reading.feed.positions();
    drop(reading);
    let mut reading = Reading::open(&source, Open { positions, ..Default::default() }).unwrap();
    read.extend(reading.drain().unwrap().numbers("n"));
    assert!(read.into_iter().eq(0..1_000_000));
}

#[test]
fn a_missing_object_is_told() {
    let Some(url) = folder("missing") else { return };
    let dir = tempfile::tempdir().unwrap();
    let error = source(dir.path(), &[("path", &format!("{url}/no.ndjson"))]).unwrap_err().remove(0);
    assert!(error.message.contains("there is no such object or folder"), "{}", error.message);
}
