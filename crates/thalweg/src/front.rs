//! From a file to a plan: reads, parses, binds and plans a script, and tells what is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_engine::Sink;
use thalweg_sql::{BindContext, BoundPipeline, ConnectorRegistry, Diagnostic, PlannedPipeline};

use crate::data_dir::pipeline_name;
use crate::exit::{Exit, Failure, talk};

/// A script and what messages call it.
#[derive(Debug, Clone)]
pub struct Script {
    pub shown: String,
    pub text: String,
    /// Of the pipeline.
    pub name: String,
    /// Relative paths in the script resolve against this folder.
    pub working_dir: PathBuf,
}

impl Script {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        if path.is_dir() {
            return Err(Failure::new(Exit::NotFound, format!("{shown} is a folder, not a script"))
                .hint(format!("did you mean {}?", path.join("pipeline.sql").display())));
        }
        let bytes = std::fs::read(path).map_err(|error| Failure::io(format!("read the script {shown}"), &error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::new(Exit::Validation, format!("{shown}: byte {at} is not UTF-8")).hint("save the script as UTF-8")
        })?;
        Ok(Self { shown, text, name: pipeline_name(path), working_dir: current_dir()? })
    }

    /// A script that stands in no file.
    pub fn text(shown: &str, name: &str, text: impl Into<String>) -> Result<Self, Failure> {
        Ok(Self { shown: shown.into(), text: text.into(), name: name.into(), working_dir: current_dir()? })
    }

    /// The failure that says what is wrong: every finding, rendered, to stderr.
    pub fn refuse(&self, found: &[Diagnostic]) -> Failure {
        self.show(found);
        Failure::silent(Exit::Validation)
    }

    /// Prints findings to stderr.
    pub fn show(&self, found: &[Diagnostic]) {
        for finding in found {
            talk(finding.render(&self.shown, &self.text).trim_end());
        }
    }
}

pub fn current_dir() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::io("find the working directory", &error))
}

/// A script, understood.
pub struct Front {
    pub bound: BoundPipeline,
    pub planned: PlannedPipeline,
    /// What is odd but no reason not to run.
    pub warnings: Vec<Diagnostic>,
}

/// How a script is understood.
pub struct How<'a> {
    pub registry: &'a dyn ConnectorRegistry,
    /// Takes the rows of a `SELECT` on its own.
    pub query_sink: Option<Arc<dyn Sink>>,
    /// Only check: open nothing that can be left closed.
    pub offline: bool,
}

/// Parses, binds and plans. Errors are those of all stages at once, as far as one stage can go on without the other.
pub fn plan(script: &Script, how: &How<'_>) -> Result<Front, Vec<Diagnostic>> {
    let mut context = BindContext::new(&script.name, &script.working_dir, how.registry);
    context.offline = how.offline;
    context.query_sink.clone_from(&how.query_sink);
    plan_in_stages(script, &context).map_err(|found| {
        let all = thalweg_sql::validate(&script.text, &context);
        if all.iter().any(Diagnostic::is_error) { all } else { found }
    })
}

fn plan_in_stages(script: &Script, context: &BindContext) -> Result<Front, Vec<Diagnostic>> {
    let parsed = thalweg_sql::parse_script(&script.text)?;
    let (bound, warnings) = thalweg_sql::bind_with_warnings(&parsed, context)?;
    let planned = thalweg_sql::plan_pipeline(&bound, &script.text)?;
    Ok(Front { bound, planned, warnings })
}
