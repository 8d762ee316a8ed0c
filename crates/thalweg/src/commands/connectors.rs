//! `thalweg connectors`: what `WITH (connector = '...')` can name, from the connectors' own option schemas.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::Value;
use thalweg_connect::ConnectorInfo;

use crate::exit::{Exit, Failure};
use crate::output::table::{Column, Table, terminal_width};
use crate::output::{Report, style};

/// List connectors and show their options.
#[derive(Debug, Args)]
pub struct ConnectorsArgs {
    #[command(subcommand)]
    command: ConnectorsCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectorsCommand {
    /// Every connector, with what it can be.
    List {
        #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
        output: Report,
    },
    /// All options of one connector; `-o json` prints their JSON Schema.
    Show {
        /// Name as in `connector = 'NAME'`.
        name: String,
        #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
        output: Report,
    },
}

pub fn run(args: ConnectorsArgs) -> Result<Exit, Failure> {
    let connectors = thalweg_connect::connectors();
    match args.command {
        ConnectorsCommand::List { output } => list(&connectors, output),
        ConnectorsCommand::Show { name, output } => {
            let found = connectors.iter().find(|connector| connector.name == name);
            show(found.ok_or_else(|| unknown(&name, &connectors))?, output)
        }
    }
}

fn unknown(name: &str, connectors: &[ConnectorInfo]) -> Failure {
    let near = connectors
        .iter()
        .map(|connector| (strsim::damerau_levenshtein(name, connector.name), connector.name))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let failure = Failure::new(Exit::NotFound, format!("there is no connector '{name}'"));
    match near {
        Some((_, near)) => failure.hint(format!("did you mean '{near}'?")),
        None => failure.hint("`thalweg connectors list` names them all"),
    }
}

fn roles(connector: &ConnectorInfo) -> String {
    match (&connector.source_options, &connector.sink_options) {
        (Some(_), Some(_)) => "source, sink",
        (Some(_), None) => "source",
        (None, Some(_)) => "sink",
        (None, None) => "",
    }
    .into()
}

fn list(connectors: &[ConnectorInfo], output: Report) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match output {
        Report::Json => writeln!(out, "{:#}", Value::Array(connectors.iter().map(as_json).collect()))?,
        Report::Text => {
            let columns =
                ["connector", "is", "for"].map(|name| Column { name: name.into(), right: false }).into_iter().collect();
            let rows = connectors
                .iter()
                .map(|connector| vec![connector.name.into(), roles(connector), connector.summary.into()])
                .collect();
            for line in (Table { columns, rows }).lines(terminal_width()) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn as_json(connector: &ConnectorInfo) -> Value {
    let metadata: serde_json::Map<String, Value> =
        connector.metadata.iter().map(|(key, sql)| ((*key).to_string(), Value::from(*sql))).collect();
    serde_json::json!({
        "name": connector.name,
        "summary": connector.summary,
        "source_options": connector.source_options,
        "sink_options": connector.sink_options,
        "metadata": metadata,
    })
}

fn show(connector: &ConnectorInfo, output: Report) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    if output == Report::Json {
        writeln!(out, "{:#}", as_json(connector))?;
        return Ok(Exit::Ok);
    }
    writeln!(out, "{}: {}", style::header(connector.name), connector.summary)?;
    for (title, schema) in [("CREATE SOURCE", &connector.source_options), ("CREATE SINK", &connector.sink_options)] {
        let Some(schema) = schema else { continue };
        writeln!(out, "\n{}", style::header(&format!("{title} ... WITH (connector = '{}', ...)", connector.name)))?;
        for option in options_of(schema) {
            let need = if option.required { " (required)" } else { "" };
            let default = option.default.map_or_else(String::new, |value| format!(", default {value}"));
            writeln!(out, "  {}{need}: {}{default}", option.name, option.about)?;
        }
    }
    if !connector.metadata.is_empty() {
        writeln!(out, "\n{}", style::header("Metadata columns: name TYPE METADATA FROM 'key'"))?;
        for (key, sql) in &connector.metadata {
            writeln!(out, "  {key}  {sql}")?;
        }
    }
    Ok(Exit::Ok)
}

struct ShownOption {
    name: String,
    about: String,
    required: bool,
    default: Option<Value>,
}

/// The properties of an object schema, required ones first, otherwise by name.
fn options_of(schema: &Value) -> Vec<ShownOption> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let mut options: Vec<ShownOption> = properties
        .iter()
        .map(|(name, property)| ShownOption {
            name: name.clone(),
            about: property["description"].as_str().unwrap_or("").replace('\n', " "),
            required: required.contains(&name.as_str()) || property["x-required"] == true,
            default: property.get("default").filter(|value| !value.is_null()).cloned(),
        })
        .collect();
    options.sort_by_key(|option| !option.required);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_options_come_first() {
        let schema = serde_json::json!({
            "required": ["path"],
            "properties": {
                "format": { "description": "of the\nrows", "default": "ndjson" },
                "path": { "description": "where" },
            },
        });
        let options = options_of(&schema);
        assert_eq!(options[0].name, "path");
        assert!(options[0].required);
        assert_eq!(options[1].about, "of the rows");
        assert_eq!(options[1].default, Some(Value::from("ndjson")));
    }
}
