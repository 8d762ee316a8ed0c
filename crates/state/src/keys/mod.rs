//! Stable key hashes: the same key has the same hash in every version, on every machine, in every representation.
//!
//! A key is encoded column by column as written below, and the bytes are hashed by xxh3-64 with seed 0. The hash decides
//! the vnode, vnodes stand in state files: so the encoding never changes without a new [`KEY_ENCODING_VERSION`].
//! Numbers are little endian.
//!
//! | value | bytes |
//! | --- | --- |
//! | null of any type | `00` |
//! | false, true | `01`, `02` |
//! | integer of any width that fits i64 | `03`, i64 |
//! | larger UInt64 | `04`, u64 |
//! | float of any width | `05`, f64 bits; -0.0 as 0.0, every NaN as `7ff8000000000000` |
//! | decimal that fits i128 | `06`, scale i8, i128; trailing zeros removed from the unscaled value, zero has scale 0 |
//! | larger decimal | `07`, scale i8, i256; likewise |
//! | text (Utf8, LargeUtf8, Utf8View) | `08`, length u32, bytes |
//! | bytes (Binary, LargeBinary, BinaryView, FixedSizeBinary) | `09`, length u32, bytes |
//! | date | `0a`, i64 milliseconds since the epoch |
//! | timestamp of any unit and zone | `0b`, i64 seconds since the epoch (rounded down), u32 nanoseconds |
//! | time of day of any unit | `0c`, i64 nanoseconds |
//! | duration of any unit | `0d`, i64 seconds (rounded down), u32 nanoseconds |
//! | interval of any unit | `0e`, i32 months, i32 days, i64 nanoseconds |
//! | list of any kind | `0f`, number of elements u32, each element |
//! | struct | `10`, number of fields u32, each field in order |
//! | map | `11`, number of entries u32, each key and value in order |
//!
//! Dictionary and run-end-encoded values are encoded as the values they stand for. A key of no columns is zero bytes.
//! No type is encoded as another's: integer 1, decimal 1 and float 1 are three keys.

mod encode;
mod fast;

use arrow::array::ArrayRef;
use xxhash_rust::xxh3::xxh3_64;

use crate::StateError;

/// Version of the encoding; stands in every manifest.
pub const KEY_ENCODING_VERSION: u32 = 1;

/// Replaces `hashes` by the key hash of each of the `rows` rows of `columns` (each at least so long).
///
/// # Errors
/// `FixRequest` for a column of a union type, or one with a value of 4 GiB or more.
pub fn key_hashes(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> Result<(), StateError> {
    for column in columns {
        assert!(column.len() >= rows, "a key column has {} rows instead of {rows}", column.len());
    }
    hashes.clear();
    hashes.reserve(rows);
    if columns.is_empty() {
        hashes.resize(rows, xxh3_64(&[]));
        return Ok(());
    }
    if fast::key_hashes(columns, rows, hashes) {
        debug_assert_eq!(hashes.len(), rows);
        return Ok(());
    }
    general_key_hashes(columns, rows, hashes)
}

fn general_key_hashes(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> Result<(), StateError> {
    let encoders = columns.iter().map(|column| encode::encoder(column)).collect::<Result<Vec<_>, _>>()?;
    let mut key = Vec::with_capacity(64);
    for row in 0..rows {
        key.clear();
        for encoder in &encoders {
            encoder.encode(row, &mut key)?;
        }
        hashes.push(xxh3_64(&key));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
