//! What a column seems to hold, and how two such guesses combine; shared by the formats.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::time::{parse_date, timestamp_offset};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Guess {
    /// Only nulls so far.
    Nothing,
    Boolean,
    Integer,
    Double,
    Date,
    /// Without an offset from UTC.
    LocalTimestamp,
    Timestamp,
    Text,
    List(Box<Guess>),
    Struct(Vec<(String, Guess)>),
}

impl Guess {
    /// The guess for a string.
    pub fn of_string(text: &[u8]) -> Self {
        if parse_date(text).is_some() {
            return Self::Date;
        }
        match timestamp_offset(text) {
            Some(true) => Self::Timestamp,
            Some(false) => Self::LocalTimestamp,
            None => Self::Text,
        }
    }

    /// The narrowest guess that covers both.
    pub fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, guess) | (guess, Self::Nothing) => guess,
            (Self::List(left), Self::List(right)) => Self::List(Box::new(left.merge(*right))),
            (Self::Struct(left), Self::Struct(right)) => Self::Struct(merge_fields(left, right)),
            (left, right) if left == right => left,
            (Self::Integer | Self::Double, Self::Integer | Self::Double) => Self::Double,
            (Self::Date | Self::LocalTimestamp, Self::Date | Self::LocalTimestamp) => Self::LocalTimestamp,
            (Self::Date | Self::Timestamp, Self::Date | Self::Timestamp) => Self::Timestamp,
            _ => Self::Text,
        }
    }

    pub fn into_fields(self) -> Fields {
        let Self::Struct(fields) = self else { return Fields::empty() };
        fields.into_iter().map(|(name, guess)| Field::new(name, guess.into_type(), true)).collect()
    }

    pub fn into_type(self) -> DataType {
        match self {
            Self::Nothing | Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::LocalTimestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::List(item) => DataType::List(Arc::new(Field::new("item", item.into_type(), true))),
            // A struct that never had a key is kept as its JSON text.
            Self::Struct(fields) if fields.is_empty() => DataType::Utf8,
            guess @ Self::Struct(_) => DataType::Struct(guess.into_fields()),
        }
    }
}

fn merge_fields(mut left: Vec<(String, Guess)>, right: Vec<(String, Guess)>) -> Vec<(String, Guess)> {
    for (name, guess) in right {
        match left.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = std::mem::replace(known, Guess::Nothing).merge(guess),
            None => left.push((name, guess)),
        }
    }
    left
}
