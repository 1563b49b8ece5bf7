//! A drill that is asked for by an object of the cluster.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, IdentityRef};
use crate::{BackupId, DrillId, DrillTargets, FindingCode};

/// A drill to run. It never changes: another drill is another object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "a drill cannot be changed: create another object"},
    {
        "rule": "self.tier == 0 || has(self.identity)",
        "message": "from tier 1 on the backup is opened, which needs an 'identity'"
    },
    {
        "rule": "self.tier == 2 || !has(self.targets) || !has(self.targets.rtoSeconds)",
        "message": "the time to every object readable is measured in tier 2"
    }
]))]
pub struct DrillSpec {
    /// Which backup: an id or the beginning of one, `latest`, or `latest-verified`.
    #[serde(default = "super::restore::latest")]
    #[schemars(regex(pattern = r"^[0-9A-Za-z-]+$"), length(max = 23))]
    pub backup: String,
    /// How deep it goes: 0, every part is opened and proved; 1, etcd boots from it; 2, kube-apiserver boots on that etcd
    /// and every object is compared. From 1 on the daemon needs those programs beside it.
    #[serde(default)]
    #[schemars(range(max = 2))]
    pub tier: u8,
    /// What opens the backup. Without it tier 0 sees no more than digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityRef>,
    /// What is asked of the drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<DrillTargets>,
}

/// How far a drill is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillStage {
    /// It waits for its turn.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// The backup restores, and every target was met.
    Passed,
    /// It does not, or a target was missed: the findings say which.
    NotPassed,
    /// Nothing could be found out.
    Failed,
}

impl DrillStage {
    /// Whether it will be run no more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

impl fmt::Display for DrillStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What came of a drill. The whole of it is in its signed report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrillStatus {
    /// The generation that this was found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    pub phase: DrillStage,
    /// The backup that was drilled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// The drill, and with that its report in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub report: Option<DrillId>,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished: Option<Timestamp>,
    /// What was found, each kind once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub findings: Vec<FindingCode>,
    /// How long each phase took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<DrillPhaseSeconds>,
    /// From the start to every object readable, where it came as far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<u64>,
    /// The age of the backup at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<u64>,
    /// `Complete`: it ran to its end. `Passed`: the backup restores, and every target was met. `Failed`: nothing could
    /// be found out.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A phase of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillPhaseSeconds {
    /// `fetch`, `open`, `rebuild`, `boot` or `compare`.
    pub name: String,
    /// How long it took, in whole seconds.
    pub seconds: u64,
}
