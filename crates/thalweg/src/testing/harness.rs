//! Runs one test: the real planner and engine, between sources and sinks of the test.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value};
use thalweg_engine::{Node, OperatorSpec, RunHandle, Started, Summary, start};
use thalweg_state::{CheckpointStore, StoreLocation, Totals};

use super::diff::{Diff, compare};
use super::file::{Case, End, Given, Row, SinkExpect, Step};
use super::registry::{TestRegistry, TestSource};
use super::report::render;
use crate::engine::ephemeral;
use crate::exit::Failure;
use crate::feeds::scripted::TextFormat;
use crate::front::{Front, How, Script, plan};
use crate::output::rows::json_lines;
use crate::output::table::terminal_width;

/// A test that has not moved for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a sink held at the end, for `--update`.
#[derive(Debug, Clone)]
pub struct Actual {
    pub sink: String,
    /// One JSON object per row.
    pub rows: Vec<String>,
    pub differs: bool,
}

#[derive(Debug, Default)]
pub struct Verdict {
    /// Empty: passed.
    pub faults: Vec<String>,
    /// Sinks of which rows were expected.
    pub actuals: Vec<Actual>,
}

/// Runs a test of the file at `file`.
pub async fn run(file: &Path, case: &Case) -> Verdict {
    let mut verdict = Verdict::default();
    let test = match Test::prepare(file, case) {
        Ok(test) => test,
        Err(error) => {
            verdict.faults = unexpected(case, &error);
            return verdict;
        }
    };
    match test.play().await {
        Err(error) => verdict.faults = unexpected(case, &error),
        Ok(summary) => {
            if let Some(expected) = &case.expect.error {
                verdict.faults.push(format!("expected an error with '{expected}', but the pipeline ran to its end"));
            }
            test.judge(&summary.totals, &mut verdict);
        }
    }
    verdict
}

/// An error is a fault, unless the test expects it.
fn unexpected(case: &Case, error: &str) -> Vec<String> {
    match &case.expect.error {
        Some(expected) if error.contains(expected.as_str()) => Vec::new(),
        Some(expected) => vec![format!("expected an error with '{expected}', but it says\n{}", indented(error))],
        None => vec![error.to_string()],
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

struct Test<'a> {
    folder: &'a Path,
    case: &'a Case,
    registry: TestRegistry,
    front: Front,
    script: Script,
    state: tempfile::TempDir,
}

impl<'a> Test<'a> {
    fn prepare(file: &'a Path, case: &'a Case) -> Result<Self, String> {
        let folder = file.parent().unwrap_or_else(|| Path::new("."));
        let script = Script::read(&folder.join(&case.pipeline)).map_err(|failure| text_of(&failure))?;
        let registry = TestRegistry::default();
        let how = How { registry: &registry, query_sink: None, offline: false };
        let front = plan(&script, &how).map_err(|found| {
            found.iter().map(|finding| finding.render(&script.shown, &script.text)).collect::<String>()
        })?;
        let state = tempfile::tempdir().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        Ok(Self { folder, case, registry, front, script, state })
    }

    /// Plays all steps; returns the counts of the whole test.
    async fn play(&self) -> Result<Summary, String> {
        for (source, given) in &self.case.given {
            self.give(source, given)?;
        }
        let mut workers = self.case.parallelism;
        let mut run = self.start(workers).await?;
        for step in &self.case.steps {
            match step {
                Step::Rows(sources) => {
                    for (source, rows) in sources {
                        self.give(source, &Given::Rows(rows.clone()))?;
                    }
                }
                Step::Text(sources) => {
                    for (source, text) in sources {
                        self.give(source, &Given::Text(text.clone()))?;
                    }
                }
                Step::CheckpointAndRestore | Step::RestoreWith { .. } => {
                    if let Step::RestoreWith { parallelism } = step {
                        workers = (*parallelism).max(1);
                    }
                    self.settle(&run).await?;
                    stop(run).await?;
                    run = self.start(workers).await?;
                }
            }
            self.settle(&run).await?;
        }
        match self.case.end {
            End::Open => {
                self.settle(&run).await?;
                stop(run).await
            }
            End::Close => {
                for test in self.registry.sources().values() {
                    test.source.end();
                }
                finished(run).await
            }
        }
    }

    async fn start(&self, workers: usize) -> Result<RunHandle, String> {
        let location = StoreLocation::Folder(self.state.path().to_path_buf());
        let store = CheckpointStore::open(&location, &self.script.name).await.map_err(|error| error.to_string())?;
        let mut options = ephemeral(workers, &self.front.planned.fingerprint, &self.script.text);
        options.store = Some(store);
        // Only stops make checkpoints, so that a test does not depend on the clock.
        options.checkpoint_interval = PATIENCE * 60;
        options.publish_interval = PATIENCE * 60;
        match start(self.front.planned.plan.clone(), options).await.map_err(|error| text_of(&error.into()))? {
            Started::Running(run) => Ok(run),
            Started::AlreadyComplete(_) => Err("the pipeline was complete before its inputs had ended".into()),
        }
    }

    /// Waits until everything that was given has been taken in, or the pipeline has failed.
    async fn settle(&self, run: &RunHandle) -> Result<(), String> {
        let begun = Instant::now();
        let sources = self.registry.sources();
        while !sources.values().all(|test| test.source.is_claimed()) {
            if run.is_finished() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the pipeline took nothing in for {} s", PATIENCE.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn give(&self, name: &str, given: &Given) -> Result<(), String> {
        let sources = self.registry.sources();
        let Some(test) = sources.get(name) else {
            return Err(format!(
                "rows are given to '{name}', but {}",
                known(&sources.keys().collect::<Vec<_>>(), "source")
            ));
        };
        match given {
            Given::Rows(rows) => {
                let text = rows_as_text(name, test, rows)?;
                test.source.push_text(text, TextFormat::Ndjson);
            }
            Given::Text(text) => test.source.push_text(text.clone(), test.format.clone()?),
            Given::File(path) => {
                let path = self.folder.join(path);
                let bytes = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                test.source.push_text(bytes, test.format.clone()?);
            }
        }
        Ok(())
    }

    fn sink_schema(&self, name: &str) -> Option<SchemaRef> {
        let is_it = |node: &&Node| matches!(&node.operator, OperatorSpec::Sink(sink) if sink.name == name);
        self.front.planned.plan.nodes.iter().find(is_it).map(|node| node.schema.clone())
    }

    fn judge(&self, totals: &Totals, verdict: &mut Verdict) {
        let sinks = self.registry.sinks();
        for (name, expect) in &self.case.expect.sinks {
            let Some(sink) = sinks.get(name) else {
                let names: Vec<&String> = sinks.keys().collect();
                verdict.faults.push(format!("rows are expected of '{name}', but {}", known(&names, "sink")));
                continue;
            };
            match judge_sink(expect, &sink.rows(), self.sink_schema(name)) {
                Err(fault) => verdict.faults.push(format!("sink {name}: {fault}")),
                Ok((diff, rows)) => {
                    let differs = !diff.is_clean();
                    if differs {
                        verdict.faults.push(render(name, &diff, terminal_width()));
                    }
                    verdict.actuals.push(Actual { sink: name.clone(), rows, differs });
                }
            }
        }
        let counts = [
            ("late rows", self.case.expect.late, totals.late),
            ("dead letters", self.case.expect.dead_letters, totals.dead_lettered),
        ];
        for (what, expected, actual) in counts {
            if let Some(expected) = expected.filter(|expected| *expected != actual) {
                verdict.faults.push(format!("{what}: expected {expected}, counted {actual}"));
            }
        }
    }
}

fn judge_sink(
    expect: &SinkExpect,
    rows: &[RecordBatch],
    schema: Option<SchemaRef>,
) -> Result<(Diff, Vec<String>), String> {
    let schema = schema.ok_or("it was never written to")?;
    let lines = json_lines(rows).map_err(|failure| text_of(&failure))?;
    let actual: Vec<Map<String, Value>> = lines
        .iter()
        .map(|line| serde_json::from_str(line).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let diff = compare(&schema, expect.rows.rows(), &actual, expect.rows.matching())?;
    Ok((diff, lines))
}

/// Rows as lines of JSON. Columns that the source has not are refused here: a decoder would pass them over.
fn rows_as_text(name: &str, test: &TestSource, rows: &[Row]) -> Result<String, String> {
    let mut text = String::new();
    for row in rows {
        if let Some(unknown) = row.keys().find(|key| test.schema.field_with_name(key).is_err()) {
            let columns: Vec<&String> = test.schema.fields().iter().map(|field| field.name()).collect();
            return Err(format!("source {name} has no column '{unknown}'; {}", known(&columns, "column")));
        }
        text.push_str(&Value::Object(row.clone()).to_string());
        text.push('\n');
    }
    Ok(text)
}

fn known(names: &[&String], what: &str) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    if names.is_empty() { format!("there is no {what}") } else { format!("the {what}s are {}", names.join(", ")) }
}

async fn stop(run: RunHandle) -> Result<Summary, String> {
    run.stop();
    finished(run).await
}

async fn finished(mut run: RunHandle) -> Result<Summary, String> {
    match tokio::time::timeout(PATIENCE, run.wait()).await {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(error)) => Err(text_of(&error.into())),
        Err(_) => Err(format!("the pipeline did not stop within {} s", PATIENCE.as_secs())),
    }
}

fn text_of(failure: &Failure) -> String {
    std::iter::once(failure.message.as_str())
        .chain(failure.causes.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(": ")
}
