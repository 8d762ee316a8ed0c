//! Names of the files in a pipeline's folder: written and read in this one place.
//!
//! ```text
//! thalweg-checkpoints                           marker: whose folder this is
//! generation-<generation:10>                    a process claimed the pipeline
//! base-<generation:10>-<epoch:20>|none          the newest manifest which that process found after its claim
//! manifest-<epoch:20>-<generation:10>           a checkpoint
//! segments/<epoch:20>-<generation:10>-<worker:5>-<sequence:8>-<state id>.seg
//! .tmp-*                                        being written (local folders only)
//! ```

/// The marker's name.
pub(crate) const MARKER: &str = "thalweg-checkpoints";
/// The folder of the segments.
pub(crate) const SEGMENTS: &str = "segments";
/// How names of files in the making begin.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// A name in the pipeline's folder, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Marker,
    Segments,
    Generation(u64),
    Base { generation: u64, epoch: Option<u64> },
    Manifest(ManifestName),
    Temporary,
}

/// Ordered by epoch, then generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ManifestName {
    pub epoch: u64,
    pub generation: u64,
}

/// What a segment's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentName {
    pub epoch: u64,
    pub generation: u64,
}

impl Name {
    /// `None`: not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        if name == MARKER {
            return Some(Self::Marker);
        }
        if name == SEGMENTS {
            return Some(Self::Segments);
        }
        if name.starts_with(TEMPORARY) {
            return Some(Self::Temporary);
        }
        if let Some(rest) = name.strip_prefix("generation-") {
            return Some(Self::Generation(number(rest, 10)?));
        }
        if let Some(rest) = name.strip_prefix("base-") {
            let (generation, epoch) = rest.split_once('-')?;
            let epoch = if epoch == "none" { None } else { Some(number(epoch, 20)?) };
            return Some(Self::Base { generation: number(generation, 10)?, epoch });
        }
        let (epoch, generation) = name.strip_prefix("manifest-")?.split_once('-')?;
        Some(Self::Manifest(ManifestName { epoch: number(epoch, 20)?, generation: number(generation, 10)? }))
    }
}

impl std::fmt::Display for ManifestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "manifest-{:020}-{:010}", self.epoch, self.generation)
    }
}

pub(crate) fn generation_name(generation: u64) -> String {
    format!("generation-{generation:010}")
}

pub(crate) fn base_name(generation: u64, epoch: Option<u64>) -> String {
    match epoch {
        Some(epoch) => format!("base-{generation:010}-{epoch:020}"),
        None => format!("base-{generation:010}-none"),
    }
}

/// Path of a segment in the pipeline's folder. Unique by generation and sequence.
pub(crate) fn segment_path(epoch: u64, generation: u64, worker: usize, sequence: u64, state_id: &str) -> String {
    let mut id = encoded(state_id);
    id.truncate(80);
    format!("{SEGMENTS}/{epoch:020}-{generation:010}-{worker:05}-{sequence:08}-{id}.seg")
}

impl SegmentName {
    /// Reads a path in the pipeline's folder; `None`: not a segment of ours.
    pub fn parse(path: &str) -> Option<Self> {
        let stem = path.strip_prefix(SEGMENTS)?.strip_prefix('/')?.strip_suffix(".seg")?;
        if stem.contains('/') {
            return None;
        }
        let mut parts = stem.splitn(5, '-');
        let epoch = number(parts.next()?, 20)?;
        let generation = number(parts.next()?, 10)?;
        number(parts.next()?, 5)?;
        number(parts.next()?, 8)?;
        parts.next()?;
        Some(Self { epoch, generation })
    }
}

/// Exactly `digits` digits, or more if the number needs them.
fn number(text: &str, digits: usize) -> Option<u64> {
    let canonical = text.len() == digits || (text.len() > digits && !text.starts_with('0'));
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Any text as one safe part of a path: letters, digits, `_`, `-` and inner `.` stay, every other byte becomes `=` and two
/// hex digits. Different texts stay different.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || (byte == b'.' && at > 0);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("={byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let manifest = ManifestName { epoch: 7, generation: 3 };
        assert_eq!(manifest.to_string(), "manifest-00000000000000000007-0000000003");
        assert_eq!(Name::parse(&manifest.to_string()), Some(Name::Manifest(manifest)));
        let large = ManifestName { epoch: u64::MAX, generation: u64::MAX };
        assert_eq!(Name::parse(&large.to_string()), Some(Name::Manifest(large)));
        assert_eq!(Name::parse(&generation_name(4)), Some(Name::Generation(4)));
        for epoch in [None, Some(9)] {
            assert_eq!(Name::parse(&base_name(4, epoch)), Some(Name::Base { generation: 4, epoch }));
        }
        assert_eq!(
            SegmentName::parse(&segment_path(5, 2, 1, 0, "a-b/c.seg")),
            Some(SegmentName { epoch: 5, generation: 2 })
        );
        for other in
            ["manifest-7-3", "manifest-+0000000000000000007-0000000003", "generation-4", "x", "base-0000000001-x"]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        for other in ["segments/x.seg", "manifest-00000000000000000007-0000000003", "segments/.tmp-1"] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn any_text_becomes_one_safe_part() {
        for (text, name) in [("flights", "flights"), ("..", "=2e."), ("a/b", "a=2fb"), ("ä", "=c3=a4"), ("=", "=3d")] {
            assert_eq!(encoded(text), name);
        }
    }
}
