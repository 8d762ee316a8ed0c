//! `generator`: rows made up from a seed and a row number, for trying out, demonstrating and measuring.
//!
//! Contract: row `n` of a source is a function of its options and `n` alone, so the rows are the same on every machine,
//! at every parallelism and after every restart. One split, `events`; its position is the number of the next row. A
//! feed only counts; rows are made on the workers, by the decoders, and only the columns that the plan reads.
//! With `rate` rows are handed out by the clock, but what is in them still does not depend on it.

mod config;
mod decode;
mod feed;
mod kind;
mod nexmark;
mod random;
mod rides;
mod schema;
mod sensors;
mod source;
#[cfg(test)]
mod tests;
mod text;

use crate::registry::{Connector, ConnectorInfo, SourceHalf};

pub(crate) const CONNECTOR: Connector =
    Connector { info, source: Some(SourceHalf { open: source::open, check: config::check }), sink: None };

fn info() -> ConnectorInfo {
    ConnectorInfo {
        name: "generator",
        summary: "made-up rows: Nexmark auctions, ride requests and drivers, sensor readings; seeded and repeatable",
        source_options: Some(crate::options::schema_of::<config::GeneratorOptions>()),
        sink_options: None,
        metadata: vec![],
    }
}
