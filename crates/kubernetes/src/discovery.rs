//! Which resources a cluster serves.

use crate::{Cluster, Error};
use lifeboat_model::{GroupResource, ResourceType};

/// What a cluster serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Every listable resource once, at the version that its group prefers: the core group first, then by group,
    /// version and resource.
    pub types: Vec<ResourceType>,
    /// The APIs whose resources could not be learnt, and are therefore missing from `types`.
    pub failures: Vec<DiscoveryFailure>,
    /// The resources left out because another group serves the same objects.
    pub twins: Vec<Twin>,
}

/// An API whose resources could not be learnt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiscoveryFailure {
    /// Group and version, such as `metrics.k8s.io/v1beta1`; or a group alone.
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

impl Cluster {
    /// Learns what the cluster serves.
    pub async fn discover(&self) -> Result<Discovery, Error> {
        Ok(Discovery::default())
    }
}
