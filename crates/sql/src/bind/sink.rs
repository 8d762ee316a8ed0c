//! `CREATE SINK` and what is written into it.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Span;
use thalweg_connect::SinkRequest;

use super::source::split_connector;
use super::{Binder, Kind};
use crate::diagnostic::Diagnostic;
use crate::statement::{CreateSink, Insert, Query, Script, Statement};
use crate::{BoundSink, EmitPolicy};

/// Name of the sink that takes the rows of a `SELECT` on its own.
const RESULT: &str = "result";

impl Binder<'_> {
    pub(super) fn bind_sink(&mut self, create: &CreateSink) {
        let Some((connector, options)) = split_connector(&create.options) else {
            self.found.push(
                Diagnostic::error(create.name.span, format!("sink '{}' names no connector", create.name.value))
                    .with_hint("add connector = 'files' (or another) to WITH (...)"),
            );
            return;
        };
        let request = SinkRequest {
            name: create.name.value.clone(),
            connector,
            options,
            working_dir: self.context.working_dir.clone(),
        };
        match self.context.registry.open_sink(&request) {
            Ok(sink) => {
                let name = create.name.value.clone();
                self.pipeline.sinks.push(BoundSink { name, sink, queries: vec![], emit: create.emit });
            }
            Err(errors) => self.option_errors(errors, &create.options, &[], &create.name),
        }
    }

    pub(super) fn bind_sink_query(&mut self, create: &CreateSink) {
        if let Some(query) = &create.query {
            self.check_query(query);
            self.write_into(&create.name.value, query, create.emit);
        }
    }

    pub(super) fn bind_insert(&mut self, insert: &Insert) {
        self.check_query(&insert.query);
        match self.names.get(&insert.sink.value) {
            Some(declared) if declared.kind == Kind::Sink => {
                self.write_into(&insert.sink.value, &insert.query, insert.emit);
            }
            _ => {
                let finding = self.unknown(Kind::Sink, &insert.sink.value, insert.sink.span);
                self.found.push(finding);
            }
        }
    }

    pub(super) fn bind_query(&mut self, query: &Query, span: Span) {
        let Some(sink) = self.context.query_sink.clone() else {
            self.found.push(
                Diagnostic::error(span, "a SELECT on its own writes nowhere in a pipeline")
                    .with_hint("write CREATE SINK name WITH (...) AS SELECT ... or INSERT INTO sink SELECT ..."),
            );
            return;
        };
        self.check_query(&query.query);
        let taken = self.sink_mut(RESULT).is_some();
        let name = if taken { format!("{RESULT}_{}", self.pipeline.sinks.len()) } else { RESULT.to_string() };
        self.pipeline.sinks.push(BoundSink { name, sink, queries: vec![query.query.clone()], emit: query.emit });
    }

    /// Does nothing if the sink could not be opened, which was reported then.
    fn write_into(&mut self, sink: &str, query: &ast::Query, emit: EmitPolicy) {
        if let Some(sink) = self.sink_mut(sink) {
            sink.queries.push(query.clone());
            if emit != EmitPolicy::Default {
                sink.emit = emit;
            }
        }
    }

    /// Every sink takes something, and there is at least one.
    pub(super) fn check_sinks(&mut self, script: &Script) {
        for sink in &self.pipeline.sinks {
            if sink.queries.is_empty() && !self.dead_letter_sinks.contains(&sink.name) {
                let span = self.names.get(&sink.name).map_or(Span::empty(), |declared| declared.span);
                self.found.push(
                    Diagnostic::error(span, format!("nothing is written into sink '{}'", sink.name))
                        .with_hint("add AS SELECT ..., or INSERT INTO it, or name it as dlq of a source"),
                );
            }
        }
        let writes = |statement: &Statement| {
            matches!(statement, Statement::CreateSink(_) | Statement::Insert(_) | Statement::Query(_))
        };
        if !script.statements.iter().any(|statement| writes(&statement.node)) {
            let span = script.statements.last().map_or(Span::empty(), |statement| statement.span);
            let start = Span { start: span.start, end: span.start };
            self.found.push(
                Diagnostic::error(start, "the script has no sink, so there is nothing to run")
                    .with_hint("add CREATE SINK name WITH (connector = 'stdout') AS SELECT ..."),
            );
        }
    }
}
