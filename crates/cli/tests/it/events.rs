//! What recorded alerts would start, with the playbooks of the library.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{expect, expect_json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).unwrap()
}

fn recorded(name: &str) -> String {
    root().join("crates/playbook/testdata/alerts").join(format!("{name}.json")).display().to_string()
}

/// The playbooks that an alert would start, with their triggers and inputs.
fn started(folder: &Path, file: &str) -> Vec<(String, String, Value)> {
    let library = root().join("playbooks").display().to_string();
    let tested = expect_json(0, folder, &["event", "test", "--file", file, "--library", &library, "--no-plan"]);
    let mut started = Vec::new();
    for event in tested["events"].as_array().unwrap() {
        for playbook in event["playbooks"].as_array().unwrap() {
            for tried in playbook["triggers"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                if let Some(inputs) = tried["fit"].get("yes") {
                    started.push((text(&playbook["playbook"]), text(&tried["trigger"]), inputs.clone()));
                }
                assert!(tried["fit"].get("inputs").is_none(), "{tried}");
            }
        }
    }
    started
}

#[test]
fn recorded_alerts_start_the_playbooks_that_are_meant_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let digest = "sha256:1b2f4d6c8e9a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899a";
    let manifest = "sha256:35c102085707f703de2d9eaad8752d6fe1b8f02b5d2149f1d8357c9cc7fb7d0a";
    for (alert, expected) in [
        (
            "falco-shell",
            vec![("falco-shell", "shell", json!({"namespace": "shop", "pod": "web-1", "containerId": "3f1b9a7c2d4e"}))],
        ),
        // Without pod and namespace, as Falco sends it often.
        (
            "falco-crypto",
            vec![("falco-crypto", "miner", json!({"namespace": "", "pod": "", "containerId": "9c0ffee12345"}))],
        ),
        ("falco-audit", vec![]),
        (
            "sysdig-channel",
            vec![(
                "sysdig-policy",
                "high",
                json!({"namespace": "shop", "pod": "web-1", "containerId": "57c1820a87f1"}),
            )],
        ),
        (
            "sysdig-forwarder",
            vec![(
                "sysdig-policy",
                "high",
                json!({"namespace": "shop", "pod": "web-1", "containerId": "57c1820a87f1"}),
            )],
        ),
        (
            "audit",
            vec![
                ("audit-exec-in-prod", "exec", json!({"namespace": "prod", "pod": "web-1", "user": "jane"})),
                (
                    "audit-rbac-escalation",
                    "cluster-admin",
                    json!({"granted": ["ServiceAccount/ci/deployer"], "user": "system:serviceaccount:ci:deployer"}),
                ),
            ],
        ),
        ("trivy-report", vec![("trivy-critical-running-image", "critical", json!({"images": [digest]}))]),
        ("trivy-operator", vec![("trivy-critical-running-image", "critical", json!({"images": [digest]}))]),
        ("clair-callback", vec![("clair-notification", "added", json!({"images": [manifest]}))]),
        ("clair-webhook", vec![]),
        ("alertmanager", vec![]),
        ("cloudevent", vec![]),
    ] {
        let expected: Vec<(String, String, Value)> =
            expected.into_iter().map(|(name, trigger, inputs)| (name.to_owned(), trigger.to_owned(), inputs)).collect();
        assert_eq!(started(folder.path(), &recorded(alert)), expected, "{alert}");
    }
}

#[test]
fn near_misses_start_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let change = |name: &str, pointer: &str, value: Value| {
        let mut alert: Value = serde_json::from_str(&std::fs::read_to_string(recorded(name)).unwrap()).unwrap();
        *alert.pointer_mut(pointer).unwrap() = value;
        let file = folder.path().join("changed.json");
        std::fs::write(&file, alert.to_string()).unwrap();
        let file = file.display().to_string();
        started(folder.path(), &file).into_iter().map(|(playbook, ..)| playbook).collect::<Vec<_>>()
    };
    let nothing = Vec::<String>::new();
    assert_eq!(change("falco-shell", "/priority", json!("Debug")), nothing);
    assert_eq!(change("falco-shell", "/rule", json!("Terminal shell in container ")), nothing);
    assert_eq!(change("sysdig-forwarder", "/severity", json!(6)), nothing);
    assert_eq!(change("trivy-report", "/report/summary/criticalCount", json!(0)), nothing);
    assert_eq!(change("clair-callback", "/notifications/0/reason", json!("removed")), nothing);
    let escalation = vec!["audit-rbac-escalation".to_owned()];
    assert_eq!(change("audit", "/items/0/objectRef/namespace", json!("shop")), escalation);
    assert_eq!(change("audit", "/items/0/stage", json!("ResponseComplete")), escalation);
    let exec = vec!["audit-exec-in-prod".to_owned()];
    assert_eq!(change("audit", "/items/1/responseStatus/code", json!(403)), exec);
    assert_eq!(change("audit", "/items/1/requestObject/roleRef/name", json!("view")), exec);
}

#[test]
fn what_is_tested_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let library = root().join("playbooks").display().to_string();
    let text = expect(
        0,
        folder.path(),
        &["event", "test", "-f", &recorded("falco-shell"), "--library", &library, "--no-plan"],
    );
    for words in [
        "Terminal shell in container (notice)",
        "container id: 3f1b9a7c2d4e",
        "falco-shell would be started by its trigger shell",
        "  pod: \"web-1\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = expect(0, folder.path(), &["event", "test", "-f", &recorded("alertmanager"), "--no-plan"]);
    assert_eq!(text.matches("no playbook would be started").count(), 2, "{text}");

    // A body that is another tool's, one that is none, and a mapping.
    let other = expect_json(
        2,
        folder.path(),
        &["event", "test", "-f", &recorded("falco-shell"), "--source", "sysdig", "--no-plan"],
    );
    assert_eq!(other["error"]["code"], "usage");
    let message = "the body is none of Sysdig Secure: it has neither 'entities' nor 'id' and 'content'";
    assert_eq!(other["error"]["message"], message);
    std::fs::write(folder.path().join("own.json"), r#"{"alarm": {"kind": "decoy"}, "level": 9}"#).unwrap();
    expect_json(2, folder.path(), &["event", "test", "-f", "own.json", "--no-plan"]);
    let mapping = "rule: body.alarm.kind\nseverity: \"body.level > 8 ? 'critical' : 'notice'\"\n";
    std::fs::write(folder.path().join("mapping.yaml"), mapping).unwrap();
    let mapped = expect_json(
        0,
        folder.path(),
        &["event", "test", "-f", "own.json", "--source", "generic", "--mapping", "mapping.yaml", "--no-plan"],
    );
    assert_eq!(
        (&mapped["events"][0]["event"]["rule"], &mapped["events"][0]["event"]["severity"]),
        (&json!("decoy"), &json!(5))
    );
    std::fs::write(folder.path().join("mapping.yaml"), "rule: body.alarm.kind\nseverty: '1'\n").unwrap();
    let misspelled = expect_json(
        2,
        folder.path(),
        &["event", "test", "-f", "own.json", "--source", "generic", "--mapping", "mapping.yaml", "--no-plan"],
    );
    assert!(misspelled["error"]["message"].as_str().unwrap().contains("severty"), "{misspelled}");
}

/// A trigger with a misspelled key would fire on every alert, or on none.
#[test]
fn a_misspelled_key_of_a_trigger_is_told_and_the_playbook_never_started() {
    let folder = tempfile::tempdir().unwrap();
    let book = std::fs::read_to_string(root().join("playbooks/falco-shell.yaml")).unwrap();
    std::fs::create_dir(folder.path().join("books")).unwrap();
    std::fs::write(folder.path().join("books/falco-shell.yaml"), book.replace("      when: ", "      match: "))
        .unwrap();
    let linted = expect_json(2, folder.path(), &["playbook", "lint", "books/falco-shell.yaml"]);
    let faults = linted["files"][0]["faults"].to_string();
    assert!(faults.contains("match") && faults.contains("when"), "{faults}");
    let tested = expect_json(
        2,
        folder.path(),
        &["event", "test", "-f", &recorded("falco-shell"), "--library", "books", "--no-plan"],
    );
    assert_eq!((&tested["faulty"], &tested["events"][0]["playbooks"]), (&json!(["falco-shell"]), &json!([])));
}
