//! What is wrong with a script, where, and what to do about it.
//!
//! All stages (parse, bind, plan, ad-hoc queries) report in this one form, so a user sees all mistakes of a script at
//! once and in one style. Places are lines and columns of the script, counted from 1 in characters.

use datafusion::common::SchemaError;
use datafusion::common::diagnostic::DiagnosticKind;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use crate::suggest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Lower case, no full stop.
    pub message: String,
    /// From 1; 0 if the place is not known.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters to underline, at least 1; what goes over the end of the line is cut.
    pub length: usize,
    /// The next step.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        let (line, column, length) = place(span);
        Self { severity: Severity::Error, message: message.into(), line, column, length, hint: None }
    }

    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn with_hint_if(mut self, hint: Option<String>) -> Self {
        if hint.is_some() {
            self.hint = hint;
        }
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Place and message on the first line, then the line of `source` with the part in question underlined, then the
    /// hint. `source` is the whole text that was parsed; `file` is only printed.
    pub fn render(&self, file: &str, source: &str) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut out = if self.line == 0 {
            format!("{file}: {severity}: {}\n", self.message)
        } else {
            format!("{file}:{}:{}: {severity}: {}\n", self.line, self.column, self.message)
        };
        let gutter = " ".repeat(self.line.to_string().len());
        if let Some(text) = self.line.checked_sub(1).and_then(|index| source.lines().nth(index)) {
            let (excerpt, underline) = self.excerpt(text);
            out.push_str(&format!("{gutter} |\n{} | {excerpt}\n{gutter} | {underline}\n", self.line));
        }
        if let Some(hint) = &self.hint {
            out.push_str(&format!("{gutter} = hint: {hint}\n"));
        }
        out
    }

    /// The part of the line to show and what stands below it.
    fn excerpt(&self, text: &str) -> (String, String) {
        const WIDTH_MAX: usize = 140;
        let characters: Vec<char> = text.chars().collect();
        let start = self.column.saturating_sub(1).min(characters.len());
        let from = if start > WIDTH_MAX - 20 { start - 60 } else { 0 };
        let to = (from + WIDTH_MAX).min(characters.len());
        let length = self.length.clamp(1, to.saturating_sub(start).max(1));
        let lead = if from > 0 { "... " } else { "" };
        let excerpt: String = lead.chars().chain(characters[from..to].iter().copied()).collect();
        let pad = lead
            .chars()
            .map(|_| ' ')
            .chain(characters[from..start].iter().map(|c| if *c == '\t' { '\t' } else { ' ' }));
        let underline = pad.chain(std::iter::repeat_n('^', length)).collect();
        (excerpt.trim_end().to_string(), underline)
    }
}

/// Line, column and length of a span; a span over several lines is underlined to the end of its first line.
fn place(span: Span) -> (usize, usize, usize) {
    let Location { line, column } = span.start;
    let length = match span.end.line == line {
        true => (span.end.column.saturating_sub(column)).max(1) as usize,
        false if line == 0 => 1,
        false => usize::MAX,
    };
    (line as usize, column as usize, length)
}

/// Puts findings in the order of the text and removes repetitions.
pub(crate) fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|found| (found.line, found.column));
    diagnostics.dedup();
    diagnostics
}

/// Turns an error of the query planner into findings. `fallback` is where they point if the planner does not say; usually
/// the query.
pub fn diagnostics_of(error: &DataFusionError, fallback: Span) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    collect(error, fallback, &mut found);
    sorted(found)
}

fn collect(error: &DataFusionError, place: Span, found: &mut Vec<Diagnostic>) {
    match error {
        DataFusionError::Collection(errors) => errors.iter().for_each(|error| collect(error, place, found)),
        DataFusionError::Shared(inner) => collect(inner, place, found),
        DataFusionError::Context(_, inner) => collect(inner, place, found),
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let place = diagnostic.span.map_or(place, span_of);
            let before = found.len();
            collect(inner, place, found);
            for new in &mut found[before..] {
                let help = diagnostic.helps.iter().map(|help| &help.message);
                let note = diagnostic.notes.iter().map(|note| &note.message);
                if new.hint.is_none() {
                    new.hint = help.chain(note).next().map(|text| tidy_hint(text));
                }
                if diagnostic.kind == DiagnosticKind::Warning {
                    new.severity = Severity::Warning;
                }
            }
        }
        DataFusionError::SchemaError(schema_error, _) => found.push(schema_finding(schema_error, place)),
        other => found.push(plain_finding(other, place)),
    }
}

fn span_of(span: datafusion::common::Span) -> Span {
    let location = |from: datafusion::common::Location| Location { line: from.line, column: from.column };
    Span { start: location(span.start), end: location(span.end) }
}

fn schema_finding(error: &SchemaError, place: Span) -> Diagnostic {
    let at = |column: &datafusion::common::Column| column.spans.first().map_or(place, span_of);
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|valid| valid.name.as_str()).collect();
            let hint = suggest::hint(&field.name, names, "columns here");
            Diagnostic::error(at(field), format!("unknown column '{}'", field.flat_name())).with_hint_if(hint)
        }
        SchemaError::AmbiguousReference { field } => {
            Diagnostic::error(at(field), format!("column '{}' could be one of several", field.flat_name()))
                .with_hint("write the table's name or alias in front of it")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Diagnostic::error(place, format!("two columns are named '{name}'")).with_hint("rename one with AS")
        }
    }
}

/// Any other error: its message without the planner's own prefixes, split into message and hint.
fn plain_finding(error: &DataFusionError, place: Span) -> Diagnostic {
    let text = error.strip_backtrace();
    let mut text = text.as_str();
    let prefixes = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Execution error: ",
        "Optimizer rule",
        "External error: ",
        "type_coercion\ncaused by\n",
        "Invalid or Unsupported Configuration: ",
        "SQL error: ",
        "Arrow error: ",
    ];
    while let Some(rest) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    let text = text.split("\nThis issue was likely caused by").next().unwrap_or(text);
    let (message, hint) = match text.split_once('\n') {
        Some((message, rest)) => (message, Some(rest.replace('\n', " "))),
        None => (text, None),
    };
    let message = lower_first(message.trim_end_matches(['.', ' ']));
    let message = tidy(&message);
    let not_supported = matches!(error, DataFusionError::NotImplemented(_)) && !message.contains("support");
    let message = if not_supported { format!("not supported: {message}") } else { message };
    Diagnostic::error(place, message).with_hint_if(hint.map(|hint| lower_first(hint.trim().trim_end_matches('.'))))
}

fn tidy_hint(text: &str) -> String {
    if text.starts_with("Either add '") {
        return "add it to GROUP BY, or choose one value with an aggregate such as max or first_value".to_string();
    }
    lower_first(text)
}

/// Known messages in our own words.
fn tidy(message: &str) -> String {
    if let Some(name) = message.strip_prefix("invalid function ") {
        return format!("unknown function {name}");
    }
    if let Some(name) = message.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found")) {
        let name = name.rsplit('.').next().unwrap_or(name);
        return format!("unknown table '{name}'");
    }
    if let Some((_, rest)) = message.split_once("While expanding wildcard, column \"")
        && let Some((column, _)) = rest.split_once('"')
    {
        let column = column.rsplit('.').next().unwrap_or(column);
        return format!("column '{column}' is neither in GROUP BY nor inside an aggregate function");
    }
    message.to_string()
}

/// Messages start in lower case, unless the first word is a name or an acronym.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_place() {
        let span = Span { start: Location { line: 2, column: 8 }, end: Location { line: 2, column: 14 } };
        let found = Diagnostic::error(span, "unknown column 'orgin'").with_hint("did you mean 'origin'?");
        let source = "-- first\nSELECT\t orgin FROM flights\n";
        let expect = "p.sql:2:8: error: unknown column 'orgin'\n  |\n2 | SELECT\t orgin FROM flights\n  |       \t^^^^^^\n  = hint: did you mean 'origin'?\n";
        assert_eq!(found.render("p.sql", source), expect);
    }

    #[test]
    fn renders_without_a_place_and_over_the_end() {
        let nowhere = Diagnostic::error(Span::empty(), "no statement");
        assert_eq!(nowhere.render("p.sql", ""), "p.sql: error: no statement\n");
        let span = Span { start: Location { line: 1, column: 90 }, end: Location { line: 3, column: 1 } };
        assert!(Diagnostic::error(span, "odd").render("p.sql", "short").contains("p.sql:1:90: error: odd"));
        let long = "x".repeat(400);
        let span = Span { start: Location { line: 1, column: 300 }, end: Location { line: 1, column: 305 } };
        let text = Diagnostic::error(span, "odd").render("p.sql", &long);
        assert!(text.lines().all(|line| line.chars().count() < 160), "{text}");
    }
}
