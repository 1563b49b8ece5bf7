//! JSON Schemas and definitions of custom resources: generated, checked in, checked here.

use lifeboat_daemon::{PERMISSIONS, Permission, RESPONDER_PERMISSIONS, definitions};
use lifeboat_model::{Bundle, Config, DrillChecks, DrillReport};
use lifeboat_playbook::PlaybookDocument;
use schemars::JsonSchema;

use super::{read, root};

/// Set to write the schemas instead of comparing them.
const UPDATE: &str = "LIFEBOAT_TEST_UPDATE";

fn generated<T: JsonSchema>() -> String {
    let schema = schemars::schema_for!(T);
    format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())
}

fn compare(name: &str, generated: &str) {
    let path = root().join("schema").join(name);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == generated, "schema/{name} is not that of the code: {UPDATE}=1 scripts/test house writes it");
}

#[test]
fn the_schemas_are_those_of_the_types() {
    compare("config.json", &generated::<Config>());
    compare("drill-checks.json", &generated::<DrillChecks>());
    compare("drill-report.json", &generated::<DrillReport>());
    compare("evidence-bundle.json", &generated::<Bundle>());
    compare("playbook.json", &generated::<PlaybookDocument>());
}

#[test]
fn the_definitions_are_those_of_the_types() {
    let folder = root().join("schema/crds");
    std::fs::create_dir_all(&folder).unwrap();
    let mut wanted = Vec::new();
    for definition in definitions() {
        let name = format!("{}.yaml", definition.metadata.name.as_deref().unwrap());
        let text = serde_saphyr::to_string(&definition).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        compare(&format!("crds/{name}"), &format!("{}\n", lines.join("\n").trim_end()));
        wanted.push(name);
    }
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.collect();
    files.sort_unstable();
    assert_eq!(files, wanted, "{}", folder.display());
}

#[test]
fn the_page_says_what_the_controllers_may_do() {
    held("docs/src/custom-resources.md", PERMISSIONS);
    held("docs/src/playbooks-in-cluster.md", RESPONDER_PERMISSIONS);
}

fn held(page: &str, permissions: &[Permission]) {
    let page = read(page);
    let table = page.split("<!-- permissions: held to the code by a test -->").nth(1).unwrap().trim_start();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).skip(2).collect();
    let wanted = permissions.iter().map(|rule| {
        let group = if rule.group.is_empty() { "core".to_owned() } else { format!("`{}`", rule.group) };
        format!("| {group} | `{}` | {} | {} |", rule.resource, rule.verbs.join(", "), rule.purpose)
    });
    assert_eq!(rows, wanted.collect::<Vec<_>>());
}
