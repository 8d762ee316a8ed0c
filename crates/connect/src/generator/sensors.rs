//! A hundred sensors at ten sites, each measured every ten seconds, with outages.
//!
//! A sensor is out for a whole hour now and then; its turns are then taken by the next sensor that is not, so rows stay
//! countable and gaps show per sensor. Event time lies up to 5 s before the order of arrival.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, TimestampMicrosecondArray};
use arrow::datatypes::Field;

use super::config::Config;
use super::kind::{Rows, double, instant, text};
use super::random::{mix, unit};
use super::text::Text;

const SENSORS: u64 = 100;
const SITES: [&str; 10] =
    ["barn", "cellar", "cold store", "greenhouse", "hall", "laboratory", "loft", "office", "roof", "workshop"];
const ROUND_US: i64 = 10_000_000;
const DISORDER_US: u64 = 5_000_000;
const HOUR_US: i64 = 3_600_000_000;

const TIME: u64 = 1;
const OUTAGE: u64 = 2;
const NOISE: u64 = 3;
const DAMP: u64 = 4;

pub(crate) fn fields() -> Vec<Field> {
    vec![
        text("sensor_id"),
        text("site"),
        double("temperature"),
        double("humidity"),
        double("battery"),
        instant("measured_at"),
    ]
}

pub(crate) struct Readings {
    seed: u64,
    start_us: i64,
    step_us: f64,
}

impl Readings {
    pub(crate) fn new(config: &Config) -> Self {
        let step_us = config.rate.map_or(ROUND_US as f64 / SENSORS as f64, |rate| 1e6 / rate as f64);
        Self { seed: config.seed, start_us: config.start_ms * 1000, step_us }
    }

    fn draw(&self, stream: u64, number: u64) -> u64 {
        mix(self.seed.wrapping_mul(37).wrapping_add(stream), number)
    }

    fn time(&self, row: u64) -> i64 {
        let arrival = self.start_us + (row as f64 * self.step_us) as i64;
        (arrival - (self.draw(TIME, row) % DISORDER_US) as i64).max(self.start_us)
    }

    /// One hour in twenty a sensor is out.
    fn is_out(&self, sensor: u64, time_us: i64) -> bool {
        let hour = time_us.div_euclid(HOUR_US) as u64;
        self.draw(OUTAGE, sensor ^ (hour << 16)).is_multiple_of(20)
    }

    fn sensor(&self, row: u64) -> u64 {
        let (turn, time) = (row % SENSORS, self.time(row));
        let candidates = (0..SENSORS).map(|step| (turn + step) % SENSORS);
        candidates.clone().find(|&sensor| !self.is_out(sensor, time)).unwrap_or(turn)
    }

    fn temperature(&self, row: u64) -> f64 {
        let site = (self.sensor(row) % SITES.len() as u64) as f64;
        let day = self.time(row) as f64 / (24.0 * HOUR_US as f64) * std::f64::consts::TAU;
        let value = 6.0 + 2.1 * site - 4.0 * day.cos() + 1.2 * (unit(self.draw(NOISE, row)) - 0.5);
        (value * 100.0).round() / 100.0
    }

    fn humidity(&self, row: u64) -> f64 {
        let site = (self.sensor(row) % SITES.len() as u64) as f64;
        let value = 40.0 + 3.5 * site + 10.0 * (unit(self.draw(DAMP, row)) - 0.5);
        (value * 10.0).round() / 10.0
    }

    /// From 4.2 V downwards, a full charge lasts thirty days.
    fn battery(&self, row: u64) -> f64 {
        let used = self.time(row).rem_euclid(30 * 24 * HOUR_US) as f64 / (30.0 * 24.0 * HOUR_US as f64);
        ((4.2 - 1.1 * used) * 1000.0).round() / 1000.0
    }
}

impl Rows for Readings {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let rows = first..first + count as u64;
        let doubles = |value: &dyn Fn(u64) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(rows.clone().map(value)))
        };
        let column = |&column: &usize| -> ArrayRef {
            match column {
                0 => {
                    let mut text = Text::with_capacity(count, 10);
                    for row in rows.clone() {
                        write!(text.bytes, "sensor-{:03}", self.sensor(row)).expect("writing to memory");
                        text.end_value();
                    }
                    text.finish()
                }
                1 => {
                    let mut text = Text::with_capacity(count, 10);
                    rows.clone().for_each(|row| text.push(SITES[(self.sensor(row) % SITES.len() as u64) as usize]));
                    text.finish()
                }
                2 => doubles(&|row| self.temperature(row)),
                3 => doubles(&|row| self.humidity(row)),
                4 => doubles(&|row| self.battery(row)),
                5 => {
                    let times = rows.clone().map(|row| self.time(row));
                    Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
                }
                _ => unreachable!("readings have six columns"),
            }
        };
        columns.iter().map(column).collect()
    }
}
