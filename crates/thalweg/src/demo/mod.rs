//! Demonstrations: pipelines whose input is made up or embedded, slowed down to what an eye can follow.
//!
//! The rows go through the real planner and engine; only when they come is decided here.

use std::sync::{Arc, OnceLock};

use clap::ValueEnum;
use thalweg_connect::{OptionError, SinkRequest, SourceRequest};
use thalweg_engine::{Sink, Source};
use thalweg_sql::{ConnectorRegistry, Connectors};

use crate::feeds::paced::PacedSource;
use crate::feeds::scripted::{ScriptedSource, TextFormat};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Three months of US flights: delays of each airport over seven days.
    Flights,
    /// Dynamic pricing in a city: demand and supply per zone over five minutes.
    Rides,
    /// A hundred sensors at ten sites.
    Sensors,
    /// An auction house's bids per sales channel.
    Nexmark,
}

/// What makes a demonstration.
pub struct Demo {
    pub name: Name,
    pub title: &'static str,
    pub sql: &'static str,
    /// The live table has one line per value of these.
    pub keys: &'static [&'static str],
    /// Largest first.
    pub sort: &'static str,
    /// Rows per second of all sources together.
    pub rate: u32,
}

pub const DEMOS: [Demo; 4] = [
    Demo {
        name: Name::Flights,
        title: "US flights of 2001, replayed: each airport's last seven days, every twelve hours",
        sql: include_str!("scenes/flights.sql"),
        keys: &["origin"],
        sort: "flights",
        rate: 500,
    },
    Demo {
        name: Name::Rides,
        title: "rides in a city: requests against free drivers of the last five minutes, every minute",
        sql: include_str!("scenes/rides.sql"),
        keys: &["zone"],
        sort: "surge",
        rate: 4_000,
    },
    Demo {
        name: Name::Sensors,
        title: "a hundred sensors: each site's last ten minutes, every minute",
        sql: include_str!("scenes/sensors.sql"),
        keys: &["site"],
        sort: "hottest",
        rate: 2_000,
    },
    Demo {
        name: Name::Nexmark,
        title: "an auction house: bids of each sales channel in the last ten seconds, every second",
        sql: include_str!("scenes/nexmark.sql"),
        keys: &["channel"],
        sort: "bids",
        rate: 20_000,
    },
];

pub fn demo(name: Name) -> &'static Demo {
    DEMOS.iter().find(|demo| demo.name == name).expect("every name has a demonstration")
}

const FLIGHTS: &str = include_str!("../../../../examples/flights/flights.ndjson");

/// Puts a pace on every source, and the embedded flights in the place of their file.
#[derive(Debug)]
pub struct DemoRegistry {
    rows_per_second: f64,
    flights: OnceLock<ScriptedSource>,
}

impl DemoRegistry {
    pub fn new(rows_per_second: f64) -> Self {
        Self { rows_per_second, flights: OnceLock::new() }
    }

    /// Share of the pace: in the city, drivers say where they are more often than riders ask.
    fn share(source: &str) -> f64 {
        match source {
            "requests" => 200_000.0 / 1_352_000.0,
            "drivers" => 1_152_000.0 / 1_352_000.0,
            _ => 1.0,
        }
    }
}

/// Rows that are handed out at once.
const FLIGHTS_AT_ONCE: usize = 20;

impl ConnectorRegistry for DemoRegistry {
    fn open_source(&self, request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
        let mut pace = self.rows_per_second * Self::share(&request.name);
        let inner: Arc<dyn Source> = match (&request.columns, request.connector.as_str()) {
            (Some(columns), "files") => {
                pace /= FLIGHTS_AT_ONCE as f64;
                let source = self.flights.get_or_init(|| {
                    let source = ScriptedSource::new(&request.name, columns.clone());
                    for lines in FLIGHTS.split_inclusive('\n').collect::<Vec<_>>().chunks(FLIGHTS_AT_ONCE) {
                        source.push_text(lines.concat(), TextFormat::Ndjson);
                    }
                    source.end();
                    source
                });
                Arc::new(source.clone())
            }
            _ => Connectors.open_source(request)?,
        };
        Ok(Arc::new(PacedSource::new(inner, pace)))
    }

    fn check_source(&self, request: &SourceRequest) -> Vec<OptionError> {
        Connectors.check_source(request)
    }

    fn open_sink(&self, request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
        Connectors.open_sink(request)
    }
}
