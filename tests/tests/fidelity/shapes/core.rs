//! Namespaces, maps, secrets, accounts, limits and bare pods.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fidelity::shape::{Act, NAMESPACES, Shape, Stage, dressed, text};

const TOKEN: &str = "kubernetes.io/service-account-token";

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let maps = vec(content(), 2..6).prop_map(|contents| {
        contents
            .into_iter()
            .enumerate()
            .map(|(number, content)| {
                Shape::new("v1", "configmaps", "ConfigMap", Some("shop"), format!("map-{number}"), content)
            })
            .collect::<Vec<_>>()
    });
    let secrets = vec(vec(any::<u8>(), 0..64), 1..4).prop_map(|contents| {
        contents
            .into_iter()
            .enumerate()
            .map(|(number, bytes)| {
                let content = json!({"data": {"key": base64(&bytes)}, "immutable": number % 2 == 0});
                Shape::new("v1", "secrets", "Secret", Some("db-1"), format!("secret-{number}"), content)
            })
            .collect::<Vec<_>>()
    });
    let fixed = [namespaces(), special_maps(), special_secrets(), accounts(), limits(), pods()].concat();
    (maps, secrets, dressed(fixed)).prop_map(|(maps, secrets, fixed)| [maps, secrets, fixed].concat())
}

/// What controllers fill in, count, and apply to pods.
pub(crate) fn controlled() -> impl Strategy<Value = Vec<Shape>> {
    let account =
        Shape::new("v1", "serviceaccounts", "ServiceAccount", Some("shop"), "ci", json!({})).stage(Stage::First);
    let token = json!({"type": TOKEN, "metadata": {"annotations": {"kubernetes.io/service-account.name": "ci"}}});
    let token = Shape::new("v1", "secrets", "Secret", Some("shop"), "ci-by-hand", token);
    let bare = json!({"metadata": {"labels": {"app": "bare"}}, "spec": {"serviceAccountName": "ci"}});
    let bare = Shape::new("v1", "pods", "Pod", Some("shop"), "bare", json!({"spec": pod_spec()})).with(bare);
    let limits = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"},
        "defaultRequest": {"cpu": "100m"}}]}});
    let limits = Shape::new("v1", "limitranges", "LimitRange", Some("shop"), "defaults", limits).stage(Stage::Limits);
    let quota = json!({"spec": {"hard": {"pods": "40", "configmaps": "1", "requests.cpu": "9",
        "count/deployments.apps": "2"}}});
    let quota = Shape::new("v1", "resourcequotas", "ResourceQuota", Some("shop"), "exact", quota).stage(Stage::Limits);
    dressed([namespaces(), vec![account, token, bare, limits, quota]].concat())
}

fn namespaces() -> Vec<Shape> {
    let named =
        |name: &str| Shape::new("v1", "namespaces", "Namespace", None, name, json!({})).stage(Stage::Namespaces);
    let mut shapes: Vec<Shape> = NAMESPACES.into_iter().map(named).collect();
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}});
    shapes.push(named("labelled").with(labels));
    shapes
}

fn content() -> impl Strategy<Value = Value> {
    let data = proptest::collection::btree_map("[a-zA-Z0-9._-]{1,16}", text(), 0..4).prop_map(|mut data| {
        data.retain(|key, _| key != "." && key != ".." && !key.starts_with(".."));
        data
    });
    (data, proptest::option::of(any::<bool>()), vec(any::<u8>(), 0..40)).prop_map(|(data, immutable, bytes)| {
        json!({"data": data, "immutable": immutable, "binaryData": {"bin.x_y": base64(&bytes)}})
    })
}

fn special_maps() -> Vec<Shape> {
    let map = |namespace: &str, name: &str, content: Value| {
        Shape::new("v1", "configmaps", "ConfigMap", Some(namespace), name, content)
    };
    let huge: String = (0..1_000_000_u32).map(|place| char::from(b'a' + (place % 23) as u8)).collect();
    vec![
        map("shop", "empty", json!({})),
        map("shop", "huge", json!({"data": {"text": huge}})),
        map("shop", "frozen", json!({"immutable": true, "data": {"a": "1"}})),
        map("shop", "gen-abcde", json!({"metadata": {"generateName": "gen-"}})),
        map("shop", "kube-root-ca.crt", json!({"data": {"ca.crt": "of the old cluster"}})).skipped(122),
        map("shop", "leaving", json!({"metadata": {"finalizers": ["example.com/stay"]}})).act(Act::Delete).skipped(120),
        map("kube-system", "coredns-like", json!({"data": {"Corefile": ".:53 {\n}\n"}})),
        Shape::new(
            "v1",
            "podtemplates",
            "PodTemplate",
            Some("shop"),
            "template",
            json!({"template": {
            "metadata": {"labels": {"app": "t"}}, "spec": pod_spec()}}),
        ),
    ]
}

fn special_secrets() -> Vec<Shape> {
    let secret = |namespace: &str, name: &str, kind: &str, content: Value| {
        Shape::new("v1", "secrets", "Secret", Some(namespace), name, content).with(json!({"type": kind}))
    };
    let account = json!({"metadata": {"annotations": {"kubernetes.io/service-account.name": "ci"}}});
    let token = json!({"metadata": {"annotations": {"kubernetes.io/service-account.name": "ci",
        "kubernetes.io/service-account.uid": "@uid:serviceaccounts/shop/ci"}},
        "data": {"token": base64(b"t"), "ca.crt": base64(b"c"), "namespace": base64(b"shop"), "mine": base64(b"m")}});
    let bootstrap = json!({"stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true"}});
    vec![
        secret(
            "shop",
            "login",
            "kubernetes.io/basic-auth",
            json!({"stringData": {"username": "ü",
            "password": "p"}}),
        ),
        secret(
            "shop",
            "registry",
            "kubernetes.io/dockerconfigjson",
            json!({"data": {
            ".dockerconfigjson": base64(b"{\"auths\":{}}")}}),
        ),
        secret("shop", "cert", "kubernetes.io/tls", json!({"data": {"tls.crt": "", "tls.key": ""}})),
        secret("shop", "frozen", "Opaque", json!({"immutable": true, "data": {"a": base64(b"1")}})),
        secret("shop", "own-type", "example.com/anything", json!({"data": {"a": base64(b"1")}})),
        secret("shop", "ci-by-hand", TOKEN, token.clone()).keeps(&["/data/mine"]),
        secret("shop", "ci-empty", TOKEN, account),
        secret("shop", "ci-token-x7k2p", TOKEN, token).skipped(130),
        secret("kube-system", "bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", bootstrap).skipped(129),
    ]
}

fn accounts() -> Vec<Shape> {
    let account = |namespace: &str, name: &str, content: Value| {
        Shape::new("v1", "serviceaccounts", "ServiceAccount", Some(namespace), name, content).stage(Stage::First)
    };
    let secrets = json!({"secrets": [{"name": "ci-token-x7k2p"}, {"name": "ci-by-hand"}],
        "imagePullSecrets": [{"name": "registry"}], "automountServiceAccountToken": false});
    let mut shapes = vec![account("shop", "ci", secrets), account("shop", "plain", json!({}))];
    for namespace in NAMESPACES {
        // The controller manager would make these; here they have more than it gives them.
        shapes.push(account(namespace, "default", json!({"imagePullSecrets": [{"name": "registry"}]})));
    }
    shapes
}

fn limits() -> Vec<Shape> {
    let limits = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m", "memory": "64Mi"},
        "defaultRequest": {"cpu": "100m"}}, {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}}]}});
    let quota = json!({"spec": {"hard": {"pods": "1", "configmaps": "1", "count/widgets.example.com": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "services": "1", "secrets": "1"}}});
    vec![
        Shape::new("v1", "limitranges", "LimitRange", Some("shop"), "defaults", limits).stage(Stage::Limits),
        // It is exceeded by what is there, and no controller has counted.
        Shape::new("v1", "resourcequotas", "ResourceQuota", Some("shop"), "tight", quota).stage(Stage::Limits),
    ]
}

/// The spec of a pod that asks for nothing.
pub(super) fn pod_spec() -> Value {
    json!({"containers": [{"name": "main", "image": "example.com/app:1"}]})
}

fn pods() -> Vec<Shape> {
    let pod = |name: &str, spec: Value| {
        let content = json!({"metadata": {"labels": {"app": name}}, "spec": pod_spec()});
        Shape::new("v1", "pods", "Pod", Some("shop"), name, content).with(json!({"spec": spec}))
    };
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "bound"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "old-node"}});
    let debugger = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "debugged", "namespace": "shop"},
        "spec": {"ephemeralContainers": [{"name": "debug", "image": "example.com/sh:1", "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File"}]}});
    let legacy = json!({"serviceAccountName": "ci", "volumes": [{"name": "ci-token-x7k2p",
        "secret": {"secretName": "ci-token-x7k2p"}},
        {"name": "work", "emptyDir": {}}], "containers": [{"name": "main", "image": "example.com/app:1",
            "volumeMounts": [
        {"name": "ci-token-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        {"name": "work", "mountPath": "/work"}]}]});
    let ephemeral = json!({"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
            "resources": {"requests": {"storage": "1Gi"}}}}}}]});
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "0123456789abcdef"}},
        "spec": {"nodeName": "old-node", "automountServiceAccountToken": null}});
    vec![
        pod("bare", json!({})),
        pod("urgent", json!({"priorityClassName": "urgent"})).keeps(&["/spec/priority", "/spec/preemptionPolicy"]),
        pod("sandboxed", json!({"runtimeClassName": "sandbox"})),
        pod("bound", json!({})).act(Act::Subresource { name: "binding", method: "POST", body: binding }),
        pod("debugged", json!({})).act(Act::Subresource {
            name: "ephemeralcontainers",
            method: "PATCH",
            body: debugger,
        }),
        pod("legacy", legacy),
        pod("scratch", ephemeral),
        pod(
            "gated",
            json!({"schedulingGates": [{"name": "example.com/wait"}], "tolerations": [{"operator": "Exists"}]}),
        ),
        pod("succeeded", json!({"restartPolicy": "Never"}))
            .act(Act::Status(json!({"phase": "Succeeded"})))
            .skipped(134),
        pod("failed", json!({"restartPolicy": "Never"}))
            .act(Act::Status(json!({"phase": "Failed", "reason": "Evicted"})))
            .skipped(134),
        pod("static", json!({})).with(mirror).skipped(133),
    ]
}

/// Standard base 64.
pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
