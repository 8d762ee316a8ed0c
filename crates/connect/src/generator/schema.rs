//! Binds declared columns to the columns that a kind of events has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::kind::EventKind;
use crate::options::suggestion;
use crate::registry::OptionError;

/// Which column of the kind each declared column is, and how its values become the declared type.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) schema: SchemaRef,
    /// Per declared column: index into the kind's fields.
    pub(crate) columns: Vec<usize>,
}

/// Binds `declared`, or all columns of the kind.
pub(crate) fn bind(kind: EventKind, declared: Option<&SchemaRef>) -> Result<Binding, Vec<OptionError>> {
    let fields = kind.fields();
    let Some(declared) = declared else {
        return Ok(Binding { columns: (0..fields.len()).collect(), schema: Arc::new(Schema::new(fields)) });
    };
    let mut errors = Vec::new();
    let mut columns = Vec::new();
    for field in declared.fields() {
        match fields.iter().position(|known| known.name() == field.name()) {
            Some(index) if converts(fields[index].data_type(), field.data_type()) => columns.push(index),
            Some(index) => errors.push(wrong_type(field, &fields[index])),
            None => errors.push(unknown(kind, field, &fields)),
        }
    }
    if errors.is_empty() { Ok(Binding { schema: declared.clone(), columns }) } else { Err(errors) }
}

/// Equal types; milliseconds may be declared as a timestamp, and timestamps with or without a zone.
fn converts(from: &DataType, to: &DataType) -> bool {
    use DataType::{Int64, Timestamp};
    match (from, to) {
        (Int64 | Timestamp(..), Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, _)) => true,
        _ => from == to,
    }
}

fn wrong_type(declared: &Field, known: &Field) -> OptionError {
    OptionError {
        key: None,
        message: format!(
            "column {} is declared as {}, but the generator makes {}",
            declared.name(),
            declared.data_type(),
            known.data_type()
        ),
        hint: Some("declare that type, or leave out the column list to take all columns as they are".into()),
    }
}

fn unknown(kind: EventKind, declared: &Field, fields: &[Field]) -> OptionError {
    OptionError {
        key: None,
        message: format!("{} '{}' events have no column {}", kind.world(), kind.name(), declared.name()),
        hint: Some(suggestion(declared.name(), fields.iter().map(|field| field.name().as_str()))),
    }
}
