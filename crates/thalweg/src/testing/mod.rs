//! Pipeline tests: rows with event times in, rows expected out, in process and without a clock.

pub mod diff;
pub mod file;
pub mod find;
pub mod harness;
pub mod registry;
pub mod report;
