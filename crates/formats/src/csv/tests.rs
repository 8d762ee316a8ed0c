//! Golden rows of the CSV decoder.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};

use crate::{BadRow, CsvDecoder, CsvDialect, DecodeOptions, ExtraColumns, FormatError, RowPlace, infer_csv, type_name};

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn decode(
    options: DecodeOptions,
    dialect: CsvDialect,
    header: Option<&str>,
    block: &[u8],
) -> (RecordBatch, Vec<BadRow>) {
    let mut decoder = CsvDecoder::new(options, dialect).unwrap();
    if let Some(header) = header {
        decoder.set_header(header.as_bytes()).unwrap();
    }
    let (mut batches, mut bad) = (Vec::new(), Vec::new());
    decoder.decode(block, &mut batches, &mut bad, None).unwrap();
    (concat_batches(&decoder.schema(), &batches).unwrap(), bad)
}

fn error_of(data_type: DataType, value: &str) -> String {
    let options = DecodeOptions::new(schema(&[("c", data_type), ("d", DataType::Utf8)]));
    let (batch, bad) = decode(options, CsvDialect::default(), None, format!("{value},x\n").as_bytes());
    assert_eq!((batch.num_rows(), bad.len()), (0, 1), "{value} is refused");
    bad[0].error.clone()
}

#[test]
fn quotes_nulls_and_line_breaks() {
    let options = DecodeOptions::new(schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]));
    let block =
        b"1,x\r\n\"2\",\"\"\n,\n3,\"say \"\"hi\"\"\n, he said\"\n\n4,5\" pipe\n\"\",y\n5,\"a\"b\n6,z,1\n7\n8,last";
    let mut decoder = CsvDecoder::new(options, CsvDialect::default()).unwrap();
    let (mut batches, mut bad, mut places) = (Vec::new(), Vec::new(), Vec::new());
    decoder.decode(block, &mut batches, &mut bad, Some(&mut places)).unwrap();
    let batch = &batches[0];
    let a: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
    let b: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(a, [Some(1), Some(2), None, Some(3), Some(4), Some(8)]);
    assert_eq!(b, [Some("x"), Some(""), None, Some("say \"hi\"\n, he said"), Some("5\" pipe"), Some("last")]);
    assert_eq!(places[3..5], [RowPlace { start: 14, line: 3 }, RowPlace { start: 40, line: 6 }]);
    let found: Vec<_> = bad.iter().map(|bad| (bad.line, bad.error.as_str())).collect();
    assert_eq!(
        found,
        [
            (7, "column \"a\": expected BIGINT, found \"\""),
            (8, "text follows a closing quote"),
            (9, "row has 3 fields, expected 2"),
            (10, "row has 1 fields, expected 2"),
        ]
    );
    assert_eq!(&block[bad[2].start..bad[2].start + bad[2].len], b"6,z,1");
}

#[test]
fn an_open_quote_and_bad_utf8_cost_their_rows_only() {
    let options = DecodeOptions::new(schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)]));
    let (batch, bad) = decode(options, CsvDialect::default(), None, b"a,b\n\xff,c\nd,\"e\nf,g\n");
    assert_eq!(batch.num_rows(), 1);
    assert_eq!(bad[0].error, "invalid UTF-8 at byte 0 of the row");
    assert_eq!((bad[1].line, bad[1].error.as_str()), (2, "a quoted field is not closed"));
}

#[test]
fn types_take_the_spellings_of_postgres() {
    for value in ["t", "TRUE", "on", "1", "yes"] {
        let options = DecodeOptions::new(schema(&[("c", DataType::Boolean)]));
        let (batch, bad) = decode(options, CsvDialect::default(), None, value.as_bytes());
        assert!(bad.is_empty() && batch.column(0).as_boolean().value(0), "{value}");
    }
    assert_eq!(error_of(DataType::Int64, "abc"), "column \"c\": expected BIGINT, found \"abc\"");
    assert_eq!(error_of(DataType::Int32, "3000000000"), "column \"c\": \"3000000000\" is out of range (column is INT)");
    assert_eq!(
        error_of(DataType::Int64, "99999999999999999999"),
        "column \"c\": \"99999999999999999999\" is out of range (column is BIGINT)"
    );
    assert!(
        error_of(DataType::Float64, "NA").ends_with("found \"NA\"; if that means null, declare it as the null text")
    );
    assert!(error_of(DataType::Float64, "1e999").contains("out of range"));
    assert!(error_of(DataType::Boolean, "maybe").contains("expected BOOLEAN"));
    assert!(error_of(DataType::Timestamp(TimeUnit::Microsecond, None), "soon").contains("not a timestamp"));
    let numbers = schema(&[("f", DataType::Float64), ("i", DataType::Int64), ("d", DataType::Decimal128(9, 2))]);
    let (batch, bad) =
        decode(DecodeOptions::new(numbers), CsvDialect::default(), None, b" NaN ,+5, 1.005\n-Infinity,1e2,.5\n");
    assert_eq!(bad, []);
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().values(), &[5, 100]);
}

#[test]
fn headers_map_names_to_columns() {
    let columns = schema(&[("origin", DataType::Utf8), ("delay", DataType::Int64), ("note", DataType::Utf8)]);
    let (batch, bad) = decode(
        DecodeOptions::new(columns.clone()),
        CsvDialect::default(),
        Some("\u{feff}delay,\"Origin\",other\r\n"),
        b"5,JFK,x\n",
    );
    assert!(bad.is_empty());
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "JFK");
    assert_eq!((batch.column(1).as_primitive::<Int64Type>().value(0), batch.column(2).null_count()), (5, 1));

    let refused = |columns: SchemaRef, extra, header: &str| {
        let options = DecodeOptions { extra_columns: extra, ..DecodeOptions::new(columns) };
        CsvDecoder::new(options, CsvDialect::default()).unwrap().set_header(header.as_bytes()).unwrap_err()
    };
    let required = Arc::new(Schema::new(vec![Field::new("delay_minutes", DataType::Int64, false)]));
    let error = refused(required, ExtraColumns::Ignore, "Delay Minutes,x\n");
    assert_eq!(
        error.to_string(),
        "csv header has no column \"delay_minutes\" (did you mean \"Delay Minutes\"?); it has Delay Minutes, x"
    );
    assert!(matches!(refused(columns.clone(), ExtraColumns::Ignore, "1,JFK,x\n"), FormatError::HeaderMissing { .. }));
    assert!(matches!(refused(columns.clone(), ExtraColumns::Error, "delay,other\n"), FormatError::HeaderExtra { .. }));
    assert!(matches!(refused(columns, ExtraColumns::Ignore, "delay,delay\n"), FormatError::HeaderDuplicate { .. }));
}

#[test]
fn other_dialects() {
    let dialect = CsvDialect { delimiter: b';', quote: b'\'', header: false, null: "\\N".into() };
    let options = DecodeOptions::new(schema(&[("a", DataType::Utf8), ("b", DataType::Utf8)])).with_projection(vec![1]);
    let (batch, bad) = decode(options, dialect, None, b"'x;';\\N\n\\N;'\\N'\n\"q\";\n");
    assert!(bad.is_empty());
    assert_eq!(batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("\\N"), Some("")]);
    assert!(CsvDialect { delimiter: b'\n', ..CsvDialect::default() }.check().is_err());
    assert!(CsvDialect { quote: b',', ..CsvDialect::default() }.check().is_err());
}

#[test]
fn columns_are_inferred() {
    let sample =
        b"id,price,zip,at,ok,,q\n1,2,01234,2024-01-01T00:00:00Z,true,,\"5\"\n2,2.5,20001,2024-01-01,FALSE,x,\n3,x\n";
    let schema = infer_csv(sample, &CsvDialect::default(), 100).unwrap();
    let columns: Vec<_> =
        schema.fields().iter().map(|f| format!("{} {}", f.name(), type_name(f.data_type()))).collect();
    let expected = [
        "id BIGINT",
        "price DOUBLE",
        "zip TEXT",
        "at TIMESTAMP WITH TIME ZONE",
        "ok BOOLEAN",
        "column6 TEXT",
        "q BIGINT",
    ];
    assert_eq!(columns, expected);
    let headless = CsvDialect { header: false, ..CsvDialect::default() };
    assert_eq!(infer_csv(b"1,a\n", &headless, 1).unwrap().field(1).name(), "column2");
    assert!(matches!(infer_csv(b"", &headless, 1), Err(FormatError::InferEmpty)));
}
