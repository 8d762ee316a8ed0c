//! EXPLAIN: the plan of a pipeline as text, as a graph for Graphviz, and as JSON.
//!
//! Shows what the planner derived and nothing it would have to guess: operators, exchanges and their keys, changelog mode,
//! event time, what state is kept and until when.

mod describe;
mod dot;
mod json;
mod text;

pub use self::{dot::dot, json::json, text::text};
