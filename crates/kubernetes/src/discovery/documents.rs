//! The forms in which API servers describe what they serve, and the one that we make of them.

use serde::Deserialize;

/// An API group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Empty for the core group.
    pub(super) name: String,
    /// The preferred one first.
    pub(super) versions: Vec<Version>,
}

/// A version of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) resources: Vec<Resource>,
    /// Why `resources` cannot be relied upon.
    pub(super) failure: Option<String>,
}

/// A resource of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) plural: String,
    pub(super) kind: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) namespaced: bool,
    pub(super) verbs: Vec<String>,
}

/// What says which form a document has.
#[derive(Deserialize)]
pub(super) struct Kind {
    kind: String,
}

impl Kind {
    pub(super) fn is_aggregated(&self) -> bool {
        self.kind == "APIGroupDiscoveryList"
    }
}

/// `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2` and `v2beta1`, which are alike in what is read here.
/// Go writes empty lists as null, so every list may be absent or null.
#[derive(Deserialize)]
pub(super) struct GroupDiscoveryList {
    #[serde(default)]
    items: Option<Vec<GroupDiscovery>>,
}

#[derive(Deserialize)]
struct GroupDiscovery {
    #[serde(default)]
    metadata: Name,
    #[serde(default)]
    versions: Option<Vec<VersionDiscovery>>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct VersionDiscovery {
    version: String,
    #[serde(default)]
    resources: Option<Vec<ResourceDiscovery>>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDiscovery {
    resource: String,
    #[serde(default)]
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    singular_resource: String,
    #[serde(default)]
    verbs: Option<Vec<String>>,
    #[serde(default)]
    short_names: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct ResponseKind {
    kind: String,
}

impl GroupDiscoveryList {
    pub(super) fn into_groups(self) -> Vec<Group> {
        let groups = self.items.unwrap_or_default().into_iter().map(|group| Group {
            name: group.metadata.name,
            versions: group.versions.unwrap_or_default().into_iter().map(VersionDiscovery::into_version).collect(),
        });
        groups.collect()
    }
}

impl VersionDiscovery {
    fn into_version(self) -> Version {
        // Set where the last attempt to reach the server of an aggregated API failed; its resources are then
        // those of an earlier time, or none.
        let stale = self.freshness == "Stale";
        Version {
            name: self.version,
            resources: self.resources.unwrap_or_default().into_iter().map(ResourceDiscovery::into_resource).collect(),
            failure: stale.then(|| "the API behind this group does not answer (discovery is stale)".to_owned()),
        }
    }
}

impl ResourceDiscovery {
    fn into_resource(self) -> Resource {
        Resource {
            plural: self.resource,
            kind: self.response_kind.unwrap_or_default().kind,
            singular: self.singular_resource,
            short_names: self.short_names.unwrap_or_default(),
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs.unwrap_or_default(),
        }
    }
}

/// `APIVersions`: the older form of `/api`.
#[derive(Deserialize)]
pub(super) struct ApiVersions {
    pub(super) versions: Vec<String>,
}

/// `APIGroupList`: the older form of `/apis`.
#[derive(Deserialize)]
pub(super) struct ApiGroupList {
    groups: Vec<ApiGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroup {
    name: String,
    versions: Vec<GroupVersion>,
    #[serde(default)]
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

impl ApiGroupList {
    /// The groups and their versions, the preferred one first.
    pub(super) fn into_names(self) -> Vec<(String, Vec<String>)> {
        let names = self.groups.into_iter().map(|group| {
            let mut versions: Vec<String> = group.versions.into_iter().map(|version| version.version).collect();
            if let Some(preferred) = group.preferred_version {
                versions.retain(|version| *version != preferred.version);
                versions.insert(0, preferred.version);
            }
            (group.name, versions)
        });
        names.collect()
    }
}

/// `APIResourceList`: the resources of one version of a group.
#[derive(Deserialize)]
pub(super) struct ApiResourceList {
    resources: Option<Vec<ApiResource>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource {
    name: String,
    #[serde(default)]
    singular_name: String,
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Option<Vec<String>>,
    #[serde(default)]
    short_names: Option<Vec<String>>,
}

impl ApiResourceList {
    pub(super) fn into_resources(self) -> Vec<Resource> {
        let resources = self.resources.unwrap_or_default().into_iter();
        // Subresources stand in the same list, as `pods/log`.
        let resources = resources.filter(|resource| !resource.name.contains('/')).map(|resource| Resource {
            plural: resource.name,
            kind: resource.kind,
            singular: resource.singular_name,
            short_names: resource.short_names.unwrap_or_default(),
            namespaced: resource.namespaced,
            verbs: resource.verbs.unwrap_or_default(),
        });
        resources.collect()
    }
}
