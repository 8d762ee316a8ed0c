//! One file per subcommand: an `Args` struct, whose docs are the help, and the function that carries it out.

pub mod config;
pub mod connectors;
pub mod docs;

use crate::cli::Command;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

pub fn run(command: Command, settings: Settings) -> Result<Exit, Failure> {
    match command {
        Command::Connectors(args) => connectors::run(args),
        Command::Config(args) => config::run(args, &settings),
        Command::Docs(args) => docs::run(args),
    }
}
