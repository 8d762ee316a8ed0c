//! The commonest keys without the general encoder: one integer or time column, two of them, one text column.
//!
//! Invariant: the same hashes as by the general encoder (tested over all shapes here).

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, OffsetSizeTrait};
use arrow::datatypes::{DataType, Int64Type};
use xxhash_rust::xxh3::xxh3_64;

use super::encode::{TAG_INTEGER, TAG_NULL, TAG_TEXT};

/// False, and nothing pushed, if there is no fast path for these columns.
pub(super) fn key_hashes(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> bool {
    match columns {
        [column] => match column.data_type() {
            DataType::Int64 => one_integer(column.as_primitive::<Int64Type>(), rows, hashes),
            DataType::Utf8 => one_text::<i32>(column, rows, hashes),
            DataType::LargeUtf8 => one_text::<i64>(column, rows, hashes),
            _ => false,
        },
        [first, second] => match (first.as_primitive_opt::<Int64Type>(), second.as_primitive_opt::<Int64Type>()) {
            (Some(first), Some(second)) => two_integers(first, second, rows, hashes),
            _ => false,
        },
        _ => false,
    }
}

fn integer_key(value: i64) -> [u8; 9] {
    let mut key = [TAG_INTEGER; 9];
    key[1..].copy_from_slice(&value.to_le_bytes());
    key
}

fn one_integer(column: &Int64Array, rows: usize, hashes: &mut Vec<u64>) -> bool {
    let values = &column.values()[..rows];
    if column.null_count() == 0 {
        hashes.extend(values.iter().map(|value| xxh3_64(&integer_key(*value))));
        return true;
    }
    let null = xxh3_64(&[TAG_NULL]);
    hashes.extend(
        values.iter().enumerate().map(
            |(row, value)| {
                if column.is_null(row) { null } else { xxh3_64(&integer_key(*value)) }
            },
        ),
    );
    true
}

fn two_integers(first: &Int64Array, second: &Int64Array, rows: usize, hashes: &mut Vec<u64>) -> bool {
    if first.null_count() + second.null_count() > 0 {
        return false;
    }
    let pairs = first.values()[..rows].iter().zip(&second.values()[..rows]);
    hashes.extend(pairs.map(|(first, second)| {
        let mut key = [0; 18];
        key[..9].copy_from_slice(&integer_key(*first));
        key[9..].copy_from_slice(&integer_key(*second));
        xxh3_64(&key)
    }));
    true
}

/// Longer texts go to the general encoder, whose buffer grows.
const SHORT_TEXT_BYTES: usize = 123;

fn one_text<O: OffsetSizeTrait>(column: &ArrayRef, rows: usize, hashes: &mut Vec<u64>) -> bool {
    let column = column.as_string::<O>();
    let null = xxh3_64(&[TAG_NULL]);
    let mut short = [0; 5 + SHORT_TEXT_BYTES];
    short[0] = TAG_TEXT;
    let mut long = Vec::new();
    for row in 0..rows {
        if column.is_null(row) {
            hashes.push(null);
            continue;
        }
        let text = column.value(row).as_bytes();
        let Ok(length) = u32::try_from(text.len()) else {
            hashes.clear();
            return false;
        };
        short[1..5].copy_from_slice(&length.to_le_bytes());
        if text.len() <= SHORT_TEXT_BYTES {
            short[5..5 + text.len()].copy_from_slice(text);
            hashes.push(xxh3_64(&short[..5 + text.len()]));
            continue;
        }
        long.clear();
        long.extend_from_slice(&short[..5]);
        long.extend_from_slice(text);
        hashes.push(xxh3_64(&long));
    }
    true
}
