//! Reading text in blocks of any size, from any position, gives the same rows.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;
use thalweg_formats::{Compression, CsvDialect};

use super::position::{HEAD_BYTES, Head, Position};
use super::storage::{Location, Storage};
use super::text::{Pool, TextOptions, TextReader};

struct Sample {
    _folder: tempfile::TempDir,
    storage: Storage,
    name: Arc<str>,
}

impl Sample {
    fn new(text: &[u8], compression: Compression) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bytes = match compression {
            Compression::None => text.to_vec(),
            Compression::Zstd => zstd::encode_all(text, 1).unwrap(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
        };
        std::fs::write(folder.path().join("f"), bytes).unwrap();
        let storage = Storage::Local(Location::parse("f", folder.path()).unwrap());
        Self { _folder: folder, storage, name: "f".into() }
    }

    fn open(&self, options: &TextOptions, position: &Position) -> TextReader {
        let entry = self.storage.stat(&self.name).unwrap().unwrap();
        let start = self.storage.read_start(&self.name, entry.size, HEAD_BYTES).unwrap();
        TextReader::open(&self.storage, &entry, options.clone(), position, &start, Arc::new(Pool::default())).unwrap()
    }

    /// Blocks read from `position` on, at most `most`, and the position behind them.
    fn read(&self, options: &TextOptions, position: Position, most: usize) -> (Vec<u8>, Position) {
        let mut reader = self.open(options, &position);
        let (mut text, mut position) = (vec![], position);
        for _ in 0..most {
            let next = reader.next().unwrap();
            if let Some(block) = next.block {
                assert!(block.at >= position.at && block.bytes.len() as u64 + block.at == next.at);
                text.extend_from_slice(&block.bytes);
            }
            position = Position { at: next.at, line: next.line, open_line: next.open_line, ..position };
            if next.at_end {
                break;
            }
        }
        (text, position)
    }
}

fn check(text: &[u8], dialect: Option<CsvDialect>, compression: Compression, block_bytes: usize, cut: usize) {
    let sample = Sample::new(text, compression);
    let header = dialect.as_ref().filter(|dialect| dialect.header);
    let body = header.map_or(0, |dialect| thalweg_formats::first_csv_row(text, dialect).unwrap_or(text.len()));
    let options = TextOptions { compression, dialect, block_bytes, follow: false };
    let (mut read, position) = sample.read(&options, Position::default(), cut);
    let (rest, end) = sample.read(&options, position, usize::MAX);
    read.extend(rest);
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&text[body..]));
    assert_eq!(end.line, text.iter().filter(|&&byte| byte == b'\n').count() as u64);
    assert_eq!(end.open_line, text.len() > body && text.last() != Some(&b'\n'));
}

fn compressions() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Gzip), Just(Compression::Zstd)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn lines_in_any_pieces(
        lines in prop::collection::vec("[a-z]{0,40}", 0..40),
        last in "[a-z]{0,5}",
        block_bytes in 1usize..100,
        cut in 0usize..10,
        compression in compressions(),
    ) {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>() + &last;
        check(text.as_bytes(), None, compression, block_bytes, cut);
    }

    #[test]
    fn csv_rows_in_any_pieces(
        rows in prop::collection::vec("[a-z]{0,5}|\"[a-z,\n]{0,20}\"", 0..30),
        block_bytes in 1usize..100,
        cut in 0usize..10,
        header in any::<bool>(),
        compression in compressions(),
    ) {
        let text = rows.iter().map(|row| format!("x,{row}\n")).collect::<String>();
        check(text.as_bytes(), Some(CsvDialect { header, ..Default::default() }), compression, block_bytes, cut);
    }
}

#[test]
fn blocks_hold_whole_rows() {
    let sample = Sample::new(b"one\ntwo\nthree\nfour", Compression::None);
    for follow in [false, true] {
        let options = TextOptions { compression: Compression::None, dialect: None, block_bytes: 6, follow };
        let mut reader = sample.open(&options, &Position::default());
        let mut blocks = vec![];
        loop {
            let next = reader.next().unwrap();
            blocks.extend(next.block.map(|block| String::from_utf8(block.bytes.to_vec()).unwrap()));
            if next.at_end {
                break;
            }
        }
        let expect = ["one\n", "two\n", "three\n", "four"];
        assert_eq!(blocks, if follow { &expect[..3] } else { &expect[..] }, "a followed file keeps its last line back");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let sample = Sample::new(b"\xef\xbb\xbfone\n", Compression::None);
    let options = TextOptions { compression: Compression::None, dialect: None, block_bytes: 64, follow: false };
    let next = sample.open(&options, &Position::default()).next().unwrap();
    let block = next.block.unwrap();
    assert_eq!((&block.bytes[..], block.at), (&b"one\n"[..], 3));
}

#[test]
fn a_row_too_long_is_cut_by_force() {
    let mut text = vec![b'x'; thalweg_formats::ROW_BYTES_MAX + (3 << 20)];
    text.extend_from_slice(b"\nshort\n");
    check(&text, None, Compression::None, 1 << 20, 1);
}

#[test]
fn a_line_that_grew_after_it_was_read_is_noticed() {
    let sample = Sample::new(b"{\"n\":1", Compression::None);
    let options = TextOptions { compression: Compression::None, dialect: None, block_bytes: 64, follow: false };
    let (_, position) = sample.read(&options, Position::default(), 9);
    assert!(position.open_line);
    let Storage::Local(location) = &sample.storage else { unreachable!() };
    std::fs::write(location.working_dir.join("f"), b"{\"n\":1\n{\"n\":2}\n").unwrap();
    assert_eq!(sample.read(&options, position, 9).0, b"\n{\"n\":2}\n");
    std::fs::write(location.working_dir.join("f"), b"{\"n\":12}\n").unwrap();
    let entry = sample.storage.stat(&sample.name).unwrap().unwrap();
    let error = TextReader::open(&sample.storage, &entry, options, &position, b"", Arc::default()).err().unwrap();
    assert!(error.message.contains("has grown since; start with --restart"), "{}", error.message);
    assert!(Head::of(b"{\"n\":1").fits(b"{\"n\":12}\n"));
}
