//! Which folder a row goes into: `a=1/b=2`, with values escaped as Hive, Spark and DuckDB read them.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::DataType;
use thalweg_engine::EngineError;

/// What stands for null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The rows of a batch by folder (`""` without columns).
pub(crate) fn split(batch: &RecordBatch, columns: &[usize]) -> Result<Vec<(String, RecordBatch)>, EngineError> {
    if columns.is_empty() {
        return Ok(vec![(String::new(), batch.clone())]);
    }
    let mut values = Vec::with_capacity(columns.len());
    for &column in columns {
        values.push(cast(batch.column(column), &DataType::Utf8)?);
    }
    let schema = batch.schema();
    let mut folders: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut folder = String::new();
    for row in 0..batch.num_rows() {
        folder.clear();
        for (&column, values) in columns.iter().zip(&values) {
            if !folder.is_empty() {
                folder.push('/');
            }
            escape(schema.field(column).name(), &mut folder);
            folder.push('=');
            match values.is_null(row) {
                true => folder.push_str(NULL),
                false => escape(values.as_string::<i32>().value(row), &mut folder),
            }
        }
        match folders.get_mut(&folder) {
            Some(rows) => rows.push(row as u32),
            None => drop(folders.insert(folder.clone(), vec![row as u32])),
        }
    }
    if folders.len() == 1 {
        return Ok(folders.into_keys().map(|folder| (folder, batch.clone())).collect());
    }
    let part = |(folder, rows)| Ok((folder, take_record_batch(batch, &UInt32Array::from(rows))?));
    folders.into_iter().map(part).collect()
}

fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to memory");
        }
    }
    if value.is_empty() {
        out.push_str(NULL);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn values_become_folders() {
        let a = StringArray::from(vec![Some("x/y"), None, Some("x/y"), Some("New York")]);
        let b = Int64Array::from(vec![1, 2, 1, -3]);
        let batch = RecordBatch::try_from_iter([("a", Arc::new(a) as _), ("b c", Arc::new(b) as _)]).unwrap();
        let parts = split(&batch, &[0, 1]).unwrap();
        let shown: Vec<(&str, usize)> = parts.iter().map(|(folder, rows)| (folder.as_str(), rows.num_rows())).collect();
        assert_eq!(
            shown,
            [("a=New%20York/b%20c=-3", 1), ("a=__HIVE_DEFAULT_PARTITION__/b%20c=2", 1), ("a=x%2Fy/b%20c=1", 2)]
        );
        assert_eq!(split(&batch, &[]).unwrap()[0].0, "");
    }
}
