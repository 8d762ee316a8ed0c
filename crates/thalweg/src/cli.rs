//! The command line as clap sees it: global options and the list of commands. Each command's arguments stand in its own
//! file under `commands/`; their doc comments are the help and the reference page.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{bench, checkpoints, config, connectors, demo, docs, explain, run, sql, test, validate};

const AFTER_HELP: &str = "\
Examples:
  thalweg demo                                    a live result on the screen, nothing to set up
  thalweg run examples/flights/pipeline.sql       run a pipeline to the end of its input
  thalweg sql -c \"SELECT * FROM 'rows.ndjson'\"    ask a file
  thalweg test examples/                          run pipeline tests

Exit codes: 0 ok, 1 failed, 2 usage, 3 validation, 4 not found, 5 denied, 6 conflict, 7 unreachable, 130 interrupted";

/// Streaming SQL over files, generators and stores: exactly once, in one process.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true, after_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Log filter: a level, or a list such as `thalweg_engine=debug,warn`. Log lines go to stderr.
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", hide_env_values = true)]
    pub log: Option<String>,
    /// Colours in talk and tables.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Settings file; without it, `thalweg.yaml` of the working directory is read if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one setting, e.g. `--set run.parallelism=2`; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// When stderr is a terminal and NO_COLOR is not set.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Sql(sql::SqlArgs),
    Explain(explain::ExplainArgs),
    Validate(validate::ValidateArgs),
    Test(test::TestArgs),
    Bench(bench::BenchArgs),
    Connectors(connectors::ConnectorsArgs),
    Checkpoints(checkpoints::CheckpointsArgs),
    Config(config::ConfigArgs),
    #[command(hide = true)]
    Docs(docs::DocsArgs),
}
