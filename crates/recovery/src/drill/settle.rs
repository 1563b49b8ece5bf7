//! What follows when the etcd of one cluster runs in a node of another: before any controller starts, what belongs to
//! machines that are not here goes, and what belongs to the node's own cluster comes back.
//!
//! - Nodes of the backup go. So do the pods that were on them; those that no controller makes anew are created anew.
//! - The workloads of `kube-*` namespaces go: networking, DNS and proxies of the real cluster. Those that kind had made
//!   take their place, with all that they need.
//! - Statuses of workloads say how many pods were ready elsewhere. They are emptied, so that nothing counts as ready
//!   before a controller of this cluster has seen it.
//! - The leases by which the real control plane's controllers were leading go: nobody renews them.
//!
//! Tokens of service accounts need nothing: kubelet asks for new ones, and the authority in each namespace is written
//! again by its controller. Those in Secrets were signed by another key, and are void.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_kubernetes::{
    Cluster, DeleteOptions, Error as ApiError, FieldValidation, ListEvent, Listing, ObjectPath, Propagation,
    WriteOptions,
};
use lifeboat_model::ResourceType;
use serde_json::{Value, json};

use super::objects::LISTS;
use super::workloads::is_systems;
use crate::error::{Error, Result};
use crate::rules::controller;

/// The API server calls no webhooks: those of the real cluster may be reached from here, and those in the cluster run on
/// pods that are not there yet.
pub(super) const NO_WEBHOOKS: &str = "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook";

/// Requests at a time.
const CONCURRENCY: usize = 16;
/// Who writes, as `managedFields` have it.
const MANAGER: &str = "lifeboat-drill";
/// What of the namespaces of kind's own is put back as it was, and what is made only where it is not there.
const REPLACED: [&str; 6] = [
    "configmaps",
    "services",
    "daemonsets.apps",
    "deployments.apps",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
];
const ADDED: [&str; 6] = [
    "namespaces",
    "serviceaccounts",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "storageclasses.storage.k8s.io",
    "priorityclasses.scheduling.k8s.io",
];
/// Configuration that the control plane writes by itself, for each cluster another.
const WRITTEN: [&str; 3] =
    ["kube-root-ca.crt", "extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking"];
/// What makes pods.
const WORKLOADS: [&str; 7] = [
    "replicationcontrollers",
    "daemonsets.apps",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "cronjobs.batch",
    "jobs.batch",
];
/// Those of them whose status says how many pods are ready.
const COUNTING: [&str; 5] =
    ["replicationcontrollers", "daemonsets.apps", "deployments.apps", "replicasets.apps", "statefulsets.apps"];

/// An object, and what it is of.
#[derive(Debug, Clone)]
struct Object {
    kind: ResourceType,
    json: Value,
}

/// What kind has put into a cluster so that pods can run.
#[derive(Debug)]
pub(super) struct Systems(Vec<Object>);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    nodes: usize,
    pods: usize,
    alone: usize,
    replaced: usize,
    put_back: usize,
    refused: Vec<String>,
}

impl Settled {
    pub(super) fn describe(&self) -> String {
        format!(
            "{} nodes and {} pods of theirs removed, {} of these made anew; {} workloads of the system replaced by {} \
             objects of kind's",
            self.nodes, self.pods, self.alone, self.replaced, self.put_back
        )
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.refused.iter().map(|what| format!("could not be made in the drill's cluster: {what}")).collect()
    }
}

impl Systems {
    /// Everything of a cluster that kind has just made.
    pub(super) async fn of(cluster: &Cluster) -> Result<Self> {
        let mut found = Vec::new();
        let mut pages = Pages::of(cluster, &[REPLACED, ADDED].concat()).await?;
        while let Some(objects) = pages.next().await? {
            found.extend(objects.into_iter().filter(Object::is_kinds_own));
        }
        // Namespaces first, and what runs pods last.
        found.sort_by_key(|object| (object.kind.resource != "namespaces", is_one_of(&object.kind, &WORKLOADS)));
        Ok(Self(found))
    }
}

/// Brings the restored objects in line with the node that they are on.
pub(super) async fn settle(cluster: &Cluster, node: &str, systems: &Systems) -> Result<Settled> {
    let mut settled = Settled::default();
    let names = [&["nodes", "leases.coordination.k8s.io", "pods"], &WORKLOADS[..]].concat();
    let mut pages = Pages::of(cluster, &names).await?;
    while let Some(objects) = pages.next().await? {
        let (mut goes, mut anew, mut emptied) = (Vec::new(), Vec::new(), Vec::new());
        for object in objects {
            match fate(&object, node) {
                Fate::Stays => {}
                Fate::Empties => emptied.push(object),
                Fate::Goes | Fate::Anew if object.kind.resource == "leases" => goes.push(object),
                fate => {
                    let count = match object.kind.resource.as_str() {
                        "nodes" => &mut settled.nodes,
                        "pods" => &mut settled.pods,
                        _ => &mut settled.replaced,
                    };
                    *count += 1;
                    if fate == Fate::Anew {
                        anew.push(object.clone());
                    }
                    goes.push(object);
                }
            }
        }
        each(goes, |object| delete(cluster, object)).await?;
        each(emptied, |object| empty_status(cluster, object)).await?;
        for object in &anew {
            if create(cluster, object, &mut settled.refused).await? {
                settled.alone += 1;
            }
        }
    }
    for object in &systems.0 {
        if put_back(cluster, object, &mut settled.refused).await? {
            settled.put_back += 1;
        }
    }
    Ok(settled)
}

/// What becomes of a restored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Its status does.
    Empties,
    Goes,
    /// It goes, and one like it is created.
    Anew,
}

fn fate(object: &Object, node: &str) -> Fate {
    let systems = object.namespace().is_some_and(is_systems);
    let bound = object.text("/spec/nodeName").filter(|bound| !bound.is_empty());
    match object.kind.resource.as_str() {
        "nodes" if object.name() != node => Fate::Goes,
        "leases" if object.namespace() == Some("kube-system") => Fate::Goes,
        "nodes" | "leases" => Fate::Stays,
        "pods" if bound == Some(node) => Fate::Stays,
        "pods" if systems => Fate::Goes,
        // Pods that have ended say what came of a Job.
        "pods" if bound.is_none() || matches!(object.text("/status/phase"), Some("Succeeded" | "Failed")) => {
            Fate::Stays
        }
        "pods" if controller(&object.json).is_some() => Fate::Goes,
        "pods" => Fate::Anew,
        _ if systems => Fate::Goes,
        _ if is_one_of(&object.kind, &COUNTING) => Fate::Empties,
        _ => Fate::Stays,
    }
}

/// Whether a node's kubelet says that it is ready.
pub(super) async fn is_ready(cluster: &Cluster, node: &str) -> Result<bool> {
    let kind = kinds(cluster, &["nodes"]).await?;
    let Some(kind) = kind.first() else { return Ok(false) };
    let path = ObjectPath { resource: kind, namespace: None, name: node };
    let Some(bytes) = cluster.get(path).await? else { return Ok(false) };
    let object: Value = parse(&bytes)?;
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let is_it = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    Ok(conditions.is_some_and(|conditions| conditions.iter().any(is_it)))
}

impl Object {
    fn text(&self, path: &str) -> Option<&str> {
        self.json.pointer(path).and_then(Value::as_str)
    }

    fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    fn namespace(&self) -> Option<&str> {
        self.text("/metadata/namespace")
    }

    /// Whether it belongs to the system of a cluster that has nothing else in it.
    fn is_kinds_own(&self) -> bool {
        match (self.kind.resource.as_str(), self.namespace()) {
            ("namespaces", _) => !is_systems(self.name()) && self.name() != "default",
            ("configmaps", _) if WRITTEN.contains(&self.name()) => false,
            (_, Some(namespace)) => namespace == "kube-system" || !is_systems(namespace) && namespace != "default",
            (_, None) => true,
        }
    }

    fn path(&self) -> ObjectPath<'_> {
        ObjectPath { resource: &self.kind, namespace: self.namespace(), name: self.name() }
    }

    /// As it is sent, without what the API server gives to each object.
    fn to_create(&self) -> Bytes {
        let mut json = self.whole();
        if let Some(object) = json.as_object_mut() {
            object.remove("status");
        }
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                metadata.remove(field);
            }
        }
        if self.kind.resource == "pods"
            && let Some(spec) = json.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.remove("nodeName");
        }
        Bytes::from(json.to_string())
    }

    /// With the two members that lists leave out.
    fn whole(&self) -> Value {
        let mut json = self.json.clone();
        if let Some(members) = json.as_object_mut() {
            members.insert("apiVersion".to_owned(), self.kind.api_version().into());
            members.insert("kind".to_owned(), self.kind.kind.clone().into());
        }
        json
    }
}

/// Whether the resource has one of those names, as `deployments.apps`.
fn is_one_of(kind: &ResourceType, names: &[&str]) -> bool {
    names.contains(&kind.group_resource().to_string().as_str())
}

/// The resources of those names that the cluster serves.
async fn kinds(cluster: &Cluster, names: &[&str]) -> Result<Vec<ResourceType>> {
    let types = cluster.discover().await?.types;
    Ok(types.into_iter().filter(|kind| is_one_of(kind, names)).collect())
}

/// Lists of those resources, page by page.
struct Pages {
    kinds: Vec<ResourceType>,
    listing: Listing,
}

impl Pages {
    async fn of(cluster: &Cluster, names: &[&str]) -> Result<Self> {
        let kinds = kinds(cluster, names).await?;
        let listing = cluster.list_all(kinds.clone(), LISTS);
        Ok(Self { kinds, listing })
    }

    async fn next(&mut self) -> Result<Option<Vec<Object>>> {
        while let Some((place, event)) = self.listing.next().await {
            let kind = self.kinds.get(place).ok_or(Error::Lost("listing"))?;
            match event {
                ListEvent::Page(page) => {
                    let objects = page.objects().map(|bytes| Ok(Object { kind: kind.clone(), json: parse(bytes)? }));
                    return objects.collect::<Result<Vec<Object>>>().map(Some);
                }
                ListEvent::Failed(error) => return Err(error.into()),
                ListEvent::Finished { .. } | ListEvent::Restarted { .. } => {}
            }
        }
        Ok(None)
    }
}

fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| Error::Inconsistent(format!("an object of the cluster: {error}")))
}

async fn each<F: Future<Output = Result<()>>>(objects: Vec<Object>, work: impl Fn(Object) -> F) -> Result<()> {
    stream::iter(objects.into_iter().map(work)).buffer_unordered(CONCURRENCY).try_collect().await
}

async fn delete(cluster: &Cluster, object: Object) -> Result<()> {
    let uid = object.text("/metadata/uid").unwrap_or_default();
    // Nobody is there to delete what it owns: that is done for each by itself, and later by the controller.
    let options = DeleteOptions {
        uid,
        resource_version: None,
        propagation: Some(Propagation::Background),
        grace_seconds: Some(0),
        dry_run: false,
    };
    match cluster.delete(object.path(), options).await {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn empty_status(cluster: &Cluster, object: Object) -> Result<()> {
    let mut json = object.whole();
    let empty = if object.kind.resource == "daemonsets" {
        json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
    } else {
        json!({"replicas": 0})
    };
    if let Some(members) = json.as_object_mut() {
        members.insert("status".to_owned(), empty);
    }
    cluster.replace_status(object.path(), Bytes::from(json.to_string()), options()).await?;
    Ok(())
}

/// Puts an object of kind's in the place of the one of its name, or only where there is none. False where that was refused.
async fn put_back(cluster: &Cluster, object: &Object, refused: &mut Vec<String>) -> Result<bool> {
    if let Some(bytes) = cluster.get(object.path()).await? {
        if !is_one_of(&object.kind, &REPLACED) {
            return Ok(true);
        }
        delete(cluster, Object { kind: object.kind.clone(), json: parse(&bytes)? }).await?;
    }
    create(cluster, object, refused).await
}

/// Creates an object. What the API server refuses is noted.
async fn create(cluster: &Cluster, object: &Object, refused: &mut Vec<String>) -> Result<bool> {
    match cluster.create(object.path(), object.to_create(), options()).await {
        Ok(_) => Ok(true),
        Err(error @ (ApiError::Invalid { .. } | ApiError::Denied { .. } | ApiError::AlreadyExists { .. })) => {
            refused.push(crate::error::chain(&error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn options() -> WriteOptions<'static> {
    WriteOptions { dry_run: false, field_manager: MANAGER, field_validation: FieldValidation::Warn }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, resource: &str) -> ResourceType {
        ResourceType {
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            kind: "Pod".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        }
    }

    fn pod() -> Object {
        let kind = kind("", "pods");
        let json = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "labels": {"app": "web"}}, "spec": {"nodeName": "old", "containers": []}, "status": {"phase": "Running"}});
        Object { kind, json }
    }

    #[test]
    fn a_pod_made_anew_is_bound_to_no_node() {
        let sent: Value = serde_json::from_slice(&pod().to_create()).unwrap();
        let wanted = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop",
            "labels": {"app": "web"}}, "spec": {"containers": []}});
        assert_eq!(sent, wanted);
    }

    #[test]
    fn what_is_of_other_machines_goes_and_what_counts_pods_is_emptied() {
        let of = |group: &str, resource: &str, namespace: &str, more: Value| {
            let mut json = json!({"metadata": {"name": "x", "namespace": namespace}});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            fate(&Object { kind: kind(group, resource), json }, "here")
        };
        let none = json!({});
        let on = |node: &str, phase: &str| json!({"spec": {"nodeName": node}, "status": {"phase": phase}});
        let owned = json!({"metadata": {"name": "x", "namespace": "shop", "ownerReferences": [{"controller": true, "uid": "u"}]},
            "spec": {"nodeName": "there"}});
        assert_eq!(of("", "pods", "shop", on("there", "Running")), Fate::Anew);
        assert_eq!(of("", "pods", "shop", owned), Fate::Goes);
        assert_eq!(of("", "pods", "shop", on("here", "Running")), Fate::Stays);
        assert_eq!(of("", "pods", "shop", on("there", "Succeeded")), Fate::Stays);
        assert_eq!(of("", "pods", "shop", none.clone()), Fate::Stays, "it waits for a node");
        assert_eq!(of("", "pods", "kube-system", on("there", "Running")), Fate::Goes);
        assert_eq!(of("", "pods", "kube-system", on("here", "Running")), Fate::Stays);
        assert_eq!(of("apps", "daemonsets", "kube-system", none.clone()), Fate::Goes);
        assert_eq!(of("apps", "daemonsets", "shop", none.clone()), Fate::Empties);
        assert_eq!(of("batch", "cronjobs", "shop", none.clone()), Fate::Stays);
        assert_eq!(of("coordination.k8s.io", "leases", "kube-system", none.clone()), Fate::Goes);
        assert_eq!(of("coordination.k8s.io", "leases", "kube-node-lease", none.clone()), Fate::Stays);
        assert_eq!(of("", "nodes", "", none), Fate::Goes);
    }
}
