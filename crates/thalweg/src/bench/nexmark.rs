//! The Nexmark queries, and the pipelines that run them.
//!
//! Event time as in the corpus: `date_time` in milliseconds; watermark 5 s behind the largest. A query on bids alone
//! reads 46 of 50 events.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// Name and text of each query.
const QUERIES: &[(&str, &str)] = &[
    ("q0", include_str!("queries/q0.sql")),
    ("q1", include_str!("queries/q1.sql")),
    ("q2", include_str!("queries/q2.sql")),
    ("q5hop", include_str!("queries/q5hop.sql")),
    ("q11", include_str!("queries/q11.sql")),
    ("q12", include_str!("queries/q12.sql")),
    ("q14", include_str!("queries/q14.sql")),
    ("q21", include_str!("queries/q21.sql")),
    ("q22", include_str!("queries/q22.sql")),
];

pub fn names() -> Vec<&'static str> {
    QUERIES.iter().map(|(name, _)| *name).collect()
}

pub fn query(name: &str) -> Option<&'static str> {
    QUERIES.iter().find(|(known, _)| *known == name).map(|(_, sql)| *sql)
}

/// Where the events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Input {
    /// Made by the workers while they run: the ceiling without reading.
    Generate,
    /// `bid.ndjson` of a corpus.
    Json,
    /// `bid.parquet` of a corpus (`thalweg bench corpus` makes it).
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Counts rows and forgets them.
    Blackhole,
    /// Exactly-once files of JSON lines.
    Files,
}

/// Everything that makes a script.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    pub query: &'a str,
    pub input: Input,
    /// Folder of the corpus; not for `Generate`.
    pub corpus: Option<&'a Path>,
    /// Nexmark events in all, persons and auctions counted; for `Generate`.
    pub events: u64,
    pub output: Output,
    /// Where `Files` writes.
    pub out: PathBuf,
}

impl Job<'_> {
    /// The pipeline as SQL.
    pub fn script(&self) -> String {
        let source = match self.input {
            Input::Generate => {
                format!("connector = 'generator', events = 'nexmark', type = 'bid', rows = '{}'", bids(self.events))
            }
            Input::Json => files(self.corpus, "bid.ndjson", "ndjson"),
            Input::Parquet => files(self.corpus, "bid.parquet", "parquet"),
        };
        let sink = match self.output {
            Output::Blackhole => "connector = 'blackhole'".to_string(),
            Output::Files => format!("connector = 'files', path = {}, format = 'ndjson'", quoted(&self.out)),
        };
        format!(
            "CREATE SOURCE bid (\n  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time BIGINT, \
             extra TEXT,\n  ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(date_time)) STORED,\n  \
             WATERMARK FOR ts AS ts - INTERVAL '5' SECOND\n) WITH ({source});\n\nCREATE SINK result WITH ({sink}) AS\n{};\n",
            self.query.trim_end()
        )
    }
}

/// Bids among the first `events` events: of every 50, the first 4 are a person and three auctions.
pub fn bids(events: u64) -> u64 {
    events / 50 * 46 + (events % 50).saturating_sub(4)
}

fn files(corpus: Option<&Path>, name: &str, format: &str) -> String {
    let path = corpus.unwrap_or_else(|| Path::new(".")).join(name);
    format!("connector = 'files', path = {}, format = '{format}'", quoted(&path))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bids_are_46_of_50() {
        for (events, expect) in [(0, 0), (4, 0), (5, 1), (50, 46), (54, 46), (55, 47), (1_000_000, 920_000)] {
            assert_eq!(bids(events), expect, "{events}");
        }
    }

    #[test]
    fn every_script_parses() {
        for name in names() {
            for input in [Input::Generate, Input::Json, Input::Parquet] {
                let job = Job {
                    query: query(name).unwrap(),
                    input,
                    corpus: Some(Path::new("it's here")),
                    events: 100,
                    output: Output::Files,
                    out: "out".into(),
                };
                let script = job.script();
                if let Err(errors) = thalweg_sql::parse_script(&script) {
                    panic!("{name}: {}", errors[0].render(name, &script));
                }
            }
        }
    }
}
