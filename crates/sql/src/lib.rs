//! Meaning of SQL: dialect, catalog, planner from statements to a dataflow plan, ad-hoc queries.

mod bound;

pub use crate::bound::{BoundPipeline, BoundSink, BoundSource, ComputedColumn, EmitPolicy, Settings};
