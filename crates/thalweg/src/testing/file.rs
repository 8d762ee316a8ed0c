//! The test file: YAML, one test per document, beside the pipeline it tests.
//!
//! ```yaml
//! name: late rows are counted
//! pipeline: pipeline.sql               # relative to this file; this is the default
//! given:                               # rows of each source; sources that are not named are empty
//!   flights:
//!     - {departed_at: 2001-01-01T05:00:00Z, origin: ATL, delay_minutes: 3}
//! steps:                               # after `given`, in this order
//!   - checkpoint_and_restore           # stop with a checkpoint, start again from it
//!   - rows: {flights: [{departed_at: 2001-01-03T00:00:00Z, origin: ATL}]}
//!   - text: {flights: 'not JSON'}      # bytes as they would come
//! end: close                           # inputs end and windows close (default), or `open`: they stay open
//! expect:
//!   daily_delays:                      # rows of a sink, in any order; or {ordered: [...]}, {contains: [...]}
//!     - {origin: ATL, flights: 2}
//!   late: 0                            # rows dropped as late
//!   dead_letters: 1                    # rows that went to a dead-letter sink
//! ```
//!
//! Unknown keys are refused with line and column. Instead of expecting rows a test may expect an `error`, a text that the
//! failure must contain.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// A row by column name.
pub type Row = Map<String, Value>;

/// One test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default = "default_pipeline")]
    pub pipeline: PathBuf,
    /// Workers; the result must not depend on it.
    #[serde(default = "one")]
    pub parallelism: usize,
    #[serde(default)]
    pub given: BTreeMap<String, Given>,
    #[serde(default)]
    pub steps: Vec<Step>,
    #[serde(default)]
    pub end: End,
    pub expect: Expect,
}

fn default_pipeline() -> PathBuf {
    PathBuf::from("pipeline.sql")
}

fn one() -> usize {
    1
}

/// What becomes of the sources after the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// They end; every window closes.
    #[default]
    Close,
    /// They stay open: only windows that the watermark has passed are out.
    Open,
}

/// Input of a source: a list of rows, or one of `rows`, `text`, `file`.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Rows(Vec<Row>),
    /// Bytes in the source's declared format.
    Text(String),
    /// A file in the source's declared format, relative to the test file.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Tagged {
            Rows(Vec<Row>),
            Text(String),
            File(PathBuf),
        }
        struct GivenVisitor;
        impl<'de> Visitor<'de> for GivenVisitor {
            type Value = Given;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of rows, or one of rows, text and file")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = seq.next_element()? {
                    rows.push(row);
                }
                Ok(Given::Rows(rows))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
                let given = match map.next_entry::<String, Value>()? {
                    Some((key, value)) => {
                        let tagged =
                            Tagged::deserialize(serde_json::json!({ key: value })).map_err(de::Error::custom)?;
                        match tagged {
                            Tagged::Rows(rows) => Given::Rows(rows),
                            Tagged::Text(text) => Given::Text(text),
                            Tagged::File(path) => Given::File(path),
                        }
                    }
                    None => return Err(de::Error::custom("expected one of rows, text and file")),
                };
                match map.next_key::<String>()? {
                    None => Ok(given),
                    Some(second) => {
                        Err(de::Error::custom(format!("'{second}' is one too many: a source is given one thing")))
                    }
                }
            }
        }
        deserializer.deserialize_any(GivenVisitor)
    }
}

/// Something that happens after `given`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// More rows for some sources.
    Rows(BTreeMap<String, Vec<Row>>),
    /// More bytes for some sources, in their declared format; whole lines.
    Text(BTreeMap<String, String>),
    /// The pipeline stops with a checkpoint and a new one starts from it.
    CheckpointAndRestore,
    /// The same, and the new one runs with so many workers.
    RestoreWith { parallelism: usize },
}

/// What has to come out.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    pub sinks: BTreeMap<String, SinkExpect>,
    pub late: Option<u64>,
    pub dead_letters: Option<u64>,
    pub error: Option<String>,
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExpectVisitor;
        impl<'de> Visitor<'de> for ExpectVisitor {
            type Value = Expect;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("sinks with their rows, late, dead_letters or error")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expect, A::Error> {
                let mut expect = Expect::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "late" => expect.late = Some(map.next_value()?),
                        "dead_letters" => expect.dead_letters = Some(map.next_value()?),
                        "error" => expect.error = Some(map.next_value()?),
                        _ => {
                            let rows: Spanned<SinkRows> = map.next_value()?;
                            let line = rows.referenced.line() as usize;
                            expect.sinks.insert(key, SinkExpect { rows: rows.value, line });
                        }
                    }
                }
                Ok(expect)
            }
        }
        deserializer.deserialize_map(ExpectVisitor)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct SinkExpect {
    pub rows: SinkRows,
    /// Where the rows begin in the file, from 1; for `--update`.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SinkRows {
    Unordered(Vec<Row>),
    Ordered(Vec<Row>),
    Contains(Vec<Row>),
}

impl SinkRows {
    pub fn rows(&self) -> &[Row] {
        match self {
            Self::Unordered(rows) | Self::Ordered(rows) | Self::Contains(rows) => rows,
        }
    }

    pub fn matching(&self) -> super::diff::Match {
        match self {
            Self::Unordered(_) => super::diff::Match::Unordered,
            Self::Ordered(_) => super::diff::Match::Ordered,
            Self::Contains(_) => super::diff::Match::Contains,
        }
    }
}

impl<'de> Deserialize<'de> for SinkRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Tagged {
            Rows(Vec<Row>),
            Ordered(Vec<Row>),
            Contains(Vec<Row>),
        }
        struct RowsVisitor;
        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = SinkRows;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of rows, or one of rows, ordered and contains")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SinkRows, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = seq.next_element()? {
                    rows.push(row);
                }
                Ok(SinkRows::Unordered(rows))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SinkRows, A::Error> {
                let all = BTreeMap::<String, Value>::deserialize(MapAccessDeserializer::new(map))?;
                let tagged = Tagged::deserialize(serde_json::json!(all)).map_err(de::Error::custom)?;
                Ok(match tagged {
                    Tagged::Rows(rows) => SinkRows::Unordered(rows),
                    Tagged::Ordered(rows) => SinkRows::Ordered(rows),
                    Tagged::Contains(rows) => SinkRows::Contains(rows),
                })
            }
        }
        deserializer.deserialize_any(RowsVisitor)
    }
}

/// Reads all tests of a file. Errors carry line and column.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let cases: Vec<Case> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    for case in &cases {
        if case.parallelism == 0 {
            return Err(format!("test '{}': parallelism must be at least 1", case.name));
        }
        if case.expect.error.is_some() && !case.expect.sinks.is_empty() {
            return Err(format!("test '{}' expects an error and rows; one of them cannot come", case.name));
        }
    }
    Ok(cases)
}

/// The text with the rows of one expectation replaced; `at` is [`SinkExpect::line`].
///
/// The block that is replaced reaches from the key's value to the next line that is not deeper than the key.
pub fn with_rows(text: &str, sink: &str, expect: &SinkExpect, rows: &[String]) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let indent_of = |line: &str| line.len() - line.trim_start().len();
    let is_key = |line: &str| {
        let trimmed = line.trim_start();
        [format!("{sink}:"), format!("\"{sink}\":"), format!("'{sink}':")].iter().any(|key| trimmed.starts_with(key))
    };
    let key = (0..expect.line.min(lines.len())).rev().find(|i| is_key(lines[*i]))?;
    let indent = indent_of(lines[key]);
    let belongs = |line: &str| {
        line.trim().is_empty()
            || indent_of(line) > indent
            || (indent_of(line) == indent && line.trim_start().starts_with("- "))
    };
    let mut end = key + 1;
    while end < lines.len() && belongs(lines[end]) && !lines[end].starts_with("---") {
        end += 1;
    }
    while end > key + 1 && lines[end - 1].trim().is_empty() {
        end -= 1;
    }
    let mode = match expect.rows {
        SinkRows::Unordered(_) => None,
        SinkRows::Ordered(_) => Some("ordered"),
        SinkRows::Contains(_) => Some("contains"),
    };
    let mut out: Vec<String> = lines[..key].iter().map(|line| (*line).to_string()).collect();
    let pad = " ".repeat(indent);
    let deeper = if mode.is_some() { format!("{pad}    ") } else { format!("{pad}  ") };
    let head = mode.map_or(String::new(), |mode| format!("\n{pad}  {mode}:"));
    if rows.is_empty() {
        out.push(format!("{pad}{sink}:{head} []"));
    } else {
        out.push(format!("{pad}{sink}:{head}"));
        out.extend(rows.iter().map(|row| format!("{deeper}- {row}")));
    }
    out.extend(lines[end..].iter().map(|line| (*line).to_string()));
    Some(out.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
name: first
given:
  flights:
    - {origin: ATL, at: 2001-01-01T00:00:00Z}
  more: {text: \"x\\ny\"}
steps:
  - checkpoint_and_restore
  - rows: {flights: [{origin: B}]}
  - restore_with: {parallelism: 3}
expect:
  daily:
    - {origin: ATL, n: 1}
    - {origin: B, n: 1}   # a comment
  other:
    ordered: [{a: 1}]
  late: 2
---
name: second
end: open
expect: {error: 'does not exist'}
";

    #[test]
    fn reads_both_documents() {
        let cases = parse(FILE).unwrap();
        assert_eq!(cases.len(), 2);
        let first = &cases[0];
        assert_eq!(first.pipeline, PathBuf::from("pipeline.sql"));
        assert_eq!(first.given["more"], Given::Text("x\ny".into()));
        assert_eq!(first.steps.len(), 3);
        assert_eq!(first.steps[2], Step::RestoreWith { parallelism: 3 });
        assert_eq!(first.expect.late, Some(2));
        assert_eq!(first.expect.sinks["daily"].rows.rows()[0]["n"], Value::from(1));
        assert!(matches!(first.expect.sinks["other"].rows, SinkRows::Ordered(_)));
        assert_eq!(cases[1].end, End::Open);
        assert_eq!(cases[1].expect.error.as_deref(), Some("does not exist"));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let refusal = parse("name: x\ngivn: {}\nexpect: {}\n").unwrap_err();
        assert!(refusal.contains("givn") && refusal.contains('2'), "{refusal}");
        assert!(parse("name: x\nexpect: {}\nsteps: [sleep]\n").is_err());
        assert!(parse("name: x\nexpect: {}\ngiven: {s: {rows: [], text: ''}}\n").is_err());
    }

    #[test]
    fn update_replaces_only_the_rows() {
        let cases = parse(FILE).unwrap();
        let expect = &cases[0].expect.sinks["daily"];
        let updated = with_rows(FILE, "daily", expect, &["{\"origin\":\"C\"}".into()]).unwrap();
        assert!(updated.contains("  daily:\n    - {\"origin\":\"C\"}\n  other:\n"), "{updated}");
        let again = parse(&updated).unwrap();
        assert_eq!(again[0].expect.sinks["daily"].rows.rows().len(), 1);
        assert_eq!(again[0].expect.late, Some(2));
        let other = with_rows(FILE, "other", &cases[0].expect.sinks["other"], &[]).unwrap();
        assert!(
            matches!(&parse(&other).unwrap()[0].expect.sinks["other"].rows, SinkRows::Ordered(rows) if rows.is_empty())
        );
    }
}
