//! What the tests of the rules share.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::ResourceType;
use serde_json::{Value, json};

/// A resource at version v1.
pub(super) fn resource(group: &str, plural: &str) -> ResourceType {
    ResourceType {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: plural.to_owned(),
        kind: String::new(),
        singular: String::new(),
        short_names: Vec::new(),
        namespaced: true,
    }
}

/// An object of a server, as it is in a backup: metadata that every object has, and the rest.
fn sample(group: &str, plural: &str, kind: &str, rest: Value) -> (ResourceType, Value) {
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {
        "name": "web-x7k2p", "generateName": "web-", "namespace": "shop", "uid": "3f1e", "resourceVersion": "41",
        "generation": 2, "creationTimestamp": "2026-11-21T04:45:00Z", "selfLink": "/x",
            "deletionTimestamp": "2026-11-21T04:46:00Z",
        "deletionGracePeriodSeconds": 30, "managedFields": [{"manager": "kubectl-create", "operation": "Update",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {}}}],
        "labels": {"app": "web"}, "annotations": {"note": "by hand"}, "finalizers": ["example.com/keep"],
    }});
    merge(&mut object, rest);
    (resource(group, plural), object)
}

fn merge(target: &mut Value, rest: Value) {
    match (target, rest) {
        (Value::Object(target), Value::Object(rest)) => {
            for (name, value) in rest {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, rest) => *target = rest,
    }
}

/// Objects of every kind that rules are about, each with what they change.
pub(super) fn samples() -> Vec<(ResourceType, Value)> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    const ADMISSION: &str = "admissionregistration.k8s.io";
    const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
    let uid = json!({"controller-uid": "3f1e", "batch.kubernetes.io/controller-uid": "3f1e", "app": "web"});
    let ephemeral = json!({"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
        "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}}}}]});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": ephemeral});
    let webhooks = json!({"webhooks": [{"name": "a.example.com", "clientConfig": {"caBundle": "Y2E=",
        "service": {"namespace": "shop", "name": "hook", "path": "/"}}}]});
    let subjects = json!({"subjects": [{"kind": "ServiceAccount", "name": "ci", "namespace": "shop"},
        {"kind": "User", "name": "system:serviceaccount:shop:ci"}, {"kind": "Group",
            "name": "system:serviceaccounts:shop"}]});
    let peer = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"},
        "matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "db"]}]}}]);
    let mut samples = vec![
        sample("", "configmaps", "ConfigMap", json!({"data": {"status": "s"}})),
        sample("example.com", "widgets", "Widget", json!({"spec": {"size": 1}, "status": {"size": 1}})),
        sample(
            "",
            "services",
            "Service",
            json!({"status": {"loadBalancer": {}}, "spec": {
            "type": "LoadBalancer", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "healthCheckNodePort": 30999,
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}}),
        ),
        sample(
            "",
            "pods",
            "Pod",
            json!({"status": {"phase": "Running"}, "spec": {"nodeName": "n1", "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority", "serviceAccountName": "ci",
                "ephemeralContainers": [{"name": "debug"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "token", "mountPath": "/t"}]}],
            "initContainers": [{"name": "i", "volumeMounts": [{"name": "token", "mountPath": "/t"}]}],
            "volumes": [{"name": "token", "secret": {"secretName": "ci-token-x7k2p"}}, ephemeral["volumes"][0]]}}),
        ),
        sample(
            "batch",
            "jobs",
            "Job",
            json!({"status": {"active": 1}, "spec": {"selector": {"matchLabels": uid},
            "template": {"metadata": {"labels": uid}, "spec": ephemeral}}}),
        ),
        sample("batch", "cronjobs", "CronJob", json!({"spec": {"jobTemplate": {"spec": {"template": template}}}})),
        sample(
            "apps",
            "deployments",
            "Deployment",
            json!({"spec": {"template": template},
            "status": {"replicas": 1}}),
        ),
        sample(
            "apps",
            "statefulsets",
            "StatefulSet",
            json!({"spec": {"template": template, "volumeClaimTemplates": [
            {"metadata": {"name": "data", "annotations": {"volume.beta.kubernetes.io/storage-class": "fast"}},
             "spec": {"storageClassName": "fast", "dataSourceRef": {"kind": "V", "name": "v",
                 "namespace": "shop"}}}]}}),
        ),
        sample("", "podtemplates", "PodTemplate", json!({"template": template})),
        sample(
            "",
            "persistentvolumes",
            "PersistentVolume",
            json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"storageClassName": "fast", "claimRef": {"name": "data", "namespace": "shop", "uid": "c",
                "resourceVersion": "3"},
            "csi": {"driver": "d", "nodeStageSecretRef": {"name": "s", "namespace": "shop"}}}}),
        ),
        sample(
            "",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes",
                "pv.kubernetes.io/bound-by-controller": "yes", "volume.kubernetes.io/storage-provisioner": "d",
                "volume.beta.kubernetes.io/storage-provisioner": "d", "volume.kubernetes.io/selected-node": "n1",
                "volume.beta.kubernetes.io/storage-class": "fast"}},
            "spec": {"storageClassName": "fast", "volumeName": "pv-1",
                "dataSourceRef": {"kind": "V", "name": "v", "namespace": "shop"}}}),
        ),
        sample(
            SNAPSHOTS,
            "volumesnapshotcontents",
            "VolumeSnapshotContent",
            json!({"status": {"snapshotHandle": "h"},
            "spec": {"source": {"volumeHandle": "v"}, "volumeSnapshotRef": {"name": "s", "namespace": "shop",
                "uid": "u"}}}),
        ),
        sample(
            SNAPSHOTS,
            "volumesnapshots",
            "VolumeSnapshot",
            json!({
            "status": {"boundVolumeSnapshotContentName": "c"},
                "spec": {"source": {"persistentVolumeClaimName": "data"}}}),
        ),
        sample("", "serviceaccounts", "ServiceAccount", json!({"secrets": [{"name": "web-x7k2p-token-x7k2p"}]})),
        sample(
            "",
            "secrets",
            "Secret",
            json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {
            "kubernetes.io/service-account.name": "ci", "kubernetes.io/service-account.uid": "u"}},
            "data": {"token": "dA==", "ca.crt": "Y2E=", "namespace": "c2hvcA=="}}),
        ),
        sample(
            "",
            "namespaces",
            "Namespace",
            json!({"metadata": {"name": "shop",
            "labels": {"kubernetes.io/metadata.name": "shop"}}, "spec": {"finalizers": ["kubernetes"]}}),
        ),
        sample(
            "",
            "resourcequotas",
            "ResourceQuota",
            json!({"spec": {"hard": {
            "fast.storageclass.storage.k8s.io/requests.storage": "1Gi", "pods": "4"}}}),
        ),
        sample(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            json!({"spec": {
            "preserveUnknownFields": true, "versions": [{"name": "v1",
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
            "conversion": {"webhook": {"clientConfig": {"service": {"namespace": "shop", "name": "c"}}}}}}),
        ),
        sample(
            "apiregistration.k8s.io",
            "apiservices",
            "APIService",
            json!({"spec": {"service": {"namespace": "shop", "name": "a"}}}),
        ),
        sample(
            "networking.k8s.io",
            "networkpolicies",
            "NetworkPolicy",
            json!({"spec": {
            "ingress": [{"from": peer}], "egress": [{"to": peer}]}}),
        ),
    ];
    for (group, plural, kind, rest) in [
        (RBAC, "rolebindings", "RoleBinding", &subjects),
        (RBAC, "clusterrolebindings", "ClusterRoleBinding", &subjects),
        (ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", &webhooks),
        (ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", &webhooks),
    ] {
        samples.push(sample(group, plural, kind, rest.clone()));
    }
    let params = json!({"spec": {"policyName": "p", "paramRef": {"name": "x", "namespace": "shop"}}});
    samples.push(sample(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", params));
    samples
}

/// The paths of all values in which two documents differ.
pub(super) fn changes(before: &Value, after: &Value) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    compare(Some(before), Some(after), &mut Vec::new(), &mut paths);
    paths
}

fn compare(before: Option<&Value>, after: Option<&Value>, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let members = |value: Option<&Value>| match value {
        Some(Value::Object(members)) => Some(members.iter().map(|(key, value)| (key.clone(), value.clone())).collect()),
        Some(Value::Array(items)) => Some(
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item.clone())).collect::<BTreeMap<_, _>>(),
        ),
        _ => None,
    };
    if before == after {
        return;
    }
    match (members(before), members(after)) {
        (Some(old), Some(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                path.push(key.clone());
                compare(old.get(key), new.get(key), path, paths);
                path.pop();
            }
        }
        _ => paths.push(path.clone()),
    }
}

/// The paths of all leaves in which two documents differ.
pub(super) fn changed_leaves(before: &Value, after: &Value) -> Vec<Vec<String>> {
    let (before, after) = (leaves(before), leaves(after));
    let paths: BTreeSet<&Vec<String>> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

fn leaves(value: &Value) -> BTreeMap<Vec<String>, Value> {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect(),
        leaf => return [(Vec::new(), leaf.clone())].into(),
    };
    let below = members.into_iter().flat_map(|(name, value)| {
        leaves(value).into_iter().map(move |(path, leaf)| ([vec![name.clone()], path].concat(), leaf))
    });
    below.collect()
}

/// Whether a field, as a report writes it, is that path or one above it.
pub(super) fn names(field: &str, path: &[String]) -> bool {
    let field = segments(field);
    field.len() <= path.len() && meet(&field, path)
}

/// Whether a field, as a report writes it, is that path, or one above or below it.
pub(super) fn touches(field: &str, path: &[String]) -> bool {
    meet(&segments(field), path)
}

fn meet(field: &[String], path: &[String]) -> bool {
    field.iter().zip(path).all(|(segment, name)| segment == "*" || segment == name)
}

fn segments(field: &str) -> Vec<String> {
    let mut segments = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        let quoted = rest.strip_prefix("['").and_then(|rest| rest.split_once("']"));
        let (segment, after) =
            quoted.or_else(|| rest.strip_prefix("[*]").map(|rest| ("*", rest))).unwrap_or_else(|| {
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
            });
        segments.push(segment.to_owned());
        rest = after;
    }
    segments
}
