//! What the files source reads: formats, places, projections, metadata, positions.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use thalweg_connect::open_source;
use thalweg_engine::EventTime;

use crate::harness::*;

#[test]
fn every_format_and_compression_gives_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let text = ndjson(0..1000);
    let csv: String =
        std::iter::once("n,k\n".to_owned()).chain((0..1000).map(|n| format!("{n},k{}\n", n % 3))).collect();
    write(dir.path(), "a.ndjson", &text);
    write(dir.path(), "a.json.gz", gzip(text.as_bytes()));
    write(dir.path(), "a.jsonl.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
    write(dir.path(), "a.csv", &csv);
    write(dir.path(), "a.csv.gz", gzip(csv.as_bytes()));
    write(dir.path(), "a.tsv", csv.replace(',', "\t"));
    write(dir.path(), "unnamed", gzip(csv.replace("n,k\n", "").replace(',', ";").as_bytes()));
    for name in ["a.ndjson", "a.json.gz", "a.jsonl.zst", "a.csv", "a.csv.gz", "a.tsv"] {
        let got = read_all(dir.path(), &[("path", name)]);
        assert_eq!(got.numbers("n"), (0..1000).collect::<Vec<_>>(), "{name}");
        assert_eq!(got.texts("k")[1].as_deref(), Some("k1"), "{name}");
    }
    let mut request = source_request(
        dir.path(),
        &[("path", "unnamed"), ("format", "csv"), ("compression", "gzip"), ("header", "false"), ("delimiter", ";")],
    );
    let fields = vec![Field::new("n", DataType::Int64, true), Field::new("k", DataType::Utf8, true)];
    request.columns = Some(Arc::new(Schema::new(fields)));
    let got = Reading::open(&open_source(&request).unwrap(), Open::default()).unwrap().drain().unwrap();
    assert_eq!(got.numbers("n").len(), 1000);
}

#[test]
fn parquet_is_read_in_slices_and_cast_to_declared_types() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(sink(dir.path(), &[("path", "out"), ("format", "parquet")]).unwrap());
    run.recover(None).unwrap();
    let staged = run.stage(1, &[numbers(0..300_000)]).unwrap();
    run.commit(1, &staged).unwrap();
    let got = read_all(dir.path(), &[("path", "out")]);
    assert_eq!(got.numbers("n"), (0..300_000).collect::<Vec<_>>());

    let mut request = source_request(dir.path(), &[("path", "out/*.parquet")]);
    let fields = vec![Field::new("K", DataType::Utf8, true), Field::new("n", DataType::Float64, true)];
    request.columns = Some(Arc::new(Schema::new(fields)));
    request.metadata = vec![("at".into(), "position".into()), ("file".into(), "path".into())];
    let source = open_source(&request).unwrap();
    let mut positions = vec![];
    let mut rows = 0;
    // A new feed for every slice: each position restores.
    loop {
        let open = Open { positions: positions.clone(), projection: Some(vec![1, 2]), ..Default::default() };
        let mut reading = Reading::open(&source, open).unwrap();
        let Some(got) = reading.next().unwrap() else { break };
        for batch in &got.batches {
            assert_eq!(batch.schema().field(1).name(), "at");
            let values = batch.column(0).as_primitive::<arrow::datatypes::Float64Type>();
            let at = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                assert_eq!((values.value(row), at.value(row)), (rows as f64, rows));
                rows += 1;
            }
        }
        positions = reading.feed.positions();
    }
    assert_eq!(rows, 300_000);

    request.columns = Some(Arc::new(Schema::new(vec![Field::new("nn", DataType::Int64, true)])));
    let error = Reading::open(&open_source(&request).unwrap(), Open::default()).unwrap().fail();
    assert!(error.message.ends_with("there is no column nn; did you mean 'n'?"), "{}", error.message);
    request.columns = Some(Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)])));
    let error = Reading::open(&open_source(&request).unwrap(), Open::default()).unwrap().fail();
    assert!(error.message.contains("column k is Utf8 in the file and cannot become Int64"), "{}", error.message);
}

#[test]
fn folders_and_globs_are_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/2024/b.ndjson", ndjson(20..30));
    write(dir.path(), "in/2024/a.ndjson", ndjson(10..20));
    write(dir.path(), "in/a.ndjson", ndjson(30..40));
    write(dir.path(), "in/notes.txt", "not data");
    write(dir.path(), "in/_thalweg/x.ndjson", "not data");
    write(dir.path(), "in/.hidden.ndjson", "not data");
    assert_eq!(read_all(dir.path(), &[("path", "in")]).numbers("n"), (10..40).collect::<Vec<_>>());
    assert_eq!(read_all(dir.path(), &[("path", "in/*/b*.ndjson")]).numbers("n"), (20..30).collect::<Vec<_>>());
    let url = format!("file://{}/in/a.ndjson", dir.path().display());
    assert_eq!(read_all(dir.path(), &[("path", &url)]).numbers("n"), (30..40).collect::<Vec<_>>());
    write(dir.path(), "in/we[ird].ndjson", ndjson(0..1));
    assert_eq!(read_all(dir.path(), &[("path", "in/we[ird].ndjson")]).numbers("n"), [0]);
}

#[test]
fn metadata_tells_where_a_row_stood() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.ndjson", "{\"n\":1}\n\n{\"n\":\"x\"}\n{\"n\":2}\n");
    let mut request = source_request(dir.path(), &[("path", "a.ndjson")]);
    request.columns = Some(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])));
    request.metadata = ["path", "line", "position", "modified_at"].map(|key| (format!("_{key}"), key.into())).to_vec();
    let source = open_source(&request).unwrap();
    let got = Reading::open(&source, Open::default()).unwrap().drain().unwrap();
    assert_eq!(got.batches[0].schema(), source.schema());
    assert_eq!(got.texts("_path"), vec![Some("a.ndjson".to_owned()); 2]);
    assert_eq!((got.numbers("_line"), got.numbers("_position")), (vec![1, 4], vec![0, 19]));
    let changed = got.batches[0].column(4).as_primitive::<TimestampMicrosecondType>().value(0);
    let metadata = std::fs::metadata(dir.path().join("a.ndjson")).unwrap().modified().unwrap();
    assert_eq!(changed as u128, metadata.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros());
    let bad = &got.errors[0];
    assert_eq!((bad.line, bad.position, &bad.bytes[..], &*bad.split), (Some(3), 9, &b"{\"n\":\"x\"}"[..], "a.ndjson"));

    let open = Open { projection: Some(vec![2]), ..Default::default() };
    let got = Reading::open(&source, open).unwrap().drain().unwrap();
    assert_eq!(got.batches[0].schema().field(0).name(), "_line");
    let open = Open { projection: Some(vec![]), ..Default::default() };
    let got = Reading::open(&source, open).unwrap().drain().unwrap();
    assert_eq!(
        (got.row_count(), got.batches[0].num_columns()),
        (3, 0),
        "a column that is not read has no type to miss"
    );
}

#[test]
fn bad_rows_tell_line_and_position_in_later_blocks_and_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = ndjson(0..200_000);
    let (at, line) = (text.len() as u64, 200_001);
    text += &format!("{{\"n\":{}\n", "9".repeat(100_000));
    text += &ndjson(0..10);
    write(dir.path(), "a.ndjson", text);
    let got = read_all(dir.path(), &[("path", "a.ndjson")]);
    assert_eq!((got.row_count(), got.errors.len()), (200_010, 1));
    let bad = &got.errors[0];
    assert_eq!((bad.position, bad.line, bad.bytes.len()), (at, Some(line), 64 << 10));
}

#[test]
fn a_restored_source_goes_on_at_any_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let text = ndjson(0..300_000);
    write(dir.path(), "plain/a.ndjson", &text[..text.len() - 1]);
    write(dir.path(), "gz/a.ndjson.gz", gzip(text.as_bytes()));
    write(dir.path(), "zst/a.ndjson.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
    for path in ["plain", "gz", "zst"] {
        let source = source(dir.path(), &[("path", path)]).unwrap();
        let chunks = {
            let mut reading = Reading::open(&source, Open::default()).unwrap();
            std::iter::from_fn(|| reading.next().unwrap()).count()
        };
        assert!(chunks > 4, "{chunks} blocks");
        for cut in 0..=chunks {
            let mut reading = Reading::open(&source, Open::default()).unwrap();
            let mut read = vec![];
            for _ in 0..cut {
                read.extend(reading.next().unwrap().unwrap().numbers("n"));
            }
            let positions = reading.feed.positions();
            let mut reading =
                Reading::open(&source, Open { positions, batch_rows: 1000, ..Default::default() }).unwrap();
            read.extend(reading.drain().unwrap().numbers("n"));
            assert!(read.iter().copied().eq(0..300_000), "{path} after {cut}");
            assert!(reading.feed.positions()[0].finished && reading.feed.splits()[0].finished);
            let (done, total) = reading.feed.progress();
            assert_eq!(Some(done), total);
        }
    }
}

#[test]
fn a_bounded_run_ends_at_the_size_it_saw_and_the_next_reads_what_came_since() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.ndjson", ndjson(0..10));
    let source = source(dir.path(), &[("path", "a.ndjson")]).unwrap();
    let mut reading = Reading::open(&source, Open::default()).unwrap();
    append(dir.path(), "a.ndjson", ndjson(10..20));
    assert_eq!(reading.drain().unwrap().numbers("n"), (0..10).collect::<Vec<_>>());
    let positions = reading.feed.positions();
    let mut reading = Reading::open(&source, Open { positions, ..Default::default() }).unwrap();
    assert_eq!(reading.drain().unwrap().numbers("n"), (10..20).collect::<Vec<_>>());
    let positions = reading.feed.positions();
    let mut reading = Reading::open(&source, Open { positions, ..Default::default() }).unwrap();
    assert_eq!(reading.drain().unwrap().row_count(), 0);
}

fn timed(dir: &std::path::Path, path: &str) -> Arc<dyn thalweg_engine::Source> {
    let mut request = source_request(dir, &[("path", path)]);
    let fields = vec![
        Field::new("n", DataType::Int64, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ];
    request.columns = Some(Arc::new(Schema::new(fields)));
    open_source(&request).unwrap()
}

#[test]
fn the_file_that_is_furthest_behind_is_served_first() {
    let dir = tempfile::tempdir().unwrap();
    let row =
        |n: i64, second: i64| format!("{{\"n\":{n},\"t\":\"2024-01-01T00:{:02}:{:02}Z\"}}\n", second / 60, second % 60);
    // Later names hold earlier times.
    write(dir.path(), "in/a.ndjson", row(3, 300));
    write(dir.path(), "in/b.ndjson", row(2, 200));
    write(dir.path(), "in/c.ndjson", row(1, 100));
    write(dir.path(), "in/d.ndjson", "");
    let source = timed(dir.path(), "in");
    let open = || Open { time_column: Some(1), ..Default::default() };
    let mut reading = Reading::open(&source, open()).unwrap();
    let lowest: Vec<_> = reading.feed.splits().iter().map(|split| split.lowest_event_time).collect();
    let second = |second: i64| Some(EventTime(1_704_067_200_000_000 + second * 1_000_000));
    assert_eq!(lowest, [second(300), second(200), second(100), None]);
    assert_eq!(reading.drain().unwrap().numbers("n"), [1, 2, 3]);

    // Round-robin pieces of one stream: the feed follows what the engine reports.
    let long = |first: i64| (0..40_000).map(|n| row(first + n * 2, 0)).collect::<String>();
    write(dir.path(), "rr/a.ndjson", long(0));
    write(dir.path(), "rr/b.ndjson", long(1));
    let source = timed(dir.path(), "rr");
    let mut reading = Reading::open(&source, open()).unwrap();
    let mut last = None;
    let mut decoder = reading.feed.decoder().unwrap();
    let mut times = [0i64; 2];
    loop {
        match reading.feed.claim().unwrap() {
            thalweg_engine::Claim::Pending => reading.bell.wait(),
            thalweg_engine::Claim::Finished => break,
            thalweg_engine::Claim::Chunk(chunk) => {
                let split = chunk.split;
                if times[0] > 0 && times[1] > 0 && reading.feed.splits().iter().all(|split| !split.finished) {
                    assert_ne!(last, Some(split), "both advance in turns");
                }
                last = Some(split);
                decoder.decode(chunk).unwrap();
                times[split as usize] += 1_000_000;
                reading.feed.split_progress(split, EventTime(second(0).unwrap().0 + times[split as usize]));
            }
        }
    }
    assert!(times.iter().all(|&time| time >= 2_000_000), "{times:?}");
}

#[test]
fn files_of_unknown_event_time_are_looked_into_once_the_engine_reports_it() {
    let dir = tempfile::tempdir().unwrap();
    for piece in 0..6 {
        write(dir.path(), &format!("in/{piece}.ndjson"), ndjson((0..100_000).map(|n| n * 6 + piece)));
    }
    let source = source(dir.path(), &[("path", "in")]).unwrap();
    let mut reading = Reading::open(&source, Open::default()).unwrap();
    let mut served = std::collections::BTreeSet::new();
    for time in 1..=8 {
        let chunk = loop {
            match reading.feed.claim().unwrap() {
                thalweg_engine::Claim::Chunk(chunk) => break chunk,
                thalweg_engine::Claim::Pending => reading.bell.wait(),
                thalweg_engine::Claim::Finished => panic!("there is more"),
            }
        };
        served.insert(chunk.split);
        reading.feed.split_progress(chunk.split, EventTime(time));
    }
    assert_eq!(served.len(), 6);
}

#[test]
fn hundreds_of_files_are_all_read_with_few_open() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..300 {
        write(dir.path(), &format!("in/{file:03}.ndjson"), ndjson(file * 10..file * 10 + 10));
    }
    let got = read_all(dir.path(), &[("path", "in")]);
    assert_eq!(got.numbers("n"), (0..3000).collect::<Vec<_>>());
}

#[test]
fn columns_are_inferred_from_the_first_file_with_rows() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "in/a.ndjson", "");
    write(dir.path(), "in/b.ndjson", "{\"i\":1,\"d\":1.5,\"t\":\"x\",\"b\":true,\"at\":\"2024-01-01T00:00:00Z\"}\n");
    let schema = source(dir.path(), &[("path", "in")]).unwrap().schema();
    let types: Vec<String> = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    assert_eq!(types, ["i Int64", "d Float64", "t Utf8", "b Boolean", "at Timestamp(µs, \"UTC\")"]);
    let got = read_all(dir.path(), &[("path", "in")]);
    assert_no_nulls(&got.batches[0]);
}
