//! `thalweg docs`: reference pages made from the program itself, so that they cannot drift from it.

use std::io::Write;

use clap::{Args, CommandFactory, ValueEnum};

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::settings::{KEYS, Kind};

/// Print a generated reference page.
#[derive(Debug, Args)]
pub struct DocsArgs {
    #[arg(value_enum)]
    page: Page,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    /// docs/reference/cli.md
    Cli,
    /// docs/reference/settings.md
    Settings,
}

pub fn run(args: DocsArgs) -> Result<Exit, Failure> {
    let page = match args.page {
        Page::Cli => cli_page(),
        Page::Settings => settings_page(),
    };
    std::io::stdout().lock().write_all(page.as_bytes())?;
    Ok(Exit::Ok)
}

fn settings_page() -> String {
    let mut page = String::from(
        "# Settings\n\n<!-- Made by `thalweg docs settings`; do not edit. -->\n\n\
         Each layer wins over the one before: built-in defaults, `thalweg.yaml` in the working directory (or `--config\n\
         FILE`), environment (`THALWEG__RUN__PARALLELISM` for `run.parallelism`), `--set key=value`, a command's flags.\n\
         Unknown keys are refused. `thalweg config show --origin` tells what is in force and why.\n\n\
         | setting | value | default | meaning |\n| --- | --- | --- | --- |\n",
    );
    for key in KEYS {
        let kind = match key.kind {
            Kind::Text => "text",
            Kind::Duration => "duration (`200ms`, `10s`, `1m`)",
            Kind::Count => "number above 0",
        };
        page.push_str(&format!("| `{}` | {kind} | `{}` | {} |\n", key.name, key.default, key.about));
    }
    page.replace("| `` |", "| |")
}

fn cli_page() -> String {
    let mut root = Cli::command().term_width(100).color(clap::ColorChoice::Never);
    root.build();
    let mut page = String::from("# Command line\n\n<!-- Made by `thalweg docs cli`; do not edit. -->\n");
    section(&mut root, "", 2, &mut page);
    page
}

fn section(command: &mut clap::Command, parent: &str, level: usize, page: &mut String) {
    let name = format!("{parent}{}", command.get_name());
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("\n{} {name}\n\n```text\n{}\n```\n", "#".repeat(level), help.join("\n").trim()));
    for child in command.get_subcommands_mut() {
        if !child.is_hide_set() && child.get_name() != "help" {
            section(child, &format!("{name} "), 3, page);
        }
    }
}
