//! Options of the generator.

use chrono::DateTime;
use schemars::JsonSchema;
use serde::Deserialize;

use super::kind::EventKind;
use crate::options::{error, number, parse, suggestion};
use crate::registry::{OptionError, SourceRequest};

/// Options of the `generator` source.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GeneratorOptions {
    /// The world that events come from.
    #[schemars(extend("x-required" = true))]
    events: Option<World>,
    /// Which of its events: for nexmark `bid`, `auction`, `person` or `all` (default `all`); for rides `requests` or
    /// `drivers` (default `requests`); for sensors `readings`.
    r#type: Option<String>,
    /// Another seed gives other values of the same shape; for nexmark 0 gives the values of the `nexmark` crate.
    #[serde(deserialize_with = "number")]
    #[schemars(extend("default" = 0))]
    seed: Option<u64>,
    /// Ends after so many rows. Absent: never.
    #[serde(deserialize_with = "number")]
    rows: Option<u64>,
    /// Rows per second; event time then advances by 1/rate per row. Absent: as fast as possible, with the event times of
    /// the world itself.
    #[serde(deserialize_with = "number")]
    rate: Option<u64>,
    /// Event time of the first row.
    #[schemars(extend("default" = "2024-01-01T07:55:00Z"))]
    start_time: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum World {
    /// Persons, auctions and bids of the Nexmark benchmark.
    Nexmark,
    /// Ride requests and driver pings in the zones of a city.
    Rides,
    /// Readings of temperature, humidity and battery.
    Sensors,
}

/// 2024-01-01T07:55:00Z in milliseconds: on a boundary of 10 s and 100 s windows.
pub(crate) const START_MS: i64 = 1_704_095_700_000;

/// Options, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) kind: EventKind,
    pub(crate) seed: u64,
    pub(crate) rows: Option<u64>,
    pub(crate) rate: Option<u64>,
    pub(crate) start_ms: i64,
}

impl World {
    fn kinds(self) -> &'static [EventKind] {
        match self {
            Self::Nexmark => &[EventKind::NexmarkAll, EventKind::Bid, EventKind::Auction, EventKind::Person],
            Self::Rides => &[EventKind::RideRequests, EventKind::DriverPings],
            Self::Sensors => &[EventKind::SensorReadings],
        }
    }
}

pub(crate) fn check(request: &SourceRequest) -> Vec<OptionError> {
    match resolve(request) {
        Ok(config) => super::schema::bind(config.kind, request.columns.as_ref()).err().unwrap_or_default(),
        Err(errors) => errors,
    }
}

/// Typed options, or all that is wrong with them.
pub(crate) fn resolve(request: &SourceRequest) -> Result<Config, Vec<OptionError>> {
    let options: GeneratorOptions = parse("the generator source", &request.options)?;
    let Some(world) = options.events else { return Err(vec![error("events", "missing", "add it")]) };
    let mut errors = Vec::new();
    let kinds = world.kinds();
    let kind = match &options.r#type {
        None => kinds[0],
        Some(name) => kinds.iter().copied().find(|kind| kind.name() == name.to_lowercase()).unwrap_or_else(|| {
            let hint = suggestion(name, kinds.iter().map(|kind| kind.name()));
            errors.push(error("type", format!("option 'type' cannot be '{name}' here"), hint));
            kinds[0]
        }),
    };
    if options.rate == Some(0) {
        errors.push(error("rate", "option 'rate' cannot be 0", "leave it out to go as fast as possible"));
    }
    let start_ms = match &options.start_time {
        None => START_MS,
        Some(text) => DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).unwrap_or_else(|_| {
            let message = format!("option 'start_time': '{text}' is not a time");
            errors.push(error("start_time", message, "write e.g. '2024-01-01T07:55:00Z'"));
            START_MS
        }),
    };
    if start_ms < 0 {
        errors.push(error("start_time", "option 'start_time' lies before 1970", "choose a later time"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Config { kind, seed: options.seed.unwrap_or(0), rows: options.rows, rate: options.rate, start_ms })
}
