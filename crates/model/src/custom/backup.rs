//! A backup that is asked for by an object of the cluster, or shown by one.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use super::condition::printable;
use crate::{BackupId, BackupState, Gap, ResourcesConfig};

/// The gaps that a status names, at most.
pub const MAX_GAPS: usize = 20;
/// The longest name or reason of a gap that is kept, in characters.
const MAX_GAP_TEXT: usize = 256;

/// A backup to take. It never changes: another backup is another object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "a backup cannot be changed: create another object"},
    {
        "rule": "!has(self.id) || !(has(self.schedule) || has(self.etcd) || has(self.objects) || has(self.resources))",
        "message": "'id' shows a backup that is in the store, and goes with nothing else"
    },
    {
        "rule": "!has(self.schedule) || !(has(self.etcd) || has(self.objects) || has(self.resources))",
        "message": "'schedule' says what to take, and excludes 'etcd', 'objects' and 'resources'"
    },
    {
        "rule": "!has(self.objects) || self.objects || !has(self.resources)",
        "message": "'resources' says which objects to take, and 'objects: false' to take none"
    },
    {
        "rule": "!has(self.objects) || self.objects || !has(self.etcd) || self.etcd",
        "message": "neither etcd nor objects would be captured"
    }
]))]
pub struct BackupSpec {
    /// Show the backup of that id; nothing is taken. The daemon makes such objects for what it finds in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-z]{6}$"), length(max = 23))]
    pub id: Option<BackupId>,
    /// Take what the schedule of that name takes, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub schedule: Option<String>,
    /// Whether etcd is captured. Where absent it is, if the configuration has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<bool>,
    /// Whether the objects of the API are captured. Where absent they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<bool>,
    /// Which objects are captured. Where absent, as the configuration has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesConfig>,
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPhase {
    /// It waits for its turn.
    #[default]
    Pending,
    /// It is being taken.
    Running,
    /// It is in the store, with all that was expected.
    Complete,
    /// It is in the store, and something that was expected is missing.
    Partial,
    /// It was not taken.
    Failed,
    /// Something lies in the store under this id that cannot be believed.
    Untrusted,
    /// It was in the store, and is so no more.
    Removed,
}

impl BackupPhase {
    /// Whether it will be taken no more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

impl From<BackupState> for BackupPhase {
    fn from(state: BackupState) -> Self {
        match state {
            BackupState::Complete => Self::Complete,
            BackupState::Partial => Self::Partial,
        }
    }
}

impl fmt::Display for BackupPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is known of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// The generation that this was found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    pub phase: BackupPhase,
    /// Its id in the store, noted before anything is written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupId>,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started: Option<Timestamp>,
    /// When its last part was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished: Option<Timestamp>,
    /// Its place in the chain of the cluster's backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The schedule that was due; absent where somebody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Bytes that it takes in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Whether a drill has proved that it restores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// What was expected and not captured, the first of it; known of backups that were asked for here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub gaps: Vec<ReportedGap>,
    /// `Complete`: it is in the store and whole. `Failed`: it was not taken, or cannot be believed.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Something that was expected and not captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedGap {
    /// What is missing: a resource, an API, one object, or `etcd`.
    pub resource: String,
    /// Why.
    pub reason: String,
}

impl From<&Gap> for ReportedGap {
    fn from(gap: &Gap) -> Self {
        Self { resource: printable(&gap.resource, MAX_GAP_TEXT), reason: printable(&gap.reason, MAX_GAP_TEXT) }
    }
}
