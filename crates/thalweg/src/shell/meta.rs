//! Commands of the shell itself: `\d`, `\timing`, ... and the dot names that DuckDB and SQLite users know.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::output::Format;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    Help,
    Quit,
    /// All objects, or one.
    Describe(Option<String>),
    /// Connectors.
    Connectors,
    Timing(Option<bool>),
    Expanded(Option<bool>),
    /// To a file, or back to the screen.
    Output(Option<PathBuf>),
    Include(PathBuf),
    /// Show or choose the output format.
    Format(Option<Format>),
    /// Functions whose name contains the text.
    Functions(String),
    Explain(String),
    /// Forget all declarations.
    Clear,
}

pub const HELP: &str = "\
statements end with ;  SELECT over a bounded input answers and ends; over an endless one it stays live (q stops)

  \\d [NAME]        sources, views and sinks; columns of one    (.tables, .schema NAME)
  \\df [TEXT]       functions                                   (.functions)
  \\l               connectors
  \\e QUERY         how a query would run                       (.explain)
  \\timing [on|off] time of every statement                     (.timer)
  \\x [on|off]      one line per column
  \\o [FILE]        results to a file; without FILE back here   (.output)
  \\f [FORMAT]      table, json, jsonl, csv, yaml, markdown     (.mode)
  \\i FILE          run a file                                  (.read)
  \\clear           forget sources, views and sinks
  \\?  \\q           this list, leave                            (.help, .quit)";

/// Whether a line is a shell command rather than SQL.
pub fn is_meta(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('\\') || (line.starts_with('.') && line[1..].starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Reads a shell command. Errors name it and the nearest known one.
pub fn parse(line: &str) -> Result<Meta, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let optional = || (!argument.is_empty()).then(|| argument.to_string());
    Ok(match name {
        "\\?" | "\\h" | "\\help" | ".help" => Meta::Help,
        "\\q" | "\\quit" | ".quit" | ".exit" => Meta::Quit,
        "\\d" | "\\dt" | "\\d+" | ".tables" | ".schema" => Meta::Describe(optional()),
        "\\l" | ".connectors" => Meta::Connectors,
        "\\df" | ".functions" => Meta::Functions(argument.to_string()),
        "\\e" | "\\explain" | ".explain" => Meta::Explain(needed(name, argument, "a query")?),
        "\\timing" | ".timer" | ".timing" => Meta::Timing(switch(name, argument)?),
        "\\x" => Meta::Expanded(switch(name, argument)?),
        "\\o" | ".output" => Meta::Output(optional().filter(|path| path != "stdout").map(PathBuf::from)),
        "\\i" | ".read" => Meta::Include(needed(name, argument, "a file")?.into()),
        "\\f" | "\\format" | ".mode" => Meta::Format(format(argument)?),
        "\\clear" => Meta::Clear,
        _ => return Err(format!("there is no command {name}; \\? lists them")),
    })
}

fn needed(name: &str, argument: &str, what: &str) -> Result<String, String> {
    if argument.is_empty() { Err(format!("{name} needs {what}")) } else { Ok(argument.to_string()) }
}

fn switch(name: &str, argument: &str) -> Result<Option<bool>, String> {
    match argument {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        other => Err(format!("{name} is on or off, not '{other}'")),
    }
}

fn format(argument: &str) -> Result<Option<Format>, String> {
    if argument.is_empty() {
        return Ok(None);
    }
    let format = Format::from_str(argument, true);
    format
        .map(Some)
        .map_err(|_| format!("there is no format '{argument}'; use table, json, jsonl, csv, yaml or markdown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_mean_the_same() {
        for (a, b) in [
            ("\\d flights", ".schema flights"),
            ("\\timing on", ".timer on;"),
            ("\\q", ".quit"),
            ("\\f csv", ".mode csv"),
        ] {
            assert_eq!(parse(a).unwrap(), parse(b).unwrap());
            assert!(is_meta(a) && is_meta(b));
        }
        assert!(!is_meta("SELECT 1") && !is_meta(".5 + 1"));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["\\z", "\\timing maybe", "\\i", ".mode xml"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
