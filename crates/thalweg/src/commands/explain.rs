//! `thalweg explain`: the plan of a script, without running it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use thalweg_sql::{Connectors, explain};

use crate::exit::{Exit, Failure};
use crate::front::{How, Script, plan};
use crate::live::sink::{LiveSink, Overflow};

/// Show how a script would run: operators, keys, state, watermarks, and warnings.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Script to explain.
    #[arg(value_name = "FILE.sql")]
    file: PathBuf,
    /// Print the graph for another program instead of text.
    #[arg(long, value_enum, value_name = "FORMAT")]
    graph: Option<Graph>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Graph {
    /// For Graphviz.
    Dot,
    Json,
}

pub fn run(args: ExplainArgs) -> Result<Exit, Failure> {
    let script = Script::read(&args.file)?;
    let query_sink = LiveSink::new(Overflow::Wait, 1);
    let how = How { registry: &Connectors, query_sink: Some(Arc::new(query_sink)), offline: true };
    let front = plan(&script, &how).map_err(|found| script.refuse(&found))?;
    script.show(&front.warnings);
    let text = match args.graph {
        None => explain::text(&front.planned),
        Some(Graph::Dot) => explain::dot(&front.planned),
        Some(Graph::Json) => format!("{:#}", explain::json(&front.planned)),
    };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(Exit::Ok)
}
