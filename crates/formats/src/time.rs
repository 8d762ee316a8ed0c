//! Dates and times from text: RFC 3339 and the ISO forms that Postgres takes.
//!
//! Accepted: `2024-01-31`, `2024-01-31T12:30`, `2024-01-31 12:30:05.123456789+02:00`, `...Z`, `...+0200`, `...+02`.
//! Fractions finer than the column's unit are cut off. A leap second is the first second of the next minute.

use arrow::datatypes::TimeUnit;

const SECONDS_PER_DAY: i64 = 86_400;

/// What a timestamp column declares about zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// `TIMESTAMP`: a wall clock. An offset in the text would be lost, so only UTC's is accepted.
    None,
    /// `TIMESTAMP WITH TIME ZONE`, shown in UTC: text without an offset is in UTC.
    Utc,
    /// An instant shown in another zone: the text must carry its offset.
    Other,
}

impl Zone {
    pub fn of(zone: Option<&str>) -> Self {
        match zone {
            None => Self::None,
            Some("UTC" | "utc" | "Z" | "+00:00" | "+00" | "Etc/UTC") => Self::Utc,
            Some(_) => Self::Other,
        }
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a count of days since 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month as u32, day as u32)
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two_digits(text[0], text[1])? * 100 + two_digits(text[2], text[3])?;
    let month = two_digits(text[5], text[6])?;
    let day = two_digits(text[8], text[9])?;
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day) as i32)
}

/// Microseconds of the day of `HH:MM[:SS[.fraction]]`.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let (clock, rest) = parse_clock(text)?;
    if !rest.is_empty() || clock.seconds >= SECONDS_PER_DAY {
        return None;
    }
    Some(clock.seconds * 1_000_000 + clock.nanos / 1000)
}

/// A timestamp in `unit` since the epoch, or why it is none.
pub(crate) fn parse_timestamp(text: &[u8], unit: TimeUnit, zone: Zone) -> Result<i64, &'static str> {
    const FORM: &str = "not a timestamp of the form 2024-01-31T12:30:05.123Z";
    let (date, rest) = text.split_at_checked(10).ok_or(FORM)?;
    let days = parse_date(date).ok_or(FORM)? as i64;
    let (clock, rest) = match rest {
        [] => (Clock { seconds: 0, nanos: 0 }, rest),
        [b'T' | b't' | b' ', rest @ ..] => parse_clock(rest).ok_or(FORM)?,
        _ => return Err(FORM),
    };
    let offset = parse_offset(rest).ok_or(FORM)?;
    let offset_seconds = match (zone, offset) {
        (Zone::None, Some(seconds)) if seconds != 0 => {
            return Err("has an offset from UTC, which the column cannot keep; declare TIMESTAMP WITH TIME ZONE");
        }
        (Zone::Other, None) => return Err("has no offset from UTC; add one, or declare the column's zone as UTC"),
        (_, offset) => offset.unwrap_or(0),
    };
    to_unit(days * SECONDS_PER_DAY + clock.seconds - offset_seconds, clock.nanos, unit)
        .ok_or("is out of range for the column's precision")
}

/// Whether the text is a timestamp, and if so whether it carries an offset.
pub(crate) fn timestamp_offset(text: &[u8]) -> Option<bool> {
    let (date, rest) = text.split_at_checked(10)?;
    parse_date(date)?;
    let [b'T' | b't' | b' ', rest @ ..] = rest else { return None };
    let (_, rest) = parse_clock(rest)?;
    parse_offset(rest).map(|offset| offset.is_some())
}

fn to_unit(seconds: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    let (per_second, nanos_per_unit) = match unit {
        TimeUnit::Second => (1, 1_000_000_000),
        TimeUnit::Millisecond => (1000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    };
    seconds.checked_mul(per_second)?.checked_add(nanos / nanos_per_unit)
}

struct Clock {
    /// Of the day; 86400 after a leap second at midnight.
    seconds: i64,
    nanos: i64,
}

fn parse_clock(text: &[u8]) -> Option<(Clock, &[u8])> {
    let [h1, h2, b':', m1, m2, rest @ ..] = text else { return None };
    let (hour, minute) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?);
    let (second, nanos, rest) = match rest {
        [b':', s1, s2, b'.' | b',', rest @ ..] => {
            let (nanos, rest) = parse_fraction(rest)?;
            (two_digits(*s1, *s2)?, nanos, rest)
        }
        [b':', s1, s2, rest @ ..] => (two_digits(*s1, *s2)?, 0, rest),
        _ => (0, 0, rest),
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((Clock { seconds: hour * 3600 + minute * 60 + second, nanos }, rest))
}

fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let kept = text[..digits].iter().map(|byte| (byte - b'0') as i64).chain(std::iter::repeat(0)).take(9);
    let nanos = kept.fold(0, |nanos, digit| nanos * 10 + digit);
    Some((nanos, &text[digits..]))
}

/// `Some(None)`: there is no offset. Seconds east of UTC otherwise.
fn parse_offset(text: &[u8]) -> Option<Option<i64>> {
    let (sign, digits) = match text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [h1, h2] => (two_digits(*h1, *h2)?, 0),
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(Some(sign * (hours * 3600 + minutes * 60)))
}

#[inline(always)]
fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| (tens * 10 + ones) as i64)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;

    #[test]
    fn days_agree_with_chrono_over_all_years() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        let mut date = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        while date.year() < 10_000 {
            let text = date.format("%Y-%m-%d").to_string();
            let days = (date - epoch).num_days();
            assert_eq!(parse_date(text.as_bytes()), Some(days as i32), "{text}");
            assert_eq!(civil_from_days(days), (date.year() as i64, date.month(), date.day()));
            date += chrono::Duration::days(17);
        }
        for wrong in ["2023-02-29", "2024-13-01", "2024-00-01", "2024-01-32", "2024-1-1", "2024/01/01", "20240101xx"] {
            assert_eq!(parse_date(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(parse_date(b"2000-02-29").is_some() && parse_date(b"1900-02-29").is_none());
    }

    #[test]
    fn timestamps_agree_with_chrono() {
        for text in [
            "2024-01-01T07:55:00.123Z",
            "2024-01-01T07:55:00.123456+02:00",
            "1969-12-31T23:59:59.999999-11:30",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "2024-02-29T12:00:00.1+00:00",
        ] {
            let expected = chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
            assert_eq!(parse_timestamp(text.as_bytes(), TimeUnit::Microsecond, Zone::Utc), Ok(expected), "{text}");
        }
    }

    #[test]
    fn forms_of_timestamps() {
        let micros = |text: &str, zone| parse_timestamp(text.as_bytes(), TimeUnit::Microsecond, zone);
        assert_eq!(micros("1970-01-01", Zone::None), Ok(0));
        assert_eq!(micros("1970-01-01 00:01", Zone::None), Ok(60_000_000));
        assert_eq!(micros("1970-01-01 00:00:01.5", Zone::Utc), Ok(1_500_000));
        assert_eq!(micros("1970-01-01T01:00:00+01", Zone::Utc), Ok(0));
        assert_eq!(micros("1970-01-01T01:00:00+0100", Zone::Utc), Ok(0));
        assert_eq!(micros("1970-01-01T00:00:00Z", Zone::None), Ok(0));
        assert_eq!(micros("1970-01-01T00:00:00.0000019Z", Zone::Utc), Ok(1));
        assert_eq!(micros("1970-01-01T23:59:60Z", Zone::Utc), Ok(86_400_000_000));
        assert!(micros("1970-01-01T01:00:00+01:00", Zone::None).unwrap_err().contains("TIME ZONE"));
        assert!(micros("1970-01-01T01:00:00", Zone::Other).unwrap_err().contains("no offset"));
        for wrong in
            ["", "abc", "1970-01-01T", "1970-01-01T24:00:00Z", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00ZZ"]
        {
            assert!(micros(wrong, Zone::Utc).is_err(), "{wrong}");
        }
        assert!(parse_timestamp(b"3000-01-01T00:00:00Z", TimeUnit::Nanosecond, Zone::Utc).is_err());
        assert_eq!(parse_time(b"12:30:05.25"), Some(45_005_250_000));
    }
}
