//! `thalweg test`: runs pipeline tests and tells what differs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::exit::{Exit, Failure, talk};
use crate::output::style;
use crate::testing::file::{Case, parse, with_rows};
use crate::testing::find::test_files;
use crate::testing::harness::{self, Verdict};
use crate::testing::report::{Outcome, junit};

/// Run pipeline tests: rows with event times in, expected rows out, without a clock.
///
/// A test file (`*.test.yaml`) stands beside its pipeline: `given` rows of sources, `steps` such as
/// `checkpoint_and_restore`, and the rows to `expect` of each sink. Exit code 1 if a test fails, 4 if there is none.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Test files, or folders to search for `*.test.yaml`.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Only tests whose file or name contains this.
    #[arg(short = 'k', long = "filter", value_name = "TEXT")]
    filter: Option<String>,
    /// Write the rows that came into the test files, where they differ from what was expected.
    #[arg(long)]
    update: bool,
    /// Also write the outcome as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub fn run(args: TestArgs) -> Result<Exit, Failure> {
    let mut outcomes = Vec::new();
    for file in test_files(&args.paths)? {
        outcomes.extend(run_file(&file, &args)?);
    }
    if outcomes.is_empty() {
        let failure = Failure::new(Exit::NotFound, "there is no test to run");
        return Err(failure.hint(match args.filter {
            Some(filter) => format!("no file or name contains '{filter}'"),
            None => "tests are files named *.test.yaml".into(),
        }));
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, junit(&outcomes))
            .map_err(|error| Failure::io(format!("write {}", path.display()), &error))?;
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let passed = outcomes.len() - failed;
    let summary = format!("{passed} passed, {failed} failed");
    let summary = if failed == 0 { style::good(&summary) } else { style::bad(&summary) };
    writeln!(std::io::stdout().lock(), "\n{summary}")?;
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

fn run_file(file: &Path, args: &TestArgs) -> Result<Vec<Outcome>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::io(format!("read the test {}", file.display()), &error))?;
    let cases = parse(&text).map_err(|error| {
        Failure::new(Exit::Validation, format!("{}: {error}", file.display()))
            .hint("docs/how-to/test-a-pipeline.md shows the form of a test")
    })?;
    let wanted = |case: &&Case| {
        let matches = |filter: &String| case.name.contains(filter) || file.to_string_lossy().contains(filter);
        args.filter.as_ref().is_none_or(matches)
    };
    let mut outcomes = Vec::new();
    let mut updates = Vec::new();
    for case in cases.iter().filter(wanted) {
        let begun = Instant::now();
        let verdict = crate::runtime::block_on(async { Ok(harness::run(file, case).await) })?;
        let outcome = Outcome {
            file: file.to_path_buf(),
            name: case.name.clone(),
            took: begun.elapsed(),
            faults: verdict.faults.clone(),
        };
        tell(&outcome)?;
        outcomes.push(outcome);
        updates.push((case, verdict));
    }
    if args.update {
        update(file, text, &updates)?;
    }
    Ok(outcomes)
}

fn tell(outcome: &Outcome) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let place = outcome.file.display();
    let millis = outcome.took.as_millis();
    if outcome.passed() {
        writeln!(out, "{}  {place}: {} ({millis} ms)", style::good("ok    "), outcome.name)?;
        return Ok(());
    }
    writeln!(out, "{}  {place}: {} ({millis} ms)", style::bad("FAILED"), outcome.name)?;
    for fault in &outcome.faults {
        for line in fault.trim_end().lines() {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

/// Replaces expected rows by those that came, from the end of the file on, so that lines above stay where they are.
fn update(file: &Path, mut text: String, verdicts: &[(&Case, Verdict)]) -> Result<(), Failure> {
    let mut edits: Vec<_> = verdicts
        .iter()
        .flat_map(|(case, verdict)| verdict.actuals.iter().map(move |actual| (*case, actual)))
        .filter(|(_, actual)| actual.differs)
        .map(|(case, actual)| (&case.expect.sinks[&actual.sink], actual))
        .collect();
    edits.sort_by_key(|(expect, _)| std::cmp::Reverse(expect.line));
    for (expect, actual) in &edits {
        match with_rows(&text, &actual.sink, expect, &actual.rows) {
            Some(updated) => text = updated,
            None => talk(format!("{}: the rows of {} cannot be found to update them", file.display(), actual.sink)),
        }
    }
    if !edits.is_empty() {
        std::fs::write(file, text).map_err(|error| Failure::io(format!("write {}", file.display()), &error))?;
        talk(format!("{}: updated {} expectations", file.display(), edits.len()));
    }
    Ok(())
}
