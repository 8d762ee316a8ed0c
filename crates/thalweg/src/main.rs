//! `thalweg`: the command line.
//!
//! This crate only wires: it reads arguments and settings, starts what the crates below offer, and shows results. It
//! decides nothing about meaning (`sql`), running (`engine`) or connectors (`connect`).
//!
//! Invariants: data goes to stdout and talk to stderr; every command ends with an exit code of [`exit::Exit`]; a reader
//! that goes away (`| head`) is no error.

#![allow(clippy::disallowed_methods, reason = "the binary is a driver: clock, threads and tasks start here")]

mod bench;
mod cli;
mod commands;
mod data_dir;
mod demo;
mod duration;
mod engine;
mod exit;
mod feeds;
mod front;
mod interrupt;
mod live;
mod output;
mod progress;
mod report;
mod runtime;
mod settings;
mod shell;
mod testing;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The provider must be chosen before the first TLS client is built; a second choice is impossible in one process.
    rustls::crypto::ring::default_provider().install_default().ok();
    let cli = Cli::parse();
    output::style::choose_colors(cli.global.color);
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let settings = settings::Settings::load(&cli.global)?;
    start_logging(settings.text("log"))?;
    commands::run(cli.command, settings)
}

/// Log lines go to stderr. Until someone asks for more, only warnings are shown: a command's own talk is not a log.
fn start_logging(filter: &str) -> Result<(), Failure> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::new(Exit::Usage, format!("log filter '{filter}' cannot be read: {error}"))
            .hint("use a level (error, warn, info, debug, trace) or a list such as thalweg_engine=debug,warn")
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
