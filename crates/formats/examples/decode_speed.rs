//! Measures the decoders on generated Nexmark bids: `cargo run --release -p thalweg-formats --example decode_speed`.
//!
//! One thread; 64 MiB of rows in blocks of 1 MiB, decoded again and again; prints the best and the median rate of each case in
//! MB (10^6 bytes) of input per second of CPU time. An argument picks the cases whose name holds it.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_formats::{CsvDecoder, CsvDialect, DecodeOptions, JsonDecoder, RowFormat, RowsEncoder, cut_lines};

const INPUT_BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 1 << 20;
const ROUNDS: usize = 9;

/// A small generator of numbers that is the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn text(&mut self, len: u64) -> String {
        (0..len).map(|_| (b'a' + self.below(26) as u8) as char).collect()
    }
}

fn bids(spaced: bool) -> Vec<u8> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::with_capacity(INPUT_BYTES + 1000);
    let mut row = 0;
    while out.len() < INPUT_BYTES {
        row += 1;
        let (auction, bidder) = (1000 + numbers.below(100_000), 1000 + numbers.below(20_000));
        let price = 100 * 10u64.pow(numbers.below(6) as u32) + numbers.below(1000);
        let channel = match numbers.below(8) {
            0 | 1 => "Google".to_owned(),
            2 => "Facebook".to_owned(),
            3 => "Baidu".to_owned(),
            4 => "Apple".to_owned(),
            _ => format!("channel-{}", numbers.below(10_000)),
        };
        let mut url = format!(
            "https://www.nexmark.com/{}/{}/{}/item.htm?query=1",
            numbers.text(5),
            numbers.text(5),
            numbers.text(4)
        );
        if numbers.below(10) > 0 {
            url += &format!("&channel_id={}", numbers.below(1 << 30));
        }
        let len = 40 + numbers.below(40);
        let (extra, time) = (numbers.text(len), 1_704_095_700_000u64 + row / 10);
        let line = format!(
            "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\"{channel}\",\"url\":\"{url}\",\"date_time\":{time},\"extra\":\"{extra}\"}}\n"
        );
        let line = if spaced { line.replace("\":", "\": ").replace(",\"", ", \"") } else { line };
        out.extend_from_slice(line.as_bytes());
    }
    out
}

/// CPU time of this thread where the system tells it (Linux), so that other work on the machine counts less; else the time since
/// `epoch`.
fn seconds_so_far(epoch: Instant) -> f64 {
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok()));
    nanos.map_or_else(|| epoch.elapsed().as_secs_f64(), |nanos| nanos as f64 / 1e9)
}

fn measure(name: &str, bytes: usize, rows: usize, mut round: impl FnMut() -> usize) {
    let epoch = Instant::now();
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = seconds_so_far(epoch);
            assert_eq!(black_box(round()), rows, "every row is decoded");
            seconds_so_far(epoch) - start
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    let (best, median) = (seconds[0], seconds[ROUNDS / 2]);
    println!(
        "{name:28} best {:6.0} MB/s  median {:6.0} MB/s  {:5.1} ns/row",
        rate(best),
        rate(median),
        median * 1e9 / rows as f64
    );
}

fn blocks(input: &[u8]) -> Vec<&[u8]> {
    let (mut blocks, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let end = cut_lines(&rest[..rest.len().min(BLOCK_BYTES)]);
        let (block, after) = rest.split_at(end);
        blocks.push(block);
        rest = after;
    }
    blocks
}

fn decode_json(decoder: &mut JsonDecoder, blocks: &[&[u8]]) -> usize {
    let (mut rows, mut bad) = (0, Vec::new());
    for block in blocks {
        let mut batches = Vec::new();
        decoder.decode(block, &mut batches, &mut bad, None).expect("decodes");
        rows += batches.iter().map(|batch| black_box(batch).num_rows()).sum::<usize>();
    }
    assert!(bad.is_empty(), "{bad:?}");
    rows
}

fn decode_csv(decoder: &mut CsvDecoder, blocks: &[&[u8]]) -> usize {
    let (mut rows, mut bad) = (0, Vec::new());
    for block in blocks {
        let mut batches = Vec::new();
        decoder.decode(block, &mut batches, &mut bad, None).expect("decodes");
        rows += batches.iter().map(|batch| black_box(batch).num_rows()).sum::<usize>();
    }
    assert!(bad.is_empty(), "{bad:?}");
    rows
}

fn columns(time: DataType) -> SchemaRef {
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        column("auction", DataType::Int64),
        column("bidder", DataType::Int64),
        column("price", DataType::Int64),
        column("channel", DataType::Utf8),
        column("url", DataType::Utf8),
        column("date_time", time),
        column("extra", DataType::Utf8),
    ]))
}

fn measure_json(name: &str, schema: &SchemaRef, projection: Vec<usize>, input: &[u8]) {
    let rows = input.iter().filter(|&&byte| byte == b'\n').count();
    let options = DecodeOptions::new(schema.clone()).with_projection(projection);
    let mut decoder = JsonDecoder::new(options).expect("a decoder");
    let blocks = blocks(input);
    measure(name, input.len(), rows, || decode_json(&mut decoder, &blocks));
}

fn measure_csv(name: &str, schema: &SchemaRef, projection: Vec<usize>, input: &[u8], rows: usize) {
    let options = DecodeOptions::new(schema.clone()).with_projection(projection);
    let mut decoder = CsvDecoder::new(options, CsvDialect::default()).expect("a decoder");
    let blocks = blocks(input);
    measure(name, input.len(), rows, || decode_csv(&mut decoder, &blocks));
}

/// Encodes the rows, measured if `wanted`.
fn encode(name: &str, wanted: bool, batches: &[RecordBatch], format: RowFormat) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * INPUT_BYTES);
    let mut encoder = RowsEncoder::new(&batches[0].schema(), format).expect("an encoder");
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut round = || {
        out.clear();
        batches.iter().for_each(|batch| encoder.encode(batch, &mut out).expect("encodes"));
        rows
    };
    round();
    if wanted {
        measure(name, INPUT_BYTES, rows, &mut round);
    }
    out
}

/// The rows as batches, with the time as a timestamp.
fn with_timestamps(schema: &SchemaRef, timed: &SchemaRef, input: &[u8]) -> Vec<RecordBatch> {
    let mut decoder = JsonDecoder::new(DecodeOptions::new(schema.clone())).expect("a decoder");
    let mut batches = Vec::new();
    for block in blocks(input) {
        decoder.decode(block, &mut batches, &mut Vec::new(), None).expect("decodes");
    }
    let convert = |batch: &RecordBatch| {
        let mut arrays = batch.columns().to_vec();
        arrays[5] = arrow::compute::cast(&arrays[5], timed.field(5).data_type()).expect("a timestamp");
        RecordBatch::try_new(timed.clone(), arrays).expect("a batch")
    };
    batches.iter().map(convert).collect()
}

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let wanted = |name: &str| name.contains(&only);
    let (all, input) = (vec![0, 1, 2, 3, 4, 5, 6], bids(false));
    let rows = input.iter().filter(|&&byte| byte == b'\n').count();
    println!("{rows} rows, {:.0} bytes each", input.len() as f64 / rows as f64);
    let schema = columns(DataType::Int64);
    for (name, projection) in [
        ("json: 3 integers", vec![0, 1, 2]),
        ("json: 2 integers and time", vec![0, 2, 5]),
        ("json: integers and channel", vec![0, 1, 2, 3, 5]),
        ("json: all", all.clone()),
        ("json: none", vec![]),
    ] {
        if wanted(name) {
            measure_json(name, &schema, projection, &input);
        }
    }
    if wanted("json: all, spaced") {
        measure_json("json: all, spaced", &schema, all.clone(), &bids(true));
    }
    let timed = columns(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
    let batches = with_timestamps(&schema, &timed, &input);
    let json = encode("json: encode", wanted("json: encode"), &batches, RowFormat::Ndjson);
    let csv = encode("csv: encode", wanted("csv: encode"), &batches, RowFormat::Csv(CsvDialect::default()));
    if wanted("json: all, text time") {
        measure_json("json: all, text time", &timed, all.clone(), &json);
    }
    for (name, projection) in [("csv: 3 integers", vec![0, 1, 2]), ("csv: all", all)] {
        if wanted(name) {
            measure_csv(name, &timed, projection, &csv, rows);
        }
    }
}
