//! Taking a restore back.

use std::collections::HashSet;

use lifeboat_kubernetes::{DeleteOptions, Error, FieldValidation, ObjectPath, WriteOptions};
use lifeboat_model::ResourceType;
use lifeboat_playbook::{ActionError, Permit, Proof, StepContext};
use lifeboat_recovery::BackupRef;
use lifeboat_recovery::restore_objects::Verdict;
use lifeboat_recovery::rules::RESTORED_FROM;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::former::{self, Former};
use super::shown::some;
use super::{Inputs, Planned, Restore, Source, told};
use crate::api::{FIELD_MANAGER, refused};
use crate::fields::{annotation, is_going, text, uid};

/// What is made of nothing and takes other things along when it goes.
const STAYS: [(&str, &str); 4] = [
    ("", "namespaces"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

/// What undoes a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Undone {
    pub(super) backup: String,
    /// The file of the recovery key.
    pub(super) identity: String,
    pub(super) inputs: Inputs,
    pub(super) former: Option<Former>,
    pub(super) objects: Vec<Planned>,
}

/// An object's place: group, resource, namespace, name.
type Key = (String, String, Option<String>, String);

impl Planned {
    pub(super) fn words(&self) -> String {
        let kind = &self.resource.kind;
        match &self.namespace {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name),
            None => format!("{kind} {}", self.name),
        }
    }

    fn path(&self) -> ObjectPath<'_> {
        ObjectPath { resource: &self.resource, namespace: self.namespace.as_deref(), name: &self.name }
    }

    fn key(&self) -> Key {
        let ResourceType { group, resource, .. } = &self.resource;
        (group.clone(), resource.clone(), self.namespace.clone(), self.name.clone())
    }

    fn stays(&self) -> bool {
        STAYS.contains(&(self.resource.group.as_str(), self.resource.resource.as_str()))
    }
}

async fn live(source: &Source, object: &Planned) -> Result<Option<Value>, ActionError> {
    let json = source.cluster.get(object.path()).await.map_err(refused)?;
    let parse =
        |json: Vec<u8>| serde_json::from_slice(&json).map_err(|_| ActionError::failed("the answer is no object"));
    json.map(parse).transpose()
}

/// Deletes what was created, and puts back what was overwritten.
pub(super) async fn undo(
    restore: &Restore,
    inverse: Undone,
    permit: &Permit,
    context: &StepContext,
) -> Result<Proof, ActionError> {
    let Undone { backup, identity, inputs, former, objects } = inverse;
    let inputs = Inputs { identity, changed: true, ..inputs };
    let source = restore.source(&inputs, BackupRef::Id(backup.clone()), context).await?;
    let (mut done, mut notes) = (0_usize, Vec::new());
    if let Some(former) = &former {
        let former = former::read(restore, former, &source.identities).await?;
        let equal = equal(&source, &inputs).await?;
        for object in objects.iter().rev() {
            let Some((wanted, _)) = &object.there else { continue };
            let before = former.iter().find(|former| uid(former) == wanted);
            let before = before.ok_or_else(|| ActionError::failed(format!("{} was not kept", object.words())))?;
            match put_back(&source, permit, object, before, equal.contains(&object.key())).await? {
                None => done += 1,
                Some(note) => notes.push(format!("{}: {note}", object.words())),
            }
        }
    }
    for object in objects.iter().rev().filter(|object| object.there.is_none()) {
        match remove(&source, permit, object, &backup).await? {
            None => done += 1,
            Some(note) => notes.push(format!("{}: {note}", object.words())),
        }
    }
    let words = format!("{done} objects are as they were before the restore");
    Ok(if notes.is_empty() {
        Proof::Observed(words)
    } else {
        Proof::NotObserved(format!("{words}; left: {}", some(notes.into_iter())))
    })
}

/// The objects that are as in the backup: nobody changed them since the restore.
async fn equal(source: &Source, inputs: &Inputs) -> Result<HashSet<Key>, ActionError> {
    let made = source.plan(inputs.request()?).await.map_err(told)?;
    let unchanged = made.entries().iter().filter(|entry| matches!(entry.verdict, Verdict::Unchanged { .. }));
    let keys = unchanged.filter_map(|entry| {
        let kind = made.kind(entry)?.target();
        Some((kind.group, kind.resource, entry.namespace.map(str::to_owned), entry.name.to_owned()))
    });
    Ok(keys.collect())
}

/// Puts an object back as it was. What is answered says why not.
async fn put_back(
    source: &Source,
    _: &Permit,
    object: &Planned,
    before: &Value,
    is_equal: bool,
) -> Result<Option<String>, ActionError> {
    let Some(found) = live(source, object).await?.filter(|found| uid(found) == uid(before)) else {
        return Ok(Some("it is gone, or another one".to_owned()));
    };
    if meant(&found) == meant(before) {
        return Ok(None);
    }
    if !is_equal {
        return Ok(Some("somebody changed it since".to_owned()));
    }
    let mut wanted = before.clone();
    if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.insert("resourceVersion".to_owned(), text(&found, "/metadata/resourceVersion").into());
    }
    let options =
        WriteOptions { dry_run: false, field_manager: FIELD_MANAGER, field_validation: FieldValidation::Strict };
    match source.cluster.replace(object.path(), wanted.to_string().into_bytes().into(), options).await {
        Ok(_) => {}
        Err(error @ (Error::Uncertain { .. } | Error::Unreachable { .. })) => return Err(refused(error)),
        Err(error) => return Ok(Some(refused(error).chain())),
    }
    let found = live(source, object).await?.unwrap_or_default();
    Ok((meant(&found) != meant(before)).then(|| "it was put back, and is not as it was".to_owned()))
}

/// What somebody wrote into an object.
fn meant(object: &Value) -> Value {
    crate::fields::settled(object.clone())
}

/// Deletes an object that the restore created. What is answered says why not.
async fn remove(source: &Source, _: &Permit, object: &Planned, backup: &str) -> Result<Option<String>, ActionError> {
    let Some(found) = live(source, object).await? else { return Ok(None) };
    if annotation(&found, RESTORED_FROM) != backup {
        return Ok(Some("it is not the one that was restored".to_owned()));
    }
    if object.stays() {
        return Ok(Some("other things would go with it".to_owned()));
    }
    let uid = uid(&found);
    let options = DeleteOptions { uid, resource_version: None, propagation: None, grace_seconds: None, dry_run: false };
    match source.cluster.delete(object.path(), options).await {
        Ok(_) | Err(Error::NotFound { .. }) => {}
        Err(error @ (Error::Uncertain { .. } | Error::Unreachable { .. })) => return Err(refused(error)),
        Err(error) => return Ok(Some(refused(error).chain())),
    }
    let left = live(source, object).await?.filter(|left| crate::fields::uid(left) == uid && !is_going(left));
    Ok(left.map(|_| "it is still there".to_owned()))
}
