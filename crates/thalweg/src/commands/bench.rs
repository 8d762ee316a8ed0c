//! `thalweg bench`: measures this machine. Every number printed was counted in the run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use thalweg_engine::{Started, start};
use thalweg_sql::Connectors;
use thalweg_state::CheckpointStore;

use super::run::RunHow;
use crate::bench::nexmark::{Input, Job, Output, names, query};
use crate::bench::usage::Usage;
use crate::bench::{corpus, nexmark};
use crate::exit::{Exit, Failure};
use crate::front::{How, Script, plan};
use crate::output::Report;
use crate::report::grouped;
use crate::settings::Settings;

/// Measure: Nexmark queries over made-up events or a corpus.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    Nexmark(NexmarkArgs),
    Corpus(CorpusArgs),
}

/// Run a Nexmark query and tell what it took.
///
/// Queries: q0 q1 q2 q5hop q11 q12 q14 q21 q22. With --input json or parquet the whole corpus is read. One line per run;
/// CPU seconds are those of this process within the run, memory is its peak so far.
#[derive(Debug, Args)]
struct NexmarkArgs {
    /// Query to run; may be repeated or separated by commas.
    #[arg(long, required = true, value_delimiter = ',', value_name = "NAME")]
    query: Vec<String>,
    /// Events in all, persons and auctions counted (46 of 50 are bids).
    #[arg(long, default_value_t = 5_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(50..))]
    events: u64,
    /// Where the events come from.
    #[arg(long, value_enum, default_value_t = Input::Generate)]
    input: Input,
    /// Folder with bid.ndjson or bid.parquet.
    #[arg(long, value_name = "DIR", required_if_eq_any([("input", "json"), ("input", "parquet")]))]
    corpus: Option<PathBuf>,
    /// Where the rows go.
    #[arg(long, value_enum, default_value_t = Output::Blackhole)]
    sink: Output,
    /// Runs of each query.
    #[arg(long, default_value_t = 1, value_name = "N")]
    repeat: u32,
    /// Keep no checkpoints at all.
    #[arg(long, conflicts_with = "checkpoint_interval")]
    no_checkpoints: bool,
    #[command(flatten)]
    how: RunHow,
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
    output: Report,
}

/// Convert a corpus of JSON lines to Parquet: the same rows in the same order.
#[derive(Debug, Args)]
struct CorpusArgs {
    /// Folder with bid.ndjson, and person.ndjson and auction.ndjson if they are wanted.
    folder: PathBuf,
    #[arg(long, value_enum, default_value_t = CorpusFormat::Json)]
    from: CorpusFormat,
    #[arg(long, value_enum, default_value_t = CorpusFormat::Parquet)]
    to: CorpusFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CorpusFormat {
    Json,
    Parquet,
}

pub fn run(args: BenchArgs, settings: &Settings) -> Result<Exit, Failure> {
    match args.command {
        BenchCommand::Nexmark(args) => run_nexmark(&args, settings),
        BenchCommand::Corpus(args) => convert(&args),
    }
}

fn convert(args: &CorpusArgs) -> Result<Exit, Failure> {
    if (args.from, args.to) != (CorpusFormat::Json, CorpusFormat::Parquet) {
        return Err(Failure::new(Exit::Usage, "a corpus is converted from json to parquet only"));
    }
    for written in corpus::to_parquet(&args.folder)? {
        writeln!(std::io::stdout().lock(), "{}", json!(written))?;
    }
    Ok(Exit::Ok)
}

fn run_nexmark(args: &NexmarkArgs, settings: &Settings) -> Result<Exit, Failure> {
    for name in &args.query {
        if query(name).is_none() {
            return Err(Failure::new(Exit::Usage, format!("there is no query '{name}'"))
                .hint(format!("the queries are {}", names().join(", "))));
        }
    }
    for _ in 0..args.repeat.max(1) {
        for name in &args.query {
            let line = measure(name, args, settings)?;
            let mut out = std::io::stdout().lock();
            match args.output {
                Report::Json => writeln!(out, "{line}")?,
                Report::Text => writeln!(out, "{}", as_text(&line))?,
            }
            out.flush()?;
        }
    }
    Ok(Exit::Ok)
}

fn measure(name: &str, args: &NexmarkArgs, settings: &Settings) -> Result<serde_json::Value, Failure> {
    let scratch = scratch_folder(args, settings)?;
    let job = Job {
        query: query(name).expect("names were checked"),
        input: args.input,
        corpus: args.corpus.as_deref(),
        events: args.events,
        output: args.sink,
        out: scratch.path().join("out"),
    };
    let before = Usage::now();
    let begun = Instant::now();
    let script = Script::text(name, name, job.script())?;
    let how = How { registry: &Connectors, query_sink: None, offline: false };
    let front = plan(&script, &how).map_err(|found| script.refuse(&found))?;
    crate::runtime::block_on(async {
        let store = match args.no_checkpoints {
            true => None,
            false => {
                let location = match args.how.checkpoint_url.is_some() {
                    true => args.how.location(settings)?,
                    false => thalweg_state::StoreLocation::Folder(scratch.path().join("state")),
                };
                Some(CheckpointStore::open_for_reset(&location, name).await?)
            }
        };
        let options = args.how.options(&front, settings, store);
        let workers = options.workers;
        let net = Instant::now();
        let Started::Running(mut run) = start(front.planned.plan.clone(), options).await? else {
            return Err(Failure::new(Exit::Conflict, format!("{name} was run before in its checkpoint folder"))
                .hint("give an empty --checkpoint-url, or none"));
        };
        let summary = run.wait().await?;
        let counted = &summary.progress;
        let net_s = net.elapsed().as_secs_f64();
        let wall_s = begun.elapsed().as_secs_f64();
        let after = Usage::now();
        let (user, system) = after.since(&before);
        let cpu_s = (user + system).as_secs_f64();
        expect_all_read(args, counted.rows_in)?;
        Ok(json!({
            "peer": "thalweg",
            "query": name,
            "input": args.input.to_possible_value().map(|value| value.get_name().to_string()),
            "sink": args.sink.to_possible_value().map(|value| value.get_name().to_string()),
            "parallelism": workers,
            "events": counted.rows_in,
            "rows_out": counted.rows_out,
            "wall_s": rounded(wall_s),
            "net_s": rounded(net_s),
            "user_s": rounded(user.as_secs_f64()),
            "sys_s": rounded(system.as_secs_f64()),
            "cpu_s": rounded(cpu_s),
            "events_per_s": (counted.rows_in as f64 / net_s).round(),
            "events_per_cpu_s": (counted.rows_in as f64 / cpu_s.max(1e-6)).round(),
            "max_rss_mib": (after.max_rss_bytes as f64 / 1048576.0).round(),
            "late_dropped": counted.late,
            "checkpoints": counted.checkpoints,
            "checkpoint_bytes": counted.checkpoint_bytes,
            "checkpoint_stall_ms_max": rounded(counted.checkpoint_stall_ms_max),
            "input_bytes": counted.input_bytes,
        }))
    })
}

/// A run that read other rows than the corpus holds measured something else.
fn expect_all_read(args: &NexmarkArgs, rows: u64) -> Result<(), Failure> {
    if args.input == Input::Generate && rows != nexmark::bids(args.events) {
        let expected = nexmark::bids(args.events);
        return Err(Failure::new(Exit::Failed, format!("the run read {rows} bids, the generator makes {expected}")));
    }
    Ok(())
}

/// A folder for this run alone: below --data-dir if it is given, otherwise in the system's temporary folder.
fn scratch_folder(args: &NexmarkArgs, settings: &Settings) -> Result<tempfile::TempDir, Failure> {
    let failed = |error: std::io::Error| Failure::io("make a temporary folder", &error);
    let given = args.how.data_dir.is_some() || settings.is_set("data_dir");
    let parent = if given { args.how.data_dir(settings) } else { std::env::temp_dir() };
    std::fs::create_dir_all(&parent).map_err(failed)?;
    let parent = std::path::absolute(Path::new(&parent)).map_err(failed)?;
    tempfile::Builder::new().prefix("thalweg-bench-").tempdir_in(parent).map_err(failed)
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn as_text(line: &serde_json::Value) -> String {
    let number = |name: &str| grouped(line[name].as_f64().unwrap_or(0.0).round() as u64);
    format!(
        "{:6} {} events in {} s: {} events/s, {} events per CPU-second, {} MiB, late {}, {} checkpoints",
        line["query"].as_str().unwrap_or(""),
        number("events"),
        line["net_s"],
        number("events_per_s"),
        number("events_per_cpu_s"),
        number("max_rss_mib"),
        number("late_dropped"),
        number("checkpoints"),
    )
}
