//! `split_index`, `count_char` and `regexp_extract`, as Flink defines them.
//!
//! Each has a fast path for the usual call, where everything but the first argument is a literal.

use std::cell::RefCell;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, Int64Builder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::pattern::Pattern;

/// Evaluates over arrays of equal length; with only literals, over one row, giving a literal.
pub(super) fn over_arrays(
    args: ScalarFunctionArgs,
    evaluate: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let all_literal = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if all_literal { 1 } else { args.number_rows };
    let arrays: Result<Vec<ArrayRef>> = args.args.iter().map(|arg| arg.to_array(rows)).collect();
    let result = evaluate(&arrays?)?;
    if all_literal {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
    }
    Ok(ColumnarValue::Array(result))
}

/// Text for the first `texts` arguments, BIGINT for the rest.
fn coerced(
    name: &str,
    types: &[DataType],
    texts: usize,
    counts: std::ops::RangeInclusive<usize>,
) -> Result<Vec<DataType>> {
    if !counts.contains(&types.len()) {
        let expected = match counts.start() == counts.end() {
            true => counts.start().to_string(),
            false => format!("{} or {}", counts.start(), counts.end()),
        };
        return plan_err!("{name}() takes {expected} arguments, not {}", types.len());
    }
    let coerce = |(index, found): (usize, &DataType)| match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null if index < texts => {
            Ok(DataType::Utf8)
        }
        found if index >= texts && (found.is_integer() || found.is_null()) => Ok(DataType::Int64),
        found => {
            let wanted = if index < texts { "TEXT" } else { "BIGINT" };
            plan_err!("argument {} of {name}() is {wanted}, not {}", index + 1, crate::types::sql_name(found))
        }
    };
    types.iter().enumerate().map(coerce).collect()
}

/// The text literal of an argument, unless it is null or a column.
fn literal_text(arg: &ColumnarValue) -> Option<&str> {
    match arg {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) => Some(text),
        _ => None,
    }
}

fn literal_int(arg: &ColumnarValue) -> Option<i64> {
    match arg {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(number))) => Some(*number),
        _ => None,
    }
}

fn text_column(arg: &ColumnarValue) -> Option<&StringArray> {
    match arg {
        ColumnarValue::Array(array) => array.as_string_opt::<i32>(),
        ColumnarValue::Scalar(_) => None,
    }
}

/// `split_index(text, separator, index)`: the part at `index`, counted from 0; null outside.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SplitIndex(Signature);

impl Default for SplitIndex {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for SplitIndex {
    fn name(&self) -> &str {
        "split_index"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        coerced("split_index", types, 2, 3..=3)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [text, separator, index] = args.args.as_slice()
            && let (Some(texts), Some(&[separator]), Some(index)) =
                (text_column(text), literal_text(separator).map(str::as_bytes), literal_int(index))
        {
            return Ok(ColumnarValue::Array(split_at_byte(texts, separator, index)));
        }
        over_arrays(args, |arrays| {
            let [texts, separators, indices] = arrays else { return exec_err!("split_index() takes 3 arguments") };
            let (texts, separators) = (texts.as_string::<i32>(), separators.as_string::<i32>());
            let indices = indices.as_primitive::<Int64Type>();
            let parts = texts.iter().zip(separators).zip(indices).map(|((text, separator), index)| {
                let index = usize::try_from(index?).ok()?;
                match (text?, separator?) {
                    ("", _) => None,
                    (text, "") => text.split(char::is_whitespace).nth(index),
                    (text, separator) => text.split(separator).nth(index),
                }
            });
            Ok(Arc::new(parts.collect::<StringArray>()))
        })
    }
}

/// Separators are ASCII here, so cuts are always between characters.
fn split_at_byte(texts: &StringArray, separator: u8, index: i64) -> ArrayRef {
    let mut parts = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
    let index = usize::try_from(index).ok();
    for text in texts {
        let part = match (text, index) {
            (Some(text), Some(index)) if !text.is_empty() => nth_part(text, separator, index),
            _ => None,
        };
        parts.append_option(part);
    }
    Arc::new(parts.finish())
}

fn nth_part(text: &str, separator: u8, index: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut start = 0;
    for _ in 0..index {
        start += memchr::memchr(separator, &bytes[start..])? + 1;
    }
    let end = memchr::memchr(separator, &bytes[start..]).map_or(bytes.len(), |length| start + length);
    text.get(start..end)
}

/// `count_char(text, character)`: how often it occurs, as BIGINT.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CountChar(Signature);

impl Default for CountChar {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for CountChar {
    fn name(&self) -> &str {
        "count_char"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        coerced("count_char", types, 2, 2..=2)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [text, character] = args.args.as_slice()
            && let (Some(texts), Some(&[byte])) = (text_column(text), literal_text(character).map(str::as_bytes))
        {
            return Ok(ColumnarValue::Array(count_byte(texts, byte)));
        }
        over_arrays(args, |arrays| {
            let [texts, characters] = arrays else { return exec_err!("count_char() takes 2 arguments") };
            let mut counts = Int64Builder::with_capacity(texts.len());
            for (text, character) in texts.as_string::<i32>().iter().zip(characters.as_string::<i32>()) {
                let (Some(text), Some(character)) = (text, character) else {
                    counts.append_null();
                    continue;
                };
                let mut letters = character.chars();
                let (Some(letter), None) = (letters.next(), letters.next()) else {
                    return exec_err!("count_char() counts one character, not '{character}'");
                };
                counts.append_value(text.chars().filter(|found| *found == letter).count() as i64);
            }
            Ok(Arc::new(counts.finish()))
        })
    }
}

fn count_byte(texts: &StringArray, byte: u8) -> ArrayRef {
    let values = texts.value_data();
    let count =
        |window: &[i32]| memchr::memchr_iter(byte, &values[window[0] as usize..window[1] as usize]).count() as i64;
    let counts: Vec<i64> = texts.value_offsets().windows(2).map(count).collect();
    Arc::new(Int64Array::new(counts.into(), texts.nulls().cloned()))
}

/// `regexp_extract(text, pattern[, group])`: the group of the first match (0, the default: all of it); null without one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RegexpExtract(Signature);

impl Default for RegexpExtract {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for RegexpExtract {
    fn name(&self) -> &str {
        "regexp_extract"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        coerced("regexp_extract", types, 2, 2..=3)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let group = args.args.get(2).map_or(Some(0), literal_int);
        if let (Some(texts), Some(pattern), Some(group)) =
            (args.args.first().and_then(text_column), args.args.get(1).and_then(literal_text), group)
        {
            return Ok(ColumnarValue::Array(with_pattern(pattern, |pattern| extract_all(texts, pattern, group))?));
        }
        over_arrays(args, |arrays| {
            let (texts, patterns) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>());
            let groups = arrays.get(2).map(|groups| groups.as_primitive::<Int64Type>());
            let mut found = StringBuilder::new();
            for row in 0..texts.len() {
                let group = groups.map_or(Some(0), |groups| groups.is_valid(row).then(|| groups.value(row)));
                let (true, true, Some(group)) = (texts.is_valid(row), patterns.is_valid(row), group) else {
                    found.append_null();
                    continue;
                };
                let text = texts.value(row);
                with_pattern(patterns.value(row), |pattern| {
                    let group = usize::try_from(group).ok();
                    found.append_option(group.and_then(|group| pattern.extract(text, group, &mut None)));
                })?;
            }
            Ok(Arc::new(found.finish()))
        })
    }
}

fn extract_all(texts: &StringArray, pattern: &Pattern, group: i64) -> ArrayRef {
    let mut parts = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
    let mut scratch = pattern.scratch();
    let group = usize::try_from(group).ok();
    for text in texts {
        let part = match (text, group) {
            (Some(text), Some(group)) => pattern.extract(text, group, &mut scratch),
            _ => None,
        };
        parts.append_option(part);
    }
    Arc::new(parts.finish())
}

/// Compiled patterns a thread keeps, the latest used last. Per thread, because threads that share a `Regex` contend for
/// its scratch memory.
const COMPILED_MAX: usize = 32;

thread_local! {
    static COMPILED: RefCell<Vec<(String, Pattern)>> = const { RefCell::new(Vec::new()) };
}

fn with_pattern<T>(pattern: &str, run: impl FnOnce(&Pattern) -> T) -> Result<T> {
    COMPILED.with_borrow_mut(|compiled| {
        match compiled.iter().rposition(|(known, _)| known == pattern) {
            Some(last) if last + 1 == compiled.len() => {}
            Some(index) => compiled[index..].rotate_left(1),
            None => {
                let compiled_now = match Pattern::new(pattern) {
                    Ok(compiled_now) => compiled_now,
                    Err(error) => return exec_err!("'{pattern}' is not a regular expression: {}", reason(&error)),
                };
                if compiled.len() == COMPILED_MAX {
                    compiled.remove(0);
                }
                compiled.push((pattern.to_string(), compiled_now));
            }
        }
        let (_, latest) = &compiled[compiled.len() - 1];
        Ok(run(latest))
    })
}

/// The last line of the parser's picture is the reason.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string()
}
