//! JSON Schemas that editors and other programs use: generated, checked in, checked here.

use lifeboat_model::{Config, DrillChecks, DrillReport};
use lifeboat_playbook::PlaybookDocument;
use schemars::JsonSchema;

use super::root;

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
    compare("playbook.json", &generated::<PlaybookDocument>());
}
