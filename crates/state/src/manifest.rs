//! Manifests: what a checkpoint consists of.
//!
//! A manifest is complete: with the segments it names, a pipeline restarts from it alone. Its parent only says which
//! manifest it followed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{KEY_ENCODING_VERSION, SegmentRef, StateError, VNODES};

/// The newest manifest format this version writes and reads.
pub const MANIFEST_FORMAT_VERSION: u32 = 1;

/// One checkpoint of a pipeline.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    pub pipeline: String,
    /// Of the process that wrote it; see [`crate::CheckpointStore::claim`].
    pub generation: u64,
    pub checkpoint_epoch: u64,
    /// The epoch of the manifest that this process committed or restored before; `None` for a first one.
    pub parent: Option<u64>,
    /// Hash of the plan; the same fingerprint means the same operators and sources.
    pub fingerprint: String,
    /// [`KEY_ENCODING_VERSION`] by which the vnodes of all rows were computed.
    pub key_encoding_version: u32,
    /// [`VNODES`] by which the vnodes of all rows were computed.
    pub vnodes: u16,
    /// Number of workers that wrote it; a restart may use another.
    pub workers: u32,
    /// By the source's name.
    pub sources: BTreeMap<String, SourceState>,
    /// By state id.
    pub operators: BTreeMap<String, OperatorState>,
    /// By the sink's name: references of what was staged.
    pub sinks: BTreeMap<String, Vec<serde_json::Value>>,
    #[serde(default)]
    pub totals: Totals,
    /// The input ended and everything was emitted.
    #[serde(default)]
    pub finished: bool,
    /// The script.
    #[serde(default)]
    pub sql: String,
    /// Kept until deleted by hand: garbage collection passes it by.
    #[serde(default)]
    pub savepoint: bool,
}

/// How far a source has been read.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct SourceState {
    /// One per split, in the connector's own words.
    pub positions: Vec<serde_json::Value>,
    /// Event watermark of each split in microseconds.
    #[serde(default)]
    pub split_watermarks: BTreeMap<String, i64>,
}

/// State of one operator over all workers.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct OperatorState {
    /// For messages; what counts is the state id.
    pub name: String,
    /// In microseconds; rows whose `__expires` is not above it are dead.
    pub event_watermark: i64,
    /// All rows of all segments together are the state.
    pub segments: Vec<SegmentRef>,
}

impl OperatorState {
    /// Puts the result of a merge in place of what was merged: `before` is the value given to
    /// [`crate::CheckpointStore::merge`], `after` what it returned. Segments added meanwhile stay.
    ///
    /// Returns false and changes nothing if some reference of `before` is no longer here as it was (the operator replaced
    /// its state meanwhile): then `after` must be forgotten.
    #[must_use]
    pub fn apply_merge(&mut self, before: &Self, after: Self) -> bool {
        let merged = &before.segments;
        if !merged.iter().all(|segment| self.segments.contains(segment)) {
            return false;
        }
        let added: Vec<SegmentRef> = self.segments.drain(..).filter(|segment| !merged.contains(segment)).collect();
        self.segments = after.segments;
        self.segments.extend(added);
        true
    }
}

/// Counts since the pipeline's first start.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[serde(default)]
pub struct Totals {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Rows dropped because the watermark had passed them.
    pub late: u64,
    /// Bad rows sent to a dead-letter sink.
    pub dead_lettered: u64,
    /// Bad rows dropped by policy.
    pub dropped: u64,
    pub input_bytes: u64,
    /// Time spent running, in microseconds.
    pub elapsed_us: u64,
}

impl Manifest {
    /// Paths of all segments it names.
    pub fn segment_paths(&self) -> impl Iterator<Item = &str> {
        self.operators.values().flat_map(|operator| &operator.segments).map(|segment| segment.path.as_str())
    }

    /// Whether this version can restore it.
    pub(crate) fn check_readable(&self, place: &str) -> Result<(), StateError> {
        if self.key_encoding_version > KEY_ENCODING_VERSION {
            return Err(StateError::Newer {
                place: format!("the key encoding of {place}"),
                found: self.key_encoding_version,
                supported: KEY_ENCODING_VERSION,
            });
        }
        if self.key_encoding_version != KEY_ENCODING_VERSION || self.vnodes != VNODES {
            return Err(StateError::request(format!(
                "{place} deals keys out by encoding {} over {} vnodes, this version by encoding {KEY_ENCODING_VERSION} over {VNODES}; start over with --restart",
                self.key_encoding_version, self.vnodes
            )));
        }
        Ok(())
    }
}
