//! Pipeline tests: rows with event times in, rows expected out, in process and without a clock.

pub mod diff;
pub mod file;
