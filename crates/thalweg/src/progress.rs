//! How far a run is, on stderr: a bar while somebody watches, otherwise a line now and then.
//!
//! What is shown was counted by the engine since the last look; rates are over the time between two looks.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use thalweg_engine::RunHandle;

use crate::exit::{stderr_is_terminal, talk};
use crate::report::grouped;

/// How often a bar is redrawn.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// What the engine counted up to now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub rows_in: u64,
    pub rows_out: u64,
    /// In units of the sources; `total` is `None` when there is no end.
    pub done: u64,
    pub total: Option<u64>,
    /// Event watermark in microseconds, if there is one yet.
    pub watermark: Option<i64>,
}

impl Sample {
    pub fn of(run: &RunHandle) -> Self {
        let progress = run.progress();
        Self {
            rows_in: progress.rows_in,
            rows_out: progress.rows_out,
            done: progress.done,
            total: progress.total,
            watermark: progress.event_watermark,
        }
    }
}

pub struct Display {
    name: String,
    bar: Option<ProgressBar>,
    last: (Instant, Sample),
    rate: f64,
}

impl Display {
    pub fn start(name: &str) -> Self {
        let bar =
            stderr_is_terminal().then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)));
        Self { name: name.into(), bar, last: (Instant::now(), Sample::default()), rate: 0.0 }
    }

    /// How long to wait before the next [`Self::show`].
    pub fn interval(&self) -> Duration {
        if self.bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL }
    }

    pub fn show(&mut self, sample: Sample) {
        let now = Instant::now();
        let seconds = now.duration_since(self.last.0).as_secs_f64();
        let rows = sample.rows_in.saturating_sub(self.last.1.rows_in);
        let rate = rows as f64 / seconds.max(1e-3);
        // Smoothed for the eye; lines are over seconds already.
        self.rate = if self.bar.is_some() && self.rate > 0.0 { 0.7 * self.rate + 0.3 * rate } else { rate };
        self.last = (now, sample);
        let text = format!(
            "{} rows in, {} out, {} rows/s{}",
            grouped(sample.rows_in),
            grouped(sample.rows_out),
            grouped(self.rate.round() as u64),
            sample.watermark.and_then(instant).map_or_else(String::new, |at| format!(", watermark {at}"))
        );
        match &self.bar {
            Some(bar) => draw(bar, &self.name, &sample, text),
            None => talk(format!("{}: {text}{}", self.name, percent(&sample))),
        }
    }

    /// Removes the bar, so that what is said next stands alone.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, name: &str, sample: &Sample, text: String) {
    let template = match sample.total {
        Some(_) => "{prefix} {wide_bar:.cyan/dim} {percent:>3}%  {msg}",
        None => "{spinner} {prefix}  {msg}",
    };
    if let Some(total) = sample.total {
        bar.set_length(total.max(1));
    }
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_string());
    bar.set_message(text);
    bar.set_position(sample.done);
}

fn percent(sample: &Sample) -> String {
    match sample.total {
        Some(total) if total > 0 => format!(", {} %", (sample.done.min(total) as f64 / total as f64 * 100.0) as u64),
        _ => String::new(),
    }
}

/// A watermark for people; none for the ends of time.
pub fn instant(micros: i64) -> Option<String> {
    let at = arrow::temporal_conversions::timestamp_us_to_datetime(micros)?;
    let in_sight = (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&micros);
    in_sight.then(|| at.format("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_time_are_not_shown() {
        assert_eq!(instant(0).as_deref(), Some("1970-01-01 00:00:00"));
        assert_eq!(instant(i64::MIN), None);
        assert_eq!(instant(i64::MAX), None);
    }

    #[test]
    fn percent_needs_a_total() {
        let sample = |done, total| Sample { done, total, ..Sample::default() };
        assert_eq!(percent(&sample(1, Some(3))), ", 33 %");
        assert_eq!(percent(&sample(1, None)), "");
    }
}
