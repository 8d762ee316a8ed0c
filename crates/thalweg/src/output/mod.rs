//! How results look: formats of rows, tables on a terminal, colours.

pub mod rows;
pub mod style;
pub mod table;

use clap::ValueEnum;

/// Formats of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people, as wide as the terminal.
    Table,
    /// One JSON array.
    Json,
    /// One JSON object per line.
    Jsonl,
    Csv,
    Yaml,
    Markdown,
}

/// Formats of a report that is not rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    Text,
    Json,
}
