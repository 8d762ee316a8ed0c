//! How the outcome of tests is told: rows side by side, a summary, and JUnit for machines.

use std::path::PathBuf;
use std::time::Duration;

use super::diff::{Cell, Diff, Line};
use crate::output::table::{Column, Table};

/// What became of one test.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub file: PathBuf,
    pub name: String,
    pub took: Duration,
    /// Empty: passed. Otherwise what was wrong, one paragraph each.
    pub faults: Vec<String>,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// The rows of a sink that differ, as a table: `~` changed, `-` missing, `+` not expected.
pub fn render(sink: &str, diff: &Diff, width: usize) -> String {
    let (mut equal, mut changed, mut missing, mut unexpected) = (0, 0, 0, 0);
    let mut table = Table { columns: vec![Column { name: String::new(), right: false }], rows: Vec::new() };
    table.columns.extend(diff.columns.iter().map(|name| Column { name: name.clone(), right: false }));
    let mut add = |mark: &str, cells: Vec<String>| {
        table.rows.push(std::iter::once(mark.to_string()).chain(cells).collect());
    };
    for line in &diff.lines {
        match line {
            Line::Equal(count) => equal += count,
            Line::Missing(cells) => {
                missing += 1;
                add("-", cells.clone());
            }
            Line::Unexpected(cells) => {
                unexpected += 1;
                add("+", cells.clone());
            }
            Line::Changed(cells) => {
                changed += 1;
                add("~", cells.iter().map(cell).collect());
            }
        }
    }
    let counts = [(equal, "equal"), (changed, "changed"), (missing, "missing"), (unexpected, "not expected")];
    let said: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let lines: Vec<String> = table.lines(width.saturating_sub(4)).iter().map(|line| format!("    {line}")).collect();
    format!("sink {sink}: rows {}\n{}", said.join(", "), lines.join("\n"))
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Same(text) => text.clone(),
        Cell::Differs { expected, actual } => format!("[{expected} -> {actual}]"),
        Cell::Ignored => "*".into(),
    }
}

/// The outcomes in the form that CI systems read.
pub fn junit(outcomes: &[Outcome]) -> String {
    let failures = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"thalweg\" tests=\"{}\" failures=\"{failures}\" \
         time=\"{seconds:.3}\">\n",
        outcomes.len()
    );
    for outcome in outcomes {
        let class = escape(&outcome.file.display().to_string());
        let name = escape(&outcome.name);
        let time = outcome.took.as_secs_f64();
        out.push_str(&format!("  <testcase classname=\"{class}\" name=\"{name}\" time=\"{time:.3}\""));
        if outcome.passed() {
            out.push_str("/>\n");
        } else {
            let text = escape(&outcome.faults.join("\n"));
            out.push_str(&format!("><failure>{text}</failure></testcase>\n"));
        }
    }
    out.push_str("</testsuite></testsuites>\n");
    out
}

fn escape(text: &str) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n') || !c.is_control();
    text.chars()
        .filter(allowed)
        .map(|c| match c {
            '&' => "&amp;".to_string(),
            '<' => "&lt;".to_string(),
            '>' => "&gt;".to_string(),
            '"' => "&quot;".to_string(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_cells_are_marked() {
        let diff = Diff {
            columns: vec!["k".into(), "n".into()],
            lines: vec![
                Line::Equal(2),
                Line::Changed(vec![Cell::Same("a".into()), Cell::Differs { expected: "1".into(), actual: "2".into() }]),
                Line::Missing(vec!["b".into(), "3".into()]),
            ],
        };
        let text = render("s", &diff, 80);
        let expect = "sink s: rows 2 equal, 1 changed, 1 missing\n       k  n\n    ─  ─  ────────\n    ~  a  [1 -> 2]\n    -  b  3";
        assert_eq!(text, expect);
    }

    #[test]
    fn junit_escapes() {
        let outcome = Outcome {
            file: "a&b.test.yaml".into(),
            name: "x < y".into(),
            took: Duration::from_millis(1500),
            faults: vec!["\"q\"".into()],
        };
        let text = junit(&[outcome]);
        assert!(text.contains("classname=\"a&amp;b.test.yaml\" name=\"x &lt; y\" time=\"1.500\""), "{text}");
        assert!(text.contains("<failure>&quot;q&quot;</failure>") && text.contains("failures=\"1\""), "{text}");
    }
}
