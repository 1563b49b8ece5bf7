//! Which resources a cluster serves.

mod documents;
mod select;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::{GroupResource, ResourceType, ResourcesConfig};
use serde::de::DeserializeOwned;

use crate::request::{DOCUMENT, Request};
use crate::retry::Retry;
use crate::{Cluster, Error};
use documents::{ApiGroupList, ApiResourceList, ApiVersions, Group, GroupDiscoveryList, Kind, Version};
pub use select::kept_name;

/// What a cluster serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Every listable resource once, at the version that its group prefers among those that have it: the core group
    /// first, then by group, version and resource.
    pub types: Vec<ResourceType>,
    /// The APIs of which resources may be missing from `types`, by group and version.
    pub failures: Vec<DiscoveryFailure>,
    /// The resources left out because another group serves the same objects.
    pub twins: Vec<Twin>,
}

/// An API whose resources could not be learnt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiscoveryFailure {
    /// Group and version, such as `metrics.k8s.io/v1beta1`.
    pub group_version: String,
    /// Why.
    pub message: String,
}

/// Two names for the same objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twin {
    /// The name left out.
    pub left_out: GroupResource,
    /// The name kept.
    pub kept: GroupResource,
}

/// Asks for all groups in one answer, as servers of 1.26 and later give it, and takes the older form from others.
/// <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery>
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// How long one API of many may hold up discovery, where each is asked for itself.
const PATIENCE_FOR_ONE: Duration = Duration::from_secs(5);
/// Requests under way at a time, where each API is asked for itself.
const REQUESTS: usize = 8;

impl Discovery {
    /// The resources that the configuration wants, by their own name or by that of a twin.
    pub fn wanted(&self, config: &ResourcesConfig) -> Vec<ResourceType> {
        let is_wanted = |kind: &&ResourceType| {
            let kept = kind.group_resource();
            let others = self.twins.iter().filter(|twin| twin.kept == kept).map(|twin| &twin.left_out);
            config.wants(others.chain([&kept]))
        };
        self.types.iter().filter(is_wanted).cloned().collect()
    }

    /// What the configuration leaves out: what it excludes, and of what is served all that it does not want.
    pub fn left_out(&self, config: &ResourcesConfig) -> Vec<GroupResource> {
        let wanted: BTreeSet<GroupResource> = self.wanted(config).iter().map(ResourceType::group_resource).collect();
        let excluded: BTreeSet<GroupResource> = config.exclude.iter().map(kept_name).collect();
        let served = self.types.iter().map(ResourceType::group_resource);
        let others = served.filter(|name| !wanted.contains(name) && !excluded.contains(&kept_name(name)));
        let left_out: BTreeSet<GroupResource> = config.exclude.iter().cloned().chain(others).collect();
        left_out.into_iter().collect()
    }
}

impl Cluster {
    /// Learns what the cluster serves. An API that does not answer is a failure in the result, not an error.
    pub async fn discover(&self) -> Result<Discovery, Error> {
        let mut groups = self.core_groups().await?;
        groups.extend(self.named_groups().await?);
        Ok(select::select(groups))
    }

    async fn core_groups(&self) -> Result<Vec<Group>, Error> {
        let body = self.document("/api", ACCEPT, self.retry).await?;
        if parse::<Kind>(&body, "/api")?.is_aggregated() {
            return Ok(parse::<GroupDiscoveryList>(&body, "/api")?.into_groups());
        }
        let versions = parse::<ApiVersions>(&body, "/api")?.versions;
        Ok(vec![self.group(String::new(), versions).await?])
    }

    async fn named_groups(&self) -> Result<Vec<Group>, Error> {
        let body = self.document("/apis", ACCEPT, self.retry).await?;
        if parse::<Kind>(&body, "/apis")?.is_aggregated() {
            return Ok(parse::<GroupDiscoveryList>(&body, "/apis")?.into_groups());
        }
        let groups = parse::<ApiGroupList>(&body, "/apis")?.into_names();
        let groups = stream::iter(groups).map(|(name, versions)| self.group(name, versions));
        groups.buffered(REQUESTS).try_collect().await
    }

    /// The resources of each version of a group, asked for one by one.
    async fn group(&self, name: String, versions: Vec<String>) -> Result<Group, Error> {
        let mut found = Vec::with_capacity(versions.len());
        for version in versions {
            let path = if name.is_empty() { format!("/api/{version}") } else { format!("/apis/{name}/{version}") };
            let retry = Retry { budget: self.retry.budget.min(PATIENCE_FOR_ONE), ..self.retry };
            let resources = match self.document(&path, "application/json", retry).await {
                Ok(body) => parse::<ApiResourceList>(&body, &path).map(ApiResourceList::into_resources),
                Err(error) => Err(error),
            };
            found.push(match resources {
                Ok(resources) => Version { name: version, resources, failure: None },
                // Without a server or an identity there is nothing to report on a single API.
                Err(error @ (Error::Unreachable { .. } | Error::Unauthorized { .. })) => return Err(error),
                Err(error) => Version { name: version, resources: Vec::new(), failure: Some(error.to_string()) },
            });
        }
        Ok(Group { name, versions: found })
    }

    async fn document(&self, path: &str, accept: &str, retry: Retry) -> Result<Vec<u8>, Error> {
        let request = Request { accept, ..Request::get(path, path, "get") };
        Ok(self.send_patiently(&request, DOCUMENT, retry).await?.body)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8], path: &str) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::decode(path, source))
}
