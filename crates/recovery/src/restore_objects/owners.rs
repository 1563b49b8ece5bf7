//! Owners: which object of the target stands for an owner in the backup.

use std::collections::{BTreeMap, HashMap};

use lifeboat_kubernetes::ObjectPath;
use lifeboat_model::ResourceType;
use serde_json::Value;
use tokio::sync::Mutex;

use super::plan::{Plan, Verdict};
use super::target::Target;
use super::wanted::text;
use crate::error::Result;
use crate::rules::Owner;

/// Owners that are not among the objects to be restored, looked for on the target.
#[derive(Debug, Default)]
pub(super) struct Outside(Mutex<HashMap<String, Option<String>>>);

impl Outside {
    /// What stands on the target for the owner that a reference of an object in that namespace names.
    pub(super) async fn find(&self, target: &Target, reference: &Value, namespace: Option<&str>) -> Result<Owner> {
        let uid = text(reference, "/uid");
        let known = self.0.lock().await.get(uid).cloned();
        let found = if let Some(found) = known {
            found
        } else {
            let found = look_for(target, reference, namespace).await?;
            self.0.lock().await.insert(uid.to_owned(), found.clone());
            found
        };
        Ok(found.map_or(Owner::Gone, Owner::There))
    }

    /// Those that were found: their UIDs in the backup, and there.
    pub(super) fn found(self) -> BTreeMap<String, String> {
        self.0.into_inner().into_iter().filter_map(|(old, new)| Some((old, new?))).collect()
    }
}

/// An owner of the same kind and name is the same one, whatever its UID: what it owned belongs to it.
async fn look_for(target: &Target, reference: &Value, namespace: Option<&str>) -> Result<Option<String>> {
    let (api_version, kind) = (text(reference, "/apiVersion"), text(reference, "/kind"));
    let Some(resource) = target.resource_of(api_version, kind) else { return Ok(None) };
    let namespace = if resource.namespaced { namespace } else { None };
    let path = ObjectPath { resource, namespace, name: text(reference, "/name") };
    if path.name.is_empty() || (resource.namespaced && namespace.is_none()) {
        return Ok(None);
    }
    let json = target.cluster.get(path).await?;
    Ok(json.map(|json| super::target::live(&json, resource)).transpose()?.map(|live| live.uid.into()))
}

/// What has become of the owners while a plan is performed, by their UIDs in the backup.
#[derive(Debug)]
pub(super) struct Owners(std::sync::Mutex<HashMap<Box<str>, Owner>>);

impl Owners {
    /// As they are before anything is done.
    pub(super) fn of(plan: &Plan) -> Self {
        let outside = plan.header.owners.iter().map(|(old, new)| (old.as_str().into(), Owner::There(new.clone())));
        let objects = plan.entries.iter().filter(|entry| !entry.uid.is_empty()).map(|entry| {
            let owner = match entry.verdict {
                Verdict::Create { .. } | Verdict::Recreate { .. } => Owner::Later,
                Verdict::Skipped { .. } | Verdict::Blocked { .. } | Verdict::Prune { .. } => Owner::Gone,
                Verdict::Unchanged { live } | Verdict::Leave { live } | Verdict::Apply { live, .. } => {
                    Owner::There(live.uid.to_string())
                }
            };
            (entry.uid.into(), owner)
        });
        Self(std::sync::Mutex::new(outside.chain(objects).collect()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Box<str>, Owner>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What stands for an owner now.
    pub(super) fn get(&self, old: &str) -> Owner {
        self.with(|owners| owners.get(old).cloned().unwrap_or(Owner::Gone))
    }

    /// The object is on the target now.
    pub(super) fn there(&self, old: &str, new: &str) {
        if !old.is_empty() {
            self.with(|owners| owners.insert(old.into(), Owner::There(new.to_owned())));
        }
    }

    /// The object will not be on the target.
    pub(super) fn gone(&self, old: &str) {
        if !old.is_empty() {
            self.with(|owners| owners.insert(old.into(), Owner::Gone));
        }
    }

    /// Whoever is not there by now will not come.
    pub(super) fn settle(&self) {
        self.with(|owners| {
            owners.values_mut().filter(|owner| **owner == Owner::Later).for_each(|owner| *owner = Owner::Gone);
        });
    }
}

impl Target {
    /// The resource of that API and kind.
    fn resource_of(&self, api_version: &str, kind: &str) -> Option<&ResourceType> {
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        self.types().iter().find(|known| known.group == group && known.kind == kind)
    }
}
