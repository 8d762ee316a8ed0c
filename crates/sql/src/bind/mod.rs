//! A parsed script to a [`BoundPipeline`]: every name resolved, every option checked, every connector built.
//!
//! All findings of a script are collected; a part with an error is left out and what depends on it is not blamed again.
//! Not here: types and plans of queries (`plan`), which need the whole pipeline.

mod query;
mod relations;
mod settings;
mod sink;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::tokenizer::Span;
use thalweg_connect::OptionError;
use thalweg_engine::Sink;

use crate::diagnostic::{Diagnostic, sorted};
use crate::registry::ConnectorRegistry;
use crate::statement::{ColumnDefinition, Name, OptionEntry, Script, Statement};
use crate::{BoundPipeline, BoundSink, BoundSource, Settings, suggest};
pub(crate) use relations::relations_of;

/// What a script is bound in.
pub struct BindContext<'a> {
    /// Of the pipeline.
    pub name: String,
    /// Relative paths resolve against this folder.
    pub working_dir: PathBuf,
    pub registry: &'a dyn ConnectorRegistry,
    /// Check only: sources with declared columns are not opened, and their `Source` cannot be read. Sources without
    /// declared columns are still looked at, for nothing could be checked without their columns.
    pub offline: bool,
    /// Takes the rows of a `SELECT` on its own. Without it such a statement is an error in a pipeline.
    pub query_sink: Option<Arc<dyn Sink>>,
}

impl<'a> BindContext<'a> {
    pub fn new(name: impl Into<String>, working_dir: impl Into<PathBuf>, registry: &'a dyn ConnectorRegistry) -> Self {
        Self { name: name.into(), working_dir: working_dir.into(), registry, offline: false, query_sink: None }
    }
}

/// Binds a script that shall run. Errors come with the warnings; on success warnings are dropped, see
/// [`bind_with_warnings`].
pub fn bind(script: &Script, context: &BindContext) -> Result<BoundPipeline, Vec<Diagnostic>> {
    bind_with_warnings(script, context).map(|(pipeline, _)| pipeline)
}

/// Binds a script that shall run, and says what looks odd in it.
pub fn bind_with_warnings(
    script: &Script,
    context: &BindContext,
) -> Result<(BoundPipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut binder = Binder::new(context)?;
    binder.bind_all(script);
    binder.finish()
}

/// Binds what can be bound: the sound part of the script, and all findings. `incomplete` says that statements are missing
/// because they could not be parsed; names that are not declared are not blamed then.
pub(crate) fn bind_sound(
    script: &Script,
    context: &BindContext,
    incomplete: bool,
) -> Result<(BoundPipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut binder = Binder::new(context)?;
    binder.incomplete = incomplete;
    binder.bind_all(script);
    Ok(binder.finish_sound())
}

/// Binds the sources of a script and nothing else, for a session whose queries are planned one by one.
pub(crate) fn bind_sources(
    script: &Script,
    context: &BindContext,
) -> Result<BTreeMap<String, BoundSource>, Vec<Diagnostic>> {
    let mut binder = Binder::new(context)?;
    let skipped = binder.declare_all(script);
    for (index, statement) in script.statements.iter().enumerate() {
        if let (Statement::CreateSource(create), false) = (&statement.node, skipped.contains(&index)) {
            binder.bind_source(create);
        }
    }
    binder.finish().map(|(pipeline, _)| pipeline.sources)
}

/// What a name of the script stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Source,
    View,
    Sink,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::View => "view",
            Self::Sink => "sink",
        }
    }
}

struct Declared {
    kind: Kind,
    span: Span,
    read: bool,
}

struct Binder<'a> {
    context: &'a BindContext<'a>,
    state: SessionState,
    found: Vec<Diagnostic>,
    /// Every declared name, also of declarations that failed.
    names: BTreeMap<String, Declared>,
    /// Views bound so far: a view reads only what stands above it.
    views_so_far: BTreeSet<String>,
    /// Sinks named by `dlq`.
    dead_letter_sinks: BTreeSet<String>,
    /// Sinks that a statement writes into, also one that failed.
    written: BTreeSet<String>,
    incomplete: bool,
    pipeline: BoundPipeline,
}

impl<'a> Binder<'a> {
    fn new(context: &'a BindContext<'a>) -> Result<Self, Vec<Diagnostic>> {
        let state = crate::functions::session_state().map_err(|error| crate::diagnostics_of(&error, Span::empty()))?;
        Ok(Self {
            context,
            state,
            found: Vec::new(),
            names: BTreeMap::new(),
            views_so_far: BTreeSet::new(),
            dead_letter_sinks: BTreeSet::new(),
            written: BTreeSet::new(),
            incomplete: false,
            pipeline: BoundPipeline {
                name: context.name.clone(),
                sources: BTreeMap::new(),
                views: Vec::new(),
                sinks: Vec::new(),
                settings: Settings::default(),
            },
        })
    }

    fn bind_all(&mut self, script: &Script) {
        self.bind_script(script);
        self.check_sinks(script);
        self.warn_unread();
    }

    fn bind_script(&mut self, script: &Script) {
        let skipped = self.declare_all(script);
        let kept = || {
            let statements = script.statements.iter().enumerate();
            statements.filter(|(index, _)| !skipped.contains(index)).map(|(_, statement)| statement)
        };
        for statement in kept() {
            match &statement.node {
                Statement::CreateSource(create) => self.bind_source(create),
                Statement::CreateSink(create) => self.bind_sink(create),
                Statement::Set(set) => self.bind_setting(set),
                _ => {}
            }
        }
        // Queries may read every view, also those that stand below.
        for statement in kept() {
            if let Statement::CreateView(create) = &statement.node {
                self.bind_view(create);
            }
        }
        for statement in kept() {
            match &statement.node {
                Statement::CreateSink(create) => self.bind_sink_query(create),
                Statement::Insert(insert) => self.bind_insert(insert),
                Statement::Query(query) => self.bind_query(query, statement.span),
                Statement::Explain(_) => self.found.push(
                    Diagnostic::error(statement.span, "EXPLAIN is not part of a pipeline")
                        .with_hint("run `thalweg explain` on the script"),
                ),
                Statement::CreateSource(_) | Statement::CreateView(_) | Statement::Set(_) => {}
            }
        }
    }

    /// Enters every name; returns the statements that stand behind an earlier one of the same name.
    fn declare_all(&mut self, script: &Script) -> BTreeSet<usize> {
        let mut skipped = BTreeSet::new();
        for (index, statement) in script.statements.iter().enumerate() {
            let (name, kind, tolerant) = match &statement.node {
                Statement::CreateSource(create) => (&create.name, Kind::Source, create.if_not_exists),
                Statement::CreateView(create) => (&create.name, Kind::View, create.if_not_exists || create.or_replace),
                Statement::CreateSink(create) => (&create.name, Kind::Sink, create.if_not_exists),
                _ => continue,
            };
            let replaces = matches!(&statement.node, Statement::CreateView(create) if create.or_replace);
            match self.names.get(&name.value) {
                Some(earlier) if tolerant && earlier.kind == kind => {
                    if !replaces {
                        skipped.insert(index);
                    }
                }
                Some(earlier) => {
                    let message = format!("'{}' is already the name of a {}", name.value, earlier.kind.word());
                    let hint = format!("it is declared on line {}; choose another name", earlier.span.start.line);
                    self.found.push(Diagnostic::error(name.span, message).with_hint(hint));
                    skipped.insert(index);
                }
                None => self.declare(name, kind),
            }
        }
        skipped
    }

    fn declare(&mut self, name: &Name, kind: Kind) {
        if name.value.starts_with("__") || name.value.is_empty() {
            let message = format!("'{}' cannot be the name of a {}", name.value, kind.word());
            let hint = "names that begin with two underscores are the engine's own";
            self.found.push(Diagnostic::error(name.span, message).with_hint(hint));
        }
        self.names.insert(name.value.clone(), Declared { kind, span: name.span, read: false });
    }

    /// A connector's complaints, at the options they are about.
    fn option_errors(
        &mut self,
        errors: Vec<OptionError>,
        options: &[OptionEntry],
        columns: &[ColumnDefinition],
        fallback: &Name,
    ) {
        if errors.is_empty() {
            self.found.push(Diagnostic::error(fallback.span, format!("'{}' cannot be opened", fallback.value)));
        }
        for error in errors {
            let option = error.key.as_ref().and_then(|key| options.iter().find(|option| option.key.value == *key));
            // Complaints about columns have no key, but begin with the column.
            let about = error.message.strip_prefix("column ").and_then(|rest| rest.split_once([':', ' ']));
            let column = about.and_then(|(name, _)| columns.iter().find(|column| column.name.value == name));
            let place = option.map(|option| option.key.span).or(column.map(|column| column.name.span));
            let span = place.unwrap_or(fallback.span);
            self.found.push(Diagnostic::error(span, error.message).with_hint_if(error.hint));
        }
    }

    fn names_of(&self, kinds: &[Kind]) -> Vec<&str> {
        let of_kind = self.names.iter().filter(|(_, declared)| kinds.contains(&declared.kind));
        of_kind.map(|(name, _)| name.as_str()).collect()
    }

    /// "unknown sink 'x'", with what is near.
    fn unknown(&self, kind: Kind, name: &str, span: Span) -> Diagnostic {
        let known = self.names_of(&[kind]);
        let hint = match self.names.get(name) {
            Some(other) => Some(format!("'{name}' is a {}", other.kind.word())),
            None => suggest::hint(name, known.iter().copied(), &format!("{}s of this script", kind.word())),
        };
        Diagnostic::error(span, format!("unknown {} '{name}'", kind.word())).with_hint_if(hint)
    }

    /// Only for scripts without errors: in others it would often be their consequence.
    fn warn_unread(&mut self) {
        if self.found.iter().any(Diagnostic::is_error) {
            return;
        }
        for (name, declared) in &self.names {
            if !declared.read && declared.kind != Kind::Sink {
                let message = format!("{} '{name}' is never read", declared.kind.word());
                self.found.push(Diagnostic::warning(declared.span, message));
            }
        }
    }

    fn finish(self) -> Result<(BoundPipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (pipeline, found) = self.finish_sound();
        if found.iter().any(Diagnostic::is_error) { Err(found) } else { Ok((pipeline, found)) }
    }

    fn finish_sound(mut self) -> (BoundPipeline, Vec<Diagnostic>) {
        self.pipeline.sinks.retain(|sink| !sink.queries.is_empty() || self.dead_letter_sinks.contains(&sink.name));
        (self.pipeline, sorted(self.found))
    }

    fn sink_mut(&mut self, name: &str) -> Option<&mut BoundSink> {
        self.pipeline.sinks.iter_mut().find(|sink| sink.name == name)
    }

    fn add_source(&mut self, source: BoundSource) {
        self.pipeline.sources.insert(source.name.clone(), source);
    }
}

#[cfg(test)]
mod tests;
