//! `thalweg config`: what is set, and by whom.

use std::io::Write;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use crate::output::Report;
use crate::output::table::{Column, Table, terminal_width};
use crate::settings::{KEYS, Settings};

/// Show the settings in force.
///
/// Settings come from, each winning over the one before: built-in defaults, `thalweg.yaml` (or --config), environment
/// variables such as THALWEG__RUN__PARALLELISM, --set, and the flags of a command.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// List every setting with its value.
    Show {
        /// Also tell where each value comes from and what it is for.
        #[arg(long)]
        origin: bool,
        #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
        output: Report,
    },
}

pub fn run(args: ConfigArgs, settings: &Settings) -> Result<Exit, Failure> {
    let ConfigCommand::Show { origin, output } = args.command;
    let mut out = std::io::stdout().lock();
    match output {
        Report::Json => {
            let entries: serde_json::Map<String, serde_json::Value> = KEYS
                .iter()
                .map(|key| {
                    let value = settings.value(key.name);
                    (key.name.to_string(), serde_json::json!({ "value": value.text, "origin": value.origin }))
                })
                .collect();
            writeln!(out, "{:#}", serde_json::Value::Object(entries))?;
        }
        Report::Text => {
            let names: &[&str] = if origin { &["setting", "value", "from", "meaning"] } else { &["setting", "value"] };
            let columns = names.iter().map(|name| Column { name: (*name).into(), right: false }).collect();
            let rows = KEYS
                .iter()
                .map(|key| {
                    let value = settings.value(key.name);
                    let mut row = vec![key.name.to_string(), value.text.clone()];
                    if origin {
                        row.extend([value.origin.clone(), key.about.to_string()]);
                    }
                    row
                })
                .collect();
            for line in (Table { columns, rows }).lines(terminal_width()) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(Exit::Ok)
}
