//! The quarantine of a pod: a policy that denies everything, and labels that nothing else selects.

use lifeboat_playbook::Period;
use serde_json::{Map, Value, json};

use crate::fields::{Labels, labels, text, uid};

/// The only label of a quarantined pod; its value is the pod's UID, so that the policy is of this pod alone.
pub(crate) const LABEL: &str = "lifeboat.dev/quarantine";
/// The labels that it had, as JSON.
pub(crate) const ORIGINALS: &str = "lifeboat.dev/original-labels";
const EXPIRES: &str = "lifeboat.dev/expires-after";
const MANAGED: &str = "app.kubernetes.io/managed-by";

/// The policy's name: of the pod's UID, so that it is no other pod's.
pub(crate) fn policy_name(pod_uid: &str) -> String {
    format!("lifeboat-quarantine-{pod_uid}")
}

/// The policy: it selects one pod, is about both directions, and allows nothing.
pub(crate) fn policy(namespace: &str, pod_uid: &str, expires: Option<Period>) -> Value {
    let annotations: Map<String, Value> =
        expires.into_iter().map(|period| (EXPIRES.to_owned(), period.to_string().into())).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": policy_name(pod_uid),
            "namespace": namespace,
            "labels": {LABEL: pod_uid, MANAGED: "lifeboat"},
            "annotations": annotations,
        },
        "spec": {"podSelector": {"matchLabels": {LABEL: pod_uid}}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// Whether a policy is the quarantine of that pod, and still denies everything.
pub(crate) fn is_quarantine(policy: &Value, pod_uid: &str) -> bool {
    let selector = json!({"matchLabels": {LABEL: pod_uid}});
    let empty = |pointer| policy.pointer(pointer).and_then(Value::as_array).is_none_or(Vec::is_empty);
    text(policy, "/metadata/name") == policy_name(pod_uid)
        && policy.pointer("/spec/podSelector") == Some(&selector)
        && policy.pointer("/spec/policyTypes") == Some(&json!(["Ingress", "Egress"]))
        && empty("/spec/ingress")
        && empty("/spec/egress")
}

/// The labels of a quarantined pod.
pub(crate) fn quarantined(pod_uid: &str) -> Labels {
    Labels::from([(LABEL.to_owned(), pod_uid.to_owned())])
}

/// Whether a pod bears the labels of a quarantine, and no others.
pub(crate) fn is_quarantined(pod: &Value) -> bool {
    labels(pod) == quarantined(uid(pod))
}

/// The patch that swaps the labels, all at once.
pub(crate) fn swap(pod: &Value) -> Value {
    let originals = labels(pod);
    let mut wanted: Map<String, Value> = originals.keys().map(|key| (key.clone(), Value::Null)).collect();
    wanted.insert(LABEL.to_owned(), uid(pod).into());
    let kept = json!(originals).to_string();
    json!({"metadata": {"labels": wanted, "annotations": {ORIGINALS: kept}}})
}

/// The patch that swaps them back. Labels that came since stay.
pub(crate) fn swap_back(originals: &Labels) -> Value {
    let mut wanted: Map<String, Value> = originals.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    wanted.entry(LABEL.to_owned()).or_insert(Value::Null);
    json!({"metadata": {"labels": wanted, "annotations": {ORIGINALS: null}}})
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fields::merged;
    use crate::policy::{residual, selects};

    proptest! {
        #[test]
        fn labels_come_back_as_they_were(
            originals in proptest::collection::btree_map("[a-z]{1,3}(/[a-z]{1,2})?", "[a-z0-9]{0,3}", 0..5),
        ) {
            let pod = json!({"metadata": {"uid": "u-1", "labels": originals, "annotations": {"a": "b"}}});
            let isolated = merged(&pod, &swap(&pod));
            prop_assert!(is_quarantined(&isolated));
            prop_assert!(selects(&policy("shop", "u-1", None)["spec"]["podSelector"], &labels(&isolated)));
            let kept: Labels = serde_json::from_str(text(&isolated, &format!("/metadata/annotations/{}", ORIGINALS.replace('/', "~1")))).unwrap();
            prop_assert_eq!(&kept, &originals);
            let back = merged(&isolated, &swap_back(&kept));
            prop_assert_eq!(labels(&back), originals);
            prop_assert_eq!(back.pointer("/metadata/annotations"), Some(&json!({"a": "b"})));
        }
    }

    #[test]
    fn the_quarantine_itself_allows_nothing() {
        let own = policy("shop", "u-1", None);
        assert!(is_quarantine(&own, "u-1") && !is_quarantine(&own, "u-2"));
        assert_eq!(residual(std::slice::from_ref(&own), &quarantined("u-1")), []);
        assert!(!selects(&own["spec"]["podSelector"], &quarantined("u-2")));
        let opened = merged(&own, &json!({"spec": {"ingress": [{}]}}));
        assert!(!is_quarantine(&opened, "u-1"));
    }
}
