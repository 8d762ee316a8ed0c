//! Sealed text: the form of every small file (marker, generation, base, manifest).
//!
//! ```text
//! thalweg-manifest 1\n            kind and format version
//! {"...":...}\n                   one line of JSON
//! crc64nvme 0123456789abcdef\n    CRC-64/NVME of all bytes before this line, 16 lower-case hex digits
//! ```
//! The first and the last line keep their form in all versions, so that any version can tell damage from novelty.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StateError;

const SEAL: &str = "crc64nvme ";
const SEAL_BYTES: usize = SEAL.len() + 16 + 1;

pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// Writes `value` as sealed text.
pub(crate) fn seal(kind: &str, version: u32, value: &impl Serialize) -> Result<Vec<u8>, StateError> {
    let json =
        serde_json::to_string(value).map_err(|error| StateError::bug(format!("cannot write a {kind}: {error}")))?;
    assert!(!json.contains('\n'), "JSON stands on one line");
    let mut text = format!("{kind} {version}\n{json}\n");
    let seal = format!("{SEAL}{:016x}\n", crc64(text.as_bytes()));
    text.push_str(&seal);
    Ok(text.into_bytes())
}

/// Reads sealed text: first the checksum, then kind and version, then the JSON.
pub(crate) fn unseal<T: DeserializeOwned>(
    kind: &str,
    version: u32,
    place: &str,
    bytes: &[u8],
) -> Result<T, StateError> {
    let damaged = |what: &str| StateError::damaged(place, what);
    let Some(seal_at) = bytes.len().checked_sub(SEAL_BYTES) else {
        return Err(damaged(&format!("it has only {} bytes", bytes.len())));
    };
    let (text, seal) = bytes.split_at(seal_at);
    if seal != format!("{SEAL}{:016x}\n", crc64(text)).as_bytes() {
        return Err(damaged("its checksum differs"));
    }
    let text = std::str::from_utf8(text).map_err(|_| damaged("it is not UTF-8"))?;
    let (head, json) = text.split_once('\n').ok_or_else(|| damaged("it has no first line"))?;
    let found: u32 = head
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(|rest| rest.parse().ok())
        .ok_or_else(|| damaged(&format!("it is not a {kind}")))?;
    if found > version {
        return Err(StateError::Newer { place: place.into(), found, supported: version });
    }
    serde_json::from_str(json).map_err(|error| damaged(&format!("its content cannot be read ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = seal("thalweg-thing", 1, &vec!["a", "b"]).unwrap();
        assert_eq!(unseal::<Vec<String>>("thalweg-thing", 1, "x", &bytes).unwrap(), ["a", "b"]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let error = unseal::<Vec<String>>("thalweg-thing", 1, "x", &flipped).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::FixData, "{error}");
            }
            assert!(unseal::<Vec<String>>("thalweg-thing", 1, "x", &bytes[..at]).is_err());
        }
    }

    #[test]
    fn newer_versions_and_other_kinds_are_told_apart() {
        let newer = seal("thalweg-thing", 2, &1).unwrap();
        let error = unseal::<i32>("thalweg-thing", 1, "x", &newer).unwrap_err();
        assert!(matches!(error, StateError::Newer { found: 2, supported: 1, .. }), "{error}");
        let error = unseal::<i32>("thalweg-other", 1, "x", &newer).unwrap_err();
        assert!(error.to_string().contains("not a thalweg-other"), "{error}");
    }
}
