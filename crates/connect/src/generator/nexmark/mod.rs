//! Nexmark events with the values of the `nexmark` crate (0.2), made straight into columns.
//!
//! Why not the crate's own generator: it makes every string of every event. Here a draw is made only if a column that
//! is read comes after it, and strings go straight into the column's buffer. With seed 0 every value equals the crate's
//! (a test compares row by row); other seeds change the draws, not the shape.
//! Columns are the crate's fields under its names, then `ts`: `date_time` as a timestamp.

pub(crate) mod all;
pub(crate) mod auction;
pub(crate) mod bid;
mod channels;
pub(crate) mod person;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::Field;
use nexmark::config::NexmarkConfig;

use super::config::Config;
use super::kind::timestamp;
use super::random::SmallRng;

/// Of so many in a row, the first is the hot one.
const HOT_RATIO: u64 = 100;

/// What all kinds of events share.
#[derive(Debug, Clone)]
pub(crate) struct Auctioneer {
    pub(crate) config: NexmarkConfig,
    seed: u64,
    /// Microseconds of event time from event to event, in the crate's precision.
    delay_us: f32,
}

/// Which of the crate's three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Person,
    Auction,
    Bid,
}

impl Auctioneer {
    /// `share` is the part of all events that the rows are; with a rate, event time advances with the rows.
    pub(crate) fn new(config: &Config, share: Option<Part>) -> Self {
        let mut nexmark = NexmarkConfig { base_time: config.start_ms as u64, ..Default::default() };
        if let Some(rate) = config.rate {
            let all = nexmark.person_proportion + nexmark.auction_proportion + nexmark.bid_proportion;
            let part = match share {
                None => all,
                Some(Part::Person) => nexmark.person_proportion,
                Some(Part::Auction) => nexmark.auction_proportion,
                Some(Part::Bid) => nexmark.bid_proportion,
            };
            let events = (u128::from(rate) * all as u128 / part as u128).clamp(1, 1 << 40) as usize;
            (nexmark.first_rate, nexmark.next_rate) = (events, events);
        }
        let delay_us = nexmark.us_per_unit as f32 / nexmark.first_rate as f32;
        Self { config: nexmark, seed: config.seed, delay_us }
    }

    fn denominator(&self) -> u64 {
        (self.config.person_proportion + self.config.auction_proportion + self.config.bid_proportion) as u64
    }

    /// The number among all events of event `row` of a kind.
    #[inline]
    fn event_number(&self, part: Part, row: u64) -> u64 {
        let (persons, auctions) = (self.config.person_proportion as u64, self.config.auction_proportion as u64);
        let (proportion, first) = match part {
            Part::Person => (persons, 0),
            Part::Auction => (auctions, persons),
            Part::Bid => (self.config.bid_proportion as u64, persons + auctions),
        };
        row / proportion * self.denominator() + first + row % proportion
    }

    /// The numbers of `count` events of a kind, from row `first` on.
    fn event_numbers(&self, part: Part, first: u64, count: usize) -> Vec<u64> {
        (first..first + count as u64).map(|row| self.event_number(part, row)).collect()
    }

    pub(crate) fn part_of(&self, event: u64) -> Part {
        let place = (event % self.denominator()) as usize;
        if place < self.config.person_proportion {
            Part::Person
        } else if place < self.config.person_proportion + self.config.auction_proportion {
            Part::Auction
        } else {
            Part::Bid
        }
    }

    #[inline]
    fn rng(&self, event: u64) -> SmallRng {
        SmallRng::seed_from_u64(event ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Event time in milliseconds.
    #[inline]
    pub(crate) fn time_ms(&self, event: u64) -> u64 {
        self.config.base_time + ((event as f32 * self.delay_us) / 1000.0).round() as u64
    }

    #[inline]
    fn last_person(&self, event: u64) -> u64 {
        let proportion = self.config.person_proportion as u64;
        event / self.denominator() * proportion + (event % self.denominator()).min(proportion - 1)
    }

    #[inline]
    fn next_person(&self, event: u64, rng: &mut SmallRng) -> u64 {
        let people = self.last_person(event) + 1;
        let active = people.min(self.config.active_people as u64);
        people - active + rng.below(active + self.config.person_id_lead as u64)
    }

    /// Not for event 0, before which there is no auction.
    #[inline]
    fn last_auction(&self, event: u64) -> u64 {
        let (persons, auctions) = (self.config.person_proportion as u64, self.config.auction_proportion as u64);
        let (round, place) = (event / self.denominator(), event % self.denominator());
        if place < persons {
            return (round - 1) * auctions + auctions - 1;
        }
        round * auctions + (place - persons).min(auctions - 1)
    }

    #[inline]
    fn next_auction(&self, event: u64, rng: &mut SmallRng) -> u64 {
        let last = self.last_auction(event);
        let first = last.saturating_sub(self.config.in_flight_auctions as u64);
        first + rng.below(last - first + 1 + self.config.auction_id_lead as u64)
    }

    #[inline]
    fn price(rng: &mut SmallRng) -> u64 {
        (10.0_f32.powf(rng.unit_f32() * 6.0) * 100.0).round() as u64
    }

    /// Length of the filler that brings an event of `size` bytes near `average`.
    #[inline]
    fn extra_length(size: usize, average: usize, rng: &mut SmallRng) -> usize {
        if size > average {
            return 0;
        }
        let room = average - size;
        let delta = (room + 2) / 5;
        room - delta + if delta == 0 { 0 } else { rng.below(2 * delta as u64) as usize }
    }
}

/// Adds the column `ts`.
pub(crate) fn with_time(mut fields: Vec<Field>) -> Vec<Field> {
    fields.push(timestamp("ts"));
    fields
}

pub(crate) fn numbers(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

/// `ts`: milliseconds as a timestamp.
pub(crate) fn times(millis: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(millis.map(|ms| ms as i64 * 1000)))
}
