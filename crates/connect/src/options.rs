//! Options of a connector: from the strings of `WITH (...)` to a typed value, with every mistake reported at once.
//!
//! Why this way: the option struct is the only place that lists keys, types, defaults and docs. Its JSON Schema
//! (schemars) tells which keys exist and which values an enumeration takes, so the reference pages, the checks and the
//! suggestions cannot drift apart.
//! Invariant: an option struct has `#[serde(default, deny_unknown_fields)]`; a key that must be given is an `Option`
//! with `#[schemars(extend("x-required" = true))]`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::registry::{OptionError, Options};

/// Marks a key that must be given, until [`schema_of`] lists it as the standard wants it.
const REQUIRED: &str = "x-required";

/// Reads `options` into `T`, or says everything that is wrong with them. `what` names the thing, e.g.
/// `the files source`.
pub(crate) fn parse<T: DeserializeOwned + JsonSchema>(what: &str, options: &Options) -> Result<T, Vec<OptionError>> {
    let schema = schema_of::<T>();
    let keys = property_names(&schema);
    let mut errors = Vec::new();
    let mut good = Map::new();
    for (key, text) in options {
        if !keys.contains(key) {
            errors.push(unknown_key(what, key, &keys));
            continue;
        }
        let allowed = allowed_values(&schema, &schema["properties"][key.as_str()]);
        let value = Value::String(if allowed.is_empty() { text.clone() } else { text.to_lowercase() });
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        match serde_json::from_value::<T>(Value::Object(alone)) {
            Ok(_) => drop(good.insert(key.clone(), value)),
            Err(_) if !allowed.is_empty() => errors.push(unknown_value(key, text, &allowed)),
            Err(error) => errors.push(wrong_value(key, &error.to_string())),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !options.contains_key(key) {
            let message = format!("{what} needs the option '{key}'");
            let hint = Some(format!("add {key} = '...' to WITH (...)"));
            errors.push(OptionError { key: Some(key.to_owned()), message, hint });
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    serde_json::from_value(Value::Object(good))
        .map_err(|error| vec![OptionError { key: None, message: error.to_string(), hint: None }])
}

/// The JSON Schema of an option struct.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    let mut required = Vec::new();
    for (key, property) in schema["properties"].as_object_mut().into_iter().flatten() {
        if property.as_object_mut().is_some_and(|property| property.remove(REQUIRED).is_some()) {
            required.push(Value::String(key.clone()));
        }
    }
    if !required.is_empty() {
        schema["required"] = Value::Array(required);
    }
    schema
}

/// The nearest of `known` to `given`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// `did you mean 'x'?`, or the list of what there is.
pub(crate) fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(&given.to_lowercase(), known.clone()) {
        Some(name) => format!("did you mean '{name}'?"),
        None => {
            let all: Vec<String> = known.into_iter().map(|name| format!("'{name}'")).collect();
            format!("there is {}", all.join(", "))
        }
    }
}

pub(crate) fn error(key: &str, message: impl Into<String>, hint: impl Into<String>) -> OptionError {
    OptionError { key: Some(key.to_owned()), message: message.into(), hint: Some(hint.into()) }
}

fn unknown_key(what: &str, key: &str, keys: &[String]) -> OptionError {
    error(key, format!("{what} has no option '{key}'"), suggestion(key, keys.iter().map(String::as_str)))
}

fn unknown_value(key: &str, value: &str, allowed: &[String]) -> OptionError {
    error(key, format!("option '{key}' cannot be '{value}'"), suggestion(value, allowed.iter().map(String::as_str)))
}

/// Messages of the value types below have the form `what is wrong; what to write`.
fn wrong_value(key: &str, message: &str) -> OptionError {
    let (message, hint) = match message.split_once("; ") {
        Some((message, hint)) => (message, Some(hint.to_owned())),
        None => (message, None),
    };
    OptionError { key: Some(key.to_owned()), message: format!("option '{key}': {message}"), hint }
}

fn property_names(schema: &Value) -> Vec<String> {
    schema["properties"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

/// The values of an enumeration, wherever the schema hides them.
fn allowed_values(root: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(target) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        found.extend(allowed_values(root, &root["$defs"][target]));
    }
    found.extend(schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    found.extend(schema["const"].as_str().map(str::to_owned));
    for choice in ["oneOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten() {
        found.extend(allowed_values(root, choice));
    }
    found
}

/// `true` or `false`.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(D::Error::custom(format!("'{text}' is neither true nor false; write 'true' or 'false'"))),
    }
}

/// A whole number, underscores allowed.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.replace('_', "").trim().parse();
    parsed.map(Some).map_err(|_| D::Error::custom(format!("'{text}' is not a whole number; write e.g. '1000'")))
}

/// One ASCII character; `\t` stands for a tab.
pub(crate) fn character<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<char>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let text = if text == "\\t" { "\t" } else { text.as_str() };
    match text.chars().next() {
        Some(one) if text.len() == 1 => Ok(Some(one)),
        _ => Err(D::Error::custom(format!("'{text}' is not one ASCII character; write e.g. ';' or '\\t'"))),
    }
}

/// A length of time, written `200 ms`, `10s`, `5 minutes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

impl Interval {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (count, unit) = split_number(text)?;
        let seconds = match unit.as_str() {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(count * seconds).ok().filter(|time| !time.is_zero()).map(Self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a length of time; write e.g. '200 ms' or '10 s'")))
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "interval", "examples": ["200 ms", "10 s", "5 min"] })
    }
}

/// A number of bytes, written `64 KiB`, `128MiB`, `1 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

impl ByteSize {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (count, unit) = split_number(text)?;
        let factor = match unit.as_str() {
            "" | "b" | "byte" | "bytes" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "k" | "kib" => 1024.0,
            "m" | "mib" => 1024.0 * 1024.0,
            "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let bytes = count * factor;
        (1.0..9e18).contains(&bytes).then_some(Self(bytes as u64))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("'{text}' is not a size; write e.g. '128 MiB'")))
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "byte-size", "examples": ["64 KiB", "128 MiB", "1 GB"] })
    }
}

/// `12.5 MiB` to `(12.5, "mib")`; the number may not be negative.
fn split_number(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let cut = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let count: f64 = text[..cut].replace('_', "").parse().ok()?;
    Some((count, text[cut..].trim().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        #[default]
        Red,
        /// With a description, which changes the shape of the schema.
        DarkBlue,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        /// Must be given.
        #[schemars(extend("x-required" = true))]
        path: Option<String>,
        colour: Colour,
        maybe: Option<Colour>,
        #[serde(deserialize_with = "flag")]
        header: bool,
        #[serde(deserialize_with = "number")]
        rows: Option<u64>,
        every: Option<Interval>,
        size: Option<ByteSize>,
    }

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn good_options_become_typed() {
        let all = [
            ("path", "x"),
            ("colour", "DARK_BLUE"),
            ("header", "true"),
            ("rows", "1_000"),
            ("every", "200 ms"),
            ("size", "128MiB"),
        ];
        let sample: Sample = parse("the sample source", &options(&all)).unwrap();
        assert_eq!(sample.path.as_deref(), Some("x"));
        assert!(matches!(sample.colour, Colour::DarkBlue) && sample.maybe.is_none() && sample.header);
        assert_eq!(sample.rows, Some(1000));
        assert_eq!(sample.every.unwrap().0, Duration::from_millis(200));
        assert_eq!(sample.size.unwrap().0, 128 << 20);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let wrong = [("pth", "x"), ("colour", "red?"), ("maybe", "gren"), ("rows", "many"), ("every", "soon")];
        let errors = parse::<Sample>("the sample source", &options(&wrong)).unwrap_err();
        let lines: Vec<String> =
            errors.iter().map(|e| format!("{} / {}", e.message, e.hint.clone().unwrap_or_default())).collect();
        assert_eq!(
            lines,
            [
                "option 'colour' cannot be 'red?' / did you mean 'red'?",
                "option 'every': 'soon' is not a length of time / write e.g. '200 ms' or '10 s'",
                "option 'maybe' cannot be 'gren' / there is 'red', 'dark_blue'",
                "the sample source has no option 'pth' / did you mean 'path'?",
                "option 'rows': 'many' is not a whole number / write e.g. '1000'",
                "the sample source needs the option 'path' / add path = '...' to WITH (...)",
            ]
        );
    }

    #[test]
    fn sizes_and_intervals() {
        for (text, bytes) in [("1", 1), ("64 KiB", 65536), ("1.5 MB", 1_500_000), ("2g", 2 << 30)] {
            assert_eq!(ByteSize::parse(text).map(|s| s.0), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "0", "1 light year"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
        for (text, millis) in [("1s", 1000), ("0.5 seconds", 500), ("2 min", 120_000), ("1 day", 86_400_000)] {
            assert_eq!(Interval::parse(text).map(|i| i.0.as_millis()), Some(millis), "{text}");
        }
        for text in ["", "1", "0 s", "s"] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
    }
}
