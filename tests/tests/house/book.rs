//! The docs: every page is in the book, links lead somewhere, commands and settings are those of the code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use lifeboat_model::Config;
use serde_json::Value;

use super::{files, has_extension, read, root};
use crate::program::lifeboat;

const UPDATE: &str = "LIFEBOAT_TEST_UPDATE";

/// What a block of a page may be marked as. `sh` is run by the tests of the examples, `console` shows a session or
/// commands for machines that a test does not have; of both, every `lifeboat` command is held to the program's help.
const MARKS: [&str; 10] = ["sh", "console", "text", "yaml", "json", "jsonl", "rust", "toml", "promql", "ini"];

/// The pages of the book.
pub(crate) fn pages() -> Vec<String> {
    files().into_iter().filter(|path| path.starts_with("docs/src/") && has_extension(path, "md")).collect()
}

fn markdown() -> Vec<String> {
    files().into_iter().filter(|path| has_extension(path, "md")).collect()
}

/// A fenced block of a page.
pub(crate) struct Block {
    pub(crate) mark: String,
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The blocks of a page, and the page without them.
pub(crate) fn blocks(page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut rest) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(mark), None) => open = Some(Block { mark: mark.to_owned(), line: number + 1, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => rest.extend([line, "\n"]),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    (blocks, rest)
}

#[test]
fn every_page_is_in_the_book_once() {
    let summary = read("docs/src/SUMMARY.md");
    for page in pages().into_iter().filter(|page| page != "docs/src/SUMMARY.md") {
        let name = page.strip_prefix("docs/src/").unwrap();
        assert_eq!(summary.matches(&format!("({name})")).count(), 1, "{name} in docs/src/SUMMARY.md");
    }
}

#[test]
fn every_block_is_marked() {
    for page in markdown() {
        for block in blocks(&read(&page)).0 {
            assert!(MARKS.contains(&block.mark.as_str()), "{page}:{}: marked '{}'", block.line, block.mark);
        }
    }
}

/// The anchor that GitHub and mdBook give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in markdown() {
        let (_, prose) = blocks(&read(&page));
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { format!("{}/{path}", folder(&page)) };
            assert!(root().join(&target).exists(), "{page}: '{link}' leads nowhere");
            if !heading.is_empty() {
                let there = blocks(&read(&target)).1;
                let headings =
                    there.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')));
                assert!(headings.into_iter().any(|known| known == heading), "{page}: '{link}' is no heading there");
            }
        }
    }
}

fn folder(page: &str) -> &str {
    Path::new(page).parent().and_then(Path::to_str).filter(|folder| !folder.is_empty()).unwrap_or(".")
}

/// The `lifeboat` commands of a block, with lines that go on joined.
fn commands(block: &Block) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.trim_start().trim_start_matches("$ ").trim_start_matches("sudo "));
    lines.filter(|line| line.starts_with("lifeboat ")).map(str::to_owned).collect()
}

/// The help of the command that these words name, and how many of them do.
fn help(words: &[&str], known: &mut BTreeMap<String, String>) -> String {
    let nouns = ["backup", "drill", "event", "finding", "key", "playbook", "restore", "run"];
    let depth = match words.get(1) {
        Some(word) if nouns.contains(word) => 3,
        Some(word) if !word.starts_with('-') => 2,
        _ => 1,
    };
    let name = words.get(1..depth).unwrap_or_default().join(" ");
    let ask = || {
        let output = lifeboat().args(words.get(1..depth).unwrap_or_default()).arg("--help").output().unwrap();
        assert!(output.status.success(), "'lifeboat {name}' is no command");
        String::from_utf8(output.stdout).unwrap()
    };
    known.entry(name.clone()).or_insert_with(ask).clone()
}

#[test]
fn every_command_and_option_exists() {
    let mut known = BTreeMap::new();
    let mut seen = 0;
    for page in markdown() {
        for block in blocks(&read(&page)).0.iter().filter(|block| ["sh", "console"].contains(&block.mark.as_str())) {
            for command in commands(block) {
                let words: Vec<&str> =
                    command.split_whitespace().take_while(|word| !["|", ">", "&&", "||", ";"].contains(word)).collect();
                let help = help(&words, &mut known);
                for option in words.iter().filter(|word| word.starts_with('-') && **word != "-") {
                    let name = option.split('=').next().unwrap();
                    let there = help
                        .split(|c: char| c.is_whitespace() || c == ',' || c == '[' || c == '=')
                        .any(|word| word == name);
                    assert!(there, "{page}:{}: {name} of '{command}'", block.line);
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "only {seen} commands in all of the docs");
}

#[test]
fn the_page_of_exit_codes_is_that_of_the_help() {
    let output = lifeboat().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let codes = help.split("Exit codes:\n").nth(1).unwrap().lines().map_while(|line| line.trim().split_once("  "));
    let page = read("docs/src/exit-codes.md");
    let mut count = 0;
    for (code, meaning) in codes {
        assert!(page.contains(&format!("| {code} | {meaning}")), "exit code {code}: {meaning}");
        count += 1;
    }
    assert_eq!(count, 7);
}

/// The settings of a schema, as rows of a table: path, type, meaning.
fn settings(schema: &Value, of: &Value, path: &str, rows: &mut Vec<(String, String, String)>) {
    let required: Vec<&str> =
        of["required"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    for (name, property) in of["properties"].as_object().unwrap() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = resolve(schema, property);
        let text = property["description"].as_str().or(target["description"].as_str()).unwrap_or_default();
        if target["properties"].is_object() {
            settings(schema, target, &path, rows);
        } else {
            let default = match &property["default"] {
                Value::Null => String::new(),
                default => format!(", default `{default}`"),
            };
            let needed = if required.contains(&name.as_str()) { ", needed" } else { "" };
            rows.push((path.clone(), format!("{}{needed}{default}", kind(target)), text.replace('\n', " ")));
            let items = resolve(schema, &target["items"]);
            if items["properties"].is_object() {
                settings(schema, items, &format!("{path}[]"), rows);
            }
        }
    }
}

fn resolve<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    let reference = property["$ref"].as_str().or_else(|| property["anyOf"][0]["$ref"].as_str());
    reference.map_or(property, |reference| schema.pointer(reference.trim_start_matches('#')).unwrap())
}

fn kind(target: &Value) -> String {
    let choices: Vec<String> = target["oneOf"]
        .as_array()
        .map(|choices| choices.iter().filter_map(|choice| choice["const"].as_str()).map(|c| format!("`{c}`")).collect())
        .unwrap_or_default();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    match target["type"].as_str().or_else(|| target["type"][0].as_str()).unwrap_or_default() {
        "array" => "list".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "number".to_owned(),
        _ => "text".to_owned(),
    }
}

#[test]
fn the_page_of_settings_is_that_of_the_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let mut rows = Vec::new();
    settings(&schema, &schema, "", &mut rows);
    let variables: BTreeMap<&str, String> = Config::settings().collect();
    let mut table = "| setting | value | meaning | variable |\n| --- | --- | --- | --- |\n".to_owned();
    for (path, kind, meaning) in rows {
        let variable = variables.get(path.as_str()).map(|variable| format!("`{variable}`")).unwrap_or_default();
        writeln!(table, "| `{path}` | {kind} | {meaning} | {variable} |").unwrap();
    }
    let (begin, end) = ("<!-- settings: generated from the schema -->\n\n", "\n<!-- end of settings -->");
    let path = "docs/src/configuration.md";
    let page = read(path);
    let (before, rest) = page.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(root().join(path), format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        assert!(found == table, "{path} is not that of the schema: {UPDATE}=1 scripts/test house writes it");
    }
}
