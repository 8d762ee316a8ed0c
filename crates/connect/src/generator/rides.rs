//! Rides in a city of twelve zones: requests of riders, pings of drivers. Both sources share zones and the course of the
//! day, so demand and supply meet in SQL.
//!
//! Demand follows the hour: requests come closer together at eight and at eighteen, and each zone has its own peak.
//! Rows come in the order they arrive; their event time lies up to 20 s before that, so there is bounded disorder.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field};

use super::config::Config;
use super::kind::{Rows, bigint, double, instant, text};
use super::random::{mix, unit};
use super::text::Text;

/// Name, share of the city's demand, hour of its peak, share of the drivers.
const ZONES: [(&str, f64, f64, f64); 12] = [
    ("airport", 9.0, 17.0, 6.0),
    ("business park", 11.0, 18.0, 8.0),
    ("central station", 16.0, 8.0, 12.0),
    ("docks", 4.0, 6.0, 5.0),
    ("east side", 6.0, 8.0, 9.0),
    ("harbour", 5.0, 20.0, 6.0),
    ("hospital", 5.0, 14.0, 6.0),
    ("market square", 9.0, 12.0, 9.0),
    ("old town", 13.0, 22.0, 11.0),
    ("stadium", 6.0, 21.0, 6.0),
    ("university", 8.0, 16.0, 10.0),
    ("west hills", 8.0, 7.0, 12.0),
];

/// Requests in each hour of a day; what is left of it is the rhythm of the city.
const HOURS: [u32; 24] =
    [30, 20, 14, 10, 12, 24, 52, 96, 120, 84, 66, 64, 70, 68, 66, 74, 92, 118, 124, 104, 86, 74, 62, 46];
const REQUESTS_PER_DAY: u64 = 200_000;
const DRIVERS: u64 = 400;
const PING_US: i64 = 30_000_000;
const DISORDER_US: u64 = 20_000_000;
const DAY_US: i64 = 86_400_000_000;

/// Streams of random numbers; the seed is mixed into each.
const TIME: u64 = 1;
const PLACE: u64 = 2;
const PERSON: u64 = 3;
const LENGTH: u64 = 4;
const GROUP: u64 = 5;
const MOVE: u64 = 6;
const BUSY: u64 = 7;

pub(crate) fn request_fields() -> Vec<Field> {
    vec![
        bigint("request_id"),
        bigint("rider_id"),
        text("zone"),
        Field::new("passengers", DataType::Int32, false),
        double("distance_km"),
        instant("requested_at"),
    ]
}

pub(crate) fn driver_fields() -> Vec<Field> {
    vec![bigint("driver_id"), text("zone"), text("status"), instant("pinged_at")]
}

/// What both kinds share.
struct City {
    seed: u64,
    start_us: i64,
    /// Microseconds from row to row, if a rate was asked for.
    step_us: Option<f64>,
    /// Requests before each hour of a day, as a share of the day.
    before_hour: [f64; 25],
}

impl City {
    fn new(config: &Config) -> Self {
        let total: u32 = HOURS.iter().sum();
        let mut before_hour = [0.0; 25];
        for hour in 0..24 {
            before_hour[hour + 1] = before_hour[hour] + f64::from(HOURS[hour]) / f64::from(total);
        }
        let step_us = config.rate.map(|rate| 1e6 / rate as f64);
        Self { seed: config.seed, start_us: config.start_ms * 1000, step_us, before_hour }
    }

    fn draw(&self, stream: u64, number: u64) -> u64 {
        mix(self.seed.wrapping_mul(31).wrapping_add(stream), number)
    }

    /// A moment up to 20 s before `arrival`, and never before the start.
    fn event_time(&self, stream: u64, row: u64, arrival: i64) -> i64 {
        let back = (self.draw(stream, row) % DISORDER_US) as i64;
        (arrival - back).max(self.start_us)
    }

    /// When request `row` arrives: so many requests a day, spread over its hours as `HOURS` says.
    fn request_arrival(&self, row: u64) -> i64 {
        if let Some(step) = self.step_us {
            return self.start_us + (row as f64 * step) as i64;
        }
        // The first day begins at the start time, in the middle of its rhythm.
        let begun = self.share_before(self.start_us.rem_euclid(DAY_US));
        let days = begun + row as f64 / REQUESTS_PER_DAY as f64;
        let (day, share) = (days.floor(), days.fract());
        let hour = self.before_hour.partition_point(|&before| before <= share).clamp(1, 24) - 1;
        let within = (share - self.before_hour[hour]) / (self.before_hour[hour + 1] - self.before_hour[hour]);
        let first_day = self.start_us - self.start_us.rem_euclid(DAY_US);
        let arrival = first_day + day as i64 * DAY_US + ((hour as f64 + within) * 3.6e9) as i64;
        arrival.max(self.start_us)
    }

    fn share_before(&self, of_day_us: i64) -> f64 {
        let hours = of_day_us as f64 / 3.6e9;
        let hour = (hours as usize).min(23);
        self.before_hour[hour] + hours.fract() * (self.before_hour[hour + 1] - self.before_hour[hour])
    }

    fn ping_arrival(&self, row: u64) -> i64 {
        let step = self.step_us.unwrap_or(PING_US as f64 / DRIVERS as f64);
        self.start_us + (row as f64 * step) as i64
    }

    /// A zone by demand at that hour, or by where drivers are.
    fn zone(&self, word: u64, time_us: i64, demand: bool) -> usize {
        let hour = time_us.rem_euclid(DAY_US) as f64 / 3.6e9;
        let weight = |(_, share, peak, drivers): &(&str, f64, f64, f64)| {
            if !demand {
                return *drivers;
            }
            let away = (hour - peak).abs().min(24.0 - (hour - peak).abs());
            share * (1.0 + 2.0 * (-away * away / 4.0).exp())
        };
        let weights = ZONES.each_ref().map(weight);
        let mut left = unit(word) * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        ZONES.len() - 1
    }

    /// How busy the city is at that hour, 0 to 1.
    fn load(time_us: i64) -> f64 {
        f64::from(HOURS[(time_us.rem_euclid(DAY_US) / 3_600_000_000) as usize]) / 124.0
    }
}

pub(crate) struct Requests(City);

impl Requests {
    pub(crate) fn new(config: &Config) -> Self {
        Self(City::new(config))
    }

    fn time(&self, row: u64) -> i64 {
        self.0.event_time(TIME, row, self.0.request_arrival(row))
    }
}

impl Rows for Requests {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let city = &self.0;
        let rows = first..first + count as u64;
        let passengers = |row| match city.draw(GROUP, row) % 10 {
            0..=5 => 1,
            6..=7 => 2,
            8 => 3,
            _ => 4,
        };
        let kilometres = |row| {
            let length = 0.8 - 4.5 * (1.0 - unit(city.draw(LENGTH, row))).ln();
            (length.min(60.0) * 100.0).round() / 100.0
        };
        let column = |&column: &usize| -> ArrayRef {
            match column {
                0 => Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64 + 1))),
                1 => {
                    let rider = |row| 1 + (city.draw(PERSON, row) % 50_000) as i64;
                    Arc::new(Int64Array::from_iter_values(rows.clone().map(rider)))
                }
                2 => zones(rows.clone().map(|row| city.zone(city.draw(PLACE, row), self.time(row), true))),
                3 => Arc::new(Int32Array::from_iter_values(rows.clone().map(passengers))),
                4 => Arc::new(Float64Array::from_iter_values(rows.clone().map(kilometres))),
                5 => instants(rows.clone().map(|row| self.time(row))),
                _ => unreachable!("requests have six columns"),
            }
        };
        columns.iter().map(column).collect()
    }
}

pub(crate) struct Drivers(City);

impl Drivers {
    pub(crate) fn new(config: &Config) -> Self {
        Self(City::new(config))
    }

    fn time(&self, row: u64) -> i64 {
        self.0.event_time(TIME + 100, row, self.0.ping_arrival(row))
    }

    /// Drivers stay in a zone for a quarter of an hour.
    fn zone(&self, row: u64) -> usize {
        let (driver, time) = (row % DRIVERS, self.time(row));
        let stay = time.div_euclid(900_000_000) as u64;
        self.0.zone(self.0.draw(MOVE, driver ^ (stay << 16)), time, false)
    }

    fn status(&self, row: u64) -> &'static str {
        let (driver, time) = (row % DRIVERS, self.time(row));
        let spell = time.div_euclid(600_000_000) as u64;
        let busy = unit(self.0.draw(BUSY, driver ^ (spell << 16)));
        if busy < 0.2 + 0.6 * City::load(time) { "busy" } else { "free" }
    }
}

impl Rows for Drivers {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let rows = first..first + count as u64;
        let column = |&column: &usize| -> ArrayRef {
            match column {
                0 => Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| (row % DRIVERS) as i64 + 1))),
                1 => zones(rows.clone().map(|row| self.zone(row))),
                2 => texts(rows.clone().map(|row| self.status(row))),
                3 => instants(rows.clone().map(|row| self.time(row))),
                _ => unreachable!("drivers have four columns"),
            }
        };
        columns.iter().map(column).collect()
    }
}

fn zones(indices: impl Iterator<Item = usize>) -> ArrayRef {
    texts(indices.map(|index| ZONES[index].0))
}

fn texts(values: impl Iterator<Item = &'static str>) -> ArrayRef {
    let mut text = Text::with_capacity(values.size_hint().0, 12);
    values.for_each(|value| text.push(value));
    text.finish()
}

fn instants(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}
