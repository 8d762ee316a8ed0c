//! The kinds of events there are, with their columns.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::config::Config;
use super::{nexmark, rides, sensors};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum EventKind {
    NexmarkAll,
    Bid,
    Auction,
    Person,
    RideRequests,
    DriverPings,
    SensorReadings,
}

impl EventKind {
    /// Value of the option `type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NexmarkAll => "all",
            Self::Bid => "bid",
            Self::Auction => "auction",
            Self::Person => "person",
            Self::RideRequests => "requests",
            Self::DriverPings => "drivers",
            Self::SensorReadings => "readings",
        }
    }

    pub(crate) fn world(self) -> &'static str {
        match self {
            Self::NexmarkAll | Self::Bid | Self::Auction | Self::Person => "nexmark",
            Self::RideRequests | Self::DriverPings => "rides",
            Self::SensorReadings => "sensors",
        }
    }

    /// Columns, in order.
    pub(crate) fn fields(self) -> Vec<Field> {
        match self {
            Self::NexmarkAll => nexmark::all::fields(),
            Self::Bid => nexmark::with_time(nexmark::bid::fields()),
            Self::Auction => nexmark::with_time(nexmark::auction::fields()),
            Self::Person => nexmark::with_time(nexmark::person::fields()),
            Self::RideRequests => rides::request_fields(),
            Self::DriverPings => rides::driver_fields(),
            Self::SensorReadings => sensors::fields(),
        }
    }
}

/// Makes rows of one kind.
pub(crate) trait Rows: Send + Sync {
    /// Columns `columns` (indices into the kind's fields) of rows `first .. first + count`.
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef>;
}

pub(crate) fn rows_of(config: &Config) -> Arc<dyn Rows> {
    match config.kind {
        EventKind::NexmarkAll => Arc::new(nexmark::all::All::new(config)),
        EventKind::Bid => Arc::new(nexmark::bid::Bids::new(config)),
        EventKind::Auction => Arc::new(nexmark::auction::Auctions::new(config)),
        EventKind::Person => Arc::new(nexmark::person::Persons::new(config)),
        EventKind::RideRequests => Arc::new(rides::Requests::new(config)),
        EventKind::DriverPings => Arc::new(rides::Drivers::new(config)),
        EventKind::SensorReadings => Arc::new(sensors::Readings::new(config)),
    }
}

pub(crate) fn bigint(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

pub(crate) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

pub(crate) fn double(name: &str) -> Field {
    Field::new(name, DataType::Float64, false)
}

/// `TIMESTAMP WITH TIME ZONE`, microseconds.
pub(crate) fn instant(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
}

/// `TIMESTAMP`, microseconds.
pub(crate) fn timestamp(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), false)
}

pub(crate) fn nullable_struct(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(Fields::from(fields)), true)
}
