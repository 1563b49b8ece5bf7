//! The index: one line an object; and the lookup: one line a zstd frame, which makes ranged reads provable.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, GroupResource, PartName};

/// Path segment that stands for the core group, whose name is empty.
const CORE: &str = "core";
/// Path segment that stands for the namespace of an object that has none.
const CLUSTER: &str = "_cluster";
const ROOT: &str = "resources";
const SUFFIX: &str = ".json";

/// Where an object lives in the API. Within one resource, keys order as the API server lists them, which is by the bytes
/// of `namespace/name` as in etcd's keys: `a-b/x` comes before `a/x`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version under which it was read.
    pub version: String,
    /// The plural name of its resource.
    pub resource: String,
    /// Its namespace; `None` for objects of the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// A path in the archive that is not one of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path has another form.
    #[error("'{0}' is not the path of an object: expected resources/GROUP/VERSION/RESOURCE/NAMESPACE/NAME.json")]
    Form(String),
    /// A name that cannot be a segment of a path.
    #[error("'{0}' cannot be a segment of a path")]
    Segment(String),
}

/// Whether the API server could use it as a segment of a path, and an archive may.
/// Source: `IsValidPathSegmentName` of `k8s.io/apimachinery/pkg/api/validation/path`; control characters and
/// backslashes are refused besides.
fn is_segment(text: &str) -> bool {
    let forbidden = |c: char| c == '/' || c == '\\' || c == '%' || c.is_control();
    !text.is_empty() && text != "." && text != ".." && text.len() <= 253 && !text.contains(forbidden)
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        fn place(key: &ObjectKey) -> impl Iterator<Item = u8> {
            let namespace = key.namespace.iter().flat_map(|namespace| namespace.bytes().chain([b'/']));
            namespace.chain(key.name.bytes())
        }
        (&self.group, &self.version, &self.resource)
            .cmp(&(&other.group, &other.version, &other.resource))
            .then_with(|| place(self).cmp(place(other)))
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ObjectKey {
    /// The path of the object in the tar.
    ///
    /// # Errors
    /// When a part of the key is no segment of a path. A cluster that holds such a name is hostile or broken.
    pub fn path(&self) -> Result<String, PathError> {
        let group = if self.group.is_empty() { CORE } else { &self.group };
        let namespace = self.namespace.as_deref().unwrap_or(CLUSTER);
        for segment in [group, &self.version, &self.resource, namespace, &self.name] {
            if !is_segment(segment) {
                return Err(PathError::Segment(segment.chars().take(80).collect()));
            }
        }
        let Self { version, resource, name, .. } = self;
        Ok(format!("{ROOT}/{group}/{version}/{resource}/{namespace}/{name}{SUFFIX}"))
    }

    /// Reads a path of the tar back.
    ///
    /// # Errors
    /// When it is not of the form that [`ObjectKey::path`] writes.
    pub fn from_path(path: &str) -> Result<Self, PathError> {
        let form = || PathError::Form(path.chars().take(400).collect());
        let segments: Vec<&str> = path.strip_suffix(SUFFIX).ok_or_else(form)?.split('/').collect();
        let [ROOT, group, version, resource, namespace, name] = segments.as_slice() else {
            return Err(form());
        };
        let key = Self {
            group: if *group == CORE { String::new() } else { (*group).to_owned() },
            version: (*version).to_owned(),
            resource: (*resource).to_owned(),
            namespace: (*namespace != CLUSTER).then(|| (*namespace).to_owned()),
            name: (*name).to_owned(),
        };
        if key.path()? == path { Ok(key) } else { Err(form()) }
    }

    /// Group and plural name.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }
}

impl fmt::Display for ObjectKey {
    /// As kubectl writes it: `deployments.apps/web -n shop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group_resource(), self.name)?;
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " -n {namespace}"))
    }
}

/// One line of `index.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexEntry {
    /// The API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The version under which the object was read.
    pub version: String,
    /// The plural name of its resource.
    pub resource: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; absent for objects of the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    #[serde(default)]
    pub uid: String,
    /// `metadata.resourceVersion`.
    #[serde(default)]
    pub resource_version: String,
    /// Where the object's first byte lies in the tar.
    pub offset: u64,
    /// The object's length in bytes.
    pub length: u64,
    /// Digest of the object's canonical form.
    pub canonical: Digest,
}

impl IndexEntry {
    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// One line of `lookup.jsonl`: a zstd frame of `resources.tar` or `index.jsonl`. Frames are cut between objects
/// and between lines, so that each lies in one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookupEntry {
    /// The part that the frame belongs to.
    pub part: PartName,
    /// Where the frame's content begins in the plain part.
    pub plain_offset: u64,
    /// The length of its content.
    pub plain_length: u64,
    /// Where the frame begins in the zstd stream, which is age's plaintext.
    pub stored_offset: u64,
    /// The frame's length there.
    pub stored_length: u64,
    /// Digest of the frame's content.
    pub sha256: Digest,
    /// For a frame of the index: the path of its first object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_objects() {
        let key = ObjectKey {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "secrets".to_owned(),
            namespace: Some("shop".to_owned()),
            name: "db".to_owned(),
        };
        assert_eq!(key.path().unwrap(), "resources/core/v1/secrets/shop/db.json");
        assert_eq!(key.to_string(), "secrets/db -n shop");
    }

    #[test]
    fn keys_order_as_etcd_has_them() {
        let key = |namespace: &str, name: &str| ObjectKey {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "secrets".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        };
        let sorted = [key("a-b", "x"), key("a", "w"), key("a", "x"), key("a", "x-y"), key("a", "x.y"), key("b", "a")];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in [
            "",
            "resources/core/v1/secrets/shop/../db.json",
            "resources/core/v1/secrets/../db.json",
            "/resources/core/v1/secrets/shop/db.json",
            "resources/core/v1/secrets/shop/db",
            "resources//v1/secrets/shop/db.json",
            "resources/core/v1/secrets/sh\\op/db.json",
            "resources/core/v1/secrets/shop/d\nb.json",
        ] {
            assert!(ObjectKey::from_path(path).is_err(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_reads_back(
            group in "[a-z.]{0,20}", version in "v[0-9]", resource in "[a-z]{1,9}",
            namespace in proptest::option::of("[a-z0-9-]{1,9}"), name in "[a-zA-Z0-9:._ é-]{1,30}",
        ) {
            let key = ObjectKey { group, version, resource, namespace, name };
            if let Ok(path) = key.path() {
                let back = ObjectKey::from_path(&path);
                prop_assert!(back == Ok(key.clone()) || key.group == CORE);
            }
        }
    }
}
