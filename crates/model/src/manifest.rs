//! The manifest, whose presence commits a backup, and the record of a cluster.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BackupId, ClusterName, Digest, SignedDocument};

/// The major version of the format; readers refuse any other.
pub const FORMAT_MAJOR: u32 = 1;
/// The version of the format that is written. Minor versions only add fields and parts.
pub const FORMAT_VERSION: &str = "1.0";

/// The signed description of a backup. It tells no more about the cluster than sizes and times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// `MAJOR.MINOR` of the format.
    pub format: String,
    /// The program that wrote it.
    pub tool: String,
    /// The backup's id, also in its keys.
    pub id: BackupId,
    /// UID of the namespace `kube-system`.
    pub cluster_id: String,
    /// The name under which the cluster's backups lie in the store.
    pub cluster: ClusterName,
    /// Position in the chain of the cluster's backups, from 1.
    pub sequence: u64,
    /// The backup before this one in the chain.
    #[serde(default)]
    pub previous: Option<Previous>,
    /// The generation of the leadership under which it was taken, where there is one: of a lease, growing by one with each
    /// new leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// When it was begun, by the clock of the program.
    pub started: Timestamp,
    /// When the last part was complete.
    pub finished: Timestamp,
    /// Why it was taken.
    pub reason: Reason,
    /// Whether it has all that was expected.
    pub state: BackupState,
    /// Version of the API server.
    #[serde(default)]
    pub kubernetes_version: Option<String>,
    /// The etcd snapshot, or why there is none.
    pub etcd: EtcdRecord,
    /// The objects, or why there are none.
    pub resources: ResourcesRecord,
    /// The sealed parts: all of them, and no others.
    pub parts: Vec<Part>,
    /// The age recipients that can open the parts.
    pub recipients: Vec<String>,
    /// Version of the canonical rules behind the digests of the index.
    pub canonical_version: u32,
    /// What a restore needs besides this backup.
    pub required_for_restore: RequiredForRestore,
}

impl Manifest {
    /// The part of that name.
    pub fn part(&self, name: &PartName) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == *name)
    }

    /// Bytes that the backup takes in the store, without its manifest.
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.stored_bytes))
    }
}

impl SignedDocument for Manifest {
    fn trusted_comment(&self) -> String {
        format!("lifeboat {} {} {}", self.cluster_id, self.id, self.sequence)
    }
}

/// A link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// The id of the backup before.
    pub id: BackupId,
    /// Digest of its manifest.
    pub sha256: Digest,
}

/// Why a backup was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Somebody asked for it.
    Manual,
    /// A schedule of that name was due.
    Schedule(String),
}

/// Whether a backup has all that was expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupState {
    /// Nothing that was expected is missing.
    Complete,
    /// Its coverage names what is missing.
    Partial,
}

impl fmt::Display for BackupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Complete => "Complete",
            Self::Partial => "Partial",
        })
    }
}

/// The etcd snapshot of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EtcdRecord {
    /// It was captured.
    #[serde(rename_all = "camelCase")]
    Captured {
        /// Version of the member that served it.
        version: String,
        /// Id of the etcd cluster, hexadecimal.
        cluster_id: String,
        /// Id of the member, hexadecimal.
        member_id: String,
        /// The highest revision in the snapshot.
        revision: u64,
        /// The member's raft index when it was chosen.
        raft_index: u64,
        /// Alarms that were raised, such as `NOSPACE`.
        #[serde(default)]
        alarms: Vec<String>,
    },
    /// There is none.
    Absent {
        /// Why.
        reason: String,
    },
}

/// The objects of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ResourcesRecord {
    /// They were captured.
    #[serde(rename_all = "camelCase")]
    Captured {
        /// The lowest resource version of the lists: nothing older was seen.
        from_resource_version: u64,
        /// The highest.
        to_resource_version: u64,
    },
    /// There are none.
    Absent {
        /// Why.
        reason: String,
    },
}

/// A sealed part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its name.
    pub name: PartName,
    /// Bytes before compression.
    pub plain_bytes: u64,
    /// Digest before compression.
    pub plain_sha256: Digest,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// Digest of the bytes in the store.
    pub stored_sha256: Digest,
}

/// The name of a part: that of the plain file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PartName(Cow<'static, str>);

impl PartName {
    /// The etcd snapshot.
    pub const ETCD: Self = Self(Cow::Borrowed("etcd.db"));
    /// The objects.
    pub const RESOURCES: Self = Self(Cow::Borrowed("resources.tar"));
    /// One line an object.
    pub const INDEX: Self = Self(Cow::Borrowed("index.jsonl"));
    /// One line a zstd frame of the objects and the index.
    pub const LOOKUP: Self = Self(Cow::Borrowed("lookup.jsonl"));
    /// Expected against captured.
    pub const COVERAGE: Self = Self(Cow::Borrowed("coverage.json"));
    /// What a drill saw of the cluster; no part of a backup, but sealed as one.
    pub const DRILL_DETAILS: Self = Self(Cow::Borrowed("details.json"));
    /// The evidence of a run; no part of a backup, but sealed as one.
    pub const EVIDENCE: Self = Self(Cow::Borrowed("evidence.tar"));

    /// The name of the plain file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the sealed file in the store.
    pub fn stored_name(&self) -> String {
        format!("{}.zst.age", self.0)
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<PartName> for String {
    fn from(name: PartName) -> Self {
        name.0.into_owned()
    }
}

impl TryFrom<String> for PartName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        let valid = text.len() <= 100 && text.bytes().all(plain) && text.starts_with(|c: char| c.is_ascii_lowercase());
        if valid { Ok(Self(Cow::Owned(text))) } else { Err(format!("'{text}' is not the name of a part")) }
    }
}

/// What a restore needs that is not in the backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequiredForRestore {
    /// Values in etcd are encrypted at rest: the API server needs its `EncryptionConfiguration`, and the KMS if one is
    /// used.
    pub encryption_configuration: bool,
    /// A restored etcd needs the cluster's certificate authorities and the key that signs service account tokens.
    pub pki: bool,
}

/// `cluster.json`: which cluster the name stands for in this store. Signed like a manifest. It has nothing that differs
/// from one writer to the next, so that the record of one fits the signature of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRecord {
    /// `MAJOR.MINOR` of the format.
    pub format: String,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// UID of the namespace `kube-system`.
    pub cluster_id: String,
}

impl SignedDocument for ClusterRecord {
    fn trusted_comment(&self) -> String {
        format!("lifeboat {} cluster {}", self.cluster_id, self.cluster)
    }
}
