//! Random tests of the formats: decoders against plain references, encoders against decoders.
//!
//! `PROPTEST_CASES` sets how many cases each test tries, for long runs.

mod csv;
mod json;
mod round_trip;
mod schemas;

use proptest::test_runner::Config;

/// `usual` cases, unless the environment says how many.
fn cases(usual: u32) -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { usual };
    Config { cases, failure_persistence: None, ..Config::default() }
}
