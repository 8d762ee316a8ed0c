//! `thalweg sql`: statements from an argument, a file, a pipe or a person.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::rows::Layout;
use crate::settings::Settings;
use crate::shell::Shell;

/// Ask files and sources with SQL, or sit down at an interactive shell.
///
/// A file is a table: SELECT * FROM 'rows.ndjson' (ndjson, csv, parquet; folders and globs, too). A query over endless
/// input or with a window stays live and updates in place; q stops it. Without -c and -f, statements are read from a pipe,
/// or typed: \? in the shell lists its commands.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// Run these statements and end; may be repeated.
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,
    /// Run the statements of this file and end.
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "commands")]
    file: Option<PathBuf>,
    /// Format of rows [default: table; endless results that are piped: jsonl].
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Leave out the header of tables and CSV.
    #[arg(long)]
    no_header: bool,
    /// Tell how long each statement took.
    #[arg(long)]
    timing: bool,
}

pub fn run(args: SqlArgs, settings: &Settings) -> Result<Exit, Failure> {
    let format = match args.output {
        Some(format) => format,
        None => {
            use clap::ValueEnum;
            let name = settings.text("sql.output");
            Format::from_str(name, true).map_err(|_| {
                Failure::new(Exit::Validation, format!("setting sql.output: there is no format '{name}'"))
                    .hint("use table, json, jsonl, csv, yaml or markdown")
            })?
        }
    };
    let layout = Layout { no_header: args.no_header, ..Layout::new(format) };
    let chosen = args.output.is_some() || settings.is_set("sql.output");
    let mut shell = Shell::new(layout, chosen, args.timing)?;
    crate::runtime::block_on(async {
        if !args.commands.is_empty() {
            let text: String = args.commands.iter().map(|command| format!("{command}\n;\n")).collect();
            return shell.run_text(&text).await;
        }
        if let Some(path) = &args.file {
            return shell.run_file(path).await;
        }
        if std::io::stdin().is_terminal() {
            return shell.interact().await;
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::io("read statements", &error))?;
        shell.run_text(&text).await
    })
}
