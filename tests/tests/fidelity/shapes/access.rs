//! Roles and bindings, and the fairness of the API server.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fidelity::shape::{Act, Shape, dressed};

const GROUP: &str = "rbac.authorization.k8s.io/v1";
const FLOW: &str = "flowcontrol.apiserver.k8s.io/v1";

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    dressed([roles(), bindings(), flow()].concat())
}

fn roles() -> Vec<Shape> {
    let rules = json!({"rules": [{"apiGroups": ["", "apps"], "resources": ["pods", "deployments/scale"],
        "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["login"], "verbs": ["*"]}]});
    let aggregated = json!({"aggregationRule":
        {"clusterRoleSelectors": [{"matchLabels": {"example.com/collect": "yes"}}]},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]});
    let collected = json!({"metadata": {"labels": {"example.com/collect": "yes"}},
        "rules": [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]});
    let urls = json!({"rules": [{"nonResourceURLs": ["/metrics", "/healthz/*"], "verbs": ["get"]}]});
    vec![
        Shape::new(GROUP, "roles", "Role", Some("shop"), "reader", rules),
        Shape::new(GROUP, "roles", "Role", Some("shop"), "empty", json!({"rules": []})),
        Shape::new(GROUP, "clusterroles", "ClusterRole", None, "aggregated", aggregated),
        Shape::new(GROUP, "clusterroles", "ClusterRole", None, "collected", collected),
        Shape::new(GROUP, "clusterroles", "ClusterRole", None, "urls", urls),
    ]
}

fn bindings() -> Vec<Shape> {
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let subject = |kind: &str, name: &str| {
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind,
        "name": name})
    };
    let all: Vec<Value> = vec![
        subject("User", "jürgen@example.com"),
        subject("Group", "system:serviceaccounts:shop"),
        json!({"kind": "ServiceAccount", "name": "ci", "namespace": "shop"}),
    ];
    vec![
        Shape::new(
            GROUP,
            "rolebindings",
            "RoleBinding",
            Some("shop"),
            "readers",
            json!({"roleRef": role("Role", "reader"), "subjects": all}),
        ),
        Shape::new(
            GROUP,
            "rolebindings",
            "RoleBinding",
            Some("db-1"),
            "to-nothing",
            json!({"roleRef": role("ClusterRole", "is-not-there")}),
        ),
        Shape::new(
            GROUP,
            "clusterrolebindings",
            "ClusterRoleBinding",
            None,
            "urls-for-all",
            json!({"roleRef": role("ClusterRole", "urls"), "subjects": all}),
        ),
    ]
}

fn flow() -> Vec<Shape> {
    let level = json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 2, "queueLengthLimit": 10}}}}});
    let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "batch"}, "matchingPrecedence": 5000,
        "distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [
        {"kind": "ServiceAccount", "serviceAccount": {"name": "ci", "namespace": "shop"}}],
        "resourceRules": [{"verbs": ["list"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}});
    vec![
        Shape::new(FLOW, "prioritylevelconfigurations", "PriorityLevelConfiguration", None, "batch", level),
        Shape::new(FLOW, "flowschemas", "FlowSchema", None, "batch", schema)
            .act(Act::Patch(json!({"spec": {"matchingPrecedence": 5001}}))),
    ]
}
