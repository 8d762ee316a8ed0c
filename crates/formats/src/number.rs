//! Numbers from ASCII: eight digits at a time.
//!
//! Why by hand: most integers of real data have under 16 digits, and for those two loads and six multiplications beat a
//! loop over bytes by far. Longer and odd ones take the exact path through [`Decimal`].

/// Powers of ten that `u64` holds.
const POWERS: [u64; 20] = {
    let mut powers = [1u64; 20];
    let mut index = 1;
    while index < 20 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Powers of ten that `f64` holds exactly.
const FLOAT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// How many of the eight bytes (first byte lowest) are digits before the first that is not.
#[inline(always)]
pub(crate) fn leading_digits(chunk: u64) -> u32 {
    let values = chunk ^ 0x3030_3030_3030_3030;
    // A carry out of a byte only disturbs later bytes, and only the first byte that is not a digit counts.
    let other = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    other.trailing_zeros() / 8
}

/// The value of the first `digits` bytes, all digits; `digits` is 1 to 8.
#[inline(always)]
pub(crate) fn value_of_digits(chunk: u64, digits: u32) -> u64 {
    debug_assert!((1..=8).contains(&digits));
    let values = (chunk ^ 0x3030_3030_3030_3030) << (64 - 8 * digits);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

#[inline(always)]
pub(crate) fn power_of_ten(exponent: u32) -> u64 {
    POWERS[exponent as usize]
}

/// `mantissa * 10^-scale` if one rounding suffices: then it is the nearest double.
#[inline(always)]
pub(crate) fn exact_float(mantissa: u64, scale: u32) -> Option<f64> {
    if mantissa > 1 << 53 || scale > 22 {
        return None;
    }
    Some(mantissa as f64 / FLOAT_POWERS[scale as usize])
}

/// A number as written: `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    digits: i128,
    exponent: i32,
}

impl Decimal {
    /// Reads `[+-]digits[.digits][e[+-]digits]`, at least one digit in front of the exponent. `None` if it is something
    /// else or has more significant digits than `i128` holds.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let mantissa_len = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let (mantissa, exponent) = text.split_at(mantissa_len);
        let mut exponent = if exponent.is_empty() { 0 } else { parse_exponent(&exponent[1..])? };
        let (mut digits, mut zeros, mut seen, mut in_fraction) = (0i128, 0i32, false, false);
        for &byte in mantissa {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    if in_fraction {
                        exponent = exponent.checked_sub(1)?;
                    }
                    if byte == b'0' {
                        // Zeros count only when a digit follows them, so that 1.000...0 never overflows.
                        zeros += 1;
                        continue;
                    }
                    if digits != 0 {
                        digits = digits.checked_mul(10i128.checked_pow(zeros as u32)?)?;
                    }
                    zeros = 0;
                    digits = digits.checked_mul(10)?.checked_add((byte - b'0') as i128)?;
                }
                b'.' if !in_fraction => in_fraction = true,
                _ => return None,
            }
        }
        if !seen {
            return None;
        }
        let exponent = if digits == 0 { 0 } else { exponent.checked_add(zeros)? };
        Some(Self { digits: if negative { -digits } else { digits }, exponent })
    }

    /// The integer it stands for, if it is one and fits.
    pub fn to_integer(self) -> Option<i128> {
        self.to_scale_exact(0)
    }

    fn to_scale_exact(self, scale: i32) -> Option<i128> {
        let shift = self.exponent.checked_add(scale)?;
        if shift >= 0 {
            let power = 10i128.checked_pow(u32::try_from(shift).ok()?);
            return if self.digits == 0 { Some(0) } else { self.digits.checked_mul(power?) };
        }
        let divisor = 10i128.checked_pow(shift.unsigned_abs())?;
        (self.digits % divisor == 0).then_some(self.digits / divisor)
    }

    /// The value in units of `10^-scale`, rounded half away from zero as in SQL, if it has at most `precision` digits.
    pub fn to_decimal(self, precision: u8, scale: i8) -> Option<i128> {
        let shift = self.exponent.checked_add(scale as i32)?;
        let value = if shift >= 0 {
            self.to_scale_exact(scale as i32)?
        } else {
            match 10i128.checked_pow(shift.unsigned_abs()) {
                None => 0,
                Some(divisor) => {
                    let (quotient, rest) = (self.digits / divisor, self.digits % divisor);
                    if rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2) {
                        quotient + self.digits.signum()
                    } else {
                        quotient
                    }
                }
            }
        };
        let limit = 10i128.checked_pow(precision as u32)?;
        (value.unsigned_abs() < limit.unsigned_abs()).then_some(value)
    }
}

fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Far beyond every type, yet far from overflow.
    let value = digits.iter().fold(0i32, |value, byte| (value * 10 + (byte - b'0') as i32).min(100_000));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> u64 {
        let mut bytes = [b','; 8];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn digits_are_counted_and_valued() {
        for text in ["0", "7", "42", "1000", "12345678", "99999999", "00000001", "1704095"] {
            let chunk = chunk(text);
            assert_eq!(leading_digits(chunk) as usize, text.len(), "{text}");
            assert_eq!(value_of_digits(chunk, text.len() as u32), text.parse::<u64>().unwrap(), "{text}");
        }
        assert_eq!(leading_digits(chunk("12a45678")), 2);
        assert_eq!(leading_digits(chunk("")), 0);
        for other in 0..=255u8 {
            let chunk = u64::from_le_bytes([b'1', other, b'3', b'4', b'5', b'6', b'7', b'8']);
            assert_eq!(leading_digits(chunk), if other.is_ascii_digit() { 8 } else { 1 }, "byte {other}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let integer = |text: &str| Decimal::parse(text.as_bytes()).and_then(Decimal::to_integer);
        assert_eq!(integer("1.0"), Some(1));
        assert_eq!(integer("-12e2"), Some(-1200));
        assert_eq!(integer("1200e-2"), Some(12));
        assert_eq!(integer("0e99999999999"), Some(0));
        assert_eq!(integer("1.5"), None);
        assert_eq!(integer("1e40"), None);
        assert_eq!(integer("9223372036854775808"), Some(1 << 63));
        assert_eq!(integer("1.00000000000000000000000000000000000000000000000"), Some(1));
        for wrong in ["", "-", ".", "e1", "1e", "1.2.3", "1x", "--1"] {
            assert_eq!(Decimal::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn decimals_round_half_away_from_zero() {
        let decimal = |text: &str| Decimal::parse(text.as_bytes()).and_then(|value| value.to_decimal(5, 2));
        assert_eq!(decimal("1.005"), Some(101));
        assert_eq!(decimal("-1.005"), Some(-101));
        assert_eq!(decimal("1.00499"), Some(100));
        assert_eq!(decimal("999.99"), Some(99999));
        assert_eq!(decimal("999.995"), None);
        assert_eq!(decimal("1e-90"), Some(0));
        assert_eq!(decimal("1000"), None);
    }
}
