//! Settings: built-in defaults < `thalweg.yaml` < environment (`THALWEG__RUN__PARALLELISM`) < `--set` < flags.
//!
//! One table lists every key; it is the schema, the documentation and the source of suggestions. Values are checked
//! once, here; nobody reads the environment or the file later. Flags win by being asked first ([`Settings::duration`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::Global;
use crate::duration;
use crate::exit::{Exit, Failure};

/// What a key's value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Duration,
    /// A whole number, at least 1.
    Count,
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// Empty: not set.
    pub default: &'static str,
    pub about: &'static str,
}

pub const KEYS: &[Key] = &[
    Key { name: "data_dir", kind: Kind::Text, default: "./thalweg-data", about: "folder for state and checkpoints" },
    Key { name: "log", kind: Kind::Text, default: "warn", about: "log filter, as in --log" },
    Key { name: "run.parallelism", kind: Kind::Count, default: "", about: "worker threads; unset: one per core" },
    Key { name: "run.batch_rows", kind: Kind::Count, default: "8192", about: "rows of a batch at most" },
    Key { name: "run.publish_interval", kind: Kind::Duration, default: "200ms", about: "time between visible results" },
    Key { name: "run.checkpoint_interval", kind: Kind::Duration, default: "10s", about: "time between checkpoints" },
    Key {
        name: "run.checkpoint_url",
        kind: Kind::Text,
        default: "",
        about: "object store for checkpoints; unset: in data_dir",
    },
    Key {
        name: "run.state_limit_mib",
        kind: Kind::Count,
        default: "",
        about: "MiB of state at which a run stops with an error; unset: 75 % of the machine's memory",
    },
    Key { name: "sql.output", kind: Kind::Text, default: "table", about: "output format of the SQL shell" },
];

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    pub origin: String,
}

/// All keys, resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
}

impl Settings {
    /// Reads every layer. Errors: exit 3 with all wrong keys and values at once; exit 4 if `--config` is not there.
    pub fn load(global: &Global) -> Result<Self, Failure> {
        let mut settings = Self::defaults();
        let mut problems = Vec::new();
        if let Some(path) = config_file(global.config.as_deref())? {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Failure::io(format!("read the configuration {}", path.display()), &error))?;
            settings.apply_file(&path, &text, &mut problems);
        }
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(key, _)| key.starts_with("THALWEG__"));
        for (key, value) in env {
            let name = key["THALWEG__".len()..].to_ascii_lowercase().replace("__", ".");
            settings.apply(&name, &value, &format!("environment {key}"), &mut problems);
        }
        for assignment in &global.set {
            match assignment.split_once('=') {
                Some((name, value)) => settings.apply(name.trim(), value.trim(), "--set", &mut problems),
                None => problems.push(format!("--set {assignment}: write it as key=value")),
            }
        }
        if let Some(log) = &global.log {
            settings.apply("log", log, "--log or RUST_LOG", &mut problems);
        }
        if problems.is_empty() {
            return Ok(settings);
        }
        let mut failure = Failure::new(Exit::Validation, problems.remove(0));
        failure.causes = problems;
        Err(failure.hint("`thalweg config show --origin` lists every key, its value and where it comes from"))
    }

    pub fn defaults() -> Self {
        let values =
            KEYS.iter().map(|key| (key.name, Value { text: key.default.into(), origin: "default".into() })).collect();
        Self { values }
    }

    pub fn text(&self, name: &str) -> &str {
        &self.value(name).text
    }

    pub fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("setting '{name}' is not in the table"))
    }

    /// Whether somebody set the key, that is: it is not the built-in default.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name).origin != "default"
    }

    /// A duration; values were checked when they were applied.
    pub fn duration(&self, name: &str) -> Duration {
        duration::parse(self.text(name)).expect("durations are checked when they are set")
    }

    /// A number; `None` if it is unset.
    pub fn count(&self, name: &str) -> Option<usize> {
        self.text(name).parse().ok()
    }

    fn apply(&mut self, name: &str, text: &str, origin: &str, problems: &mut Vec<String>) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            problems.push(format!("{origin}: there is no setting '{name}'{}", suggestion(name)));
            return;
        };
        let wrong = match key.kind {
            Kind::Text => None,
            Kind::Duration => duration::parse(text).err(),
            Kind::Count => match text.parse::<usize>() {
                Ok(count) if count > 0 => None,
                _ => Some(format!("'{text}' is no whole number above 0")),
            },
        };
        match wrong {
            Some(wrong) => problems.push(format!("{origin}: {name}: {wrong}")),
            None => {
                self.values.insert(key.name, Value { text: text.into(), origin: origin.into() });
            }
        }
    }

    fn apply_file(&mut self, path: &Path, text: &str, problems: &mut Vec<String>) {
        let root: serde_json::Value = match serde_saphyr::from_str(text) {
            Ok(serde_json::Value::Null) => return,
            Ok(root) => root,
            Err(error) => {
                problems.push(format!("{}: {error}", path.display()));
                return;
            }
        };
        let mut flat = Vec::new();
        flatten("", &root, &mut flat);
        for (name, value) in flat {
            let line = line_of(text, &name).map_or_else(String::new, |line| format!(":{line}"));
            self.apply(&name, &value, &format!("{}{line}", path.display()), problems);
        }
    }
}

/// `--config`, or `thalweg.yaml` in the working directory if it is there.
fn config_file(given: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = given {
        if !path.exists() {
            return Err(Failure::new(Exit::NotFound, format!("there is no configuration file {}", path.display())));
        }
        return Ok(Some(path.to_path_buf()));
    }
    let usual = PathBuf::from("thalweg.yaml");
    Ok(usual.exists().then_some(usual))
}

fn flatten(prefix: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, value, out);
            }
        }
        serde_json::Value::String(text) => out.push((prefix.into(), text.clone())),
        serde_json::Value::Null => out.push((prefix.into(), String::new())),
        other => out.push((prefix.into(), other.to_string())),
    }
}

/// The line, from 1, where the last part of a dotted key stands behind its parents.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let mut parts = name.split('.').peekable();
    for (index, line) in text.lines().enumerate() {
        let wanted = parts.peek()?;
        if line.trim_start().strip_prefix(wanted).is_some_and(|rest| rest.trim_start().starts_with(':')) {
            parts.next();
            if parts.peek().is_none() {
                return Some(index + 1);
            }
        }
    }
    None
}

fn suggestion(name: &str) -> String {
    let near = KEYS
        .iter()
        .map(|key| (strsim::damerau_levenshtein(name, key.name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    near.map_or_else(String::new, |(_, near)| format!("; did you mean '{near}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> (Settings, Vec<String>) {
        let mut settings = Settings::defaults();
        let mut problems = Vec::new();
        settings.apply_file(Path::new("thalweg.yaml"), text, &mut problems);
        (settings, problems)
    }

    #[test]
    fn file_sets_nested_keys() {
        let (settings, problems) = with_file("log: info\nrun:\n  parallelism: 3\n  publish_interval: 1s\n");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(settings.count("run.parallelism"), Some(3));
        assert_eq!(settings.duration("run.publish_interval"), Duration::from_secs(1));
        assert_eq!(settings.value("log").origin, "thalweg.yaml:1");
    }

    #[test]
    fn every_wrong_key_and_value_is_told_with_its_line() {
        let (_, problems) = with_file("run:\n  paralelism: 3\n  publish_interval: soon\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("thalweg.yaml:2") && problems[0].contains("did you mean 'run.parallelism'?"));
        assert!(problems[1].contains("thalweg.yaml:3") && problems[1].contains("'soon' is no duration"));
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        let mut problems = Vec::new();
        let mut settings = Settings::defaults();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            settings.apply(key.name, key.default, "default", &mut problems);
        }
        assert_eq!(problems, Vec::<String>::new());
    }
}
