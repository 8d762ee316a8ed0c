//! Durations as people write them: `200ms`, `10s`, `1m30s`, `2h`, `1d`.

use std::time::Duration;

const UNITS: [(&str, u64); 6] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

/// Reads a duration; at least one number with a unit, units from large to small or in any order, no sign.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut micros: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refusal(text));
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| refusal(text))?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| refusal(text))?;
        let part = number.checked_mul(*factor).ok_or_else(|| format!("duration '{text}' is too long"))?;
        micros = micros.checked_add(part).ok_or_else(|| format!("duration '{text}' is too long"))?;
        rest = rest[letters..].trim_start();
    }
    Ok(Duration::from_micros(micros))
}

fn refusal(text: &str) -> String {
    format!("'{text}' is no duration; write a number and a unit (us, ms, s, m, h, d), such as 200ms, 10s or 1m30s")
}

/// A duration for people, three significant figures at most.
pub fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.001 => format!("{} us", duration.as_micros()),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {} min", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units_and_sums() {
        for (text, millis) in
            [("200ms", 200), ("10s", 10_000), ("1m30s", 90_000), ("2 h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn refuses_bare_numbers_and_nonsense() {
        for text in ["", "10", "s", "-1s", "1x", "1.5s", "99999999999999999999s", "999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_for_people() {
        for (micros, text) in [(12, "12 us"), (12_000, "12 ms"), (1_234_000, "1.23 s"), (61_000_000, "1 min 1 s")] {
            assert_eq!(show(Duration::from_micros(micros)), text);
        }
    }
}
