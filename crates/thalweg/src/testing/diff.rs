//! Compares rows that came with rows that were expected, cell by cell.
//!
//! Rows are paired: first equal ones, then the most alike, so that a wrong cell shows as one changed cell and not as a
//! missing row beside an unexpected one. Cells are compared by the column's type: instants as instants, whole numbers
//! exactly, floats to nine digits.

use arrow::datatypes::{DataType, SchemaRef};
use serde_json::{Map, Value};

/// What a test expects of one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The same rows, in any order.
    Unordered,
    Ordered,
    /// At least these rows; columns that are not named do not matter.
    Contains,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    Equal(usize),
    /// Expected, did not come.
    Missing(Vec<String>),
    /// Came, was not expected.
    Unexpected(Vec<String>),
    /// Paired, but some cells differ: `(expected, actual)` where they do, the common text where not.
    Changed(Vec<Cell>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Same(String),
    Differs {
        expected: String,
        actual: String,
    },
    /// Not named by the expectation.
    Ignored,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    pub columns: Vec<String>,
    pub lines: Vec<Line>,
}

impl Diff {
    pub fn is_clean(&self) -> bool {
        self.lines.iter().all(|line| matches!(line, Line::Equal(_)))
    }
}

/// Rows are objects by column name. Columns that an expected row names but the sink has not are told as an error.
pub fn compare(
    schema: &SchemaRef,
    expected: &[Map<String, Value>],
    actual: &[Map<String, Value>],
    matching: Match,
) -> Result<Diff, String> {
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    for row in expected {
        if let Some(unknown) = row.keys().find(|key| !columns.contains(key)) {
            return Err(format!("expected rows name a column '{unknown}'; the rows have {}", columns.join(", ")));
        }
    }
    let comparer = Comparer { schema, partial: matching == Match::Contains };
    let pairs = match matching {
        Match::Ordered => pair_in_order(expected.len(), actual.len()),
        _ => comparer.pair_alike(expected, actual),
    };
    let mut lines = Vec::new();
    for (want, got) in pairs {
        match (want.map(|i| &expected[i]), got.map(|i| &actual[i])) {
            (Some(want), Some(got)) if comparer.same_row(want, got) => match lines.last_mut() {
                Some(Line::Equal(count)) => *count += 1,
                _ => lines.push(Line::Equal(1)),
            },
            (Some(want), Some(got)) => lines.push(Line::Changed(comparer.cells(want, got))),
            (Some(want), None) => lines.push(Line::Missing(comparer.texts(want))),
            (None, Some(_)) if matching == Match::Contains => {}
            (None, Some(got)) => lines.push(Line::Unexpected(comparer.texts(got))),
            (None, None) => unreachable!("a pair holds a row"),
        }
    }
    Ok(Diff { columns, lines })
}

type Pair = (Option<usize>, Option<usize>);

fn pair_in_order(expected: usize, actual: usize) -> Vec<Pair> {
    (0..expected.max(actual)).map(|i| ((i < expected).then_some(i), (i < actual).then_some(i))).collect()
}

struct Comparer<'a> {
    schema: &'a SchemaRef,
    /// Only named columns count.
    partial: bool,
}

impl Comparer<'_> {
    fn pair_alike(&self, expected: &[Map<String, Value>], actual: &[Map<String, Value>]) -> Vec<Pair> {
        let mut free: Vec<bool> = vec![true; actual.len()];
        let mut pairs: Vec<Pair> = Vec::with_capacity(expected.len());
        for (index, want) in expected.iter().enumerate() {
            let found = (0..actual.len()).find(|i| free[*i] && self.same_row(want, &actual[*i]));
            if let Some(found) = found {
                free[found] = false;
            }
            pairs.push((Some(index), found));
        }
        for pair in &mut pairs {
            let (Some(want), None) = *pair else { continue };
            let best = (0..actual.len())
                .filter(|i| free[*i])
                .map(|i| (self.likeness(&expected[want], &actual[i]), i))
                .filter(|(likeness, _)| likeness * 2 >= self.schema.fields().len())
                .max_by_key(|(likeness, i)| (*likeness, std::cmp::Reverse(*i)));
            if let Some((_, best)) = best {
                free[best] = false;
                pair.1 = Some(best);
            }
        }
        pairs.extend((0..actual.len()).filter(|i| free[*i]).map(|i| (None, Some(i))));
        pairs
    }

    fn likeness(&self, want: &Map<String, Value>, got: &Map<String, Value>) -> usize {
        self.cells(want, got).iter().filter(|cell| !matches!(cell, Cell::Differs { .. })).count()
    }

    fn same_row(&self, want: &Map<String, Value>, got: &Map<String, Value>) -> bool {
        self.schema.fields().iter().all(|field| {
            let named = want.get(field.name());
            (self.partial && named.is_none())
                || same(field.data_type(), named.unwrap_or(&Value::Null), got.get(field.name()).unwrap_or(&Value::Null))
        })
    }

    fn cells(&self, want: &Map<String, Value>, got: &Map<String, Value>) -> Vec<Cell> {
        let cell = |field: &arrow::datatypes::FieldRef| {
            let actual = got.get(field.name()).unwrap_or(&Value::Null);
            match want.get(field.name()) {
                None if self.partial => Cell::Ignored,
                named => {
                    let expected = named.unwrap_or(&Value::Null);
                    if same(field.data_type(), expected, actual) {
                        Cell::Same(visible(actual))
                    } else {
                        Cell::Differs { expected: visible(expected), actual: visible(actual) }
                    }
                }
            }
        };
        self.schema.fields().iter().map(cell).collect()
    }

    fn texts(&self, row: &Map<String, Value>) -> Vec<String> {
        self.schema
            .fields()
            .iter()
            .map(|field| match row.get(field.name()) {
                None if self.partial => "*".into(),
                value => visible(value.unwrap_or(&Value::Null)),
            })
            .collect()
    }
}

/// Whether two values of a column are the same.
pub fn same(data_type: &DataType, expected: &Value, actual: &Value) -> bool {
    if expected == actual {
        return true;
    }
    match (data_type, expected, actual) {
        (DataType::Timestamp(..) | DataType::Date32 | DataType::Date64, Value::String(a), Value::String(b)) => {
            match (instant(a), instant(b)) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            }
        }
        (DataType::List(field), Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(field.data_type(), a, b))
        }
        (DataType::Struct(fields), Value::Object(a), Value::Object(b)) => fields.iter().all(|field| {
            let of = |object: &Map<String, Value>| object.get(field.name()).cloned().unwrap_or(Value::Null);
            same(field.data_type(), &of(a), &of(b))
        }),
        (data_type, a, b) if data_type.is_numeric() => match (number(a), number(b)) {
            (Some(a), Some(b)) if data_type.is_integer() => a == b,
            (Some(a), Some(b)) => a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || (a.is_nan() && b.is_nan()),
            _ => false,
        },
        _ => false,
    }
}

fn instant(text: &str) -> Option<i64> {
    arrow::compute::kernels::cast_utils::string_to_datetime(&chrono::Utc, text.trim())
        .ok()
        .map(|instant| instant.timestamp_micros())
}

/// A number, or text that is one: decimals travel as text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A value with its white space made visible, so that `'a '` and `'a'` do not look the same.
fn visible(value: &Value) -> String {
    let Value::String(text) = value else {
        return if value.is_null() { "null".into() } else { value.to_string() };
    };
    let inner = text.trim_matches(' ');
    let lead = text.len() - text.trim_start_matches(' ').len();
    let trail = if inner.is_empty() { 0 } else { text.len() - lead - inner.len() };
    let body = inner.replace('\t', "⇥").replace('\n', "⏎").replace('\r', "␍");
    let shown = format!("{}{body}{}", "·".repeat(lead), "·".repeat(trail));
    if shown.is_empty() { "''".into() } else { shown }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ]))
    }

    fn rows(text: &str) -> Vec<Map<String, Value>> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn order_and_spelling_of_instants_do_not_matter() {
        let expected = rows(r#"[{"k":"a","n":1,"t":"2001-01-01"},{"k":"b","n":2,"t":"2001-01-01 01:00:00+01:00"}]"#);
        let actual = rows(r#"[{"k":"b","n":2,"t":"2001-01-01T00:00:00Z"},{"k":"a","n":1,"t":"2001-01-01T00:00:00Z"}]"#);
        assert!(compare(&schema(), &expected, &actual, Match::Unordered).unwrap().is_clean());
        assert!(!compare(&schema(), &expected, &actual, Match::Ordered).unwrap().is_clean());
    }

    #[test]
    fn a_wrong_cell_is_one_changed_cell() {
        let expected = rows(r#"[{"k":"a","n":1},{"k":"b","n":2}]"#);
        let actual = rows(r#"[{"k":"b","n":2},{"k":"a","n":3},{"k":"c","n":9}]"#);
        let diff = compare(&schema(), &expected, &actual, Match::Unordered).unwrap();
        assert_eq!(
            diff.lines,
            [
                Line::Changed(vec![
                    Cell::Same("a".into()),
                    Cell::Differs { expected: "1".into(), actual: "3".into() },
                    Cell::Same("null".into())
                ]),
                Line::Equal(1),
                Line::Unexpected(vec!["c".into(), "9".into(), "null".into()]),
            ]
        );
    }

    #[test]
    fn duplicates_count() {
        let one = rows(r#"[{"k":"a"}]"#);
        let two = rows(r#"[{"k":"a"},{"k":"a"}]"#);
        assert!(!compare(&schema(), &one, &two, Match::Unordered).unwrap().is_clean());
        assert!(!compare(&schema(), &two, &one, Match::Contains).unwrap().is_clean());
        assert!(compare(&schema(), &one, &two, Match::Contains).unwrap().is_clean());
    }

    #[test]
    fn unknown_columns_are_refused() {
        let refusal = compare(&schema(), &rows(r#"[{"kk":1}]"#), &[], Match::Unordered).unwrap_err();
        assert!(refusal.contains("'kk'") && refusal.contains("k, n, t"), "{refusal}");
    }

    #[test]
    fn floats_to_nine_digits_and_integers_exactly() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(same(&DataType::Float64, &value("0.3333333333"), &value("0.33333333333")));
        assert!(!same(&DataType::Float64, &value("0.333"), &value("0.3333")));
        assert!(same(&DataType::Float64, &value("2"), &value("2.0")));
        assert!(!same(&DataType::Int64, &value("2"), &value("3")));
    }

    #[test]
    fn white_space_shows() {
        for (text, shown) in [("a ", "a·"), ("  ", "··"), ("", "''"), ("a\tb\n", "a⇥b⏎")] {
            assert_eq!(visible(&Value::from(text)), shown);
        }
    }
}
