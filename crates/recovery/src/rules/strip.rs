//! Fields that belong to the server and the controllers an object came from.

mod table;

use std::borrow::Cow;

use serde_json::{Value, json};

pub use self::table::STRIP_RULES;
use super::field::{Fields, Path, each, get, get_mut, list, remove, remove_all, text};
use super::prepare::Transforms;
use super::skip::{is_generated_token_name, is_token_secret};

/// API groups that Kubernetes itself serves: their objects take no status when they are created. In other groups
/// `status` may be an ordinary field.
const BUILT_IN_GROUPS: [&str; 20] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Whether Kubernetes itself serves the object's group.
fn is_built_in(object: &Value) -> bool {
    let api_version = text(object, &["apiVersion"]).unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    BUILT_IN_GROUPS.contains(&group)
}

fn strip_metadata(object: &mut Value, names: &[&str]) -> Fields {
    let Some(metadata) = get_mut(object, &["metadata"]).and_then(Value::as_object_mut) else {
        return Vec::new();
    };
    let there = names.iter().filter(|name| metadata.remove(**name).is_some());
    there.map(|name| Cow::Owned(format!("metadata.{name}"))).collect()
}

/// Takes out annotations, and `annotations` with the last of them.
fn remove_annotations(object: &mut Value, keys: &[&str]) -> Fields {
    let paths: Vec<[&str; 3]> = keys.iter().map(|key| ["metadata", "annotations", key]).collect();
    let fields = remove_all(object, &paths.iter().map(<[&str; 3]>::as_slice).collect::<Vec<_>>());
    if !fields.is_empty() {
        remove_if_empty(object, &["metadata", "annotations"]);
    }
    fields
}

fn remove_if_empty(object: &mut Value, path: Path<'_>) {
    let empty = match get(object, path) {
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => false,
    };
    if empty {
        remove(object, path);
    }
}

fn strip_token_volumes(object: &mut Value, _: &Transforms) -> Fields {
    let account = text(object, &["spec", "serviceAccountName"]).unwrap_or("default").to_owned();
    let generated = |volume: &Value| {
        text(volume, &["secret", "secretName"]).is_some_and(|secret| is_generated_token_name(secret, &account))
    };
    let volumes = list(object, &["spec", "volumes"]).iter().filter(|volume| generated(volume));
    let tokens: Vec<String> = volumes.filter_map(|volume| text(volume, &["name"]).map(str::to_owned)).collect();
    if tokens.is_empty() {
        return Vec::new();
    }
    let named = |item: &Value| text(item, &["name"]).is_some_and(|name| tokens.iter().any(|known| known == name));
    retain(object, &["spec", "volumes"], |volume| !named(volume));
    remove_if_empty(object, &["spec", "volumes"]);
    let mut fields = vec![Cow::Borrowed("spec.volumes")];
    for containers in ["containers", "initContainers"] {
        let mut mounted = false;
        each(object, &["spec", containers, "*"], &mut |container| {
            mounted |= list(container, &["volumeMounts"]).iter().any(named);
            retain(container, &["volumeMounts"], |mount| !named(mount));
            remove_if_empty(container, &["volumeMounts"]);
        });
        if mounted {
            fields.push(Cow::Owned(format!("spec.{containers}[*].volumeMounts")));
        }
    }
    fields
}

fn retain(object: &mut Value, path: Path<'_>, keep: impl Fn(&Value) -> bool) {
    if let Some(items) = get_mut(object, path).and_then(Value::as_array_mut) {
        items.retain(|item| keep(item));
    }
}

fn strip_job_selector(object: &mut Value, _: &Transforms) -> Fields {
    const LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
    if get(object, &["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let selector = LABELS.map(|label| ["spec", "selector", "matchLabels", label]);
    let template = LABELS.map(|label| ["spec", "template", "metadata", "labels", label]);
    let paths = selector.iter().map(<[&str; 4]>::as_slice).chain(template.iter().map(<[&str; 5]>::as_slice));
    let fields = remove_all(object, &paths.collect::<Vec<_>>());
    if !fields.is_empty() {
        remove_if_empty(object, &["spec", "selector", "matchLabels"]);
        remove_if_empty(object, &["spec", "selector"]);
    }
    fields
}

fn strip_volume_name(object: &mut Value, transforms: &Transforms) -> Fields {
    let volume = text(object, &["spec", "volumeName"]);
    match (&transforms.volumes, volume) {
        (Some(volumes), Some(volume)) if !volumes.contains(volume) => remove_all(object, &[&["spec", "volumeName"]]),
        _ => Vec::new(),
    }
}

fn rewrite_snapshot_content(object: &mut Value, _: &Transforms) -> Fields {
    let reference = ["uid", "resourceVersion"].map(|name| ["spec", "volumeSnapshotRef", name]);
    let mut fields = remove_all(object, &reference.iter().map(<[&str; 3]>::as_slice).collect::<Vec<_>>());
    let handle = text(object, &["status", "snapshotHandle"]).map(|handle| json!({"snapshotHandle": handle}));
    fields.extend(replace_source(object, handle));
    fields
}

fn rewrite_snapshot(object: &mut Value, _: &Transforms) -> Fields {
    let content = text(object, &["status", "boundVolumeSnapshotContentName"]);
    let content = content.map(|content| json!({"volumeSnapshotContentName": content}));
    replace_source(object, content).into_iter().collect()
}

fn replace_source(object: &mut Value, source: Option<Value>) -> Option<Cow<'static, str>> {
    let place = get_mut(object, &["spec", "source"])?;
    let source = source.filter(|source| source != place)?;
    *place = source;
    Some(Cow::Borrowed("spec.source"))
}

fn strip_account_secrets(object: &mut Value, _: &Transforms) -> Fields {
    let account = text(object, &["metadata", "name"]).unwrap_or_default().to_owned();
    let generated =
        |secret: &Value| text(secret, &["name"]).is_some_and(|name| is_generated_token_name(name, &account));
    if !list(object, &["secrets"]).iter().any(generated) {
        return Vec::new();
    }
    retain(object, &["secrets"], |secret| !generated(secret));
    remove_if_empty(object, &["secrets"]);
    vec![Cow::Borrowed("secrets")]
}

fn strip_token(object: &mut Value, _: &Transforms) -> Fields {
    if !is_token_secret(object) {
        return Vec::new();
    }
    let mut fields = remove_annotations(object, &["kubernetes.io/service-account.uid"]);
    fields.extend(remove_all(object, &[&["data", "token"], &["data", "ca.crt"], &["data", "namespace"]]));
    remove_if_empty(object, &["data"]);
    fields
}

fn rewrite_preserve_unknown_fields(object: &mut Value, _: &Transforms) -> Fields {
    if get(object, &["spec", "preserveUnknownFields"]) != Some(&Value::Bool(true)) {
        return Vec::new();
    }
    remove(object, &["spec", "preserveUnknownFields"]);
    each(object, &["spec", "versions", "*"], &mut |version| {
        let schema = super::field::members_mut(version, &["schema", "openAPIV3Schema"]);
        if let Some(schema) = schema {
            schema.entry("type").or_insert_with(|| Value::from("object"));
            schema.insert("x-kubernetes-preserve-unknown-fields".to_owned(), Value::Bool(true));
        }
    });
    vec![Cow::Borrowed("spec.preserveUnknownFields"), Cow::Borrowed("spec.versions[*].schema.openAPIV3Schema")]
}

#[cfg(test)]
mod tests {
    use super::super::prepare::prepare;
    use super::super::testing::{resource, samples};
    use super::*;

    /// What is left of an object, with the rules that were at work.
    fn stripped(group: &str, plural: &str, mut object: Value, transforms: &Transforms) -> (Value, Vec<u32>) {
        let applied = prepare(&mut object, &resource(group, plural), transforms).unwrap();
        let mut rules: Vec<u32> = applied.into_iter().map(|applied| applied.rule).collect();
        rules.dedup();
        (object, rules)
    }

    #[test]
    fn every_rule_is_at_work_in_some_sample() {
        let transforms = Transforms { volumes: Some([].into()), ..Transforms::default() };
        let mut seen: Vec<u32> = Vec::new();
        for (resource, mut object) in samples() {
            seen.extend(prepare(&mut object, &resource, &transforms).unwrap().iter().map(|applied| applied.rule));
        }
        let idle = STRIP_RULES.iter().map(|rule| rule.number).filter(|number| !seen.contains(number));
        assert_eq!(idle.collect::<Vec<_>>(), Vec::<u32>::new());
        assert!(STRIP_RULES.is_sorted_by(|a, b| a.number < b.number));
        assert!(STRIP_RULES.iter().all(|rule| (200..300).contains(&rule.number)));
    }

    #[test]
    fn metadata_of_the_server_goes_and_that_of_people_stays() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "a-x7k2p", "generateName": "a-", "namespace": "shop", "uid": "u", "resourceVersion": "1",
            "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 30, "selfLink": "/a", "managedFields": [{"manager": "m"}],
            "labels": {"app": "web"}, "annotations": {"note": "n"}, "finalizers": ["x/y"],
            "ownerReferences": [{"uid": "o"}]}, "data": {"status": "s"}, "immutable": true});
        let (after, rules) = stripped("", "configmaps", object, &Transforms::default());
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "a-x7k2p", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"note": "n"},
            "finalizers": ["x/y"], "ownerReferences": [{"uid": "o"}]}, "data": {"status": "s"}, "immutable": true});
        assert_eq!(after, expected);
        assert_eq!(rules, [291, 292, 293, 294, 295]);
    }

    #[test]
    fn a_custom_resource_keeps_its_status() {
        let custom = json!({"apiVersion": "example.com/v1", "metadata": {"name": "a"}, "status": {"x": 1}});
        assert_eq!(stripped("example.com", "widgets", custom.clone(), &Transforms::default()), (custom, vec![]));
        let pod = json!({"apiVersion": "v1", "metadata": {"name": "a"}, "status": {"x": 1}});
        assert_eq!(stripped("", "pods", pod, &Transforms::default()).0.get("status"), None);
    }

    #[test]
    fn a_job_with_a_selector_by_hand_keeps_it() {
        let labels = json!({"controller-uid": "by-hand", "app": "batch"});
        let spec = |manual: bool| {
            json!({"metadata": {"name": "a"}, "spec": {"manualSelector": manual,
                "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}})
        };
        assert_eq!(stripped("batch", "jobs", spec(true), &Transforms::default()), (spec(true), vec![]));
        let (after, rules) = stripped("batch", "jobs", spec(false), &Transforms::default());
        assert_eq!(after["spec"]["selector"]["matchLabels"], json!({"app": "batch"}));
        assert_eq!(after["spec"]["template"]["metadata"]["labels"], json!({"app": "batch"}));
        assert_eq!(rules, [230]);
    }

    #[test]
    fn a_claim_keeps_a_volume_that_will_be_there() {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"volumeName": "pv-1"}});
        let with = |volumes: Option<&[&str]>| {
            let volumes = volumes.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let transforms = Transforms { volumes, ..Transforms::default() };
            stripped("", "persistentvolumeclaims", claim.clone(), &transforms).0["spec"].get("volumeName").is_some()
        };
        assert_eq!([with(None), with(Some(&["pv-1"])), with(Some(&["pv-2"]))], [true, true, false]);
    }

    #[test]
    fn a_pod_keeps_its_projected_token_and_loses_a_generated_secret() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"serviceAccountName": "ci",
            "volumes": [
                {"name": "kube-api-access-abcde",
                    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                {"name": "ci-token-x7k2p", "secret": {"secretName": "ci-token-x7k2p"}},
                {"name": "mine", "secret": {"secretName": "mine"}}],
            "containers": [{"name": "c", "volumeMounts": [
                {"name": "ci-token-x7k2p", "mountPath": "/t"}, {"name": "mine", "mountPath": "/m"}]}],
            "initContainers": [{"name": "i", "volumeMounts": [{"name": "ci-token-x7k2p", "mountPath": "/t"}]}]}});
        let (after, rules) = stripped("", "pods", object, &Transforms::default());
        let volumes: Vec<&str> =
            list(&after, &["spec", "volumes"]).iter().filter_map(|volume| text(volume, &["name"])).collect();
        assert_eq!(volumes, ["kube-api-access-abcde", "mine"]);
        assert_eq!(after["spec"]["containers"][0]["volumeMounts"], json!([{"name": "mine", "mountPath": "/m"}]));
        assert_eq!(after["spec"]["initContainers"][0], json!({"name": "i"}));
        assert_eq!(rules, [222]);
    }

    #[test]
    fn snapshots_find_their_content() {
        let content = json!({"metadata": {"name": "c"}, "status": {"snapshotHandle": "h"}, "spec": {
            "source": {"volumeHandle": "v"}, "volumeSnapshotRef": {"name": "s", "namespace": "shop", "uid": "u"}}});
        let (content, _) =
            stripped("snapshot.storage.k8s.io", "volumesnapshotcontents", content, &Transforms::default());
        assert_eq!(
            content["spec"],
            json!({
            "source": {"snapshotHandle": "h"}, "volumeSnapshotRef": {"name": "s", "namespace": "shop"}})
        );
        let snapshot = json!({"metadata": {"name": "s"}, "status": {"boundVolumeSnapshotContentName": "c"},
            "spec": {"source": {"persistentVolumeClaimName": "data"}}});
        let (snapshot, _) = stripped("snapshot.storage.k8s.io", "volumesnapshots", snapshot, &Transforms::default());
        assert_eq!(snapshot["spec"]["source"], json!({"volumeSnapshotContentName": "c"}));
        let unready = json!({"metadata": {"name": "s"}, "spec": {"source": {"persistentVolumeClaimName": "data"}}});
        let (after, rules) =
            stripped("snapshot.storage.k8s.io", "volumesnapshots", unready.clone(), &Transforms::default());
        assert_eq!((after, rules), (unready, vec![]));
    }

    #[test]
    fn an_old_definition_keeps_unknown_fields_by_its_schema() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"preserveUnknownFields": true, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {}}}}, {"name": "v2"}]}});
        let (after, rules) =
            stripped("apiextensions.k8s.io", "customresourcedefinitions", object, &Transforms::default());
        let flag = "x-kubernetes-preserve-unknown-fields";
        assert_eq!(
            after["spec"],
            json!({"versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {}, flag: true}}},
            {"name": "v2", "schema": {"openAPIV3Schema": {"type": "object", flag: true}}}]})
        );
        assert_eq!(rules, [260]);
    }

    #[test]
    fn tokens_and_accounts() {
        let secret = json!({"apiVersion": "v1", "type": "kubernetes.io/service-account-token",
            "metadata": {"name": "t",
            "annotations": {"kubernetes.io/service-account.name": "ci", "kubernetes.io/service-account.uid": "u"}},
            "data": {"token": "dA==", "ca.crt": "Y2E=", "namespace": "c2hvcA==", "extra": "ZQ=="}});
        let (after, _) = stripped("", "secrets", secret, &Transforms::default());
        assert_eq!(after["metadata"]["annotations"], json!({"kubernetes.io/service-account.name": "ci"}));
        assert_eq!(after["data"], json!({"extra": "ZQ=="}));
        let opaque = json!({"type": "Opaque", "metadata": {"name": "t"}, "data": {"token": "dA=="}});
        assert_eq!(stripped("", "secrets", opaque.clone(), &Transforms::default()), (opaque, vec![]));
        let account = json!({"metadata": {"name": "ci"}, "secrets": [{"name": "ci-token-x7k2p"}, {"name": "mine"}]});
        let (after, _) = stripped("", "serviceaccounts", account, &Transforms::default());
        assert_eq!(after["secrets"], json!([{"name": "mine"}]));
    }
}
