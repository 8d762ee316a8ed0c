//! All functions that queries may call, in one place for pipelines and ad-hoc queries.
//!
//! DataFusion's scalar, aggregate and window functions, JSON functions with the operators `->`, `->>` and `?`, and
//! Flink's names for things that DataFusion spells differently or does not have.

mod calendar;
mod flink_time;
mod pattern;
mod strings;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::types::CastTypes;

/// A planner state with every function, operator and type of the dialect.
pub fn session_state() -> Result<SessionState> {
    session_state_with(SessionConfig::new())
}

/// The same on top of a configuration; settings that give the dialect its meaning win over those of `config`.
pub fn session_state_with(mut config: SessionConfig) -> Result<SessionState> {
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    options.execution.time_zone = Some("UTC".to_string());
    let builder = SessionStateBuilder::new().with_config(config).with_default_features();
    let mut state = builder.with_type_planner(Arc::new(CastTypes)).build();
    datafusion_functions_json::register_all(&mut state)?;
    for function in own_functions() {
        state.register_udf(Arc::new(function))?;
    }
    Ok(state)
}

/// The functions written here.
fn own_functions() -> Vec<ScalarUDF> {
    let mut functions = vec![
        ScalarUDF::new_from_impl(flink_time::DateFormat::default()),
        ScalarUDF::new_from_impl(flink_time::ToTimestampLtz::default()),
        ScalarUDF::new_from_impl(strings::SplitIndex::default()),
        ScalarUDF::new_from_impl(strings::CountChar::default()),
        ScalarUDF::new_from_impl(strings::RegexpExtract::default()),
    ];
    functions.extend(calendar::FIELDS.map(|field| ScalarUDF::new_from_impl(calendar::CalendarField::new(field))));
    functions
}

/// A context for queries that run to their end.
pub fn query_session() -> Result<SessionContext> {
    Ok(SessionContext::new_with_state(session_state()?))
}

#[cfg(test)]
mod tests;
