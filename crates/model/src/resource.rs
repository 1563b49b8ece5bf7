//! Names of API resources.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ObjectKey;

/// A resource without its version, written as kubectl does: `deployments.apps`, and `pods` for the core group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural name.
    pub resource: String,
}

impl From<String> for GroupResource {
    fn from(text: String) -> Self {
        match text.split_once('.') {
            Some((resource, group)) => Self { group: group.to_owned(), resource: resource.to_owned() },
            None => Self { group: String::new(), resource: text },
        }
    }
}

impl From<GroupResource> for String {
    fn from(value: GroupResource) -> Self {
        value.to_string()
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// A resource type as the API server's discovery describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceType {
    /// The API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// The version under which its objects were read.
    pub version: String,
    /// The plural name, as in paths of the API.
    pub resource: String,
    /// The kind of its objects.
    pub kind: String,
    /// The singular name.
    #[serde(default)]
    pub singular: String,
    /// Short names, such as `deploy`.
    #[serde(default)]
    pub short_names: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ResourceType {
    /// Group and plural name.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }

    /// The key of an object of it.
    pub fn key(&self, namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// What a person types for a resource: a plural, singular or short name or a kind, with or without `.group`,
/// in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceArg(String);

impl ResourceArg {
    /// Whether this names the given type.
    pub fn matches(&self, candidate: &ResourceType) -> bool {
        let names = [&candidate.resource, &candidate.singular, &candidate.kind];
        let mut names = names.into_iter().chain(&candidate.short_names).filter(|name| !name.is_empty());
        names.any(|name| {
            let name = name.to_lowercase();
            self.0 == name || self.0 == format!("{name}.{}", candidate.group)
        })
    }

    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_kubectl_takes_them() {
        let deployments = ResourceType {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            resource: "deployments".to_owned(),
            kind: "Deployment".to_owned(),
            singular: "deployment".to_owned(),
            short_names: vec!["deploy".to_owned()],
            namespaced: true,
        };
        for text in ["deployments", "Deployment", "deploy", "deployments.apps", "deployment.apps", "deploy.apps"] {
            assert!(text.parse::<ResourceArg>().unwrap().matches(&deployments), "{text}");
        }
        for text in ["deployments.extensions", "dep", ""] {
            assert!(!text.parse::<ResourceArg>().unwrap().matches(&deployments), "{text}");
        }
        assert_eq!(deployments.group_resource().to_string(), "deployments.apps");
        assert_eq!(GroupResource::from("deployments.apps".to_owned()), deployments.group_resource());
        assert_eq!(deployments.api_version(), "apps/v1");
    }
}
