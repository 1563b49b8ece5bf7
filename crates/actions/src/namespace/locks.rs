//! What locks a namespace down: labels, a quota of no pods, and a policy that denies everything.

use serde_json::{Value, json};

use crate::fields::{Labels, labels, text};

/// Written on what is ours; its value is the namespace's UID.
const LABEL: &str = "lifeboat.dev/lockdown";
/// The name of the quota and of the policy.
pub(super) const NAME: &str = "lifeboat-lockdown";

/// The labels by which the API server holds new pods to the strictest of its standards.
/// Source: <https://kubernetes.io/docs/concepts/security/pod-security-admission/>
pub(super) const STANDARD: [(&str, &str); 2] =
    [("pod-security.kubernetes.io/enforce", "restricted"), ("pod-security.kubernetes.io/enforce-version", "latest")];

fn metadata(namespace: &str, uid: &str) -> Value {
    let labels = json!({LABEL: uid, "app.kubernetes.io/managed-by": "lifeboat"});
    json!({"name": NAME, "namespace": namespace, "labels": labels})
}

/// A quota that has room for no pod.
pub(super) fn quota(namespace: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata(namespace, uid), "spec": {"hard": {"pods": "0"}},
    })
}

/// A policy that selects every pod and allows nothing.
pub(super) fn policy(namespace: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(namespace, uid),
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// Whether an object is the lock of this namespace.
pub(super) fn is_ours(object: &Value, uid: &str) -> bool {
    text(object, "/metadata/labels/lifeboat.dev~1lockdown") == uid
}

/// Whether an object is the lock, and as it was made.
pub(super) fn is_lock(object: &Value, wanted: &Value, uid: &str) -> bool {
    is_ours(object, uid) && object.get("spec") == wanted.get("spec")
}

/// What the labels of the standard are; absent where there are none.
pub(super) fn standard_of(namespace: &Value) -> Labels {
    let mut found = labels(namespace);
    found.retain(|key, _| STANDARD.iter().any(|(own, _)| own == key));
    found
}

pub(super) fn is_standard(namespace: &Value) -> bool {
    let found = standard_of(namespace);
    STANDARD.iter().all(|(key, value)| found.get(*key).is_some_and(|found| found == value))
}

/// The patch that gives a namespace these labels of the standard, and takes the others away.
pub(super) fn relabel(uid: &str, wanted: &Labels) -> Value {
    let labels = STANDARD.iter().map(|(key, _)| ((*key).to_owned(), json!(wanted.get(*key))));
    json!({"metadata": {"uid": uid, "labels": labels.collect::<serde_json::Map<_, _>>()}})
}

/// A pod that the strictest standard allows; or, with `host`, one that it does not.
pub(super) fn probe(namespace: &str, host: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "lifeboat-probe", "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": false,
            "hostPID": host,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe", "image": "lifeboat.invalid/probe",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::merged;
    use crate::policy::residual;

    #[test]
    fn labels_come_back_and_locks_are_known() {
        let before =
            json!({"metadata": {"uid": "u", "labels": {"a": "b", "pod-security.kubernetes.io/enforce": "baseline"}}});
        let standard = STANDARD.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let locked = merged(&before, &relabel("u", &standard));
        assert!(is_standard(&locked) && !is_standard(&before));
        assert_eq!(merged(&locked, &relabel("u", &standard_of(&before))), before);

        let wanted = policy("shop", "u");
        assert!(is_lock(&wanted, &wanted, "u") && !is_lock(&wanted, &wanted, "v"));
        let opened = merged(&wanted, &json!({"spec": {"ingress": [{}]}}));
        assert!(is_ours(&opened, "u") && !is_lock(&opened, &wanted, "u"));
        assert_eq!(residual(&[wanted], &Labels::new()), []);
    }
}
