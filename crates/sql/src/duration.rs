//! Durations in options and settings: `'500ms'`, `'30s'`, `'5 minutes'`, `'1h30m'`.

use std::time::Duration;

/// Reads a duration; the error says what forms there are.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let mut rest = trimmed;
    let mut total = Duration::ZERO;
    let malformed = || {
        format!("'{trimmed}' is not a duration; write a number and a unit, such as '500ms', '30s', '5m', '1h' or '1d'")
    };
    if rest.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| malformed())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let seconds = number * unit_seconds(&rest[..letters]).ok_or_else(malformed)?;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| malformed())?;
        total = total.checked_add(part).ok_or_else(malformed)?;
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit.to_lowercase().as_str() {
        "us" | "µs" | "microsecond" | "microseconds" => 1e-6,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        for (text, expect_ms) in
            [("500ms", 500), ("30s", 30_000), ("5 minutes", 300_000), ("1h30m", 5_400_000), ("0s", 0), ("1.5 s", 1500)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expect_ms)), "{text}");
        }
        for text in ["", "s", "10", "10 parsecs", "-1s", "1e400d", "99999999999999999999d", "1..2s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
