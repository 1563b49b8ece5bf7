//! What is refused, what is named beforehand, and what is not tried.

use std::path::PathBuf;

use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use super::{NAMESPACE, is_there, planned, refused, restore, site, verdict};
use crate::support::{apply, boot, shop, turn, until};

/// The kubeconfig of a service account that may read everything and hold the lock.
fn reader(cluster: &Cluster) -> PathBuf {
    let metadata = json!({"name": "reader"});
    let account = json!({"kind": "ServiceAccount", "name": "reader", "namespace": "default"});
    let api = "rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}]);
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "default"}},
        {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata, "subjects": [account],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}},
    ]);
    apply(cluster, "reader", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let token = cluster.kubectl(&["create", "token", "reader"]);
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    let path = cluster.temp().join("reader.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_before_anything_happens() {
    let _turn = turn().await;
    let cluster = Cluster::start().await;
    shop(&cluster);
    let mut site = site(&cluster);
    let id = site.create();
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);

    let says = |code: i32, arguments: &[&str], words: &[&str]| {
        let told = refused(&site, code, &[&[&*id], arguments].concat());
        assert!(words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    };
    says(6, &["--kind", "deploymnts"], &["deploymnts", "did you mean 'deployments'"]);
    says(6, &["-n", "zwieback-quaters"], &["did you mean 'zwieback-quarters'"]);
    says(6, &["-n", NAMESPACE, "--name", "nothing-of-that-name"], &["no object of that selection"]);
    says(2, &["--where", "object.spec."], &["--where", "1:"]);
    says(2, &["--where", "size(object.metadata.name)"], &["true or false"]);
    says(5, &["-n", NAMESPACE, "--map-namespace", "zwieback-quarters=kube-system"], &["Kubernetes' own"]);
    says(2, &["-n", NAMESPACE, "--mode", "exact", "--map-namespace", "a"], &["FROM=TO"]);
    says(2, &["--mode", "exact"], &["give -n"]);
    says(2, &["--map-namespace", "default=zwieback-quarters"], &["two objects"]);
    says(2, &["--patch", "missing.yaml", "--concurrency", "0"], &["1 to 256"]);
    std::fs::write(site.path("bad.yaml"), "patches:\n- target: {kind: Secret}\n  nonsense: 1\n").unwrap();
    says(2, &["-n", NAMESPACE, "--patch", "bad.yaml"], &["bad.yaml", "nonsense"]);
    let test = "patches:\n- target: {kind: Secret}\n  jsonPatch: [{op: test, path: /data/password, value: x}]\n";
    std::fs::write(site.path("test.yaml"), test).unwrap();
    says(2, &["-n", NAMESPACE, "--patch", "test.yaml"], &["test.yaml", "kielholen-secret"]);
    cluster.kubectl(&["create", "namespace", "going"]);
    cluster.kubectl(&["create", "configmap", "keeps", "-n", "going"]);
    cluster.kubectl(&["delete", "namespace", "going", "--wait=false"]);
    says(5, &["-n", NAMESPACE, "--map-namespace", "zwieback-quarters=going"], &["going", "being deleted"]);
    assert!(!is_there(&cluster, &["secret", "kielholen-secret", "-n", NAMESPACE]), "nothing was written");

    // Who may not write is told so before.
    let weak = reader(&cluster);
    site.set("KUBECONFIG", weak.to_str().unwrap());
    let told = refused(&site, 5, &[&id, "-n", NAMESPACE]);
    assert!(told.contains("not allowed to create secrets"), "{told}");
}

/// A webhook that has to agree to objects of these resources, and that nobody answers.
fn blocking_webhook(cluster: &Cluster, name: &str, group: &str, resources: &[&str], members: &Value) {
    let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "resources": resources, "operations": ["CREATE"]});
    let service = json!({"namespace": "default", "name": "nobody"});
    let mut hook = json!({"name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail", "timeoutSeconds": 1, "rules": [rule], "clientConfig": {"service": service}});
    hook.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [hook]});
    apply(cluster, name, &configuration);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_something_that_failed_is_not_tried() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(shop), Cluster::start());
    source.kubectl(&["create", "namespace", "fine"]);
    source.kubectl(&["create", "configmap", "fine", "-n", "fine"]);
    source.kubectl(&["create", "clusterrole", "fine", "--verb=get", "--resource=pods"]);
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    // A namespace is refused by its label, a definition by a webhook.
    blocking_webhook(&target, "definitions", "apiextensions.k8s.io", &["customresourcedefinitions"], &json!({}));
    let expression = "object.metadata.name != 'zwieback-quarters'";
    let validation = json!([{"expression": expression, "message": "no biscuits here"}]);
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]}]);
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-biscuits"},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": validation}});
    apply(&target, "policy", &policy);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-biscuits"}, "spec": {"policyName": "no-biscuits", "validationActions": ["Deny"]}});
    apply(&target, "binding", &binding);
    until("policy", async || (planned(&site, &[&id])["objections"] == 2).then_some(())).await;

    let done = restore(&site, 3, &[&id]);
    let messages = |member: &str| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        done[member].as_array().unwrap().iter().map(|note| (text(&note["object"]), text(&note["message"]))).collect()
    };
    let failed = messages("failed");
    assert_eq!(failed.len(), 2, "{done}");
    assert!(failed[0].0.starts_with("customresourcedefinitions") && failed[0].1.contains("definitions.example.com"));
    assert!(failed[1].0 == format!("namespaces/{NAMESPACE}") && failed[1].1.contains("no biscuits here"), "{failed:?}");
    let blocked = messages("blocked");
    assert!(blocked.len() > 40, "{blocked:?}");
    assert!(blocked.iter().all(|(name, _)| name.contains(NAMESPACE)), "{blocked:?}");
    let boat = blocked.iter().find(|(name, _)| name.starts_with("boats")).unwrap();
    assert!(boat.1.contains("definition"), "{boat:?}");
    // The others are restored.
    assert!(is_there(&target, &["configmap", "fine", "-n", "fine"]) && is_there(&target, &["clusterrole", "fine"]));

    // Once the causes are away the same restore comes to its end.
    target.kubectl(&["delete", "validatingwebhookconfiguration", "definitions"]);
    target.kubectl(&["delete", "validatingadmissionpolicybinding", "no-biscuits"]);
    until("end of the policy", async || {
        kubectl(&target.kubeconfig(), &["create", "namespace", NAMESPACE, "--dry-run=server"]).ok()
    })
    .await;
    let done = site.json(0, &["restore", "objects", &id, "--resume"]);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    assert!(is_there(&target, &["boats", "flying-dutchman", "-n", NAMESPACE]));
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_names_what_is_in_the_way() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(shop), Cluster::start());
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "front", "namespace": NAMESPACE}, "spec": {"ingressClassName": "front",
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}});
    apply(&source, "needs", &json!({"apiVersion": "v1", "kind": "List", "items": [claim, ingress]}));
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    apply(
        &target,
        "namespace",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": &labels}}),
    );
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"hard": {"count/configmaps": "3"}}});
    apply(&target, "quota", &quota);
    let status = r#"{"status":{"hard":{"count/configmaps":"3"},"used":{"count/configmaps":"1"}}}"#;
    target.kubectl(&["patch", "quota", "small", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", status]);
    // Webhooks are named where they concern what is restored, and not for its kind alone.
    let selectors = [
        ("by-label", json!({"objectSelector": {"matchLabels": {"app": "web"}}})),
        ("by-namespace", json!({"namespaceSelector": {"matchLabels": labels}})),
        ("other-label", json!({"objectSelector": {"matchLabels": {"app": "db"}}})),
        ("other-namespace", json!({"namespaceSelector": {"matchLabels": {"team": "none"}}})),
        (
            "by-condition",
            json!({"matchConditions": [{"name": "only-bread", "expression": "object.metadata.name == 'bread'"}]}),
        ),
    ];
    for (name, members) in &selectors {
        blocking_webhook(&target, name, "", &["serviceaccounts"], members);
    }
    let plan = planned(&site, &[&id, "-n", NAMESPACE]);
    let findings: Vec<(String, String)> = plan["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap().to_owned(), finding["message"].as_str().unwrap().to_owned()))
        .collect();
    let says = |code: &str, words: &[&str]| {
        let found = findings.iter().any(|(known, text)| known == code && words.iter().all(|word| text.contains(word)));
        assert!(found, "{code} {words:?}: {findings:?}");
    };
    says("otherCluster", &["is another one"]);
    says("podSecurity", &[NAMESPACE, "restricted"]);
    says("quota", &["small", "there are 1", "41 would come"]);
    says("storageClass", &["'fast'", "persistentvolumeclaims/data"]);
    says("ingressClass", &["'front'", "ingresses.networking.k8s.io/front"]);
    says("notServed", &["boats.shop.example.com", "1 objects"]);
    says("webhook", &["by-label.example.com", "serviceaccounts"]);
    says("webhook", &["by-namespace.example.com", "serviceaccounts"]);
    says("webhook", &["by-condition.example.com", "unless", "only-bread"]);
    assert_eq!(findings.iter().filter(|(code, _)| code == "webhook").count(), 3, "{findings:?}");
    assert_eq!(verdict(&plan, &format!("boats.shop.example.com/flying-dutchman -n {NAMESPACE}")), "blocked");
}
