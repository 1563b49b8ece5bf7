//! Coverage: what was expected of a backup, and what it has.

use serde::{Deserialize, Serialize};

use crate::{GroupResource, ResourceType};

/// The sealed account of a backup: expected against captured, by resource, and the gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Every resource that was listed, in the order of the tar.
    pub resources: Vec<ResourceCoverage>,
    /// What was expected and not captured.
    pub gaps: Vec<Gap>,
    /// Resources that the configuration left out.
    #[serde(default)]
    pub excluded: Vec<GroupResource>,
    /// Elements of all buckets of the etcd snapshot, as `etcdutl snapshot status` counts them.
    #[serde(default)]
    pub etcd_keys: Option<u64>,
    /// Prefixes of values that are encrypted at rest, such as `k8s:enc:aescbc:v1:key1:`.
    #[serde(default)]
    pub encryption_at_rest: Vec<String>,
}

impl Coverage {
    /// The number of objects captured.
    pub fn objects(&self) -> u64 {
        self.resources.iter().map(|resource| resource.captured).sum()
    }
}

/// What was captured of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCoverage {
    /// The resource, with the names that people use for it.
    #[serde(rename = "type")]
    pub resource: ResourceType,
    /// How many objects the API server said there are; absent where it did not say.
    #[serde(default)]
    pub expected: Option<u64>,
    /// How many were captured.
    pub captured: u64,
    /// The resource version of the list; for a list that failed, of what there is.
    #[serde(default)]
    pub resource_version: String,
    /// How often the list had to begin again because it had expired (410 Gone).
    #[serde(default)]
    pub restarts: u32,
    /// Whether the lines of the index are in the order of their keys, so that they may be searched by halving.
    pub sorted: bool,
    /// The lines of the index that count. Lines outside all ranges are of lists that were begun again, and are void.
    pub index: IndexRange,
}

/// A range of the plain index, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRange {
    /// Where its first line begins.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

impl IndexRange {
    /// The offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Something that was expected and not captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// What is missing: a resource (`secrets`), an API (`metrics.k8s.io/v1beta1`), one object, or `etcd`.
    pub resource: String,
    /// Why.
    pub reason: String,
}
