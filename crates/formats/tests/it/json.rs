//! The ndjson decoder against serde_json: rows that fit a random schema, rows that nearly do, and rows with broken bytes.
//!
//! The reference parses each line into a tree and converts it by the rules of the decoder's documentation, one at a time. Where
//! the tree has lost what the decision depends on (digits beyond a double), the line is not judged.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema, SchemaRef};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use proptest::prelude::*;
use serde_json::{Value, json};
use thalweg_formats::{BadRow, DecodeOptions, JsonDecoder, RowPlace};

use crate::schemas::{any_schema, any_type, value};

/// What the reference makes of a value.
#[derive(Debug, PartialEq)]
enum Expected {
    Is(Value),
    Refused,
    /// Not decided by the tree.
    Open,
}

use Expected::{Is, Open, Refused};

fn expected(data_type: &DataType, null: bool, found: &Value) -> Expected {
    if found.is_null() {
        return if null { Is(Value::Null) } else { Refused };
    }
    match (data_type, found) {
        (DataType::Boolean, Value::Bool(_)) => Is(found.clone()),
        (DataType::Utf8, Value::String(_)) => Is(found.clone()),
        // Kept as its text, which is compared as a tree.
        (DataType::Utf8, Value::Object(_) | Value::Array(_)) => Is(found.clone()),
        (DataType::Int32, Value::Number(_)) => expected_integer(found, i32::MIN as i64, i32::MAX as i64),
        (DataType::Int64, Value::Number(_)) => expected_integer(found, i64::MIN, i64::MAX),
        (DataType::Float64, Value::Number(_)) => Is(json!(found.as_f64())),
        (DataType::Decimal128(precision, scale), Value::Number(_)) => expected_decimal(found, *precision, *scale),
        (DataType::Date32, Value::String(text)) => expected_date(text),
        (DataType::Time64(_), Value::String(text)) => match NaiveTime::parse_from_str(text, "%H:%M:%S%.f") {
            Ok(time) if text.len() <= 18 && has_shape(text, "00:00:00") => {
                Is(json!(time.signed_duration_since(NaiveTime::MIN).num_microseconds().expect("a day")))
            }
            _ => Open,
        },
        (DataType::Timestamp(_, zone), Value::String(text)) => expected_timestamp(text, zone.is_some()),
        (DataType::List(item), Value::Array(items)) => {
            let items = items.iter().map(|found| expected(item.data_type(), item.is_nullable(), found));
            all(items).map_or_else(|other| other, |items| Is(Value::Array(items)))
        }
        (DataType::Struct(fields), Value::Object(_)) => expected_object(fields, found),
        _ => Refused,
    }
}

fn expected_object(fields: &Fields, found: &Value) -> Expected {
    let values = fields
        .iter()
        .map(|field| expected(field.data_type(), field.is_nullable(), found.get(field.name()).unwrap_or(&Value::Null)));
    let names = fields.iter().map(|field| field.name().clone());
    all(values).map_or_else(|other| other, |values| Is(names.zip(values).collect()))
}

/// Whether the text begins with this, any digit for `0`.
fn has_shape(text: &str, shape: &str) -> bool {
    text.is_ascii()
        && text.len() >= shape.len()
        && shape
            .bytes()
            .zip(text.bytes())
            .all(|(shape, byte)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
}

fn all(values: impl Iterator<Item = Expected>) -> Result<Vec<Value>, Expected> {
    let (mut taken, mut open) = (Vec::new(), false);
    for value in values {
        match value {
            Is(value) => taken.push(value),
            Open => open = true,
            Refused => return Err(Refused),
        }
    }
    if open { Err(Open) } else { Ok(taken) }
}

fn expected_integer(found: &Value, min: i64, max: i64) -> Expected {
    if let Some(value) = found.as_i64() {
        return if (min..=max).contains(&value) { Is(json!(value)) } else { Refused };
    }
    if found.is_u64() {
        return Refused;
    }
    let value = found.as_f64().expect("a number");
    if value.abs() >= 1e15 || value.to_string().len() > 14 {
        return Open;
    }
    let fits = value.fract() == 0.0 && (min as f64..=max as f64).contains(&value);
    if fits { Is(json!(value as i64)) } else { Refused }
}

fn expected_decimal(found: &Value, precision: u8, scale: i8) -> Expected {
    let text = found.to_string();
    if text.contains('e') || text.len() > 16 {
        return Open;
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(scale as usize).collect();
    let mut units: i64 = (whole.to_owned() + &kept).parse().expect("digits");
    if fraction.as_bytes().get(scale as usize).is_some_and(|&digit| digit >= b'5') {
        units += 1;
    }
    if units < 10i64.pow(precision as u32) { Is(json!(sign * units)) } else { Refused }
}

fn expected_date(text: &str) -> Expected {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
    match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(date) if text.len() == 10 && has_shape(text, "0000-00-00") => Is(json!((date - epoch).num_days())),
        _ if text.len() == 10 && text.is_ascii() => Open,
        _ => Refused,
    }
}

fn expected_timestamp(text: &str, zoned: bool) -> Expected {
    let usual = text.len() <= 35 && has_shape(text, "0000-00-00T00:00:00") && &text[17..19] != "60";
    if !usual {
        return if text.len() < 10 { Refused } else { Open };
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        let lost = !zoned && instant.offset().local_minus_utc() != 0;
        return if lost { Refused } else { Is(json!(instant.timestamp_micros())) };
    }
    match NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") {
        Ok(local) => Is(json!(local.and_utc().timestamp_micros())),
        _ => Open,
    }
}

/// A value that mostly fits the type.
fn value_for(data_type: &DataType) -> BoxedStrategy<Value> {
    let fitting = match data_type {
        DataType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        DataType::Int32 => prop_oneof![any::<i32>().prop_map(Value::from), any::<i64>().prop_map(Value::from)].boxed(),
        DataType::Int64 => integers().boxed(),
        DataType::Float64 => prop_oneof![
            any::<f64>().prop_filter_map("finite", |value| serde_json::Number::from_f64(value).map(Value::Number)),
            (-10_000_000i64..10_000_000, 0u32..8)
                .prop_map(|(units, scale)| json!(units as f64 / 10f64.powi(scale as i32))),
            integers(),
        ]
        .boxed(),
        DataType::Decimal128(..) => (-100_000_000i64..100_000_000, 0u32..7)
            .prop_map(|(units, scale)| json!(units as f64 / 10f64.powi(scale as i32)))
            .boxed(),
        DataType::Utf8 => strings().boxed(),
        DataType::Date32 => (-700_000i64..2_900_000)
            .prop_map(|days| json!((DateTime::UNIX_EPOCH.date_naive() + chrono::Duration::days(days)).to_string()))
            .boxed(),
        DataType::Time64(_) => (0u32..86_400, 0u32..1_000_000)
            .prop_map(|(second, micros)| {
                let time = NaiveTime::from_num_seconds_from_midnight_opt(second, micros * 1000);
                json!(time.expect("a time").format("%H:%M:%S%.f").to_string())
            })
            .boxed(),
        DataType::Timestamp(_, zone) => timestamps(zone.is_some()).boxed(),
        DataType::List(item) => proptest::collection::vec(nullable_value(item), 0..4).prop_map(Value::Array).boxed(),
        DataType::Struct(fields) => object_for(fields),
        other => panic!("no test makes a column of {other}"),
    };
    prop_oneof![30 => fitting, 1 => anything()].boxed()
}

fn nullable_value(field: &Arc<Field>) -> BoxedStrategy<Value> {
    let nulls = if field.is_nullable() { 3 } else { 0 };
    prop_oneof![20 => value_for(field.data_type()), nulls + 1 => Just(Value::Null)].boxed()
}

fn object_for(fields: &Fields) -> BoxedStrategy<Value> {
    let entries: Vec<_> = fields
        .iter()
        .map(|field| {
            let missing = if field.is_nullable() { 2 } else { 0 };
            let name = field.name().clone();
            prop_oneof![
                20 => nullable_value(field).prop_map(move |value| Some((name.clone(), value))),
                missing => Just(None),
            ]
        })
        .collect();
    let extra = proptest::option::weighted(0.2, ("[a-d]{1,3}", anything()));
    (entries, extra)
        .prop_map(|(entries, extra)| extra.into_iter().chain(entries.into_iter().flatten()).collect())
        .boxed()
}

fn integers() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        (any::<i64>(), 0u32..63).prop_map(|(value, shift)| json!(value >> shift)),
        any::<u64>().prop_map(Value::from),
        (-10_000i32..10_000).prop_map(|value| json!(value as f64)),
    ]
}

fn strings() -> impl Strategy<Value = Value> {
    prop_oneof![any::<String>(), "[a-z0-9 /:.?=&]{0,80}", Just("😀\u{7f}\u{0}\\\"".to_owned())].prop_map(Value::String)
}

fn timestamps(zoned: bool) -> impl Strategy<Value = Value> {
    (-62_135_596_800i64..253_402_300_799, 0u32..1_000_000, -1439i32..1440, 0u8..4).prop_map(
        move |(second, micros, offset, form)| {
            let instant = DateTime::from_timestamp(second, micros * 1000).expect("a time");
            let offset = chrono::FixedOffset::east_opt(if zoned { offset * 60 } else { 0 }).expect("an offset");
            json!(match form {
                0 => instant.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
                1 => instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
                2 => instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                _ => instant.with_timezone(&offset).to_rfc3339(),
            })
        },
    )
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        integers(),
        strings(),
        Just(json!(1.5)),
        Just(json!("2024-01-01")),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::vec(("[a-c\"é]{1,2}", inner), 0..3).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

/// Writes a value; bits of `style` say where space, escapes, another order and repeated keys come.
fn print(value: &Value, style: u64, out: &mut String) {
    let space = |bit: u32, out: &mut String| {
        if style >> bit & 1 == 1 {
            out.push_str([" ", "\t", "  ", " \r"][(style >> (bit + 1) & 3) as usize]);
        }
    };
    match value {
        Value::Object(entries) => {
            out.push('{');
            let mut entries: Vec<_> = entries.iter().collect();
            if style >> 5 & 1 == 1 {
                entries.reverse();
            }
            if style >> 6 & 7 == 7 && !entries.is_empty() {
                entries.insert(0, entries[entries.len() - 1]);
            }
            for (index, (name, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                space(0, out);
                print_string(name, style >> 9 & 7 == 7, out);
                space(1, out);
                out.push(':');
                space(2, out);
                print(value, style.rotate_right(3), out);
                space(3, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                space(4, out);
                print(item, style.rotate_right(5), out);
                space(5, out);
            }
            out.push(']');
        }
        Value::String(text) => print_string(text, style >> 12 & 7 == 7, out),
        other => out.push_str(&other.to_string()),
    }
}

fn print_string(text: &str, escaped: bool, out: &mut String) {
    if !escaped {
        return out.push_str(&Value::from(text).to_string());
    }
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
    out.push_str(&format!("\"{}\"", units.collect::<String>()));
}

fn decode(schema: &SchemaRef, block: &[u8], batch_rows: usize) -> (RecordBatch, Vec<BadRow>, Vec<RowPlace>) {
    let mut decoder = JsonDecoder::new(DecodeOptions::new(schema.clone()).with_batch_rows(batch_rows)).unwrap();
    let (mut batches, mut bad, mut places) = (Vec::new(), Vec::new(), Vec::new());
    decoder.decode(block, &mut batches, &mut bad, Some(&mut places)).unwrap();
    for batch in &batches {
        assert!((1..=batch_rows).contains(&batch.num_rows()));
        batch.columns().iter().for_each(|column| column.to_data().validate_full().unwrap());
    }
    (concat_batches(schema, &batches).unwrap(), bad, places)
}

/// Compares, line by line, what the decoder made of a block with what the reference makes of it.
fn check(schema: &SchemaRef, block: &[u8], batch_rows: usize) {
    let (batch, bad, places) = decode(schema, block, batch_rows);
    let (mut row, mut refused, mut start) = (0, 0, 0);
    for (line, bytes) in block.split(|&byte| byte == b'\n').enumerate() {
        let at = start;
        start += bytes.len() + 1;
        let is_good = places.get(row).is_some_and(|place| place.line == line as u64);
        let is_bad = bad.get(refused).is_some_and(|bad| bad.line == line as u64);
        if !is_good && !is_bad {
            assert!(
                bytes.iter().all(|byte| b" \t\r".contains(byte)),
                "line {line} is lost: {:?}",
                String::from_utf8_lossy(bytes)
            );
            continue;
        }
        let found = is_good.then(|| {
            assert_eq!(places[row].start, at);
            row += 1;
            batch.columns().iter().map(|column| value(column, row - 1)).collect::<Vec<_>>()
        });
        if is_bad {
            let bad = &bad[refused];
            refused += 1;
            assert_eq!(&block[bad.start..bad.start + bad.len], bytes.strip_suffix(b"\r").unwrap_or(bytes));
            assert!(!is_good);
        }
        judge(schema, bytes, found);
    }
    assert_eq!((row, refused), (batch.num_rows(), bad.len()), "every row and refusal has its line");
}

fn judge(schema: &SchemaRef, line: &[u8], found: Option<Vec<Value>>) {
    let show = String::from_utf8_lossy(line);
    let tree = match serde_json::from_slice::<Value>(line) {
        Ok(tree) => tree,
        Err(error) => {
            // The tree needs every number and every character; the decoder only those it was asked for.
            let reason = error.to_string();
            let skipped = ["out of range", "surrogate", "hex escape"].iter().any(|word| reason.contains(word));
            assert!(found.is_none() || skipped, "accepted, but {reason}: {show}");
            return;
        }
    };
    let outcome = if tree.is_object() { expected_object(schema.fields(), &tree) } else { Refused };
    match (outcome, found) {
        (Open, _) | (Refused, None) => {}
        // Of a key given twice each value has to fit, and the tree has only the last.
        (Is(_), None) if repeats_a_key(line) => {}
        (Is(Value::Object(expected)), Some(found)) => {
            for (field, found) in schema.fields().iter().zip(found) {
                assert_same(field.data_type(), &expected[field.name()], &found, &show);
            }
        }
        (Refused, Some(found)) => panic!("must be refused, gave {found:?}: {show}"),
        (expected, found) => panic!("expected {expected:?}, got {found:?}: {show}"),
    }
}

fn repeats_a_key(line: &[u8]) -> bool {
    struct Keys;
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Keys)
        }
    }
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Keys;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a value")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Keys, E> {
            Ok(Keys)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Keys, E> {
            Ok(Keys)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Keys, E> {
            Ok(Keys)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Keys, E> {
            Ok(Keys)
        }
        fn visit_str<E>(self, _: &str) -> Result<Keys, E> {
            Ok(Keys)
        }
        fn visit_unit<E>(self) -> Result<Keys, E> {
            Ok(Keys)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
            while items.next_element::<Keys>()?.is_some() {}
            Ok(Keys)
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
            let mut seen = std::collections::HashSet::new();
            while let Some(key) = entries.next_key::<String>()? {
                entries.next_value::<Keys>()?;
                if !seen.insert(key) {
                    return Err(serde::de::Error::custom("repeated"));
                }
            }
            Ok(Keys)
        }
    }
    serde_json::from_slice::<Keys>(line).is_err()
}

fn assert_same(data_type: &DataType, expected: &Value, found: &Value, line: &str) {
    match (data_type, expected, found) {
        (DataType::Utf8, Value::Object(_) | Value::Array(_), Value::String(text)) => {
            assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), expected, "{line}");
        }
        (DataType::List(item), Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{line}");
            expected
                .iter()
                .zip(found)
                .for_each(|(expected, found)| assert_same(item.data_type(), expected, found, line));
        }
        (DataType::Struct(fields), Value::Object(expected), Value::Object(found)) => {
            for field in fields {
                assert_same(field.data_type(), &expected[field.name()], &found[field.name()], line);
            }
        }
        (DataType::Float64, Value::Number(expected), Value::Number(found)) => {
            // The tree's doubles may be off in the last place; `floats_are_the_nearest` demands exactness.
            let (expected, found) = (expected.as_f64().expect("a double"), found.as_f64().expect("a double"));
            assert!((expected - found).abs() <= expected.abs() * 4.0 * f64::EPSILON, "{expected} {found} {line}");
        }
        _ => assert_eq!(expected, found, "{line}"),
    }
}

/// A schema and rows for it, as text.
fn schema_and_rows() -> impl Strategy<Value = (SchemaRef, Vec<String>)> {
    any_schema(any_type()).prop_flat_map(|schema| {
        let row = (object_for(schema.fields()), prop_oneof![4 => Just(0u64), 1 => any::<u64>()]).prop_map(
            |(value, style)| {
                let mut line = String::new();
                print(&value, style, &mut line);
                line
            },
        );
        (Just(schema), proptest::collection::vec(row, 0..12))
    })
}

#[derive(Debug, Clone)]
enum Damage {
    Set(u8),
    Insert(u8),
    Remove,
    Swap,
    Cut,
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || {
        prop_oneof![
            proptest::sample::select(b"\"\\{}[]:,0123456789-+.eEnulltrfas \t\r\n\x00\x1f\x7fZT".to_vec()),
            any::<u8>()
        ]
    };
    prop_oneof![
        byte().prop_map(Damage::Set),
        byte().prop_map(Damage::Insert),
        Just(Damage::Remove),
        Just(Damage::Swap),
        Just(Damage::Cut),
    ]
}

proptest! {
    #![proptest_config(crate::cases(400))]

    #[test]
    fn rows_decode_as_their_trees_say((schema, rows) in schema_and_rows(), end in 0..2usize, batch_rows in 1..9usize) {
        let block = rows.join("\n") + ["", "\r\n"][end];
        check(&schema, block.as_bytes(), batch_rows);
    }

    #[test]
    fn damaged_rows_decode_as_their_trees_say(
        (schema, rows) in schema_and_rows(),
        damages in proptest::collection::vec((any::<proptest::sample::Index>(), damage()), 1..4),
    ) {
        let mut block = rows.join("\n").into_bytes();
        for (place, damage) in damages {
            if block.is_empty() {
                break;
            }
            let at = place.index(block.len());
            match damage {
                Damage::Set(byte) => block[at] = byte,
                Damage::Insert(byte) => block.insert(at, byte),
                Damage::Remove => { block.remove(at); }
                Damage::Swap => { let other = block.len() - 1 - at; block.swap(at, other); }
                Damage::Cut => block.truncate(at),
            }
        }
        check(&schema, &block, 4);
    }

    #[test]
    fn every_truncation_of_a_row_is_a_bad_row((schema, rows) in schema_and_rows()) {
        for row in rows.iter().map(String::as_bytes).take(2) {
            let block = (1..row.len()).map(|end| [&row[..end], b"\n"].concat()).collect::<Vec<_>>().concat();
            let (batch, bad, _) = decode(&schema, &block, 100);
            prop_assert_eq!((batch.num_rows(), bad.len()), (0, row.len() - 1), "{}", String::from_utf8_lossy(row));
            for (bad, end) in bad.iter().zip(1..) {
                prop_assert_eq!(bad.len, end - row[..end].ends_with(b"\r") as usize);
            }
        }
    }

    #[test]
    fn floats_are_the_nearest(
        values in proptest::collection::vec(any::<f64>(), 1..20),
        digits in proptest::collection::vec("-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?", 1..20),
    ) {
        let texts: Vec<String> = values.iter().map(f64::to_string).chain(digits).collect();
        let block: String = texts.iter().map(|text| format!("{{\"c\":{text}}}\n")).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Float64, false)]));
        let (batch, bad, _) = decode(&schema, block.as_bytes(), 1000);
        prop_assert!(bad.is_empty(), "{bad:?}");
        for (text, found) in texts.iter().zip(batch.column(0).as_primitive::<Float64Type>().values()) {
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), found.to_bits(), "{}", text);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(schema in any_schema(any_type()), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&schema, &bytes, 3);
    }

    #[test]
    fn projections_agree_with_the_whole((schema, rows) in schema_and_rows(), keep in any::<u8>()) {
        let block = rows.join("\n");
        let (whole, bad, _) = decode(&schema, block.as_bytes(), 100);
        let projection: Vec<usize> = (0..schema.fields().len()).filter(|index| keep >> index & 1 == 1).collect();
        let mut decoder = JsonDecoder::new(DecodeOptions::new(schema.clone()).with_projection(projection.clone())).unwrap();
        let (mut batches, mut refused, mut places) = (Vec::new(), Vec::new(), Vec::new());
        decoder.decode(block.as_bytes(), &mut batches, &mut refused, Some(&mut places)).unwrap();
        prop_assert!(refused.iter().all(|row| bad.iter().any(|bad| bad.line == row.line)), "no row is bad only for a part");
        if refused.len() == bad.len() && whole.num_rows() > 0 {
            let columns: Vec<ArrayRef> = projection.iter().map(|&index| whole.column(index).clone()).collect();
            let schema = Arc::new(Schema::new(schema.project(&projection).unwrap().fields().clone()));
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(whole.num_rows()));
            let expected = RecordBatch::try_new_with_options(schema, columns, &options).unwrap();
            prop_assert_eq!(&batches[0], &expected);
        }
    }
}
