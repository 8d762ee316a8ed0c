//! Operators against a naive model: random rows, splits, barriers, crashes and numbers of workers.

mod counts;
mod harness;
pub(super) mod model;
mod sessions;
mod stateless;
mod windows;
