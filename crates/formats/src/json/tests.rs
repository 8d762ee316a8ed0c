//! Golden rows of the ndjson decoder.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit};

use crate::{
    BadRow, CsvDialect, DecodeOptions, ExtraColumns, JsonDecoder, MissingColumns, RowFormat, RowPlace, RowsEncoder,
};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn decode_with(options: DecodeOptions, block: &[u8]) -> (RecordBatch, Vec<BadRow>) {
    let mut decoder = JsonDecoder::new(options).unwrap();
    let (mut batches, mut bad) = (Vec::new(), Vec::new());
    decoder.decode(block, &mut batches, &mut bad, None).unwrap();
    (concat_batches(&decoder.schema(), &batches).unwrap(), bad)
}

fn decode(schema: SchemaRef, block: &str) -> (RecordBatch, Vec<BadRow>) {
    decode_with(DecodeOptions::new(schema), block.as_bytes())
}

/// The error of the only row, which must be bad.
fn error_of(data_type: DataType, value: &str) -> String {
    let (batch, bad) = decode(schema(&[("c", data_type)]), &format!("{{\"c\":{value}}}"));
    assert_eq!((batch.num_rows(), bad.len()), (0, 1), "{value} is refused: {bad:?}");
    bad[0].error.clone()
}

/// The value of the only row, as CSV writes it.
fn value_of(data_type: DataType, value: &str) -> String {
    let (batch, bad) = decode(schema(&[("c", data_type)]), &format!("{{\"c\":{value}}}"));
    assert!(bad.is_empty(), "{value} is accepted: {bad:?}");
    let mut out = Vec::new();
    let dialect = CsvDialect { null: "NULL".into(), ..CsvDialect::default() };
    RowsEncoder::new(&batch.schema(), RowFormat::Csv(dialect)).unwrap().encode(&batch, &mut out).unwrap();
    String::from_utf8(out).unwrap().trim_end_matches('\n').to_owned()
}

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[test]
fn keys_come_in_any_order_go_missing_and_repeat() {
    let schema = schema(&[("a", DataType::Int64), ("b", DataType::Utf8), ("c", DataType::Float64)]);
    let rows = "{\"a\":1,\"b\":\"x\",\"c\":1.5}\n{\"a\":2,\"b\":\"y\",\"c\":2.5}\n{\"c\":3.5,\"a\":3}\n\n{ \"b\" : \"z\" , \"z\" : [1,{}] }\r\n\
        {}\n  {\"a\":1,\"a\":null,\"b\":\"p\",\"a\":6,\"b\":\"q\"}\n{\"\\u0061\":7}";
    let (batch, bad) = decode(schema, rows);
    assert!(bad.is_empty(), "{bad:?}");
    let a: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(a, [Some(1), Some(2), Some(3), None, None, Some(6), Some(7)]);
    let b: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(b, [Some("x"), Some("y"), None, Some("z"), None, Some("q"), None]);
    let c: Vec<_> = batch.column(2).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(c, [Some(1.5), Some(2.5), Some(3.5), None, None, None, None]);
}

#[test]
fn bad_rows_say_where_and_why_and_cost_no_other_row() {
    let schema = schema(&[("delay_minutes", DataType::Int64), ("s", DataType::Utf8)]);
    let block = b"{\"s\":\"a\",\"delay_minutes\":1}\n{\"s\":\"b\",\"delay_minutes\":\"abc\"}\r\n\n{\"s\":\"\xff\"}\n{\"s\":\"c\",\"delay_minutes\":2}\n[1]\n{\"s\":\"d";
    let mut decoder = JsonDecoder::new(DecodeOptions::new(schema).with_batch_rows(1)).unwrap();
    let (mut batches, mut bad, mut places) = (Vec::new(), Vec::new(), Vec::new());
    decoder.decode(block, &mut batches, &mut bad, Some(&mut places)).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(places, [RowPlace { start: 0, line: 0 }, RowPlace { start: 72, line: 4 }]);
    assert_eq!(&block[72..73], b"{");
    let found: Vec<_> = bad.iter().map(|bad| (bad.start, bad.len, bad.line, bad.error.as_str())).collect();
    assert_eq!(
        found,
        [
            (28, 31, 1, "column \"delay_minutes\": expected BIGINT, found string \"abc\""),
            (62, 9, 3, "invalid UTF-8 at byte 6 of the row"),
            (100, 3, 5, "expected a JSON object, found `[1]`"),
            (104, 7, 6, "column \"s\": row ends within a string"),
        ]
    );
}

#[test]
fn integers_are_exact_and_in_range() {
    for (value, expected) in [
        ("0", "0"),
        ("-0", "0"),
        ("7", "7"),
        ("12345678", "12345678"),
        ("-123456789", "-123456789"),
        ("1704095700000", "1704095700000"),
        ("123456789012345", "123456789012345"),
        ("1234567890123456", "1234567890123456"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1.0", "1"),
        ("1.50e1", "15"),
        ("null", "NULL"),
        (" 5 ", "5"),
    ] {
        assert_eq!(value_of(DataType::Int64, value), expected, "{value}");
    }
    assert_eq!(
        error_of(DataType::Int64, "9223372036854775808"),
        "column \"c\": number 9223372036854775808 is out of range (column is BIGINT)"
    );
    assert_eq!(error_of(DataType::Int64, "1.5"), "column \"c\": expected BIGINT, found number 1.5");
    assert_eq!(
        error_of(DataType::Int32, "2147483648"),
        "column \"c\": number 2147483648 is out of range (column is INT)"
    );
    assert_eq!(error_of(DataType::Int64, "true"), "column \"c\": expected BIGINT, found boolean true");
    assert_eq!(error_of(DataType::Int64, "{\"a\":1}"), "column \"c\": expected BIGINT, found an object");
    for broken in ["01", "-", "-a", "1.", ".5", "+1", "1e", "0x10", "1 2", "", "1,", "nul", "truth", "--1", "00"] {
        error_of(DataType::Int64, broken);
    }
    assert!(error_of(DataType::UInt64, "-1").contains("out of range"));
    assert_eq!(value_of(DataType::UInt64, "18446744073709551615"), "18446744073709551615");
    assert_eq!(value_of(DataType::Int8, "-128"), "-128");
}

#[test]
fn floats_are_the_nearest() {
    for value in [
        "0.1",
        "-0.30000000000000004",
        "1e300",
        "123456.789",
        "5e-324",
        "1.7976931348623157e308",
        "12345678.9",
        "0.12345678",
    ] {
        let parsed: f64 = value_of(DataType::Float64, value).parse().unwrap();
        assert_eq!(parsed, value.parse::<f64>().unwrap(), "{value}");
    }
    assert_eq!(value_of(DataType::Float64, "3"), "3.0");
    assert_eq!(value_of(DataType::Float32, "0.1"), "0.1");
    assert!(error_of(DataType::Float64, "1e400").contains("out of range"));
    assert!(error_of(DataType::Float64, "\"1\"").contains("expected DOUBLE, found string \"1\""));
}

#[test]
fn strings_are_unescaped() {
    for (value, expected) in [
        (r#""\u00e9\n\t\"\\\/""#, "\"é\n\t\"\"\\/\""),
        (r#""a\ud83d\ude00b""#, "a😀b"),
        (r#""\u0041""#, "A"),
        (
            "\"grüße 😀 and a text long enough for two steps of the scanner\"",
            "grüße 😀 and a text long enough for two steps of the scanner",
        ),
    ] {
        assert_eq!(value_of(DataType::Utf8, value), expected, "{value}");
    }
    assert_eq!(value_of(DataType::Utf8, r#"{"a": [1, "}"]}"#), "\"{\"\"a\"\": [1, \"\"}\"\"]}\"");
    for broken in [
        r#""\ud83d""#,
        r#""\ud83dx""#,
        r#""\ud83d\u0041""#,
        r#""\ude00""#,
        r#""\u12g4""#,
        r#""\x""#,
        "\"a\tb\"",
        "\"abc",
        "\"a\\",
    ] {
        error_of(DataType::Utf8, broken);
    }
    assert_eq!(error_of(DataType::Utf8, "5"), "column \"c\": expected TEXT, found number 5");
    let options = DecodeOptions { any_into_text: true, ..DecodeOptions::new(schema(&[("c", DataType::Utf8)])) };
    let (batch, bad) = decode_with(options, b"{\"c\":5.0}\n{\"c\":true}\n");
    assert!(bad.is_empty());
    assert_eq!(batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("5.0"), Some("true")]);
}

#[test]
fn other_types() {
    assert_eq!(value_of(utc(), "\"2024-01-01T07:55:00.120Z\""), "2024-01-01T07:55:00.12Z");
    assert_eq!(value_of(utc(), "\"2024-01-01 09:55:00+02:00\""), "2024-01-01T07:55:00Z");
    assert_eq!(value_of(MICROS, "\"2024\\u002d01-01\""), "2024-01-01T00:00:00");
    assert_eq!(value_of(DataType::Date32, "\"1969-12-31\""), "1969-12-31");
    assert_eq!(value_of(DataType::Time64(TimeUnit::Microsecond), "\"23:59:59.5\""), "23:59:59.5");
    assert_eq!(value_of(DataType::Decimal128(10, 2), "-0.05"), "-0.05");
    assert_eq!(value_of(DataType::Decimal128(38, 0), "99999999999999999999999999999999999999"), "9".repeat(38));
    assert!(error_of(DataType::Decimal128(4, 2), "100").contains("out of range"));
    assert_eq!(value_of(DataType::Boolean, "false"), "false");
    assert_eq!(value_of(DataType::Binary, "\"aGk=\""), "aGk=");
    assert_eq!(value_of(DataType::Binary, "\"\\\\x6869\""), "aGk=");
    assert!(error_of(DataType::Binary, "\"a\"").contains("base64"));
    let hint = error_of(utc(), "1704095700000");
    assert_eq!(
        hint,
        "column \"c\": expected TIMESTAMP WITH TIME ZONE, found number 1704095700000; declare it BIGINT and add a computed column, e.g. c_time AS to_timestamp_millis(c)"
    );
    assert!(error_of(MICROS, "\"2024-01-01T07:55:00+02:00\"").contains("declare TIMESTAMP WITH TIME ZONE"));
    assert!(error_of(utc(), "\"2024-02-30T00:00:00Z\"").contains("not a timestamp"));
    assert!(error_of(DataType::Boolean, "1").contains("expected BOOLEAN"));
}

#[test]
fn nested_values_and_their_faults() {
    let point =
        DataType::Struct(vec![Field::new("x", DataType::Int64, false), Field::new("y", DataType::Utf8, true)].into());
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    let schema = schema(&[("p", point.clone()), ("l", list(point)), ("n", list(list(DataType::Int64)))]);
    let (batch, bad) = decode(
        schema,
        "{\"p\":{\"x\":1,\"y\":\"a\"},\"l\":[{\"x\":2},null, {\"y\":\"b\",\"x\":3} ],\"n\":[[1,2],[],null]}\n\
         {\"p\":{\"y\":\"a\"}}\n{\"l\":[{\"x\":1},{\"x\":true}]}\n{\"p\":null,\"l\":[],\"n\":[ ]}\n{\"n\":[[1,\"a\"]]}\n{\"p\":{\"x\":9}}\n{\"p\":5}\n",
    );
    assert_eq!(
        bad.iter().map(|bad| bad.error.as_str()).collect::<Vec<_>>(),
        [
            "column \"p.x\": is missing, but may not be null",
            "column \"l.x\": expected BIGINT, found boolean true",
            "column \"n\": expected BIGINT, found string \"a\"",
            "column \"p\": expected STRUCT(x BIGINT, y TEXT), found number 5",
        ]
    );
    let mut out = Vec::new();
    RowsEncoder::new(&batch.schema(), RowFormat::Ndjson).unwrap().encode(&batch, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"p\":{\"x\":1,\"y\":\"a\"},\"l\":[{\"x\":2,\"y\":null},null,{\"x\":3,\"y\":\"b\"}],\"n\":[[1,2],[],null]}\n\
         {\"p\":null,\"l\":[],\"n\":[]}\n{\"p\":{\"x\":9,\"y\":null},\"l\":null,\"n\":null}\n"
    );
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = |levels: usize| format!("{{\"x\":{}1{}}}", open.repeat(levels), close.repeat(levels));
        let schema = schema(&[("c", DataType::Int64)]);
        assert_eq!(decode(schema.clone(), &deep(127)).1.len(), 0);
        assert!(decode(schema.clone(), &deep(128)).1[0].error.contains("nested deeper than 128"));
        assert!(decode(schema, &deep(1_000_000)).1[0].error.contains("nested deeper than 128"));
    }
}

#[test]
fn projection_extra_and_missing_columns() {
    let whole = schema(&[("a", DataType::Int64), ("b", DataType::Int64), ("c", DataType::Int64)]);
    let rows = b"{\"a\":1,\"b\":2,\"c\":3}\n{\"a\":1,\"b\":\"wrong type, not asked for\",\"c\":3}\n{\"a\":1,\"b\":tru,\"c\":3}\n";
    let (batch, bad) = decode_with(DecodeOptions::new(whole.clone()).with_projection(vec![2, 0]), rows);
    assert_eq!(batch.schema().field(0).name(), "c");
    assert_eq!((batch.num_rows(), bad.len()), (2, 1));
    let (batch, _) = decode_with(DecodeOptions::new(whole.clone()).with_projection(vec![]), rows);
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 0));

    let strict = DecodeOptions {
        extra_columns: ExtraColumns::Error,
        missing_columns: MissingColumns::Error,
        ..DecodeOptions::new(whole.clone()).with_projection(vec![0])
    };
    let (batch, bad) = decode_with(strict, b"{\"a\":1,\"b\":2}\n{\"b\":2}\n{\"a\":1,\"d\":2}\n{\"a\":1,\"d\":2}\n");
    assert_eq!((batch.num_rows(), bad.len()), (1, 3));
    assert_eq!(bad[0].error, "column \"a\": is missing");
    assert!(bad[1].error.starts_with("key \"d\" is not declared") && bad[2].error == bad[1].error);

    let required = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
    let (_, bad) = decode(required, "{\"a\":null}\n{}\n");
    assert_eq!(bad[0].error, "column \"a\": is null, but may not be");
    assert_eq!(bad[1].error, "column \"a\": is missing, but may not be null");
    assert!(JsonDecoder::new(DecodeOptions::new(whole).with_projection(vec![3])).is_err());
}

#[test]
fn many_shapes_of_rows_in_one_stream() {
    let names: Vec<String> = (0..50).map(|index| format!("a_rather_long_name_of_a_column_number_{index}")).collect();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), DataType::Int64)).collect();
    let mut block = String::new();
    for row in 0..500usize {
        let fields: Vec<_> = (0..50)
            .filter(|index| (row * 31 + index * 17) % 3 != 0)
            .map(|index| format!("\"{}\":{}", names[index], row * 50 + index))
            .collect();
        block += &format!("{{{}}}\n", fields.join(if row % 2 == 0 { "," } else { ", " }));
    }
    let (batch, bad) = decode(schema(&columns), &block);
    assert!(bad.is_empty(), "{bad:?}");
    for index in 0..50 {
        let values = batch.column(index).as_primitive::<Int64Type>();
        for row in 0..500usize {
            assert_eq!(values.is_null(row), (row * 31 + index * 17) % 3 == 0);
            assert!(values.is_null(row) || values.value(row) == (row * 50 + index) as i64);
        }
    }
}

#[test]
fn empty_blocks_blank_lines_and_byte_order_marks() {
    let schema = schema(&[("a", DataType::Int64)]);
    for block in ["", "\n", "\n\n", "\r\n", "  \n"] {
        let (batch, bad) = decode(schema.clone(), block);
        assert_eq!((batch.num_rows(), bad.len()), (0, 0), "{block:?}");
    }
    let (batch, bad) = decode(schema, "\u{feff}{\"a\":1}\n");
    assert_eq!((batch.num_rows(), bad.len()), (1, 0));
}
