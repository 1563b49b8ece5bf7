//! Making a service account anew: every token of the one before is dead, since it names another UID.

use lifeboat_kubernetes::Error;
use lifeboat_playbook::{ActionError, Permit};
use serde_json::{Map, Value, json};

use crate::api::{Api, Place, refused};
use crate::fields::{name, namespace, text, uid};
use crate::resources::SERVICE_ACCOUNT;

/// What makes the account again: what people wrote, and nothing of what the server did.
pub(crate) fn manifest(account: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations", "ownerReferences"] {
        if let Some(value) = account.pointer(&format!("/metadata/{field}")) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    for field in ["automountServiceAccountToken", "imagePullSecrets", "secrets"] {
        if let (Some(value), Some(members)) = (account.get(field), object.as_object_mut()) {
            members.insert(field.to_owned(), value.clone());
        }
    }
    object
}

/// Deletes the account that was meant. One that is not there any more was deleted before.
pub(crate) async fn delete(api: &Api, permit: &Permit, manifest: &Value, old: &str) -> Result<(), ActionError> {
    let place = Place::new(&SERVICE_ACCOUNT, namespace(manifest), name(manifest));
    match api.find(place, old).await? {
        Some(_) => api.delete(permit, place, old, None).await,
        None => Ok(()),
    }
}

/// Makes the account, or, where a controller was quicker (as of those named `default`), gives that one what it had.
pub(crate) async fn create(api: &Api, permit: &Permit, manifest: &Value, old: &str) -> Result<(), ActionError> {
    let place = Place::new(&SERVICE_ACCOUNT, namespace(manifest), name(manifest));
    match api.create(permit, place, manifest).await {
        Ok(_) => return Ok(()),
        Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(refused(error)),
    }
    let found = api.get(place).await?.unwrap_or_default();
    if uid(&found) == old {
        let finalizers = found.pointer("/metadata/finalizers").cloned().unwrap_or_default();
        return Err(ActionError::failed(format!("{place} does not go: finalizers {finalizers}")));
    }
    let mut patch = manifest.clone();
    if let Some(metadata) = patch.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), text(&found, "/metadata/uid").into());
    }
    api.patch(permit, place, &patch).await.map(drop).map_err(refused)
}
