//! Kinds and fields, as the tables of rules name them.

use std::borrow::Cow;
use std::fmt;

use lifeboat_model::ResourceType;
use serde_json::{Map, Value};

/// A resource that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// Its plural name.
    pub resource: &'static str,
    /// The kind of its objects.
    pub kind: &'static str,
}

impl Kind {
    pub(super) const fn new(group: &'static str, resource: &'static str, kind: &'static str) -> Self {
        Self { group, resource, kind }
    }

    /// Whether it is that resource, at any version.
    pub fn is(&self, resource: &ResourceType) -> bool {
        self.group == resource.group && self.resource == resource.resource
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}

/// A rule that changes fields.
#[derive(Debug, Clone, Copy)]
pub struct FieldRule<A> {
    /// Its number, quoted in reports.
    pub number: u32,
    /// The kinds that it is about; none stands for all.
    pub kinds: &'static [Kind],
    /// The fields, and what becomes of them.
    pub what: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The file of Kubernetes or the page that it follows.
    pub source: &'static str,
    pub(super) act: A,
}

impl<A> FieldRule<A> {
    pub(super) fn concerns(&self, resource: &ResourceType) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.is(resource))
    }

    pub(super) fn applied(&self, fields: Fields) -> impl Iterator<Item = Applied> {
        let rule = self.number;
        fields.into_iter().map(move |field| Applied { rule, field })
    }
}

/// A rule that changed an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// The rule's number.
    pub rule: u32,
    /// The field, or the patch.
    pub field: Cow<'static, str>,
}

/// Fields that a rule changed.
pub type Fields = Vec<Cow<'static, str>>;

/// A path: names of members, and `*` for each element of a list or each member of an object.
pub(super) type Path<'a> = &'a [&'a str];

/// Stands for each element of a list or each member of an object.
pub(super) const EACH: &str = "*";

/// The value at a path without `*`.
pub(super) fn get<'a>(object: &'a Value, path: Path<'_>) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

/// The text at a path without `*`.
pub(super) fn text<'a>(object: &'a Value, path: Path<'_>) -> Option<&'a str> {
    get(object, path).and_then(Value::as_str)
}

/// The value at a path without `*`, to be changed.
pub(super) fn get_mut<'a>(object: &'a mut Value, path: Path<'_>) -> Option<&'a mut Value> {
    path.iter().try_fold(object, |value, name| value.get_mut(name))
}

/// The members of the object at a path without `*`, which is made where it is absent.
pub(super) fn members_mut<'a>(object: &'a mut Value, path: Path<'_>) -> Option<&'a mut Map<String, Value>> {
    let place = path.iter().try_fold(object, |value, name| {
        value.as_object_mut().map(|members| members.entry(*name).or_insert_with(|| Value::Object(Map::new())))
    });
    place.and_then(Value::as_object_mut)
}

/// The elements of the list at a path without `*`.
pub(super) fn list<'a>(object: &'a Value, path: Path<'_>) -> &'a [Value] {
    get(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The elements of the list at a path without `*`, to be changed.
pub(super) fn list_mut<'a>(object: &'a mut Value, path: Path<'_>) -> &'a mut [Value] {
    get_mut(object, path).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// Hands out every value that a path with `*` leads to.
pub(super) fn each(value: &mut Value, path: Path<'_>, act: &mut dyn FnMut(&mut Value)) {
    match path {
        [] => act(value),
        [EACH, rest @ ..] => match value {
            Value::Array(items) => items.iter_mut().for_each(|item| each(item, rest, act)),
            Value::Object(members) => members.values_mut().for_each(|member| each(member, rest, act)),
            _ => {}
        },
        [name, rest @ ..] => {
            if let Some(member) = value.get_mut(name) {
                each(member, rest, act);
            }
        }
    }
}

/// Takes out the member that a path without `*` ends in. An object that held nothing else stays, empty.
pub(super) fn remove(object: &mut Value, path: Path<'_>) -> Option<Value> {
    let (name, parents) = path.split_last()?;
    get_mut(object, parents)?.as_object_mut()?.remove(*name)
}

/// Takes out members, and says which were there.
pub(super) fn remove_all(object: &mut Value, paths: &[Path<'_>]) -> Fields {
    let there = paths.iter().filter(|path| remove(object, path).is_some());
    there.map(|path| Cow::Owned(written(path))).collect()
}

/// Replaces text wherever a path with `*` leads to some, and says whether any was.
pub(super) fn replace_text(object: &mut Value, path: Path<'_>, with: &dyn Fn(&str) -> Option<String>) -> bool {
    let mut replaced = false;
    each(object, path, &mut |value| {
        if let Some(new) = value.as_str().and_then(with) {
            *value = Value::String(new);
            replaced = true;
        }
    });
    replaced
}

/// A path as reports write it: `spec.ports[*].nodePort`, `metadata.annotations['a.io/b']`.
pub(super) fn written(path: Path<'_>) -> String {
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric());
    path.iter().fold(String::new(), |text, name| match *name {
        EACH => text + "[*]",
        name if !plain(name) => format!("{text}['{name}']"),
        name if text.is_empty() => name.to_owned(),
        name => format!("{text}.{name}"),
    })
}

/// The kinds that rules are about.
pub(super) mod kinds {
    use super::Kind;

    pub(in crate::rules) const SERVICE: Kind = Kind::new("", "services", "Service");
    pub(in crate::rules) const POD: Kind = Kind::new("", "pods", "Pod");
    pub(in crate::rules) const JOB: Kind = Kind::new("batch", "jobs", "Job");
    pub(in crate::rules) const CRON_JOB: Kind = Kind::new("batch", "cronjobs", "CronJob");
    pub(in crate::rules) const DEPLOYMENT: Kind = Kind::new("apps", "deployments", "Deployment");
    pub(in crate::rules) const REPLICA_SET: Kind = Kind::new("apps", "replicasets", "ReplicaSet");
    pub(in crate::rules) const STATEFUL_SET: Kind = Kind::new("apps", "statefulsets", "StatefulSet");
    pub(in crate::rules) const DAEMON_SET: Kind = Kind::new("apps", "daemonsets", "DaemonSet");
    pub(in crate::rules) const REVISION: Kind = Kind::new("apps", "controllerrevisions", "ControllerRevision");
    pub(in crate::rules) const REPLICATION_CONTROLLER: Kind =
        Kind::new("", "replicationcontrollers", "ReplicationController");
    pub(in crate::rules) const POD_TEMPLATE: Kind = Kind::new("", "podtemplates", "PodTemplate");
    pub(in crate::rules) const VOLUME: Kind = Kind::new("", "persistentvolumes", "PersistentVolume");
    pub(in crate::rules) const CLAIM: Kind = Kind::new("", "persistentvolumeclaims", "PersistentVolumeClaim");
    pub(in crate::rules) const SERVICE_ACCOUNT: Kind = Kind::new("", "serviceaccounts", "ServiceAccount");
    pub(in crate::rules) const SECRET: Kind = Kind::new("", "secrets", "Secret");
    pub(in crate::rules) const CONFIG_MAP: Kind = Kind::new("", "configmaps", "ConfigMap");
    pub(in crate::rules) const NAMESPACE: Kind = Kind::new("", "namespaces", "Namespace");
    pub(in crate::rules) const ENDPOINTS: Kind = Kind::new("", "endpoints", "Endpoints");
    pub(in crate::rules) const RESOURCE_QUOTA: Kind = Kind::new("", "resourcequotas", "ResourceQuota");
    pub(in crate::rules) const LIMIT_RANGE: Kind = Kind::new("", "limitranges", "LimitRange");
    pub(in crate::rules) const ENDPOINT_SLICE: Kind = Kind::new("discovery.k8s.io", "endpointslices", "EndpointSlice");
    pub(in crate::rules) const ROLE: Kind = Kind::new(RBAC, "roles", "Role");
    pub(in crate::rules) const CLUSTER_ROLE: Kind = Kind::new(RBAC, "clusterroles", "ClusterRole");
    pub(in crate::rules) const ROLE_BINDING: Kind = Kind::new(RBAC, "rolebindings", "RoleBinding");
    pub(in crate::rules) const CLUSTER_ROLE_BINDING: Kind =
        Kind::new(RBAC, "clusterrolebindings", "ClusterRoleBinding");
    pub(in crate::rules) const CRD: Kind =
        Kind::new("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition");
    pub(in crate::rules) const API_SERVICE: Kind = Kind::new("apiregistration.k8s.io", "apiservices", "APIService");
    pub(in crate::rules) const FLOW_SCHEMA: Kind =
        Kind::new("flowcontrol.apiserver.k8s.io", "flowschemas", "FlowSchema");
    pub(in crate::rules) const PRIORITY_LEVEL: Kind =
        Kind::new("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", "PriorityLevelConfiguration");
    pub(in crate::rules) const PRIORITY_CLASS: Kind =
        Kind::new("scheduling.k8s.io", "priorityclasses", "PriorityClass");
    pub(in crate::rules) const RUNTIME_CLASS: Kind = Kind::new("node.k8s.io", "runtimeclasses", "RuntimeClass");
    pub(in crate::rules) const STORAGE_CLASS: Kind = Kind::new(STORAGE, "storageclasses", "StorageClass");
    pub(in crate::rules) const ATTRIBUTES_CLASS: Kind =
        Kind::new(STORAGE, "volumeattributesclasses", "VolumeAttributesClass");
    pub(in crate::rules) const CSI_DRIVER: Kind = Kind::new(STORAGE, "csidrivers", "CSIDriver");
    pub(in crate::rules) const SERVICE_CIDR: Kind = Kind::new(NETWORKING, "servicecidrs", "ServiceCIDR");
    pub(in crate::rules) const INGRESS_CLASS: Kind = Kind::new(NETWORKING, "ingressclasses", "IngressClass");
    pub(in crate::rules) const NETWORK_POLICY: Kind = Kind::new(NETWORKING, "networkpolicies", "NetworkPolicy");
    pub(in crate::rules) const DEVICE_CLASS: Kind = Kind::new(RESOURCE, "deviceclasses", "DeviceClass");
    pub(in crate::rules) const RESOURCE_CLAIM: Kind = Kind::new(RESOURCE, "resourceclaims", "ResourceClaim");
    pub(in crate::rules) const SNAPSHOT: Kind = Kind::new(SNAPSHOTS, "volumesnapshots", "VolumeSnapshot");
    pub(in crate::rules) const SNAPSHOT_CONTENT: Kind =
        Kind::new(SNAPSHOTS, "volumesnapshotcontents", "VolumeSnapshotContent");
    pub(in crate::rules) const SNAPSHOT_CLASS: Kind =
        Kind::new(SNAPSHOTS, "volumesnapshotclasses", "VolumeSnapshotClass");
    pub(in crate::rules) const VALIDATING_WEBHOOKS: Kind =
        Kind::new(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration");
    pub(in crate::rules) const MUTATING_WEBHOOKS: Kind =
        Kind::new(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration");
    pub(in crate::rules) const VALIDATING_POLICY: Kind =
        Kind::new(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy");
    pub(in crate::rules) const VALIDATING_BINDING: Kind =
        Kind::new(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding");
    pub(in crate::rules) const MUTATING_POLICY: Kind =
        Kind::new(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy");
    pub(in crate::rules) const MUTATING_BINDING: Kind =
        Kind::new(ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding");

    pub(in crate::rules) const TRUST_BUNDLE: Kind =
        Kind::new("certificates.k8s.io", "clustertrustbundles", "ClusterTrustBundle");

    const RBAC: &str = "rbac.authorization.k8s.io";
    const STORAGE: &str = "storage.k8s.io";
    const NETWORKING: &str = "networking.k8s.io";
    const RESOURCE: &str = "resource.k8s.io";
    const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
    const ADMISSION: &str = "admissionregistration.k8s.io";
}
