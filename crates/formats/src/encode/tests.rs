//! Golden rows of the encoders; what the decoders read back is tested with random batches in `tests/it`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, Float64Array, Int32Builder, Int64Array, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    UInt64Array,
};
use arrow::datatypes::Int32Type;

use crate::{CsvDialect, FormatError, ParquetEncoder, RowFormat, RowsEncoder};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn encode(batch: &RecordBatch, format: RowFormat) -> String {
    let mut out = Vec::new();
    let mut encoder = RowsEncoder::new(&batch.schema(), format).unwrap();
    encoder.header(&mut out);
    encoder.encode(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn timestamps_are_rfc_3339_with_the_shortest_fraction() {
    let at = 978_307_200_000_000;
    let local = TimestampMicrosecondArray::from(vec![at, at + 120_000, at + 1, -1]);
    let utc = local.clone().with_timezone("UTC");
    let berlin = local.clone().with_timezone("Europe/Berlin");
    let millis = TimestampMillisecondArray::from(vec![
        Some(at / 1000),
        None,
        Some(253_402_300_800_000),
        Some(-62_198_755_200_000),
    ]);
    let batch = batch(vec![
        ("l", Arc::new(local) as _),
        ("u", Arc::new(utc)),
        ("b", Arc::new(berlin)),
        ("m", Arc::new(millis)),
    ]);
    assert_eq!(
        encode(&batch, RowFormat::Ndjson),
        r#"{"l":"2001-01-01T00:00:00","u":"2001-01-01T00:00:00Z","b":"2001-01-01T01:00:00+01:00","m":"2001-01-01T00:00:00"}
{"l":"2001-01-01T00:00:00.12","u":"2001-01-01T00:00:00.12Z","b":"2001-01-01T01:00:00.12+01:00","m":null}
{"l":"2001-01-01T00:00:00.000001","u":"2001-01-01T00:00:00.000001Z","b":"2001-01-01T01:00:00.000001+01:00","m":"+10000-01-01T00:00:00"}
{"l":"1969-12-31T23:59:59.999999","u":"1969-12-31T23:59:59.999999Z","b":"1970-01-01T00:59:59.999999+01:00","m":"-0001-01-01T00:00:00"}
"#
    );
}

#[test]
fn values_of_many_types() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k\"");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(true).unwrap();
    let batch = batch(vec![
        ("f", Arc::new(Float64Array::from(vec![f64::NAN, 1e21])) as _),
        ("d", Arc::new(Decimal128Array::from(vec![-5, 12345]).with_precision_and_scale(9, 2).unwrap())),
        ("b", Arc::new(BinaryArray::from(vec![&b"hi"[..], b""]))),
        ("s", Arc::new(StringViewArray::from(vec!["a\"\\\n\u{1}é", ""]))),
        ("y", Arc::new("x y".split(' ').collect::<DictionaryArray<Int32Type>>())),
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("m", Arc::new(map.finish())),
    ]);
    assert_eq!(
        encode(&batch, RowFormat::Ndjson),
        "{\"f\":null,\"d\":-0.05,\"b\":\"aGk=\",\"s\":\"a\\\"\\\\\\n\\u0001é\",\"y\":\"x\",\"u\":18446744073709551615,\"m\":{\"k\\\"\":1}}\n\
         {\"f\":1e21,\"d\":123.45,\"b\":\"\",\"s\":\"\",\"y\":\"y\",\"u\":0,\"m\":{}}\n"
    );
    assert_eq!(
        encode(&batch, RowFormat::Csv(CsvDialect::default())),
        "f,d,b,s,y,u,m\nNaN,-0.05,aGk=,\"a\"\"\\\n\u{1}é\",x,18446744073709551615,\"{\"\"k\\\"\"\"\":1}\"\n1e21,123.45,\"\",\"\",y,0,{}\n"
    );
}

#[test]
fn csv_quotes_only_where_needed() {
    let batch = batch(vec![
        (
            "a,b",
            Arc::new(StringArray::from(vec![Some("plain"), Some("a,b"), Some("5\""), Some(""), None, Some("é\r")]))
                as _,
        ),
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), None, Some(6)]))),
    ]);
    assert_eq!(
        encode(&batch, RowFormat::Csv(CsvDialect::default())),
        "\"a,b\",n\nplain,1\n\"a,b\",\n\"5\"\"\",3\n\"\",4\n,\n\"é\r\",6\n"
    );
    let dialect = CsvDialect { delimiter: b'\t', quote: b'\'', header: false, null: "NULL".into() };
    assert_eq!(encode(&batch, RowFormat::Csv(dialect)), "plain\t1\na,b\tNULL\n5\"\t3\n''\t4\nNULL\tNULL\n'é\r'\t6\n");
}

#[test]
fn a_batch_of_another_shape_is_refused() {
    let one = batch(vec![("a", Arc::new(Int64Array::from(vec![1])) as _)]);
    let mut encoder = RowsEncoder::new(&Arc::new(arrow::datatypes::Schema::empty()), RowFormat::Ndjson).unwrap();
    let error = encoder.encode(&one, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, FormatError::BatchColumns { expected: 0, found: 1 }));
}

#[test]
fn parquet_reads_back_in_row_groups() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let rows = batch(vec![("a", Arc::new(Int64Array::from_iter_values(0..1000)) as _)]);
    let mut encoder = ParquetEncoder::new(rows.schema(), 300).unwrap();
    encoder.encode(&rows).unwrap();
    assert!(encoder.rows() == 1000 && encoder.bytes() > 0);
    let bytes = encoder.finish().unwrap();
    let path = std::env::temp_dir().join(format!("thalweg-formats-{}.parquet", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 4);
    let read: Vec<_> = reader.with_batch_size(1000).build().unwrap().map(Result::unwrap).collect();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read, [rows]);
}

#[test]
fn parquet_names_the_column_it_cannot_hold() {
    use arrow::datatypes::{DataType, Field, IntervalUnit, Schema};

    let odd = DataType::Struct(vec![Field::new("i", DataType::Interval(IntervalUnit::MonthDayNano), true)].into());
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("odd", odd, true)]);
    let error = ParquetEncoder::new(Arc::new(schema), 10).unwrap_err().to_string();
    assert!(error.contains("column \"odd\"") && error.contains("parquet"), "{error}");
}
