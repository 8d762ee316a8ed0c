//! The CSV decoder and the row cutter against a reference that looks at one character after the other.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use proptest::prelude::*;
use thalweg_formats::{BadRow, CsvDecoder, CsvDialect, DecodeOptions, RowCutter};

/// Fields of a row, or nothing if the row is broken; and the row's bytes with its line break.
type ReferenceRow = (Option<Vec<Option<String>>>, Vec<u8>);

/// Reads rows by the rules in the decoder's documentation.
fn reference(bytes: &[u8]) -> Vec<ReferenceRow> {
    let (mut rows, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let start = at;
        let (mut fields, mut whole, mut row_done) = (Vec::new(), true, false);
        while !row_done {
            let mut field = Vec::new();
            let quoted = bytes.get(at) == Some(&b'"');
            if quoted {
                at += 1;
                loop {
                    match (bytes.get(at), bytes.get(at + 1)) {
                        (Some(b'"'), Some(b'"')) => {
                            field.push(b'"');
                            at += 2;
                        }
                        (Some(b'"'), _) => {
                            at += 1;
                            break;
                        }
                        (Some(byte), _) => {
                            field.push(*byte);
                            at += 1;
                        }
                        (None, _) => {
                            whole = false;
                            break;
                        }
                    }
                }
            }
            let mut rest = Vec::new();
            while bytes.get(at).is_some_and(|byte| !b",\n".contains(byte)) {
                rest.push(bytes[at]);
                at += 1;
            }
            row_done = bytes.get(at) != Some(&b',');
            at += 1;
            if row_done && rest.last() == Some(&b'\r') {
                rest.pop();
            }
            whole &= !quoted || rest.is_empty();
            field.extend(rest);
            match String::from_utf8(field) {
                Ok(text) => fields.push((quoted || !text.is_empty()).then_some(text)),
                Err(_) => whole = false,
            }
        }
        at = at.min(bytes.len());
        let row = bytes[start..at].to_vec();
        if !row.iter().all(|byte| b"\r\n".contains(byte)) || row.iter().filter(|&&byte| byte == b'\r').count() > 1 {
            rows.push((whole.then_some(fields), row));
        }
    }
    rows
}

fn text_columns(count: usize) -> SchemaRef {
    let fields = (0..count).map(|index| Field::new(format!("c{index}"), DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn decode(schema: &SchemaRef, block: &[u8]) -> (RecordBatch, Vec<BadRow>) {
    let dialect = CsvDialect { header: false, ..CsvDialect::default() };
    let mut decoder = CsvDecoder::new(DecodeOptions::new(schema.clone()).with_batch_rows(3), dialect).unwrap();
    let (mut batches, mut bad) = (Vec::new(), Vec::new());
    decoder.decode(block, &mut batches, &mut bad, None).unwrap();
    (concat_batches(schema, &batches).unwrap(), bad)
}

fn check(block: &[u8], count: usize) {
    let (batch, bad) = decode(&text_columns(count), block);
    let expected = reference(block);
    let good: Vec<_> =
        expected.iter().filter_map(|(fields, _)| fields.as_ref()).filter(|row| row.len() == count).collect();
    assert_eq!(batch.num_rows(), good.len(), "rows of {:?}", String::from_utf8_lossy(block));
    assert_eq!(bad.len(), expected.len() - good.len());
    for (row, fields) in good.iter().enumerate() {
        for (column, expected) in batch.columns().iter().zip(*fields) {
            let column = column.as_string::<i32>();
            let found = (!column.is_null(row)).then(|| column.value(row));
            assert_eq!(found, expected.as_deref(), "row {row} of {:?}", String::from_utf8_lossy(block));
        }
    }
    for bad in bad {
        let lines = block[..bad.start].iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(lines as u64, bad.line, "{bad:?}");
    }
}

fn csv_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => Just(b",".to_vec()),
        3 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        3 => Just(b"\"".to_vec()),
        1 => Just(b"\"\"".to_vec()),
        6 => "[a-z]{1,4}".prop_map(String::into_bytes),
        2 => "\"[a-z,\n]{0,5}\"".prop_map(String::into_bytes),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn rows_decode_as_the_reference_says(block in csv_like(), count in 2usize..4) {
        check(&block, count);
    }

    #[test]
    fn blocks_end_where_rows_end(text in csv_like(), step in 1usize..20) {
        let dialect = CsvDialect { header: false, ..CsvDialect::default() };
        let (mut cutter, mut buffer, mut blocks) = (RowCutter::csv(dialect), Vec::new(), Vec::new());
        for piece in text.chunks(step) {
            buffer.extend_from_slice(piece);
            let end = cutter.cut(&buffer);
            blocks.push(buffer.drain(..end).collect::<Vec<u8>>());
        }
        blocks.push(buffer);
        // What the blocks hold is what the whole text holds, row by row.
        let rows: Vec<_> = blocks.iter().flat_map(|block| reference(block)).collect();
        prop_assert_eq!(rows, reference(&text));
        for block in &blocks[..blocks.len() - 1] {
            prop_assert!(block.is_empty() || block.ends_with(b"\n"));
        }
    }
}
