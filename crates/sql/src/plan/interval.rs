//! Lengths of time as windows need them: whole microseconds.

use arrow::datatypes::IntervalMonthDayNano;

const DAY: i64 = 86_400_000_000;

/// Microseconds of an interval of fixed length; months have none.
pub(crate) fn micros(interval: IntervalMonthDayNano) -> Result<i64, String> {
    if interval.months != 0 {
        return Err("months and years have no fixed length".to_string());
    }
    if interval.nanoseconds % 1_000 != 0 {
        return Err("lengths below a microsecond do not count".to_string());
    }
    i64::from(interval.days)
        .checked_mul(DAY)
        .and_then(|days| days.checked_add(interval.nanoseconds / 1_000))
        .ok_or_else(|| "the length is too large".to_string())
}

/// In the largest unit that divides it, e.g. `90 minutes`.
pub(crate) fn display(micros: i64) -> String {
    let units = [
        (DAY, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let (length, unit) = units.into_iter().find(|(length, _)| micros % length == 0).expect("1 divides everything");
    let count = micros / length;
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_largest_unit() {
        for (length, expect) in [
            (DAY, "1 day"),
            (5_400_000_000, "90 minutes"),
            (1_000_000, "1 second"),
            (1_500, "1500 microseconds"),
            (2_000, "2 milliseconds"),
        ] {
            assert_eq!(display(length), expect);
        }
    }

    #[test]
    fn months_are_refused() {
        assert!(micros(IntervalMonthDayNano::new(1, 0, 0)).is_err());
        assert_eq!(micros(IntervalMonthDayNano::new(0, 2, 1_000)), Ok(2 * DAY + 1));
    }
}
