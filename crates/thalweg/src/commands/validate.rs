//! `thalweg validate`: everything that is wrong with scripts, at once, without running anything.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use thalweg_sql::{Connectors, Diagnostic, Severity};

use crate::exit::{Exit, Failure};
use crate::front::{How, Script, plan};
use crate::live::sink::{LiveSink, Overflow};
use crate::output::{Report, style};

/// Check scripts: all errors at once, with line, column and a hint. Nothing is run or written.
///
/// Exit code 3 if there is an error, or a warning with --deny-warnings.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Scripts to check.
    #[arg(required = true, value_name = "FILE.sql")]
    files: Vec<PathBuf>,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
    output: Report,
}

pub fn run(args: ValidateArgs) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    for path in &args.files {
        let script = Script::read(path)?;
        let found = check(&script);
        all.push((script, found));
    }
    let is_bad = |finding: &Diagnostic| finding.is_error() || args.deny_warnings;
    let bad = all.iter().flat_map(|(_, found)| found).filter(|finding| is_bad(finding)).count();
    let mut out = std::io::stdout().lock();
    match args.output {
        Report::Json => {
            let files: Vec<_> = all.iter().map(|(script, found)| as_json(script, found)).collect();
            writeln!(out, "{:#}", serde_json::json!({ "valid": bad == 0, "files": files }))?;
        }
        Report::Text => {
            for (script, found) in &all {
                script.show(found);
                if !found.iter().any(is_bad) {
                    writeln!(out, "{} {}", script.shown, style::good("is valid"))?;
                }
            }
        }
    }
    Ok(if bad == 0 { Exit::Ok } else { Exit::Validation })
}

fn check(script: &Script) -> Vec<Diagnostic> {
    // A SELECT on its own is fine; its rows would go to the screen.
    let query_sink = LiveSink::new(Overflow::Wait, 1);
    let how = How { registry: &Connectors, query_sink: Some(std::sync::Arc::new(query_sink)), offline: true };
    match plan(script, &how) {
        Err(found) => found,
        Ok(front) => {
            let mut found = front.warnings;
            found.extend(front.planned.warnings.iter().map(|warning| Diagnostic {
                severity: Severity::Warning,
                message: warning.clone(),
                line: 0,
                column: 0,
                length: 1,
                hint: None,
            }));
            found
        }
    }
}

fn as_json(script: &Script, found: &[Diagnostic]) -> serde_json::Value {
    let finding = |finding: &Diagnostic| {
        serde_json::json!({
            "severity": if finding.is_error() { "error" } else { "warning" },
            "line": finding.line,
            "column": finding.column,
            "message": finding.message,
            "hint": finding.hint,
        })
    };
    serde_json::json!({ "file": script.shown, "findings": found.iter().map(finding).collect::<Vec<_>>() })
}
