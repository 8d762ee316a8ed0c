//! The option tables of docs/reference/connectors are made from the connectors' own schemas.
//!
//! `THALWEG_UPDATE_DOCS=1 cargo test -p thalweg-connect docs` writes them anew.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;
use thalweg_connect::{ConnectorInfo, connectors};

#[test]
fn reference_pages_show_the_options_there_are() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/connectors");
    for connector in connectors() {
        let path = folder.join(format!("{}.md", connector.name));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} has no page", connector.name));
        let expect = tables(&connector).into_iter().fold(page.clone(), |page, (mark, table)| put(&page, &mark, &table));
        if std::env::var_os("THALWEG_UPDATE_DOCS").is_some() {
            std::fs::write(&path, expect).unwrap();
        } else {
            assert_eq!(page, expect, "{} is out of date: see the head of this file", path.display());
        }
    }
}

/// Replaces what stands between the marks `<!-- mark -->` and `<!-- end -->`.
fn put(page: &str, mark: &str, table: &str) -> String {
    let begin = format!("<!-- {mark} -->\n");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("the page has no {begin}"));
    let (_, after) = rest.split_once("<!-- end -->").expect("the mark has an end");
    format!("{before}{begin}{table}<!-- end -->{after}")
}

fn tables(connector: &ConnectorInfo) -> Vec<(String, String)> {
    let mut tables = vec![];
    for (mark, schema) in [("source options", &connector.source_options), ("sink options", &connector.sink_options)] {
        if let Some(schema) = schema.as_ref().filter(|schema| schema["properties"].is_object()) {
            tables.push((mark.to_owned(), options(schema)));
        }
    }
    if !connector.metadata.is_empty() {
        let row = |(key, sql): &(&str, &str)| format!("| `{key}` | {sql} |\n");
        let rows: String = connector.metadata.iter().map(row).collect();
        tables.push(("metadata".into(), format!("| key | type |\n| --- | --- |\n{rows}")));
    }
    tables
}

fn options(schema: &Value) -> String {
    let mut table = String::from("| option | value | default | meaning |\n| --- | --- | --- | --- |\n");
    let required = |key: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key));
    let mut properties: Vec<_> = schema["properties"].as_object().unwrap().iter().collect();
    properties.sort_by_key(|(key, _)| !required(key));
    for (key, property) in properties {
        let default = match &property["default"] {
            Value::Null if required(key) => "required".into(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        writeln!(table, "| `{key}` | {} | {default} | {meaning} |", value(schema, property)).unwrap();
    }
    table.replace("|  |", "| |")
}

/// What may be written, in words.
fn value(root: &Value, property: &Value) -> String {
    let choices = choices(root, property);
    if !choices.is_empty() {
        return choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(target) = find(root, property, "format") {
        return match target.as_str() {
            Some("interval") => "time, e.g. `10 s`".into(),
            Some("byte-size") => "size, e.g. `64 MiB`".into(),
            _ => "number".into(),
        };
    }
    let types = property["type"].to_string();
    ["boolean", "integer"]
        .into_iter()
        .find(|name| types.contains(name))
        .map_or("text", |name| match name {
            "boolean" => "`true`, `false`",
            _ => "number",
        })
        .into()
}

fn choices(root: &Value, schema: &Value) -> Vec<String> {
    let mut found: Vec<String> =
        schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    found.extend(schema["const"].as_str().map(str::to_owned));
    for below in below(root, schema) {
        found.extend(choices(root, below));
    }
    found
}

fn find<'a>(root: &'a Value, schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get(key).or_else(|| below(root, schema).into_iter().find_map(|below| find(root, below, key)))
}

fn below<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let target = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
    let several = ["oneOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
    target.map(|name| &root["$defs"][name]).into_iter().chain(several).collect()
}
