//! Guesses columns from the first rows.

use std::fmt;

use arrow::datatypes::Schema;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::skip::DEPTH_MAX;
use crate::FormatError;
use crate::infer::Guess;

/// Columns of ndjson, guessed from up to `max_rows` rows of `sample` (whole lines). Integers are BIGINT, other numbers DOUBLE,
/// strings that are all dates or timestamps are that, nested values become structs and lists; values of mixed types are TEXT.
/// Every column is nullable; columns stand in order of appearance.
pub fn infer_json(sample: &[u8], max_rows: usize) -> Result<Schema, FormatError> {
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let (mut row, mut rows) = (Guess::Struct(Vec::new()), 0);
    for (line, bytes) in sample.split(|&byte| byte == b'\n').enumerate() {
        if rows == max_rows {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |detail: String| FormatError::Infer { line: line as u64 + 1, detail };
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let guess = Value { depth: 0 }.deserialize(&mut reader).map_err(|error| wrong(error.to_string()))?;
        reader.end().map_err(|error| wrong(error.to_string()))?;
        if !matches!(guess, Guess::Struct(_)) {
            return Err(wrong("not a JSON object".into()));
        }
        row = row.merge(guess);
        rows += 1;
    }
    if rows == 0 {
        return Err(FormatError::InferEmpty);
    }
    Ok(Schema::new(row.into_fields()))
}

/// Reads the type of one value, keys in their order.
struct Value {
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Guess;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Guess, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Guess;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Guess, E> {
        Ok(Guess::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Guess, E> {
        Ok(Guess::Boolean)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Guess, E> {
        Ok(Guess::Integer)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Guess, E> {
        Ok(if i64::try_from(value).is_ok() { Guess::Integer } else { Guess::Double })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Guess, E> {
        Ok(Guess::Double)
    }

    fn visit_str<E>(self, value: &str) -> Result<Guess, E> {
        Ok(Guess::of_string(value.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Guess, A::Error> {
        let mut item = Guess::Nothing;
        while let Some(next) = items.next_element_seed(self.deeper()?)? {
            item = item.merge(next);
        }
        Ok(Guess::List(Box::new(item)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Guess, A::Error> {
        let mut fields: Vec<(String, Guess)> = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.deeper()?)?;
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, last)) => *last = value,
                None => fields.push((name, value)),
            }
        }
        Ok(Guess::Struct(fields))
    }
}

impl Value {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("objects and arrays are nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_in_order_of_appearance() {
        let sample = br#"{"id":1,"price":2,"at":"2024-01-01T00:00:00Z","day":"2024-01-01","tags":["a"],"in":{"b":null}}
{"id":2,"price":2.5,"at":"2024-01-02T00:00:00+02:00","ok":true,"tags":[],"in":{"b":"x","c":1},"mixed":1}

{"at":null,"mixed":"x","local":"2024-01-01 10:00:00"}
"#;
        let schema = infer_json(sample, 100).unwrap();
        let columns: Vec<_> =
            schema.fields().iter().map(|f| format!("{} {}", f.name(), crate::type_name(f.data_type()))).collect();
        assert_eq!(
            columns,
            [
                "id BIGINT",
                "price DOUBLE",
                "at TIMESTAMP WITH TIME ZONE",
                "day DATE",
                "tags TEXT[]",
                "in STRUCT(b TEXT, c BIGINT)",
                "ok BOOLEAN",
                "mixed TEXT",
                "local TIMESTAMP"
            ]
        );
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
    }

    #[test]
    fn what_cannot_be_inferred_names_the_line() {
        assert!(matches!(infer_json(b"\n\n", 10), Err(FormatError::InferEmpty)));
        let error = infer_json(b"{\"a\":1}\n[1]\n", 10).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("object"), "{error}");
        assert!(infer_json(b"{\"a\":1}\n[1]\n", 1).is_ok());
    }
}
