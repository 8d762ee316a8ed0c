//! One file per subcommand: an `Args` struct, whose docs are the help, and the function that carries it out.

pub mod bench;
pub mod checkpoints;
pub mod config;
pub mod connectors;
pub mod demo;
pub mod docs;
pub mod explain;
pub mod run;
pub mod sql;
pub mod test;
pub mod validate;

use crate::cli::Command;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

pub fn run(command: Command, settings: Settings) -> Result<Exit, Failure> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => run::run(args, &settings),
        Command::Sql(args) => sql::run(args, &settings),
        Command::Explain(args) => explain::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Test(args) => test::run(args),
        Command::Bench(args) => bench::run(args, &settings),
        Command::Connectors(args) => connectors::run(args),
        Command::Checkpoints(args) => checkpoints::run(args, &settings),
        Command::Config(args) => config::run(args, &settings),
        Command::Docs(args) => docs::run(args),
    }
}
