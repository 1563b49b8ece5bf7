//! The objects of a live cluster, read by kubectl and not by Lifeboat.

use std::collections::BTreeMap;

use lifeboat_model::{Digest, Object};
use lifeboat_tests::cluster::Cluster;
use serde_json::Value;

/// Resources that change by themselves.
const VOLATILE: [&str; 4] = ["componentstatuses", "events", "events.events.k8s.io", "leases.coordination.k8s.io"];

/// The digest of each object's canonical form, by kind, namespace and name.
pub(crate) type Digests = BTreeMap<String, Digest>;

/// All objects of a cluster.
pub(crate) fn digests(cluster: &Cluster) -> Digests {
    let listable = cluster.kubectl(&["api-resources", "--verbs=list", "--cached=false", "-o", "name"]);
    let wanted: Vec<&str> = listable.lines().filter(|name| !VOLATILE.contains(name)).collect();
    let list = cluster.kubectl(&["get", &wanted.join(","), "--all-namespaces", "--chunk-size=0", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (key(item), digest(item))).collect()
}

/// What `lifeboat backup objects` and the plain index say of the same objects.
pub(crate) fn digests_of_index(index: &str) -> Digests {
    let lines = index.lines().map(|line| serde_json::from_str::<lifeboat_model::IndexEntry>(line).unwrap());
    let digests = lines.map(|line| {
        let key = line.key();
        let api_version = if key.group.is_empty() { key.version } else { format!("{}/{}", key.group, key.version) };
        (format!("{api_version} {} {}/{}", line.kind, key.namespace.unwrap_or_default(), key.name), line.canonical)
    });
    digests.collect()
}

fn key(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &item["metadata"];
    format!(
        "{} {} {}/{}",
        text(&item["apiVersion"]),
        text(&item["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

fn digest(item: &Value) -> Digest {
    let json = serde_json::to_vec(item).unwrap();
    let (api_version, kind) = (item["apiVersion"].as_str().unwrap(), item["kind"].as_str().unwrap());
    Object::parse(&json).unwrap().digest(api_version, kind).unwrap()
}

/// Every object of the one is in the other, and equal.
pub(crate) fn assert_same(before: &Digests, after: &Digests) {
    let missing: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    let added: Vec<_> = after.keys().filter(|key| !before.contains_key(*key)).collect();
    let changed: Vec<_> =
        before.iter().filter(|(key, digest)| after.get(*key).is_some_and(|found| found != *digest)).collect();
    assert!(
        missing.is_empty() && added.is_empty() && changed.is_empty(),
        "missing: {missing:?}\nadded: {added:?}\nchanged: {changed:?}"
    );
}
