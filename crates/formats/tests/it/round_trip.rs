//! What the encoders write, the decoders read back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::Field;
use proptest::collection::vec;
use proptest::prelude::*;
use thalweg_formats::{
    CsvDecoder, CsvDialect, DecodeOptions, JsonDecoder, RowFormat, RowsEncoder, cut_lines, first_csv_row,
};

const ROWS: usize = 13;

/// Values that are null now and then.
fn column<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<Option<T>>> {
    vec(proptest::option::weighted(0.85, value), ROWS)
}

const YEARS_0_TO_9999: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

fn scalar() -> impl Strategy<Value = ArrayRef> {
    fn array<A: arrow::array::Array + 'static>(array: A) -> ArrayRef {
        Arc::new(array)
    }
    prop_oneof![
        column(any::<bool>()).prop_map(|values| array(BooleanArray::from(values))),
        column(any::<i8>()).prop_map(|values| array(Int8Array::from(values))),
        column(any::<i16>()).prop_map(|values| array(Int16Array::from(values))),
        column(any::<i32>()).prop_map(|values| array(Int32Array::from(values))),
        column(any::<i64>()).prop_map(|values| array(Int64Array::from(values))),
        column(any::<u8>()).prop_map(|values| array(UInt8Array::from(values))),
        column(any::<u16>()).prop_map(|values| array(UInt16Array::from(values))),
        column(any::<u32>()).prop_map(|values| array(UInt32Array::from(values))),
        column(any::<u64>()).prop_map(|values| array(UInt64Array::from(values))),
        column(any::<f32>()).prop_map(|values| array(Float32Array::from(values))),
        column(any::<f64>()).prop_map(|values| array(Float64Array::from(values))),
        column(any::<String>()).prop_map(|values| array(StringArray::from(values))),
        column("[a-z,\"\n\r\u{feff}\\\\N]{0,6}").prop_map(|values| array(StringArray::from(values))),
        column(vec(any::<u8>(), 0..20))
            .prop_map(|values| array(values.iter().map(Option::as_ref).collect::<BinaryArray>())),
        column(-719_528i32..2_932_897).prop_map(|values| array(Date32Array::from(values))),
        column(0i64..86_400_000_000).prop_map(|values| array(Time64MicrosecondArray::from(values))),
        column(YEARS_0_TO_9999).prop_map(|values| array(TimestampSecondArray::from(values))),
        column(YEARS_0_TO_9999.start * 1000..YEARS_0_TO_9999.end * 1000)
            .prop_map(|values| array(TimestampMillisecondArray::from(values).with_timezone("America/New_York"))),
        column(YEARS_0_TO_9999.start * 1_000_000..YEARS_0_TO_9999.end * 1_000_000)
            .prop_map(|values| array(TimestampMicrosecondArray::from(values).with_timezone("UTC"))),
        column(any::<i64>()).prop_map(|values| array(TimestampNanosecondArray::from(values))),
        (column(-999_999_999_999i128..1_000_000_000_000), 0i8..13).prop_map(|(values, scale)| array(
            Decimal128Array::from(values).with_precision_and_scale(12, scale).unwrap()
        )),
    ]
}

fn nested() -> impl Strategy<Value = ArrayRef> {
    let nulls = || vec(proptest::bool::weighted(0.85), ROWS).prop_map(NullBuffer::from);
    prop_oneof![
        (vec(scalar(), 1..4), nulls()).prop_map(|(columns, nulls)| -> ArrayRef {
            let named = columns.iter().enumerate();
            let fields =
                named.map(|(index, column)| Field::new(format!("f\"{index}"), column.data_type().clone(), true));
            Arc::new(StructArray::new(fields.collect(), columns, Some(nulls)))
        }),
        (scalar(), nulls()).prop_map(|(items, nulls)| -> ArrayRef {
            // Two items a list, the last one left over; null lists are empty.
            let lengths = (0..ROWS).map(|row| if nulls.is_null(row) || row >= ROWS / 2 { 0 } else { 2 });
            let offsets = OffsetBuffer::from_lengths(lengths);
            let field = Arc::new(Field::new("item", items.data_type().clone(), true));
            let items = items.slice(0, *offsets.last().expect("an offset") as usize);
            Arc::new(ListArray::new(field, offsets, items, Some(nulls)))
        }),
    ]
}

fn batch(column: impl Strategy<Value = ArrayRef>) -> impl Strategy<Value = RecordBatch> {
    vec(column, 2..6).prop_map(|columns| {
        let named = columns.into_iter().enumerate().map(|(index, column)| (format!("column {index}"), column, true));
        RecordBatch::try_from_iter_with_nullable(named).unwrap()
    })
}

fn encode(batch: &RecordBatch, format: RowFormat) -> Vec<u8> {
    let mut encoder = RowsEncoder::new(&batch.schema(), format).unwrap();
    let mut out = Vec::new();
    encoder.header(&mut out);
    // Two slices: an encoder must not look at the whole arrays.
    encoder.encode(&batch.slice(0, 5), &mut out).unwrap();
    encoder.encode(&batch.slice(5, batch.num_rows() - 5), &mut out).unwrap();
    out
}

fn assert_same(found: &[RecordBatch], expected: &RecordBatch, text: &[u8]) {
    let found = arrow::compute::concat_batches(&expected.schema(), found).unwrap();
    for (found, expected) in found.columns().iter().zip(expected.columns()) {
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
    }
}

proptest! {
    #![proptest_config(crate::cases(400))]

    #[test]
    fn ndjson(batch in batch(prop_oneof![3 => scalar(), 1 => nested()])) {
        let text = encode(&batch, RowFormat::Ndjson);
        prop_assert_eq!(cut_lines(&text), text.len());
        for line in text.split(|&byte| byte == b'\n').take(batch.num_rows()) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok(), "{}", String::from_utf8_lossy(line));
        }
        let mut decoder = JsonDecoder::new(DecodeOptions::new(batch.schema()).with_batch_rows(5)).unwrap();
        let (mut found, mut bad) = (Vec::new(), Vec::new());
        decoder.decode(&text, &mut found, &mut bad, None).unwrap();
        prop_assert!(bad.is_empty(), "{bad:?}");
        assert_same(&found, &batch, &text);
    }

    #[test]
    fn csv(batch in batch(scalar()), delimiter in proptest::sample::select(b",;\t|".to_vec()), null in "(|NULL|\\\\N)") {
        let dialect = CsvDialect { delimiter, null, ..CsvDialect::default() };
        let text = encode(&batch, RowFormat::Csv(dialect.clone()));
        let (header, rows) = text.split_at(first_csv_row(&text, &dialect).unwrap());
        let mut decoder = CsvDecoder::new(DecodeOptions::new(batch.schema()).with_batch_rows(5), dialect).unwrap();
        decoder.set_header(header).unwrap();
        let (mut found, mut bad) = (Vec::new(), Vec::new());
        decoder.decode(rows, &mut found, &mut bad, None).unwrap();
        prop_assert!(bad.is_empty(), "{bad:?} in {}", String::from_utf8_lossy(rows));
        assert_same(&found, &batch, rows);
    }
}
