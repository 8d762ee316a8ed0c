//! How far a file has been read, and how the file is known again.

use serde::{Deserialize, Serialize};
use thalweg_engine::{EngineError, SplitPosition};
use xxhash_rust::xxh3::xxh3_64;

/// So many bytes at the begin of a file tell it from another one.
pub(crate) const HEAD_BYTES: usize = 4096;

/// The first bytes of a file (compressed, if it is), hashed. A file that only grows keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    /// How many bytes were hashed: fewer than [`HEAD_BYTES`] if the file was shorter when it was first seen.
    pub(crate) bytes: u64,
    pub(crate) xxh3: u64,
}

impl Head {
    pub(crate) fn of(start: &[u8]) -> Self {
        let start = &start[..start.len().min(HEAD_BYTES)];
        Self { bytes: start.len() as u64, xxh3: xxh3_64(start) }
    }

    /// Whether a file that begins with `start` (up to [`HEAD_BYTES`] of it) can be the one this was made from.
    pub(crate) fn fits(&self, start: &[u8]) -> bool {
        start.get(..self.bytes as usize).is_some_and(|same| Self::of(same) == *self)
    }
}

/// A position in a file. What `at` counts depends on the format: bytes of decompressed text, or rows of Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Everything before has been handed out.
    pub(crate) at: u64,
    /// Line breaks before `at`.
    pub(crate) line: u64,
    /// The last row handed out had no line break yet, because the (bounded) file ended there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) open_line: bool,
    /// Bytes of the file when it was last looked at, and when it was changed (microseconds since the epoch).
    pub(crate) size: u64,
    pub(crate) modified_at: i64,
    pub(crate) head: Head,
    /// Everything there was had been read.
    #[serde(default)]
    pub(crate) at_end: bool,
}

impl Position {
    pub(crate) fn read(split: &SplitPosition) -> Result<Self, EngineError> {
        serde_json::from_value(split.position.clone()).map_err(|error| {
            let message = format!(
                "cannot read the position of {} in the checkpoint; it was written by another version: start with --restart",
                split.split
            );
            EngineError::with_source(thalweg_engine::ErrorKind::FixData, message, error)
        })
    }

    pub(crate) fn write(&self, name: &str, finished: bool) -> SplitPosition {
        let position = serde_json::to_value(self).expect("numbers and booleans");
        SplitPosition { split: name.to_owned(), position, finished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_file_is_known_again_and_another_is_not() {
        let head = Head::of(b"one\n");
        assert!(head.fits(b"one\n") && head.fits(b"one\ntwo\n"));
        assert!(!head.fits(b"one") && !head.fits(b"two\ntwo\n"));
        assert!(Head::default().fits(b"") || Head::of(b"").fits(b"anything"));
        let long = vec![7u8; 3 * HEAD_BYTES];
        assert!(Head::of(&long).fits(&long[..HEAD_BYTES]));
    }

    #[test]
    fn positions_survive_the_manifest() {
        let position =
            Position { at: 10, line: 2, size: 20, modified_at: 5, head: Head::of(b"x"), ..Default::default() };
        assert_eq!(Position::read(&position.write("f", false)).unwrap(), position);
    }
}
