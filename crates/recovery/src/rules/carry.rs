//! What a replacement keeps of the live object: without it the server would refuse, or something that the server or a
//! controller gave would be lost.

use std::borrow::Cow;

use lifeboat_model::ResourceType;
use serde_json::Value;

use super::field::{Applied, FieldRule, Fields, Path, get, get_mut, kinds, list, members_mut, text, written};
use super::service;
use super::skip::{is_generated_token_name, is_token_secret};

/// Changes the wanted object by what the live one has, and says which fields.
pub type Carry = fn(&Value, &mut Value) -> Fields;

const MERGE_RULE: u32 = 420;

/// What a replacement keeps of the live object.
pub const CARRY_RULES: &[FieldRule<Carry>] = &[
    FieldRule {
        number: 401,
        kinds: &[],
        what: "metadata.uid and metadata.resourceVersion",
        reason: "the API server refuses the replacement if the live object changed since it was read",
        source: "staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go",
        act: |live, wanted| copy_all(live, wanted, &[&["metadata", "uid"], &["metadata", "resourceVersion"]]),
    },
    FieldRule {
        number: 402,
        kinds: &[],
        what: "metadata.finalizers that the backup does not have",
        reason: "somebody promised to clean up when the object is deleted (a load balancer, a volume); that promise is \
                 as old as the live object, not as the backup",
        source: "https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/",
        act: carry_finalizers,
    },
    FieldRule {
        number: 403,
        kinds: &[kinds::SERVICE],
        what: "cluster IPs, node ports and the health check port, where the backup's were given by its server",
        reason: "they cannot change, or would change for nothing",
        source: "patchAllocatedValues of pkg/registry/core/service/storage/storage.go",
        act: service::carry,
    },
    FieldRule {
        number: 404,
        kinds: &[kinds::VOLUME],
        what: "spec.claimRef, where it names the same claim, and the annotation pv.kubernetes.io/bound-by-controller",
        reason: "without the claim's uid a bound volume would be taken for one that waits",
        source: "pkg/controller/volume/persistentvolume/pv_controller.go",
        act: carry_claim_reference,
    },
    FieldRule {
        number: 405,
        kinds: &[kinds::CLAIM],
        what: "spec.volumeName and spec.storageClassName, where they are absent, and the annotations of rule 242",
        reason: "a claim's volume and class cannot change, and it would be bound again",
        source: "ValidatePersistentVolumeClaimUpdate of pkg/apis/core/validation/validation.go",
        act: carry_binding,
    },
    FieldRule {
        number: 406,
        kinds: &[kinds::POD],
        what: "spec.nodeName, spec.priority, spec.preemptionPolicy and spec.ephemeralContainers",
        reason: "of a pod that runs they cannot change",
        source: "ValidatePodUpdate of pkg/apis/core/validation/validation.go",
        act: |live, wanted| {
            let paths: [Path<'_>; 4] = [
                &["spec", "nodeName"],
                &["spec", "priority"],
                &["spec", "preemptionPolicy"],
                &["spec", "ephemeralContainers"],
            ];
            copy_all(live, wanted, &paths)
        },
    },
    FieldRule {
        number: 407,
        kinds: &[kinds::JOB],
        what: "spec.selector and the labels of rule 230",
        reason: "they hold the live Job's uid and cannot change",
        source: "ValidateJobUpdate of pkg/apis/batch/validation/validation.go",
        act: carry_job_selector,
    },
    FieldRule {
        number: 408,
        kinds: &[kinds::SERVICE_ACCOUNT],
        what: "secrets[*] that name generated token Secrets (rule 130)",
        reason: "the live account's own tokens",
        source: "pkg/controller/serviceaccount/tokens_controller.go of Kubernetes 1.23",
        act: carry_account_secrets,
    },
    FieldRule {
        number: 409,
        kinds: &[kinds::SECRET],
        what: "of Secrets of type kubernetes.io/service-account-token what rule 251 strips",
        reason: "the live account's own token",
        source: "pkg/controller/serviceaccount/tokens_controller.go",
        act: carry_token,
    },
    FieldRule {
        number: MERGE_RULE,
        kinds: &[kinds::SERVICE_ACCOUNT],
        what: "the account 'default', in every mode: labels, annotations, secrets and imagePullSecrets of the live one \
               that the backup does not have",
        reason: "the controller manager makes it in each new namespace, so that it is there before it is restored; \
                 without the backup's image pull secrets pods could not start",
        source: "pkg/controller/serviceaccount/serviceaccounts_controller.go",
        act: |_, _| Vec::new(),
    },
];

/// Puts into a prepared object what the server and its controllers own in the live one, so that it can replace it: uid
/// and resource version, which make the server refuse if the live object changed, addresses, bindings, finalizers.
pub fn carry_over(live: &Value, wanted: &mut Value, resource: &ResourceType) -> Vec<Applied> {
    let rules = CARRY_RULES.iter().filter(|rule| rule.concerns(resource));
    rules.flat_map(|rule| rule.applied((rule.act)(live, wanted))).collect()
}

/// Merges a live object that the target makes by itself (the account `default` of each namespace) into a prepared one,
/// if there is a rule for that: it is then to replace the live object whatever the mode, and has all that
/// [`carry_over`] gives it.
pub fn merge_into(live: &Value, wanted: &mut Value, resource: &ResourceType) -> Option<Applied> {
    if !kinds::SERVICE_ACCOUNT.is(resource) || text(wanted, &["metadata", "name"]) != Some("default") {
        return None;
    }
    for path in [["metadata", "labels"], ["metadata", "annotations"]] {
        let Some(there) = get(live, &path).and_then(Value::as_object) else { continue };
        for (key, value) in there {
            if let Some(members) = members_mut(wanted, &path) {
                members.entry(key.as_str()).or_insert_with(|| value.clone());
            }
        }
    }
    for field in ["secrets", "imagePullSecrets"] {
        add_missing(wanted, field, list(live, &[field]).iter().cloned());
    }
    if get(wanted, &["automountServiceAccountToken"]).is_none() {
        copy_all(live, wanted, &[&["automountServiceAccountToken"]]);
    }
    carry_over(live, wanted, resource);
    Some(Applied { rule: MERGE_RULE, field: Cow::Borrowed("imagePullSecrets") })
}

/// Copies values that the live object has.
fn copy_all(live: &Value, wanted: &mut Value, paths: &[Path<'_>]) -> Fields {
    let mut fields = Vec::new();
    for path in paths {
        let place = path.split_last().and_then(|(name, parents)| Some((name, members_mut(wanted, parents)?)));
        if let (Some(value), Some((name, members))) = (get(live, path), place)
            && members.get(*name) != Some(value)
        {
            members.insert((*name).to_owned(), value.clone());
            fields.push(Cow::Owned(written(path)));
        }
    }
    fields
}

/// Adds what is not there yet to a list at the top of an object.
fn add_missing(wanted: &mut Value, field: &'static str, more: impl Iterator<Item = Value>) -> bool {
    let missing: Vec<Value> = more.filter(|item| !list(wanted, &[field]).contains(item)).collect();
    let added = !missing.is_empty();
    if let (true, Some(members)) = (added, wanted.as_object_mut()) {
        match members.entry(field).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(items) => items.extend(missing),
            other => *other = Value::Array(missing),
        }
    }
    added
}

fn carry_finalizers(live: &Value, wanted: &mut Value) -> Fields {
    const PATH: Path<'_> = &["metadata", "finalizers"];
    let there = list(live, PATH).iter().filter(|finalizer| !list(wanted, PATH).contains(finalizer));
    let missing: Vec<Value> = there.cloned().collect();
    if missing.is_empty() {
        return Vec::new();
    }
    if let Some(metadata) = get_mut(wanted, &["metadata"]).and_then(Value::as_object_mut) {
        match metadata.entry("finalizers").or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(items) => items.extend(missing),
            other => *other = Value::Array(missing),
        }
    }
    vec![Cow::Borrowed("metadata.finalizers")]
}

fn carry_claim_reference(live: &Value, wanted: &mut Value) -> Fields {
    let claim = |object: &Value, field: &str| text(object, &["spec", "claimRef", field]).map(str::to_owned);
    let same = ["name", "namespace"].iter().all(|field| claim(live, field) == claim(wanted, field));
    if !same || claim(wanted, "name").is_none() {
        return Vec::new();
    }
    let annotation: Path<'_> = &["metadata", "annotations", "pv.kubernetes.io/bound-by-controller"];
    copy_all(live, wanted, &[&["spec", "claimRef"], annotation])
}

fn carry_binding(live: &Value, wanted: &mut Value) -> Fields {
    const ANNOTATIONS: [&str; 5] = [
        "pv.kubernetes.io/bind-completed",
        "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/storage-provisioner",
        "volume.beta.kubernetes.io/storage-provisioner",
        "volume.kubernetes.io/selected-node",
    ];
    let absent: [Path<'_>; 2] = [&["spec", "volumeName"], &["spec", "storageClassName"]];
    let absent: Vec<Path<'_>> = absent.into_iter().filter(|path| get(wanted, path).is_none()).collect();
    let annotations = ANNOTATIONS.map(|key| ["metadata", "annotations", key]);
    let paths = absent.into_iter().chain(annotations.iter().map(<[&str; 3]>::as_slice));
    copy_all(live, wanted, &paths.collect::<Vec<_>>())
}

fn carry_job_selector(live: &Value, wanted: &mut Value) -> Fields {
    if get(wanted, &["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let labels = ["controller-uid", "batch.kubernetes.io/controller-uid"];
    let labels = labels.map(|label| ["spec", "template", "metadata", "labels", label]);
    let selector: Path<'_> = &["spec", "selector"];
    let paths = labels.iter().map(<[&str; 5]>::as_slice).chain([selector]);
    copy_all(live, wanted, &paths.collect::<Vec<_>>())
}

fn carry_account_secrets(live: &Value, wanted: &mut Value) -> Fields {
    let account = text(live, &["metadata", "name"]).unwrap_or_default();
    let generated =
        |secret: &&Value| text(secret, &["name"]).is_some_and(|name| is_generated_token_name(name, account));
    let tokens = list(live, &["secrets"]).iter().filter(generated).cloned();
    if add_missing(wanted, "secrets", tokens) { vec![Cow::Borrowed("secrets")] } else { Vec::new() }
}

fn carry_token(live: &Value, wanted: &mut Value) -> Fields {
    if !is_token_secret(wanted) || !is_token_secret(live) {
        return Vec::new();
    }
    let paths: [Path<'_>; 4] = [
        &["metadata", "annotations", "kubernetes.io/service-account.uid"],
        &["data", "token"],
        &["data", "ca.crt"],
        &["data", "namespace"],
    ];
    copy_all(live, wanted, &paths)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::resource;
    use super::*;

    fn carried(group: &str, plural: &str, live: &Value, wanted: &Value) -> Value {
        let mut wanted = wanted.clone();
        let resource = resource(group, plural);
        let first = carry_over(live, &mut wanted, &resource);
        assert!(first.iter().all(|applied| (400..500).contains(&applied.rule)));
        let once = wanted.clone();
        assert_eq!(carry_over(live, &mut wanted, &resource), [], "a second time changes nothing");
        assert_eq!(once, wanted);
        wanted
    }

    #[test]
    fn every_replacement_has_preconditions_and_the_finalizers_of_the_live_object() {
        let live = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y",
            "a/b"]}});
        let wanted = json!({"metadata": {"name": "a", "finalizers": ["c/d", "a/b"]}});
        let expected = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "finalizers": ["c/d", "a/b",
                "x/y"]}});
        assert_eq!(carried("", "configmaps", &live, &wanted), expected);
        assert_eq!(
            carried("", "configmaps", &live, &json!({"metadata": {}}))["metadata"]["finalizers"],
            json!(["x/y", "a/b"])
        );
    }

    #[test]
    fn a_volume_stays_bound_to_the_same_claim_only() {
        let live = json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"claimRef": {"name": "data", "namespace": "shop", "uid": "c"}}});
        let wanted = json!({"metadata": {}, "spec": {"claimRef": {"name": "data", "namespace": "shop"}}});
        assert_eq!(carried("", "persistentvolumes", &live, &wanted), live);
        let other = json!({"metadata": {}, "spec": {"claimRef": {"name": "data", "namespace": "copy"}}});
        assert_eq!(carried("", "persistentvolumes", &live, &other), other);
        let none = json!({"metadata": {}, "spec": {}});
        assert_eq!(carried("", "persistentvolumes", &live, &none), none);
    }

    #[test]
    fn a_claim_stays_bound() {
        let live = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "mine": "live"}},
            "spec": {"volumeName": "pv-1", "storageClassName": "fast",
                "resources": {"requests": {"storage": "1Gi"}}}});
        let wanted = json!({"metadata": {}, "spec": {"storageClassName": "slow",
            "resources": {"requests": {"storage": "2Gi"}}}});
        let expected = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "pv-1", "storageClassName": "slow",
                "resources": {"requests": {"storage": "2Gi"}}}});
        assert_eq!(carried("", "persistentvolumeclaims", &live, &wanted), expected);
    }

    #[test]
    fn pods_jobs_accounts_and_tokens_keep_what_is_theirs() {
        let live = json!({"metadata": {}, "spec": {"nodeName": "n1", "priority": 0, "containers": []}});
        assert_eq!(carried("", "pods", &live, &json!({"metadata": {}, "spec": {"containers": []}})), live);

        let uid = json!({"batch.kubernetes.io/controller-uid": "j"});
        let live = json!({"metadata": {}, "spec": {"selector": {"matchLabels": uid},
            "template": {"metadata": {"labels": uid}}}});
        let wanted = json!({"metadata": {}, "spec": {"template": {"metadata": {}}}});
        assert_eq!(carried("batch", "jobs", &live, &wanted), live);
        let manual = json!({"metadata": {}, "spec": {"manualSelector": true, "template": {}}});
        assert_eq!(carried("batch", "jobs", &live, &manual), manual);

        let live = json!({"metadata": {"name": "ci"}, "secrets": [{"name": "ci-token-x7k2p"}, {"name": "mine"}]});
        let wanted = json!({"metadata": {"name": "ci"}});
        assert_eq!(carried("", "serviceaccounts", &live, &wanted)["secrets"], json!([{"name": "ci-token-x7k2p"}]));

        let kind = "kubernetes.io/service-account-token";
        let live = json!({"type": kind, "metadata": {"annotations": {"kubernetes.io/service-account.uid": "s"}},
            "data": {"token": "dA==", "ca.crt": "Y2E="}});
        assert_eq!(carried("", "secrets", &live, &json!({"type": kind, "metadata": {}})), live);
        let opaque = json!({"type": "Opaque", "metadata": {}});
        assert_eq!(carried("", "secrets", &live, &opaque), opaque);
    }

    #[test]
    fn the_default_account_is_merged() {
        let accounts = resource("", "serviceaccounts");
        let live = json!({"metadata": {"name": "default", "uid": "u", "resourceVersion": "7",
            "labels": {"a": "live", "b": "live"}},
            "imagePullSecrets": [{"name": "cloud"}], "automountServiceAccountToken": false});
        let mut wanted = json!({"metadata": {"name": "default", "labels": {"a": "backup"}},
            "imagePullSecrets": [{"name": "registry"}, {"name": "cloud"}]});
        assert_eq!(merge_into(&live, &mut wanted, &accounts).unwrap().rule, MERGE_RULE);
        let expected = json!({"metadata": {"name": "default", "uid": "u", "resourceVersion": "7",
            "labels": {"a": "backup", "b": "live"}},
            "imagePullSecrets": [{"name": "registry"}, {"name": "cloud"}], "automountServiceAccountToken": false});
        assert_eq!(wanted, expected);
        assert_eq!(merge_into(&live, &mut json!({"metadata": {"name": "ci"}}), &accounts), None);
        assert_eq!(merge_into(&live, &mut wanted, &resource("", "configmaps")), None);
    }

    #[test]
    fn hostile_shapes_do_no_harm() {
        let odd = json!({"metadata": {"finalizers": 3}, "spec": "text", "secrets": {}, "data": []});
        for (group, plural) in [
            ("", "services"),
            ("", "persistentvolumes"),
            ("", "persistentvolumeclaims"),
            ("", "pods"),
            ("batch", "jobs"),
            ("", "serviceaccounts"),
            ("", "secrets"),
        ] {
            let mut wanted = odd.clone();
            carry_over(&odd, &mut wanted, &resource(group, plural));
            let mut map = json!({});
            carry_over(&odd, &mut map, &resource(group, plural));
        }
    }
}
