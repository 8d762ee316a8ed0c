//! Meaning of SQL: dialect, catalog, planner from statements to a dataflow plan, ad-hoc queries.

mod bound;
mod diagnostic;
pub mod dialect;
mod duration;
mod parse;
pub mod statement;
mod suggest;
pub mod types;

pub use crate::{
    bound::{BoundPipeline, BoundSink, BoundSource, ComputedColumn, EmitPolicy, Settings},
    diagnostic::{Diagnostic, Severity, diagnostics_of},
    duration::parse_duration,
    parse::parse_script,
    statement::{Script, Spanned, Statement},
};
