//! What a run tells at its end, as text and as JSON.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use thalweg_state::Totals;

use crate::duration;

/// Numbers of a run; all of them were counted by the engine.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    pub pipeline: String,
    /// True when every input had ended; false when the run was stopped before.
    pub complete: bool,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Dropped because their window had closed.
    pub late: u64,
    /// Sent to a dead-letter sink.
    pub dead_lettered: u64,
    /// Could not be read, and the source says `on_error = 'drop'`.
    pub dropped: u64,
    pub input_bytes: u64,
    pub seconds: f64,
    pub checkpoints: u64,
    /// Longest time that workers stood still for a checkpoint.
    pub checkpoint_stall_ms_max: f64,
    /// This run and all before it that it went on from.
    pub totals: Totals,
    pub sinks: Vec<SinkReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SinkReport {
    pub name: String,
    /// Connector and place.
    pub target: String,
}

impl RunReport {
    /// Rows read per second of this run.
    pub fn rows_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.rows_in as f64 / self.seconds } else { 0.0 }
    }

    pub fn json(&self) -> serde_json::Value {
        let mut value = serde_json::json!(self);
        value["rows_per_second"] = self.rows_per_second().round().into();
        value
    }

    pub fn text(&self, data_dir: &Path) -> String {
        let state = if self.complete { "complete" } else { "stopped" };
        let time = duration::show(Duration::from_secs_f64(self.seconds));
        let mut lines = vec![format!("{}: {state} in {time}", self.pipeline)];
        let rate = grouped(self.rows_per_second().round() as u64);
        lines.push(format!("  rows in {} ({rate}/s), rows out {}", grouped(self.rows_in), grouped(self.rows_out)));
        lines.push(format!(
            "  late {}, dead-lettered {}, dropped {}",
            grouped(self.late),
            grouped(self.dead_lettered),
            grouped(self.dropped)
        ));
        if self.totals.rows_in != self.rows_in {
            let (rows_in, rows_out) = (grouped(self.totals.rows_in), grouped(self.totals.rows_out));
            lines.push(format!(
                "  with the runs before: rows in {rows_in}, rows out {rows_out}, late {}",
                self.totals.late
            ));
        }
        lines.extend(self.sinks.iter().map(|sink| format!("  {} -> {}", sink.name, sink.target)));
        if let Some(savepoint) = &self.savepoint {
            lines.push(format!("  savepoint {savepoint}"));
        }
        if !self.complete {
            lines.push(format!("  the same command continues from the checkpoint in {}", data_dir.display()));
        }
        lines.join("\n")
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
