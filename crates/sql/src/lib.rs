//! Meaning of SQL: dialect, catalog, planner from statements to a dataflow plan, ad-hoc queries.

mod adhoc;
mod bind;
mod bound;
mod diagnostic;
pub mod dialect;
mod duration;
pub mod explain;
pub mod functions;
mod parse;
mod plan;
mod registry;
pub mod statement;
mod suggest;
#[cfg(test)]
mod testing;
pub mod types;
mod validate;

pub use crate::{
    adhoc::{QueryResult, QuerySession, query_batch, query_error},
    bind::{BindContext, bind, bind_with_warnings},
    bound::{BoundPipeline, BoundSink, BoundSource, ComputedColumn, EmitPolicy, Settings},
    diagnostic::{Diagnostic, Severity, diagnostics_of},
    duration::parse_duration,
    functions::query_session,
    parse::parse_script,
    plan::{NodeNote, PlannedPipeline, StateNote, plan_pipeline, plan_query},
    registry::{ConnectorRegistry, Connectors},
    statement::{Script, Spanned, Statement},
    validate::validate,
};
