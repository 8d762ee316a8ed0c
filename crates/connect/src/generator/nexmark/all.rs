//! All events in one stream: `event_type` (0 person, 1 auction, 2 bid) and a struct per kind, null but for one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StructArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields};

use super::{Auctioneer, Part, auction, bid, numbers, person, times};
use crate::generator::config::Config;
use crate::generator::kind::{Rows, bigint, nullable_struct, timestamp};

const EVENT_TYPE: usize = 0;
const DATE_TIME: usize = 4;
const TS: usize = 5;

pub(crate) fn fields() -> Vec<Field> {
    vec![
        Field::new("event_type", DataType::Int32, false),
        nullable_struct("person", person::fields()),
        nullable_struct("auction", auction::fields()),
        nullable_struct("bid", bid::fields()),
        bigint("date_time"),
        timestamp("ts"),
    ]
}

/// Columns of the events with these numbers.
type Make = fn(&Auctioneer, &[u64], &[usize]) -> Vec<ArrayRef>;

pub(crate) struct All(Auctioneer);

impl All {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Auctioneer::new(config, None))
    }

    /// A struct column with the values of `part` at the rows of that kind, null elsewhere.
    fn structs(&self, first: u64, count: usize, part: Part) -> ArrayRef {
        let world = &self.0;
        let mut events = Vec::new();
        let mut places = Vec::with_capacity(count);
        for event in first..first + count as u64 {
            let here = world.part_of(event) == part;
            places.push(here.then_some(events.len() as u32));
            if here {
                events.push(event);
            }
        }
        let (fields, make): (_, Make) = match part {
            Part::Person => (person::fields(), person::make),
            Part::Auction => (auction::fields(), auction::make),
            Part::Bid => (bid::fields(), bid::make),
        };
        let columns: Vec<usize> = (0..fields.len()).collect();
        let rows = events.len();
        let values = StructArray::try_new_with_length(Fields::from(fields), make(world, &events, &columns), None, rows);
        let values = values.expect("columns of the announced types");
        take(&values, &UInt32Array::from(places), None).expect("places lie within the values")
    }
}

impl Rows for All {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let events = first..first + count as u64;
        let kind = |event| match self.0.part_of(event) {
            Part::Person => 0,
            Part::Auction => 1,
            Part::Bid => 2,
        };
        let column = |&column: &usize| match column {
            EVENT_TYPE => Arc::new(Int32Array::from_iter_values(events.clone().map(kind))) as ArrayRef,
            1 => self.structs(first, count, Part::Person),
            2 => self.structs(first, count, Part::Auction),
            3 => self.structs(first, count, Part::Bid),
            DATE_TIME => numbers(events.clone().map(|event| self.0.time_ms(event) as i64).collect()),
            TS => times(events.clone().map(|event| self.0.time_ms(event))),
            _ => unreachable!("all events have six columns"),
        };
        columns.iter().map(column).collect()
    }
}
