//! From an object of the backup to what the target is to have.

use std::collections::BTreeSet;

use lifeboat_model::{BackupId, Object, ResourceType};
use serde_json::{Value, json};

use super::entries::Entry;
use super::plan::{Header, Plan, PlannedKind, Settings};
use crate::error::{Error, Result};
use crate::rules::{PatchFile, Transforms, prepare};

/// An object, ready for the target but for its owners.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The object.
    pub(super) object: Value,
    /// Its owner references, as they are in the backup.
    pub(super) owners: Vec<Value>,
    /// Its status in the backup; null where it has none.
    pub(super) status: Value,
}

/// The changes that objects go through on their way.
pub(super) fn transforms(
    settings: &Settings,
    volumes: Option<BTreeSet<String>>,
    backup: &BackupId,
    same_cluster: bool,
) -> Result<Transforms> {
    let patches = settings.patches.iter().map(|patch| {
        let parsed = PatchFile::parse(&patch.name, &patch.text);
        parsed.map_err(|error| Error::Usage(error.to_string()))
    });
    Ok(Transforms {
        namespaces: settings.namespaces.clone(),
        storage_classes: settings.storage_classes.clone(),
        patches: patches.collect::<Result<_>>()?,
        keep_node_ports: settings.keep_node_ports,
        keep_cluster_ips: same_cluster,
        volumes,
        restored_from: Some(backup.clone()),
    })
}

/// Parses an object of the backup.
pub(super) fn parse(json: &[u8]) -> Result<Value> {
    serde_json::from_slice(json).map_err(|error| Error::Inconsistent(format!("an object is not valid JSON: {error}")))
}

impl Wanted {
    /// Prepares an object for the place that an entry gives it. Where it is not created there, what is there keeps its
    /// addresses.
    pub(super) fn prepare(
        mut object: Value,
        kind: &PlannedKind,
        entry: Entry<'_>,
        transforms: &Transforms,
        created: bool,
    ) -> Result<Self> {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default();
        // The rules read it, and leave it in place where it is a field like any other.
        let status = object.get("status").cloned().unwrap_or_default();
        let changed;
        let transforms = if created || !kind.is("", "services") {
            transforms
        } else {
            changed = Transforms { keep_cluster_ips: false, ..transforms.clone() };
            &changed
        };
        prepare(&mut object, &kind.resource, transforms).map_err(|error| {
            Error::Usage(format!("the patch does not apply to {}: {error}", described(&kind.resource, entry)))
        })?;
        let target = kind.target();
        if target.version != kind.resource.version {
            set(&mut object, "apiVersion", target.api_version().into());
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let fits = text("/metadata/name") == Some(entry.name)
            && text("/metadata/namespace") == entry.namespace
            && text("/kind") == Some(&kind.resource.kind);
        if !fits {
            return Err(Error::Inconsistent(format!(
                "the object that was read for {} is another one",
                described(&kind.resource, entry)
            )));
        }
        Ok(Self { object, owners, status })
    }

    /// A namespace that the backup does not have.
    pub(super) fn bare_namespace(name: &str, backup: &BackupId) -> Self {
        let annotations = json!({ crate::rules::RESTORED_FROM: backup.as_str() });
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations}});
        Self { object, owners: Vec::new(), status: Value::Null }
    }

    /// What is wanted of an object that is to be deleted.
    pub(super) fn nothing() -> Self {
        Self { object: Value::Null, owners: Vec::new(), status: Value::Null }
    }

    /// Sets the owner references, or removes them.
    pub(super) fn set_owners(&mut self, references: Vec<Value>) {
        let Some(Value::Object(metadata)) = self.object.get_mut("metadata") else { return };
        if references.is_empty() {
            metadata.remove("ownerReferences");
        } else {
            metadata.insert("ownerReferences".to_owned(), references.into());
        }
    }
}

fn described(resource: &ResourceType, entry: Entry<'_>) -> String {
    let namespace = entry.namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("{}/{}{namespace}", resource.group_resource(), entry.name)
}

fn set(object: &mut Value, member: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(member.to_owned(), value);
    }
}

/// The JSON of an object.
pub(super) fn bytes(object: &Value) -> bytes::Bytes {
    // A tree of JSON always serialises.
    serde_json::to_vec(object).unwrap_or_default().into()
}

/// The digest of an object's canonical form.
pub(super) fn digest(object: &Value, resource: &ResourceType) -> Result<lifeboat_model::Digest> {
    let json = bytes(object);
    let incomparable = |source| Error::Canonical { object: resource.group_resource().to_string(), source };
    let digest = Object::parse(&json).and_then(|parsed| parsed.digest(&resource.api_version(), &resource.kind));
    digest.map_err(incomparable)
}

/// The canonical form of an object.
pub(super) fn canonical(object: &Value, resource: &ResourceType) -> Result<Value> {
    let json = bytes(object);
    let incomparable = |source| Error::Canonical { object: resource.group_resource().to_string(), source };
    let parsed = Object::parse(&json).and_then(|parsed| parsed.canonical(&resource.api_version(), &resource.kind));
    parse(&parsed.map_err(incomparable)?)
}

/// A text of an object.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Plan {
    /// The changes that the objects of the plan go through.
    pub(super) fn transforms(&self) -> Result<Transforms> {
        let Header { settings, volumes, backup, backup_cluster, target_cluster, .. } = &self.header;
        transforms(settings, volumes.clone(), backup, backup_cluster == target_cluster)
    }
}
