//! All operators but sources, sinks and exchanges: stateless ones, window aggregation, sessions, count windows.
//!
//! Aggregations run in two halves. The local one shrinks rows to partial states and decides which rows are late; the
//! global one, behind the exchange by key, merges partial states and holds them until their window closes. State is
//! always *mergeable partials*: a checkpoint writes only what is new, and restoring is adding up all that was written.
//! Operators know no clock and no thread; the same calls in the same order give the same output.

mod aggregates;
mod assign;
mod blocks;
mod count_window;
mod fragments;
mod global_session;
mod global_window;
mod grid;
mod groups;
mod keys;
mod layout;
mod limits;
mod local_session;
mod local_window;
mod open_sessions;
mod panes;
mod stateless;
mod times;
mod unsaved;

#[cfg(test)]
mod tests;

use arrow::datatypes::SchemaRef;

use self::{
    assign::WindowAssign,
    count_window::CountWindow,
    global_session::GlobalSession,
    global_window::GlobalWindowAggregate,
    local_session::LocalSession,
    local_window::LocalWindowAggregate,
    stateless::{Filter, Project, Union},
};
use crate::{EngineError, Operator, OperatorContext, OperatorSpec, WindowStage};

/// Makes one worker's instance of an operator.
///
/// `schema` is the node's output schema, `input_schemas` those of its inputs in order of ports. Sources, sinks and dead
/// letters are the runtime's own and refused here.
///
/// # Errors
/// `FixRequest` for windows that cannot be computed (sizes, types of the time column), `Bug` if schema and spec disagree.
pub fn build_operator(
    spec: &OperatorSpec,
    schema: SchemaRef,
    input_schemas: &[SchemaRef],
    context: &OperatorContext,
) -> Result<Box<dyn Operator>, EngineError> {
    Ok(match spec {
        OperatorSpec::Project(exprs) => Box::new(Project::new(schema, exprs)?),
        OperatorSpec::Filter(predicate) => Box::new(Filter::new(schema, predicate.clone())),
        OperatorSpec::Union => Box::new(Union::new(schema)),
        OperatorSpec::WindowAssign(assign) => {
            let input = input_schemas.first().ok_or_else(|| EngineError::bug("a window assignment has one input"))?;
            Box::new(WindowAssign::new(assign, schema, input)?)
        }
        OperatorSpec::WindowAggregate(window) => match window.stage {
            WindowStage::Local => Box::new(LocalWindowAggregate::new(window, schema, context)?),
            WindowStage::Global => Box::new(GlobalWindowAggregate::new(window, schema, context)?),
        },
        OperatorSpec::Session(session) => match session.stage {
            WindowStage::Local => Box::new(LocalSession::new(session, schema, context)?),
            WindowStage::Global => Box::new(GlobalSession::new(session, schema, context)?),
        },
        OperatorSpec::CountWindow(count) => Box::new(CountWindow::new(count, schema, context)?),
        OperatorSpec::Source(_) | OperatorSpec::DeadLetters | OperatorSpec::Sink(_) => {
            return Err(EngineError::bug("sources, dead letters and sinks are built by the runtime"));
        }
    })
}
