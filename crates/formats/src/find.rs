//! Finds the first of a few bytes, sixteen at a time.
//!
//! Why not only the library's search: the texts of rows are short, and then calling it costs more than searching.

/// What is looked for in sixteen bytes: a bit for each byte, the first lowest.
pub(crate) trait Wanted: Copy {
    fn among(self, bytes: &[u8; 16]) -> u16;
    fn is(self, byte: u8) -> bool;
}

/// Any of these bytes.
#[derive(Clone, Copy)]
pub(crate) struct AnyOf<const N: usize>(pub [u8; N]);

impl<const N: usize> Wanted for AnyOf<N> {
    #[inline(always)]
    fn among(self, bytes: &[u8; 16]) -> u16 {
        let mut found = 0;
        for wanted in self.0 {
            found |= equal(bytes, wanted);
        }
        found
    }

    #[inline(always)]
    fn is(self, byte: u8) -> bool {
        self.0.contains(&byte)
    }
}

/// What a JSON string cannot hold as it is: quote, backslash, control characters.
#[derive(Clone, Copy)]
pub(crate) struct JsonSpecial;

impl Wanted for JsonSpecial {
    #[inline(always)]
    fn among(self, bytes: &[u8; 16]) -> u16 {
        equal(bytes, b'"') | equal(bytes, b'\\') | below_space(bytes)
    }

    #[inline(always)]
    fn is(self, byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\'
    }
}

/// Where the first wanted byte is, from `from` on.
#[inline(always)]
pub(crate) fn find(bytes: &[u8], mut from: usize, wanted: impl Wanted) -> Option<usize> {
    while let Some(chunk) = bytes[from..].first_chunk::<16>() {
        let found = wanted.among(chunk);
        if found != 0 {
            return Some(from + found.trailing_zeros() as usize);
        }
        from += 16;
    }
    bytes[from..].iter().position(|&byte| wanted.is(byte)).map(|found| from + found)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal(bytes: &[u8; 16], wanted: u8) -> u16 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86_64, and the array has the 16 bytes that are loaded.
    unsafe {
        let chunk = _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>());
        _mm_movemask_epi8(_mm_cmpeq_epi8(chunk, _mm_set1_epi8(wanted as i8))) as u16
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn below_space(bytes: &[u8; 16]) -> u16 {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: as in `equal`.
    unsafe {
        let chunk = _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>());
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1f)), chunk)) as u16
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn equal(bytes: &[u8; 16], wanted: u8) -> u16 {
    bytes.iter().rev().fold(0, |bits, &byte| bits << 1 | (byte == wanted) as u16)
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn below_space(bytes: &[u8; 16]) -> u16 {
    bytes.iter().rev().fold(0, |bits, &byte| bits << 1 | (byte < 0x20) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place() {
        for len in [0, 1, 15, 16, 17, 40] {
            for place in 0..len {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'a'; len];
                    bytes[place] = byte;
                    let special = (byte < 0x20 || b"\"\\".contains(&byte)).then_some(place);
                    assert_eq!(find(&bytes, 0, JsonSpecial), special, "byte {byte} at {place} of {len}");
                    let either = b",\n".contains(&byte).then_some(place);
                    assert_eq!(find(&bytes, 0, AnyOf(*b",\n")), either, "byte {byte} at {place} of {len}");
                    assert_eq!(find(&bytes, place + 1, AnyOf(*b",\n")), None);
                }
            }
        }
    }
}
