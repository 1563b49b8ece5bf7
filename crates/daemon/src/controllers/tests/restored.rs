//! Restores that somebody asks for.

use lifeboat_model::Reason;
use lifeboat_tests::cluster::kubectl;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::stage::{NAMESPACE, Stage, complete, condition, eventually};

/// A namespace with two objects, and a backup of them.
async fn shop(stage: &Stage) {
    stage.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    for name in ["menu", "prices"] {
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": {"a": name},
        }));
    }
    stage.cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "recovery",
        "-n",
        NAMESPACE,
        &format!("--from-literal=identity={}", stage.identity),
    ]);
    complete(&stage.take(&stage.new_id(), Reason::Manual).await);
}

fn spec(rest: &Value) -> Value {
    let selection = json!({"namespaces": ["shop"], "kinds": ["configmaps"], "names": ["menu", "prices"]});
    let mut spec = json!({"identity": {"secretName": "recovery"}, "selection": selection});
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    spec
}

fn there(stage: &Stage, name: &str) -> bool {
    let arguments = ["get", "configmap", name, "-n", "shop", "-o", "name", "--ignore-not-found"];
    !stage.cluster.kubectl(&arguments).trim().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_does_what_was_approved_and_nothing_else() {
    let stage = Stage::start().await;
    shop(&stage).await;
    // What a restore writes is for the operator to allow.
    let daemon = stage.daemon_as(&stage.cluster.kubeconfig()).await;
    stage.cluster.kubectl(&["delete", "configmap", "menu", "-n", "shop"]);

    // Planned, and nothing done.
    stage.create("Restore", "menu", &spec(&json!({})));
    let planned = stage.until_phase("restore", "menu", "Planned").await;
    let plan = planned["status"]["plan"].clone();
    assert_eq!((&plan["counts"]["create"], &plan["counts"]["unchanged"]), (&json!(1), &json!(1)), "{plan:#}");
    assert_eq!(plan["steps"], json!(["create configmaps/menu -n shop"]));
    assert_eq!(condition(&planned, "Approved")["reason"], "Waiting");
    stage.until_event("menu", "Planned").await;
    assert!(!there(&stage, "menu"));

    // Another hash approves nothing.
    stage.create("Restore", "menu", &spec(&json!({"approve": "0".repeat(64)})));
    stage.until("restore", "menu", |object| condition(object, "Approved")["reason"] == "OtherPlan").await;
    assert!(!there(&stage, "menu"));

    // The target changed since: it is another plan, which was not approved.
    stage.cluster.kubectl(&["delete", "configmap", "prices", "-n", "shop"]);
    stage.create("Restore", "menu", &spec(&json!({"approve": plan["hash"]})));
    let changed = stage.until("restore", "menu", |object| object["status"]["plan"]["hash"] != plan["hash"]).await;
    assert_eq!(changed["status"]["phase"], "Planned");
    assert!(!there(&stage, "menu"));
    stage.until_event("menu", "PlanChanged").await;

    // The one that is shown is approved, and done.
    let hash = changed["status"]["plan"]["hash"].clone();
    stage.create("Restore", "menu", &spec(&json!({"approve": hash})));
    let done = stage.until_phase("restore", "menu", "Complete").await;
    assert_eq!(done["status"]["report"]["created"], 2, "{done:#}");
    assert_eq!(condition(&done, "Complete")["status"], "True");
    assert!(there(&stage, "menu") && there(&stage, "prices"));
    stage.until_event("menu", "Complete").await;

    others(&stage).await;
    daemon.kill().await;
    interrupted(&stage).await;
    resumed(&stage).await;
}

/// Automatic approval, failures by name, and what cannot be planned.
async fn others(stage: &Stage) {
    stage.cluster.kubectl(&["delete", "configmap", "menu", "-n", "shop"]);
    stage.create("Restore", "auto", &spec(&json!({"approval": "auto"})));
    let done = stage.until_phase("restore", "auto", "Complete").await;
    assert_eq!(condition(&done, "Approved")["reason"], "Automatic");
    assert!(there(stage, "menu"));

    stage.create("Restore", "no-such", &spec(&json!({"selection": {"names": ["nothing-of-this-name"]}})));
    let failed = stage.until_phase("restore", "no-such", "Failed").await;
    assert_eq!(condition(&failed, "Failed")["reason"], "NotPlanned");
    stage.create("Restore", "odd-filter", &spec(&json!({"selection": {"expression": "object.("}})));
    stage.until_phase("restore", "odd-filter", "Failed").await;
    stage.create("Restore", "no-secret", &spec(&json!({"identity": {"secretName": "missing"}})));
    let failed = stage.until_phase("restore", "no-secret", "Failed").await;
    assert!(condition(&failed, "Failed")["message"].as_str().unwrap().contains("no Secret 'missing'"), "{failed:#}");

    // What the API server refuses is named.
    stage.cluster.kubectl(&["delete", "configmap", "menu", "prices", "-n", "shop"]);
    let client = json!({"url": "https://127.0.0.1:1/", "caBundle": null});
    stage.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "nobody-answers"},
        "webhooks": [{
            "name": "nobody.answers.example", "clientConfig": client, "sideEffects": "None", "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
        }],
    }));
    let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": "shop"}});
    let refused = eventually(|| match stage.try_apply(&probe) {
        Ok(_) => {
            stage.cluster.kubectl(&["delete", "configmap", "probe", "-n", "shop"]);
            None
        }
        Err(refusal) => Some(refusal),
    });
    assert!(refused.await.unwrap().contains("nobody.answers.example"));
    stage.create("Restore", "refused", &spec(&json!({"approval": "auto"})));
    let partial = stage.until_phase("restore", "refused", "Partial").await;
    assert_eq!(partial["status"]["report"]["failed"], 2, "{partial:#}");
    assert_eq!(partial["status"]["report"]["failures"][0]["object"], "configmaps/menu -n shop");
    stage.cluster.kubectl(&["delete", "validatingwebhookconfiguration", "nobody-answers"]);
}

/// One whose daemon died is told as such, and is not done again.
async fn interrupted(stage: &Stage) {
    stage.create("Restore", "killed", &spec(&json!({"approval": "auto"})));
    let running = r#"{"status":{"phase":"Running","conditions":[]}}"#;
    stage.cluster.kubectl(&[
        "patch",
        "restore",
        "killed",
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        running,
    ]);
    let daemon = stage.daemon_as(&stage.cluster.kubeconfig()).await;
    let failed = stage.until_phase("restore", "killed", "Failed").await;
    assert_eq!(condition(&failed, "Failed")["reason"], "Interrupted");
    assert!(!there(stage, "menu"));

    // Rights that are missing forbid it before anything is done.
    daemon.kill().await;
    let daemon = stage.daemon().await;
    stage.create("Restore", "forbidden", &spec(&json!({"approval": "auto"})));
    let refused = stage.until("restore", "forbidden", |object| {
        ["Failed", "Blocked"].iter().any(|phase| object["status"]["phase"] == *phase)
    });
    refused.await;
    assert!(!there(stage, "menu"));
    daemon.kill().await;
}

/// One whose daemon died in the middle is gone on with by the same daemon, which has its journal.
async fn resumed(stage: &Stage) {
    stage.cluster.kubectl(&["delete", "configmap", "menu", "prices", "-n", "shop", "--ignore-not-found"]);
    // Whoever creates the second one waits for somebody who never answers.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", nobody.local_addr().unwrap());
    let dry = "has(request.dryRun) && request.dryRun";
    let last = json!([{"name": "last", "expression": format!("!({dry}) && request.name == 'prices'")}]);
    stage.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "never-answers"},
        "webhooks": [{
            "name": "never.answers.example", "clientConfig": {"url": url}, "sideEffects": "None", "timeoutSeconds": 30,
            "admissionReviewVersions": ["v1"], "matchConditions": last,
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
        }],
    }));
    // It is in force once such a request reaches nobody.
    let probe =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": "default"}});
    let document = tempfile::NamedTempFile::new_in(stage.cluster.temp()).unwrap();
    serde_json::to_writer(document.as_file(), &probe).unwrap();
    let in_force = eventually(|| {
        let arguments = ["create", "-f", document.path().to_str().unwrap(), "--request-timeout=2s"];
        let created = kubectl(&stage.cluster.kubeconfig(), &arguments);
        stage.cluster.kubectl(&["delete", "configmap", "prices", "-n", "default", "--ignore-not-found"]);
        created.err()
    });
    in_force.await.unwrap();
    let daemon = stage.daemon_as(&stage.cluster.kubeconfig()).await;
    stage.create("Restore", "resumed", &spec(&json!({"approval": "auto"})));
    eventually(|| there(stage, "menu").then_some(())).await.unwrap();
    daemon.kill().await;
    let running = stage.get("restore", "resumed").unwrap();
    assert_eq!(running["status"]["phase"], "Running", "{running:#}");
    assert!(!there(stage, "prices"));
    stage.cluster.kubectl(&["delete", "validatingwebhookconfiguration", "never-answers"]);

    let daemon = stage.daemon_as(&stage.cluster.kubeconfig()).await;
    let done = stage.until_phase("restore", "resumed", "Complete").await;
    assert_eq!(done["status"]["report"]["created"], 2, "{done:#}");
    stage.until_event("resumed", "Resumed").await;
    assert!(there(stage, "prices"));
    let journals = std::fs::read_dir(stage.cluster.temp()).unwrap().map(|entry| entry.unwrap().path());
    let journals: Vec<_> = journals.filter(|path| path.extension().is_some_and(|kind| kind == "journal")).collect();
    assert!(journals.is_empty(), "{journals:?}");
    daemon.kill().await;
}
