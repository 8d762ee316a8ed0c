//! `thalweg checkpoints`: what pipelines have kept, read from their manifests.

use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::temporal_conversions::timestamp_us_to_datetime;
use clap::{Args, Subcommand};
use thalweg_state::{CheckpointStore, Manifest, StoreLocation};

use crate::data_dir::pipelines_dir;
use crate::exit::{Exit, Failure};
use crate::output::table::{Column, Table, terminal_width};
use crate::output::{Report, style};
use crate::settings::Settings;

/// Show the checkpoints of pipelines that are not running.
#[derive(Debug, Args)]
pub struct CheckpointsArgs {
    #[command(subcommand)]
    command: CheckpointsCommand,
}

#[derive(Debug, Subcommand)]
enum CheckpointsCommand {
    /// The newest checkpoint of every pipeline in the data folder.
    List {
        /// Folder that holds the state of pipelines [default: ./thalweg-data].
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
        output: Report,
    },
    /// The newest checkpoint of one pipeline or savepoint: sources, operators, sinks.
    Show {
        /// Name of a pipeline in the data folder, or a folder or URL that holds a savepoint or checkpoints.
        name: String,
        /// Folder that holds the state of pipelines [default: ./thalweg-data].
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
        output: Report,
    },
}

pub fn run(args: CheckpointsArgs, settings: &Settings) -> Result<Exit, Failure> {
    let folder = |given: Option<PathBuf>| pipelines_dir(&given.unwrap_or_else(|| settings.text("data_dir").into()));
    match args.command {
        CheckpointsCommand::List { data_dir, output } => list(&folder(data_dir), output),
        CheckpointsCommand::Show { name, data_dir, output } => {
            let manifest = read(&place_of(&name, &folder(data_dir))?)?;
            match output {
                Report::Json => print_json(&serde_json::json!(manifest)),
                Report::Text => show(&manifest),
            }
        }
    }
}

fn place_of(name: &str, folder: &Path) -> Result<StoreLocation, Failure> {
    let pipeline = folder.join(name);
    if !name.contains("://") && pipeline.is_dir() {
        return Ok(StoreLocation::Folder(std::path::absolute(pipeline)?));
    }
    let location = StoreLocation::parse(name)?;
    match &location {
        StoreLocation::Folder(path) if !path.is_dir() => {
            Err(Failure::new(Exit::NotFound, format!("there are no checkpoints of '{name}' in {}", folder.display()))
                .hint("`thalweg checkpoints list` names what is there; --data-dir chooses another folder"))
        }
        _ => Ok(location),
    }
}

fn read(location: &StoreLocation) -> Result<Manifest, Failure> {
    crate::runtime::block_on(async { Ok(CheckpointStore::open_savepoint(location).await?.1) })
}

fn list(folder: &Path, output: Report) -> Result<Exit, Failure> {
    let mut manifests = Vec::new();
    if folder.is_dir() {
        let entries = std::fs::read_dir(folder)
            .map_err(|error| Failure::io(format!("read the folder {}", folder.display()), &error))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                manifests.push(read(&StoreLocation::Folder(std::path::absolute(path)?))?);
            }
        }
    }
    manifests.sort_by(|a, b| a.pipeline.cmp(&b.pipeline));
    if output == Report::Json {
        return print_json(&manifests.iter().map(summary).collect());
    }
    let mut table =
        table(&["pipeline", "checkpoint", "complete", "rows in", "rows out", "state rows", "state bytes"], 3);
    for manifest in &manifests {
        let segments = || manifest.operators.values().flat_map(|operator| &operator.segments);
        table.rows.push(vec![
            manifest.pipeline.clone(),
            manifest.checkpoint_epoch.to_string(),
            if manifest.finished { "yes" } else { "no" }.into(),
            manifest.totals.rows_in.to_string(),
            manifest.totals.rows_out.to_string(),
            segments().map(|segment| segment.rows).sum::<u64>().to_string(),
            segments().map(|segment| segment.bytes).sum::<u64>().to_string(),
        ]);
    }
    print_table(&table)
}

fn summary(manifest: &Manifest) -> serde_json::Value {
    serde_json::json!({
        "pipeline": manifest.pipeline,
        "checkpoint_epoch": manifest.checkpoint_epoch,
        "finished": manifest.finished,
        "totals": manifest.totals,
    })
}

fn show(manifest: &Manifest) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    let kind = if manifest.savepoint { "savepoint" } else { "checkpoint" };
    writeln!(
        out,
        "{} {kind} {} (generation {}, {} workers{})",
        style::header(&manifest.pipeline),
        manifest.checkpoint_epoch,
        manifest.generation,
        manifest.workers,
        if manifest.finished { ", complete" } else { "" }
    )?;
    let totals = &manifest.totals;
    writeln!(
        out,
        "rows in {}, out {}, late {}, dead-lettered {}, dropped {}",
        totals.rows_in, totals.rows_out, totals.late, totals.dead_lettered, totals.dropped
    )?;
    drop(out);
    let mut sources = table(&["source", "split", "position", "event watermark"], 9);
    for (name, source) in &manifest.sources {
        for position in &source.positions {
            let split = position["split"].as_str().unwrap_or("").to_string();
            let watermark = source.split_watermarks.get(&split).map_or_else(String::new, |at| instant(*at));
            sources.rows.push(vec![name.clone(), split, position["position"].to_string(), watermark]);
        }
    }
    print_table(&sources)?;
    let mut operators = table(&["operator", "event watermark", "segments", "rows", "bytes"], 2);
    for operator in manifest.operators.values() {
        operators.rows.push(vec![
            operator.name.clone(),
            instant(operator.event_watermark),
            operator.segments.len().to_string(),
            operator.segments.iter().map(|segment| segment.rows).sum::<u64>().to_string(),
            operator.segments.iter().map(|segment| segment.bytes).sum::<u64>().to_string(),
        ]);
    }
    print_table(&operators)
}

fn instant(micros: i64) -> String {
    match micros {
        i64::MIN => "none yet".into(),
        i64::MAX => "the end".into(),
        at => timestamp_us_to_datetime(at).map_or_else(|| at.to_string(), |at| format!("{at}")),
    }
}

/// Columns from `right` on are numbers.
fn table(names: &[&str], right: usize) -> Table {
    let column = |(index, name): (usize, &&str)| Column { name: (*name).into(), right: index >= right };
    Table { columns: names.iter().enumerate().map(column).collect(), rows: Vec::new() }
}

fn print_table(table: &Table) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    for line in table.lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    Ok(Exit::Ok)
}

fn print_json(value: &serde_json::Value) -> Result<Exit, Failure> {
    writeln!(std::io::stdout().lock(), "{value:#}")?;
    Ok(Exit::Ok)
}
