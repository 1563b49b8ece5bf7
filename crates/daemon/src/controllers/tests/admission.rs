//! What the API server makes of the definitions: what it refuses, and what it shows.

use serde_json::{Value, json};

use super::stage::{NAMESPACE, Stage, object};

/// Specs that are refused, each with a part of the refusal.
fn refused() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let identity = json!({"secretName": "recovery"});
    let id = "20261121T044500Z-k3f9qz";
    vec![
        ("Backup", "a", json!({"id": id}), "bears its id in lower case as its name"),
        ("Backup", "a", json!({"id": "latest"}), "should match"),
        ("Backup", "20261121t044500z-k3f9qz", json!({"id": id, "etcd": true}), "goes with nothing else"),
        ("Backup", "a", json!({"schedule": "nightly", "etcd": false}), "excludes 'etcd', 'objects' and 'resources'"),
        ("Backup", "a", json!({"objects": false, "resources": {}}), "to take none"),
        ("Backup", "a", json!({"objects": false, "etcd": false}), "neither etcd nor objects"),
        ("Backup", "a", json!({"resources": {"pageSize": 0}}), "greater than or equal to 1"),
        ("Backup", "a", json!({"etdc": true}), "field not declared in schema"),
        ("Restore", "a", json!({"backup": "latest"}), "identity: Required value"),
        ("Restore", "a", json!({"identity": identity, "backup": "la/test"}), "should match"),
        ("Restore", "a", json!({"identity": {"secretName": "Bad_Name"}}), "should match"),
        ("Restore", "a", json!({"identity": identity, "mode": "overwrite"}), "Unsupported value"),
        ("Restore", "a", json!({"identity": identity, "approve": "yes"}), "should match"),
        (
            "Restore",
            "a",
            json!({"identity": identity, "approval": "auto", "approve": "0".repeat(64)}),
            "'approve' is for restores that wait",
        ),
        (
            "Restore",
            "a",
            json!({"identity": identity, "mode": "exact", "approval": "auto", "selection": {"namespaces": ["a"]}}),
            "its plan is to be read and approved",
        ),
        ("Restore", "a", json!({"identity": identity, "mode": "exact"}), "only within namespaces that are named"),
        ("Drill", "a", json!({"tier": 3}), "less than or equal to 2"),
        ("Drill", "a", json!({"tier": 1}), "needs an 'identity'"),
        ("Drill", "a", json!({"targets": {"rtoSeconds": 60}}), "is measured in tier 2"),
        ("Schedule", "a", json!({}), "schedule: Required value"),
        ("Schedule", "a", json!({"schedule": "0 3 * *"}), "five fields"),
        ("Schedule", "a", json!({"schedule": "@every 5m"}), "five fields"),
        ("Schedule", "a", json!({"schedule": "TZ=UTC 0 3 * * *"}), "five fields"),
        (
            "Schedule",
            "a",
            json!({"schedule": "0 3 * * *", "etcd": false, "objects": false}),
            "neither etcd nor objects",
        ),
        ("Schedule", "a", json!({"schedule": "0 3 * * *", "concurrencyPolicy": "Allow"}), "Unsupported value"),
    ]
}

/// Changes that are refused, each to an object that is there.
fn changes() -> Vec<(&'static str, Value, Value)> {
    let restore = |rest: Value| {
        let mut spec = json!({"identity": {"secretName": "recovery"}});
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        spec
    };
    vec![
        ("Backup", json!({}), json!({"etcd": false})),
        ("Backup", json!({"schedule": "nightly"}), json!({"schedule": "weekly"})),
        ("Drill", json!({}), json!({"backup": "latest-verified"})),
        ("Restore", restore(json!({})), restore(json!({"backup": "latest-verified"}))),
        ("Restore", restore(json!({})), restore(json!({"mode": "apply"}))),
        ("Restore", restore(json!({})), restore(json!({"approval": "auto"}))),
        ("Restore", restore(json!({})), restore(json!({"selection": {"names": ["a"]}}))),
        ("Restore", restore(json!({})), restore(json!({"transform": {"includeStatus": true}}))),
        ("Restore", restore(json!({})), json!({"identity": {"secretName": "another"}})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_holds_objects_to_their_rules() {
    let stage = Stage::start().await;
    let mut faults = Vec::new();
    for (kind, name, spec, why) in refused() {
        match stage.try_apply(&object(kind, name, &spec)) {
            Ok(_) => faults.push(format!("{kind} {spec} is accepted")),
            Err(refusal) if refusal.contains(why) => {}
            Err(refusal) => faults.push(format!("{kind} {spec}\nwanted: {why}\n{refusal}")),
        }
    }
    for (number, (kind, before, after)) in changes().into_iter().enumerate() {
        let name = format!("changed-{number}");
        stage.create(kind, &name, &before);
        match stage.try_apply(&object(kind, &name, &after)) {
            Ok(_) => faults.push(format!("{kind} {before} becomes {after}")),
            Err(refusal) if refusal.contains("cannot be changed") => {}
            Err(refusal) => faults.push(format!("{kind} {before} to {after}: {refusal}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    // An approval is no change.
    let approved = json!({"identity": {"secretName": "recovery"}, "approve": "0".repeat(64)});
    stage.create("Restore", "changed-3", &approved);
    stage.create("Backup", "20261121t044500z-k3f9qz", &json!({"id": "20261121T044500Z-k3f9qz"}));
    stage.create("Schedule", "workdays", &json!({"schedule": " 0 3 * * MON-fri "}));
    examples(&stage);
    shown(&stage);
}

/// Every object that the book shows is accepted.
fn examples(stage: &Stage) {
    let page = include_str!("../../../../../docs/src/custom-resources.md");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut kinds = Vec::new();
    for block in blocks.filter(|block| block.starts_with("apiVersion: lifeboat.dev/")) {
        let file = stage.cluster.temp().join("example.yaml");
        std::fs::write(&file, block).unwrap();
        let applied = stage.cluster.kubectl(&["create", "--dry-run=server", "-f", file.to_str().unwrap()]);
        kinds.push(applied.split('.').next().unwrap().to_owned());
    }
    assert_eq!(kinds, ["schedule", "backup", "backup", "restore", "drill"]);
}

/// What kubectl says of the kinds.
fn shown(stage: &Stage) {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    for kind in ["backups", "drills", "restores", "schedules"] {
        let table = stage.cluster.kubectl(&["get", kind, "-n", NAMESPACE, "-o", "wide"]);
        let explained = stage.cluster.kubectl(&["explain", &format!("{kind}.spec"), "--recursive"]);
        let fields = explained.split("FIELDS:").nth(1).unwrap().trim_end();
        text.extend([kind, ": ", &words(table.lines().next().unwrap()), fields, "\n\n"]);
    }
    let names = stage.cluster.kubectl(&["api-resources", "--categories=lifeboat", "--no-headers=true"]);
    text.extend(names.lines().map(|line| words(line) + "\n"));
    insta::assert_snapshot!(text);
    let meaning = stage.cluster.kubectl(&["explain", "backup.spec.id"]);
    assert!(meaning.contains("Show the backup of that id; nothing is taken."), "{meaning}");
}
