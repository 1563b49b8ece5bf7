//! What a step acts on.

mod find;
mod resolve;
mod wait;

use lifeboat_playbook::{ActionError, ObjectRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use resolve::Resolve;
pub(crate) use wait::Wait;

use crate::api::{Api, Place};
use crate::fields::{controller, items, namespace, text};
use crate::resources::Resource;

/// An object that was found and is pinned by its UID: what `target.resolve` gives, and other steps take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Target {
    /// `v1`.
    pub api_version: String,
    /// `Pod`.
    pub kind: String,
    /// Absent for objects of the cluster.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID. Another object of the same name is refused.
    pub uid: String,
    /// The node that a pod runs on.
    #[serde(default)]
    pub node: Option<String>,
    /// The service account of a pod.
    #[serde(default)]
    pub service_account: Option<String>,
    /// The ids of the images that a pod runs.
    #[serde(default)]
    pub images: Vec<String>,
    /// What controls it.
    #[serde(default)]
    pub owner: Option<ObjectRef>,
}

impl Target {
    /// The target that an object is.
    pub(crate) fn of(object: &Value) -> Self {
        let given = |pointer| Some(text(object, pointer).to_owned()).filter(|text| !text.is_empty());
        let statuses =
            ["/status/initContainerStatuses", "/status/containerStatuses", "/status/ephemeralContainerStatuses"];
        let images = statuses.into_iter().flat_map(|pointer| items(object, pointer));
        let mut images: Vec<String> =
            images.map(|status| text(status, "/imageID").to_owned()).filter(|image| !image.is_empty()).collect();
        images.sort();
        images.dedup();
        Self {
            api_version: text(object, "/apiVersion").to_owned(),
            kind: text(object, "/kind").to_owned(),
            namespace: namespace(object).map(str::to_owned),
            name: text(object, "/metadata/name").to_owned(),
            uid: text(object, "/metadata/uid").to_owned(),
            node: given("/spec/nodeName"),
            service_account: given("/spec/serviceAccountName"),
            images,
            owner: controller(object),
        }
    }

    pub(crate) fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: Some(self.uid.clone()),
        }
    }

    /// Where it lies. Kinds that a step does not take are refused.
    pub(crate) fn place(&self, wanted: &[&'static Resource]) -> Result<Place<'_>, ActionError> {
        let resource = Resource::of_kind(&self.api_version, &self.kind).filter(|known| wanted.contains(known));
        let resource = resource.ok_or_else(|| {
            let kinds: Vec<&str> = wanted.iter().map(|wanted| wanted.kind).collect();
            ActionError::denied(format!("{self} is none of: {}", kinds.join(", ")))
        })?;
        Ok(Place::new(resource, self.namespace.as_deref(), &self.name))
    }

    /// Reads it; another object in its place is refused.
    pub(crate) async fn read(&self, api: &Api, wanted: &[&'static Resource]) -> Result<Value, ActionError> {
        api.get_same(self.place(wanted)?, &self.uid).await
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reference().fmt(f)
    }
}
