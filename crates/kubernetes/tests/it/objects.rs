//! Objects to write, and how.

use bytes::Bytes;
use lifeboat_kubernetes::{
    Cluster, DeleteOptions, Deletion, Error, FieldValidation, ObjectPath, WriteOptions, Written,
};
use lifeboat_model::ResourceType;
use serde_json::{Value, json};

use crate::resource_type;

/// The field manager of the tests.
pub(crate) const MANAGER: &str = "lifeboat-tests";

pub(crate) const WRITE: WriteOptions<'static> =
    WriteOptions { dry_run: false, field_manager: MANAGER, field_validation: FieldValidation::Strict };

pub(crate) fn config_maps() -> ResourceType {
    resource_type("", "v1", "configmaps", "ConfigMap")
}

pub(crate) fn namespaces() -> ResourceType {
    ResourceType { namespaced: false, ..resource_type("", "v1", "namespaces", "Namespace") }
}

pub(crate) fn path<'a>(resource: &'a ResourceType, namespace: &'a str, name: &'a str) -> ObjectPath<'a> {
    ObjectPath { resource, namespace: Some(namespace).filter(|namespace| !namespace.is_empty()), name }
}

pub(crate) fn config_map(name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}})
}

pub(crate) fn bytes(object: &Value) -> Bytes {
    object.to_string().into()
}

pub(crate) fn parse(object: &[u8]) -> Value {
    serde_json::from_slice(object).unwrap()
}

/// Creates an object of any kind.
pub(crate) async fn create(
    cluster: &Cluster,
    resource: &ResourceType,
    namespace: &str,
    object: &Value,
) -> Result<Written, Error> {
    let name = object["metadata"]["name"].as_str().unwrap();
    cluster.create(path(resource, namespace, name), bytes(object), WRITE).await
}

pub(crate) async fn create_config_map(cluster: &Cluster, name: &str, text: &str) -> Result<Written, Error> {
    create(cluster, &config_maps(), "default", &config_map(name, text)).await
}

/// What is there.
pub(crate) async fn get_config_map(cluster: &Cluster, name: &str) -> Option<Value> {
    cluster.get(path(&config_maps(), "default", name)).await.unwrap().map(|object| parse(&object))
}

/// Replaces a config map's text at a version of it.
pub(crate) async fn replace_config_map(cluster: &Cluster, read: &Value, text: &str) -> Result<Written, Error> {
    let mut object = read.clone();
    object["data"]["text"] = text.into();
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.replace(path(&config_maps(), "default", &name), bytes(&object), WRITE).await
}

pub(crate) fn delete_options(uid: &str) -> DeleteOptions<'_> {
    DeleteOptions { uid, resource_version: None, propagation: None, grace_seconds: None, dry_run: false }
}

pub(crate) async fn delete_config_map(cluster: &Cluster, read: &Value) -> Result<Deletion, Error> {
    let text = |pointer| read.pointer(pointer).and_then(Value::as_str).unwrap();
    let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
    cluster.delete(path(&config_maps(), "default", name), delete_options(uid)).await
}
