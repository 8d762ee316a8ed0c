//! `CREATE SINK` and what is written into it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Span;
use thalweg_connect::SinkRequest;
use thalweg_engine::{EngineError, Sink, SinkCommitter, SinkContext, SinkWriter};

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
            self.add_unopened_sink(create);
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
            Err(errors) => {
                self.option_errors(errors, &create.options, &[], &create.name);
                self.add_unopened_sink(create);
            }
        }
    }

    /// Keeps the place of a sink that could not be opened, so that its queries are checked nevertheless.
    fn add_unopened_sink(&mut self, create: &CreateSink) {
        let sink = Arc::new(Unopened(create.name.value.clone()));
        self.pipeline.sinks.push(BoundSink {
            name: create.name.value.clone(),
            sink,
            queries: vec![],
            emit: create.emit,
        });
    }

    pub(super) fn bind_sink_query(&mut self, create: &CreateSink) {
        if let Some(query) = &create.query {
            self.written.insert(create.name.value.clone());
            if self.check_query(query) {
                self.write_into(&create.name.value, query, create.emit);
            }
        }
    }

    pub(super) fn bind_insert(&mut self, insert: &Insert) {
        let is_sound = self.check_query(&insert.query);
        self.written.insert(insert.sink.value.clone());
        match self.names.get(&insert.sink.value) {
            Some(declared) if declared.kind == Kind::Sink => {
                if is_sound {
                    self.write_into(&insert.sink.value, &insert.query, insert.emit);
                }
            }
            None if self.incomplete => {}
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
        if !self.check_query(&query.query) {
            return;
        }
        let taken = self.sink_mut(RESULT).is_some();
        let name = if taken { format!("{RESULT}_{}", self.pipeline.sinks.len()) } else { RESULT.to_string() };
        self.written.insert(name.clone());
        self.pipeline.sinks.push(BoundSink { name, sink, queries: vec![query.query.clone()], emit: query.emit });
    }

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
            if !self.written.contains(&sink.name) && !self.dead_letter_sinks.contains(&sink.name) {
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
        if !self.incomplete && !script.statements.iter().any(|statement| writes(&statement.node)) {
            let span = script.statements.last().map_or(Span::empty(), |statement| statement.span);
            let start = Span { start: span.start, end: span.start };
            self.found.push(
                Diagnostic::error(start, "the script has no sink, so there is nothing to run")
                    .with_hint("add CREATE SINK name WITH (connector = 'stdout') AS SELECT ..."),
            );
        }
    }
}

/// A sink with wrong options: takes any rows while planning, never runs.
#[derive(Debug)]
struct Unopened(String);

impl Unopened {
    fn bug(&self) -> EngineError {
        EngineError::bug(format!("sink {} could not be opened and cannot be written", self.0))
    }
}

impl Sink for Unopened {
    fn describe(&self) -> String {
        "not opened".to_string()
    }

    fn accept(&self, _: &SchemaRef) -> Result<(), EngineError> {
        Ok(())
    }

    fn writer(&self, _: SinkContext, _: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        Err(self.bug())
    }

    fn committer(&self, _: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Err(self.bug())
    }

    fn is_exactly_once(&self) -> bool {
        true
    }
}
