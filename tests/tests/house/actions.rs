//! The page of the actions: what they say of themselves.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_actions::{Connection, EvidenceFolder, NoBackups, Settings, add_actions};
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_playbook::{DirectoryJournals, Manual, Registry, Repeat, Undo, add_builtin, load};
use serde_json::Value;

use super::{files, read, root};

const UPDATE: &str = "LIFEBOAT_TEST_UPDATE";
const PAGE: &str = "docs/src/actions.md";

fn registry() -> Registry {
    let mut registry = Registry::new();
    add_builtin(&mut registry).unwrap();
    let connection = Connection::new(ConnectOptions::default());
    let evidence = EvidenceFolder::new(PathBuf::new());
    let journals = Arc::new(DirectoryJournals::new(PathBuf::new()));
    let settings = Settings {
        connection,
        backups: Arc::new(NoBackups),
        journals,
        evidence,
        random: |_| Ok(()),
        local_files: true,
    };
    add_actions(&mut registry, &settings).unwrap();
    registry
}

fn members(out: &mut String, title: &str, schema: &Value) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut rows = properties.peekable();
    if rows.peek().is_none() {
        return;
    }
    writeln!(out, "{title}:\n").unwrap();
    for (name, property) in rows {
        let target = property["$ref"].as_str().and_then(|path| schema.pointer(path.strip_prefix('#')?));
        let meaning = property["description"].as_str().or_else(|| target?["description"].as_str()).unwrap_or_default();
        let needed = if title == "Inputs" && required.contains(&name.as_str()) { " (required)" } else { "" };
        writeln!(out, "- `{name}`{needed}: {}", meaning.replace('\n', " ")).unwrap();
    }
    out.push('\n');
}

fn page(manual: &Manual) -> String {
    let statement = &manual.statement;
    let mut out = format!("## {}\n\n{}.\n\n{}\n\n", statement.name, statement.summary, statement.description);
    members(&mut out, "Inputs", &manual.inputs);
    members(&mut out, "Outputs", &manual.outputs);
    let undo = match statement.undo {
        Undo::ReadsOnly => "nothing to undo: it writes nothing".to_owned(),
        Undo::Yes => "yes".to_owned(),
        Undo::Partly(reason) => format!("partly: {reason}"),
        Undo::No(reason) => format!("no: {reason}"),
    };
    let repeat = if statement.repeat == Repeat::Safe { "it is gone on with" } else { "it is never done twice" };
    writeln!(out, "Undo: {undo}. After a kill: {repeat}.\n").unwrap();
    let ids: Vec<&str> = statement.attack.iter().chain(statement.defend).copied().collect();
    if !ids.is_empty() {
        writeln!(out, "ATT&CK and D3FEND: {}.\n", ids.join(", ")).unwrap();
    }
    if !statement.permissions.is_empty() {
        out.push_str("| needs | resource |\n| --- | --- |\n");
        for permission in statement.permissions {
            let dot = if permission.group.is_empty() { "" } else { "." };
            let verbs = permission.verbs.join(", ");
            writeln!(out, "| {verbs} | {}{dot}{} |", permission.resource, permission.group).unwrap();
        }
        out.push('\n');
    }
    writeln!(out, "```yaml\n{}\n```\n", statement.example.trim_end()).unwrap();
    out
}

#[test]
fn the_page_of_the_actions_is_that_of_the_code() {
    let (begin, end) = ("<!-- actions: generated from the code -->\n\n", "<!-- end of actions -->");
    let text = read(PAGE);
    let (before, rest) = text.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let pages: String = registry().manuals().iter().map(page).collect();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(root().join(PAGE), format!("{before}{begin}{pages}{end}{after}")).unwrap();
    } else {
        assert!(found == pages, "{PAGE} is not that of the code: {UPDATE}=1 scripts/test house writes it");
    }
}

#[test]
fn the_playbooks_are_without_faults_and_say_what_they_are_for() {
    let registry = registry();
    let playbooks: Vec<String> = files()
        .into_iter()
        .filter(|path| {
            path.starts_with("playbooks/") && std::path::Path::new(path).extension().is_some_and(|end| end == "yaml")
        })
        .collect();
    assert!(!playbooks.is_empty());
    for path in playbooks {
        let playbook = load(&path, &read(&path), &registry, &std::collections::BTreeMap::new())
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(path, format!("playbooks/{}.yaml", playbook.name()));
        let spec = &playbook.document().spec;
        assert!(spec.docs.as_ref().is_some_and(|docs| !docs.is_empty()), "{path} has no docs");
        let is_id = |id: &String| id.starts_with('T') && id[1..].chars().all(|c| c.is_ascii_digit() || c == '.');
        assert!(!spec.attack.is_empty() && spec.attack.iter().all(is_id), "{path}: {:?}", spec.attack);
        assert!(read("docs/src/incidents.md").contains(&format!("`{}`", playbook.name())), "{path} is not in the docs");
    }
}
