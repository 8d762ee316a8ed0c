//! Random numbers that are a promise: the same on every machine and in every release.
//!
//! [`SmallRng`] draws exactly what `rand` 0.8's generator of that name draws on 64-bit machines (xoshiro256++ seeded
//! by PCG32), because the values of Nexmark are defined by it; own code, because a caller can stop after the columns it
//! needs and letters are drawn straight into a buffer. A test compares the events with the crate's.

/// xoshiro256++.
#[derive(Debug, Clone)]
pub(crate) struct SmallRng {
    state: [u64; 4],
}

impl SmallRng {
    #[inline]
    pub(crate) fn seed_from_u64(mut seed: u64) -> Self {
        let mut state = [0u64; 4];
        for word in &mut state {
            let low = pcg32(&mut seed);
            *word = u64::from(low) | (u64::from(pcg32(&mut seed)) << 32);
        }
        Self { state }
    }

    #[inline(always)]
    pub(crate) fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    #[inline(always)]
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// `gen_range(0..range)` of a 64-bit type.
    #[inline(always)]
    pub(crate) fn below(&mut self, range: u64) -> u64 {
        let zone = (range << range.leading_zeros()).wrapping_sub(1);
        loop {
            let product = u128::from(self.next_u64()) * u128::from(range);
            if product as u64 <= zone {
                return (product >> 64) as u64;
            }
        }
    }

    /// `gen_range(0..range)` of a 32-bit type, and the index that `choose` takes.
    #[inline(always)]
    pub(crate) fn below_u32(&mut self, range: u32) -> u32 {
        let zone = (range << range.leading_zeros()).wrapping_sub(1);
        loop {
            let product = u64::from(self.next_u32()) * u64::from(range);
            if product as u32 <= zone {
                return (product >> 32) as u32;
            }
        }
    }

    /// Appends `length` letters, each `gen_range(b'a'..=b'z')`.
    #[inline(always)]
    pub(crate) fn letters(&mut self, length: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + length, 0);
        for letter in &mut out[start..] {
            *letter = self.letter();
        }
    }

    #[inline(always)]
    pub(crate) fn letter(&mut self) -> u8 {
        const ZONE: u32 = u32::MAX - (u32::MAX - 26 + 1) % 26;
        loop {
            let product = u64::from(self.next_u32()) * 26;
            if product as u32 <= ZONE {
                return b'a' + (product >> 32) as u8;
            }
        }
    }

    /// `gen::<f32>()`: 24 bits, in [0, 1).
    #[inline(always)]
    pub(crate) fn unit_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }
}

#[inline(always)]
fn pcg32(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(11_634_580_027_462_260_723);
    let word = (((*state >> 18) ^ *state) >> 27) as u32;
    word.rotate_right((*state >> 59) as u32)
}

/// A well mixed word from a stream's name and a number: stateless, so any row can be made first.
#[inline(always)]
pub(crate) fn mix(stream: u64, number: u64) -> u64 {
    let mut z = stream.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z = (z ^ (z >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z ^ (z >> 32)
}

/// `word` as a fraction in [0, 1).
#[inline(always)]
pub(crate) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}
