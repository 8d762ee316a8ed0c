//! `SET key = value`.

use std::time::Duration;

use super::Binder;
use crate::diagnostic::Diagnostic;
use crate::parse_duration;
use crate::statement::Set;
use crate::suggest;

const SETTINGS: [&str; 3] = ["parallelism", "checkpoint_interval", "publish_interval"];
const PARALLELISM_MAX: usize = 1024;

impl Binder<'_> {
    pub(super) fn bind_setting(&mut self, set: &Set) {
        match set.key.value.as_str() {
            "parallelism" => self.pipeline.settings.parallelism = self.parallelism(set),
            "checkpoint_interval" => self.pipeline.settings.checkpoint_interval = self.interval(set),
            "publish_interval" => self.pipeline.settings.publish_interval = self.interval(set),
            other => {
                let finding = Diagnostic::error(set.key.span, format!("unknown setting '{other}'"));
                self.found.push(finding.with_hint_if(suggest::hint(other, SETTINGS, "settings")));
            }
        }
    }

    fn parallelism(&mut self, set: &Set) -> Option<usize> {
        let value = set.value.node.trim().parse().ok().filter(|count| (1..=PARALLELISM_MAX).contains(count));
        if value.is_none() {
            let message = format!("parallelism is a number from 1 to {PARALLELISM_MAX}, not '{}'", set.value.node);
            self.found.push(Diagnostic::error(set.value.span, message));
        }
        value
    }

    fn interval(&mut self, set: &Set) -> Option<Duration> {
        let interval = parse_duration(&set.value.node).and_then(|interval| match interval.is_zero() {
            true => Err(format!("{} must be more than zero", set.key.value)),
            false => Ok(interval),
        });
        match interval {
            Ok(interval) => Some(interval),
            Err(message) => {
                self.found.push(Diagnostic::error(set.value.span, message));
                None
            }
        }
    }
}
