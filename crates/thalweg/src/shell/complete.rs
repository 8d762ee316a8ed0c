//! Completion of SQL in the shell: keywords, and the names that are known now.

use std::sync::{Arc, RwLock};

use reedline::{Completer, CompletionResult, Span, Suggestion};

/// Names that come and go with declarations, shared with the shell.
pub type SharedNames = Arc<RwLock<Names>>;

#[derive(Debug, Default, Clone)]
pub struct Names {
    pub tables: Vec<String>,
    pub columns: Vec<String>,
    pub functions: Vec<String>,
}

pub const KEYWORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "DISTINCT",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS NULL",
    "IS NOT NULL",
    "BETWEEN",
    "LIKE",
    "ILIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "USING",
    "UNION ALL",
    "WITH",
    "VALUES",
    "INSERT INTO",
    "SET",
    "EXPLAIN",
    "CREATE SOURCE",
    "CREATE SINK",
    "CREATE VIEW",
    "CREATE MATERIALIZED VIEW",
    "WATERMARK FOR",
    "METADATA FROM",
    "GENERATED ALWAYS AS",
    "STORED",
    "TUMBLE",
    "HOP",
    "CUMULATE",
    "SESSION",
    "TABLE",
    "DESCRIPTOR",
    "PARTITION BY",
    "INTERVAL",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "EMIT ON WINDOW CLOSE",
    "window_start",
    "window_end",
    "TEXT",
    "BIGINT",
    "INT",
    "DOUBLE",
    "BOOLEAN",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
    "DATE",
    "FILTER",
    "connector",
    "format",
    "path",
];

pub struct SqlCompleter {
    names: SharedNames,
}

impl SqlCompleter {
    pub fn new(names: SharedNames) -> Self {
        Self { names }
    }

    fn candidates(&self, word: &str) -> Vec<(String, &'static str)> {
        let lower = word.to_lowercase();
        let starts = |name: &str| name.to_lowercase().starts_with(&lower);
        let names = self.names.read().unwrap_or_else(|poison| poison.into_inner());
        let mut found: Vec<(String, &'static str)> = Vec::new();
        let groups: [(&[String], &'static str); 3] =
            [(&names.tables, "table"), (&names.columns, "column"), (&names.functions, "function")];
        for (group, kind) in groups {
            found.extend(group.iter().filter(|name| starts(name)).map(|name| (name.clone(), kind)));
        }
        // Typed in small letters, completed in small letters.
        let small = word.chars().next().is_some_and(char::is_lowercase);
        let keyword = |name: &&str| if small { name.to_lowercase() } else { (*name).to_string() };
        found.extend(KEYWORDS.iter().filter(|name| starts(name)).map(|name| (keyword(name), "")));
        let mut seen = std::collections::HashSet::new();
        found.retain(|(name, _)| seen.insert(name.to_lowercase()));
        found
    }
}

impl Completer for SqlCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let before = &line[..pos];
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        let suggestions: Vec<Suggestion> = if word.is_empty() {
            Vec::new()
        } else {
            self.candidates(word)
                .into_iter()
                .take(200)
                .map(|(value, kind)| Suggestion {
                    value,
                    description: (!kind.is_empty()).then(|| kind.to_string()),
                    span: Span::new(start, pos),
                    append_whitespace: kind != "function",
                    ..Suggestion::default()
                })
                .collect()
        };
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let names = Names {
            tables: vec!["flights".into()],
            columns: vec!["origin".into(), "flown".into()],
            functions: vec!["floor".into()],
        };
        let mut completer = SqlCompleter::new(Arc::new(RwLock::new(names)));
        completer.complete(line, line.len()).suggestions().iter().map(|s| s.value.clone()).collect()
    }

    #[test]
    fn names_come_before_keywords_in_the_case_typed() {
        assert_eq!(complete("SELECT * FROM fl"), ["flights", "flown", "floor"]);
        assert_eq!(complete("sel"), ["select"]);
        assert_eq!(complete("SEL"), ["SELECT"]);
        assert_eq!(complete("SELECT (ori"), ["origin"]);
        assert!(complete("SELECT ").is_empty());
        assert!(complete("é").is_empty());
    }
}
