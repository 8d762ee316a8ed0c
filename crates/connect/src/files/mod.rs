//! `files`: ndjson, CSV and Parquet files on this machine or in an S3-compatible store.
//!
//! Source contract: a file is a split, named by its path or URL. Text is handed out in blocks of whole lines, Parquet in
//! slices of row groups, always in the file's order; positions are byte positions in the decompressed text (or row
//! numbers in Parquet) beside the file's identity, so that a replaced file is noticed. Reading runs ahead on IO threads
//! through bounded queues. See `feed` for which split is served, `watch` for files that grow.
//!
//! Sink contract: exactly once. Workers write staged files, the manifest names them, a commit moves each to its final
//! name, which follows from epoch, worker and number. See `sink`.

mod config;
mod decode;
mod error;
mod feed;
mod lowest;
mod object;
mod parquet;
mod position;
mod reader;
mod schema;
mod sink;
mod source;
mod storage;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use crate::registry::{Connector, ConnectorInfo, SourceHalf};

pub(crate) const CONNECTOR: Connector =
    Connector { info, source: Some(SourceHalf { open: source::open, check: source::check }), sink: Some(sink::open) };

fn info() -> ConnectorInfo {
    ConnectorInfo {
        name: "files",
        summary: "ndjson, csv and parquet files: a file, a folder, a glob or an s3:// URL; exactly-once as a sink",
        source_options: Some(crate::options::schema_of::<config::FilesSourceOptions>()),
        sink_options: Some(crate::options::schema_of::<sink::FilesSinkOptions>()),
        metadata: schema::METADATA.to_vec(),
    }
}
