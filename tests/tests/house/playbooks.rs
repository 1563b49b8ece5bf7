//! The page of the language of playbooks is that of the code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lifeboat_playbook::{PlaybookDocument, Registry, add_builtin, load};
use serde_json::Value;

use super::book::blocks;
use super::{read, root};

const UPDATE: &str = "LIFEBOAT_TEST_UPDATE";
const PAGE: &str = "docs/src/playbooks.md";

/// The parts of a playbook, as headings and definitions of the schema.
const PARTS: [(&str, &str); 10] = [
    ("spec", "PlaybookSpec"),
    ("spec.inputs.NAME", "InputSpec"),
    ("spec.steps, spec.finally", "StepSpec"),
    ("retry of a step", "RetrySpec"),
    ("spec.guards", "GuardsSpec"),
    ("spec.guards.rateLimit", "RateLimitSpec"),
    ("spec.guards.blastRadius", "BlastRadiusSpec"),
    ("spec.approval", "ApprovalSpec"),
    ("spec.triggers", "TriggerSpec"),
    ("metadata", "PlaybookMetadata"),
];

fn kind(schema: &Value, property: &Value) -> String {
    let reference = property["$ref"].as_str().or_else(|| property["anyOf"][0]["$ref"].as_str());
    let target = reference.and_then(|path| schema.pointer(path.trim_start_matches('#'))).unwrap_or(property);
    let choices: Vec<&Value> =
        target["oneOf"].as_array().map(|all| all.iter().map(|choice| &choice["const"]).collect()).unwrap_or_default();
    if !choices.is_empty() {
        return choices.iter().map(|choice| format!("`{}`", choice.as_str().unwrap())).collect::<Vec<_>>().join(", ");
    }
    match target["type"].as_str().or_else(|| target["type"][0].as_str()) {
        Some("array") => "list",
        Some("boolean") => "true or false",
        Some("integer") => "number",
        Some("object") => "mapping",
        Some("string") if reference.is_some_and(|path| path.ends_with("/Period")) => "length of time",
        Some("string") => "text",
        _ => "any",
    }
    .to_owned()
}

fn tables() -> String {
    let schema = serde_json::to_value(schemars::schema_for!(PlaybookDocument)).unwrap();
    let mut out = String::new();
    for (heading, definition) in PARTS {
        let of = &schema["$defs"][definition];
        let required: Vec<&str> =
            of["required"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
        writeln!(out, "### `{heading}`\n\n| key | value | meaning |\n| --- | --- | --- |").unwrap();
        for (key, property) in of["properties"].as_object().unwrap() {
            let needed = if required.contains(&key.as_str()) { ", needed" } else { "" };
            let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
            assert!(!meaning.is_empty(), "{definition}.{key} does not say what it means");
            writeln!(out, "| `{key}` | {}{needed} | {meaning} |", kind(&schema, property)).unwrap();
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_page_of_the_language_is_that_of_the_schema() {
    let (begin, end) = ("<!-- language: generated from the schema -->\n\n", "<!-- end of language -->");
    let page = read(PAGE);
    let (before, rest) = page.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let tables = tables();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(root().join(PAGE), format!("{before}{begin}{tables}{end}{after}")).unwrap();
    } else {
        assert!(found == tables, "{PAGE} is not that of the schema: {UPDATE}=1 scripts/test house writes it");
    }
}

#[test]
fn the_example_of_the_page_has_no_fault() {
    let mut registry = Registry::new();
    add_builtin(&mut registry).unwrap();
    let page = read(PAGE);
    let examples = blocks(&page).0.into_iter().filter(|block| block.mark == "yaml");
    let mut count = 0;
    for example in examples {
        let loaded = load(PAGE, &example.text, &registry, &BTreeMap::new());
        assert!(loaded.is_ok(), "{PAGE}:{}: {}", example.line, loaded.unwrap_err());
        count += 1;
    }
    assert_eq!(count, 1);
}
