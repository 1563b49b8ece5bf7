//! What alters or refuses what others write.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fidelity::shape::{Shape, Stage, dressed};

const GROUP: &str = "admissionregistration.k8s.io/v1";

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    dressed([policies(), webhooks(), apis()].concat())
}

fn policies() -> Vec<Shape> {
    let constraints = |operations: &[&str]| {
        json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations,
            "resources": ["*"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}})
    };
    let refuse = json!({"spec": {"failurePolicy": "Fail", "matchConstraints": constraints(&["CREATE", "UPDATE"]),
        "validations": [{"expression": "false", "message": "nothing may be written", "reason": "Forbidden"}]}});
    let mark = json!({"spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConstraints": constraints(&["CREATE"]),
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
        "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'altered': 'yes'}}]"}}]}});
    let bound = |name: &str, actions: Value| {
        let content = json!({"spec": {"policyName": name, "paramRef": {"name": "frozen", "namespace": "shop",
            "parameterNotFoundAction": "Allow"}}});
        (content, actions)
    };
    let (validating, actions) = bound("refuse", json!({"spec": {"validationActions": ["Deny"], "paramRef": null}}));
    let (mutating, _) = bound("alter", json!({}));
    vec![
        Shape::new(GROUP, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", None, "refuse", refuse),
        Shape::new(
            GROUP,
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            None,
            "refuse",
            validating,
        )
        .with(actions),
        Shape::new(GROUP, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", None, "alter", mark),
        Shape::new(GROUP, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", None, "alter", mutating)
            .with(json!({"spec": {"paramRef": null}})),
    ]
    .into_iter()
    .map(|shape| shape.stage(Stage::Admission))
    .collect()
}

/// Webhooks that nobody answers: once they are there, nothing can be written any more.
fn webhooks() -> Vec<Shape> {
    let webhook = |name: &str, operations: &[&str], port: u16| {
        json!({"name": name, "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1,
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/refuse")},
            "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": ["*/*"],
                "scope": "*"}]})
    };
    let service = json!({"name": "shop.example.com", "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "is-not-there", "namespace": "shop", "path": "/x"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["configmaps"]}]});
    let all = ["CREATE", "UPDATE", "DELETE"];
    vec![
        Shape::new(
            GROUP,
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            None,
            "refuse",
            json!({"webhooks": [webhook("all.example.com", &all, 1)]}),
        ),
        Shape::new(
            GROUP,
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            None,
            "refuse",
            json!({"webhooks": [webhook("all.example.com", &all, 1), service]}),
        ),
    ]
    .into_iter()
    .map(|shape| shape.stage(Stage::Admission))
    .collect()
}

/// An API whose server is not there.
fn apis() -> Vec<Shape> {
    let spec = json!({"spec": {"group": "far.example.com", "version": "v1", "groupPriorityMinimum": 100,
        "versionPriority": 10,
        "insecureSkipTLSVerify": true, "service": {"name": "is-not-there", "namespace": "shop", "port": 8443}}});
    vec![
        Shape::new("apiregistration.k8s.io/v1", "apiservices", "APIService", None, "v1.far.example.com", spec)
            .stage(Stage::Limits),
    ]
}
