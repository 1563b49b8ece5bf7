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
        ("Backup", "a", json!({"etdc": true}), "unknown field"),
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
    for (kind, name, spec, why) in refused() {
        let refusal = stage.try_apply(&object(kind, name, &spec)).expect_err(&format!("{kind} {spec}"));
        assert!(refusal.contains(why), "{kind} {spec}\nwanted: {why}\n{refusal}");
    }
    for (number, (kind, before, after)) in changes().into_iter().enumerate() {
        let name = format!("changed-{number}");
        stage.create(kind, &name, &before);
        let refusal = stage.try_apply(&object(kind, &name, &after)).expect_err(&format!("{kind} {after}"));
        assert!(refusal.contains("cannot be changed"), "{kind} {after}: {refusal}");
    }
    // An approval is no change.
    let approved = json!({"identity": {"secretName": "recovery"}, "approve": "0".repeat(64)});
    stage.create("Restore", "changed-3", &approved);
    let shows = json!({"id": "20261121T044500Z-k3f9qz"});
    stage.create("Backup", "20261121t044500z-k3f9qz", &shows);
    shown(&stage);
}

/// What kubectl says of the kinds.
fn shown(stage: &Stage) {
    let kubectl = |arguments: &[&str]| stage.cluster.kubectl(arguments);
    for kind in ["backups", "drills", "restores", "schedules"] {
        let table = kubectl(&["get", kind, "-n", NAMESPACE, "-o", "wide"]);
        let empty = kubectl(&["get", kind, "-n", NAMESPACE, "-o", "wide", "--ignore-not-found"]);
        let heads = table.lines().next().or(empty.lines().next()).unwrap_or_default();
        if kind != "schedules" {
            insta::assert_snapshot!(
                format!("columns of {kind}"),
                heads.split_whitespace().collect::<Vec<_>>().join(" ")
            );
        }
        insta::assert_snapshot!(format!("explain {kind}"), kubectl(&["explain", &format!("{kind}.spec")]));
    }
    let names = kubectl(&["api-resources", "--api-group=lifeboat.dev", "--categories=lifeboat", "--no-headers=true"]);
    insta::assert_snapshot!(
        "names",
        names.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
    );
}
