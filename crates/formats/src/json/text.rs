//! The bytes under the scanner, and the few questions it asks about them.
//!
//! Why unchecked loads: the scanner looks at 8, 16 or 32 bytes at once and never checks for an end, because every row ends
//! with a line break, every token stops there, and [`PADDING`] bytes may be read after the last one.
//!
//! Invariants: the bytes end with a line break and `PADDING` more; a position handed to [`Text`] is never beyond
//! the line break of the row it came from. A scanner therefore never steps over a line break (debug builds assert bounds).

use std::marker::PhantomData;

/// Bytes that may be read behind the last line break.
pub(crate) const PADDING: usize = 64;

#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    start: *const u8,
    /// All readable bytes, with the padding.
    len: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Text<'a> {
    /// `rows_end` is where the last row ends, just behind its line break.
    pub fn new(bytes: &'a [u8], rows_end: usize) -> Self {
        assert!(rows_end > 0 && bytes[rows_end - 1] == b'\n', "the last row ends with a line break");
        assert!(bytes.len() - rows_end >= PADDING, "the last row is followed by padding");
        Self { start: bytes.as_ptr(), len: bytes.len(), bytes: PhantomData }
    }

    #[inline(always)]
    pub fn byte(self, at: usize) -> u8 {
        debug_assert!(at < self.len);
        // SAFETY: `at` is not beyond a row's line break (invariant of this module), so within the bytes.
        unsafe { *self.start.add(at) }
    }

    /// Eight bytes, the first lowest.
    #[inline(always)]
    pub fn load8(self, at: usize) -> u64 {
        debug_assert!(at + 8 <= self.len);
        // SAFETY: at most 63 bytes are read behind a row's line break, and the padding is readable.
        u64::from_le(unsafe { self.start.add(at).cast::<u64>().read_unaligned() })
    }

    #[inline(always)]
    pub fn slice(self, from: usize, to: usize) -> &'a [u8] {
        debug_assert!(from <= to && to <= self.len);
        // SAFETY: both ends lie within a row or its padding, in order.
        unsafe { std::slice::from_raw_parts(self.start.add(from), to - from) }
    }

    /// Appends `from..to` to `out`.
    #[inline(always)]
    pub fn copy_to(self, from: usize, to: usize, out: &mut Vec<u8>) {
        let len = to - from;
        out.reserve(len + 32);
        debug_assert!(from + len.next_multiple_of(32).max(32) <= self.len);
        // SAFETY: `out` has room for `len` rounded up to 32 bytes; the source has too, since `to` is within a row and the
        // padding is longer than 32; the ranges belong to different allocations; only `len` bytes are declared to be there.
        unsafe {
            let source = self.start.add(from);
            let target = out.as_mut_ptr().add(out.len());
            target.cast::<[u8; 32]>().write_unaligned(source.cast::<[u8; 32]>().read_unaligned());
            let mut done = 32;
            while done < len {
                target
                    .add(done)
                    .cast::<[u8; 32]>()
                    .write_unaligned(source.add(done).cast::<[u8; 32]>().read_unaligned());
                done += 32;
            }
            out.set_len(out.len() + len);
        }
    }

    /// The first quote, backslash or control character from `at` on; the line break at the latest.
    #[inline(always)]
    pub fn string_stop(self, mut at: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{
                __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
            };
            loop {
                debug_assert!(at + 16 <= self.len);
                // SAFETY: SSE2 is part of x86_64; the load is within the padding as in `load8`.
                let stops = unsafe {
                    let chunk = _mm_loadu_si128(self.start.add(at).cast::<__m128i>());
                    let quote = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'"' as i8));
                    let backslash = _mm_cmpeq_epi8(chunk, _mm_set1_epi8(b'\\' as i8));
                    let control = _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1f)), chunk);
                    _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
                };
                if stops != 0 {
                    return at + stops.trailing_zeros() as usize;
                }
                at += 16;
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        loop {
            let chunk = self.load8(at);
            let stops = zero_bytes(chunk ^ (ONES * b'"' as u64))
                | zero_bytes(chunk ^ (ONES * b'\\' as u64))
                | (chunk.wrapping_sub(ONES * 0x20) & !chunk & (ONES << 7));
            if stops != 0 {
                return at + (stops.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
    }

    /// The first byte from `at` on that is no space, tab or carriage return.
    #[inline(always)]
    pub fn skip_space(self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\t' | b'\r') {
            at += 1;
        }
        at
    }

    /// The line break that ends the row of `at`.
    pub fn row_end(self, at: usize) -> usize {
        let rest = self.slice(at, self.len);
        at + memchr::memchr(b'\n', rest).expect("every row ends with a line break")
    }

    /// Whether `literal` stands at `at`; it has at most 8 bytes.
    #[inline(always)]
    pub fn starts_with(self, at: usize, literal: &[u8]) -> bool {
        self.slice(at, at + literal.len()) == literal
    }
}

#[cfg(not(target_arch = "x86_64"))]
const ONES: u64 = 0x0101_0101_0101_0101;

/// The lowest set bit is the top bit of the first byte of `chunk` that is zero.
#[cfg(not(target_arch = "x86_64"))]
fn zero_bytes(chunk: u64) -> u64 {
    chunk.wrapping_sub(ONES) & !chunk & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(row: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = row.to_vec();
        bytes.push(b'\n');
        let rows_end = bytes.len();
        bytes.resize(rows_end + PADDING, b'\n');
        (bytes, rows_end)
    }

    #[test]
    fn strings_stop_at_every_special_byte_and_no_other() {
        for special in 0..=255u8 {
            for place in [0, 1, 7, 8, 15, 16, 17, 40] {
                let mut row = vec![b'a'; 50];
                row[place] = special;
                let (bytes, end) = padded(&row);
                let stops = special < 0x20 || special == b'"' || special == b'\\';
                let expected = if stops { place } else { 50 };
                assert_eq!(Text::new(&bytes, end).string_stop(0), expected, "byte {special} at {place}");
            }
        }
    }

    #[test]
    fn copies_of_every_length_are_exact() {
        let row: Vec<u8> = (0..200).map(|byte| b'0' + byte % 64).collect();
        let (bytes, end) = padded(&row);
        for len in 0..=200 {
            let mut out = b"x".to_vec();
            Text::new(&bytes, end).copy_to(200 - len, 200, &mut out);
            assert_eq!(out[1..], row[200 - len..], "{len} bytes");
        }
    }
}
