//! A restore of objects that is asked for by an object of the cluster.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use super::condition::printable;
use crate::{BackupId, Digest};

/// The steps of a plan that a status shows, at most.
pub const MAX_PLANNED: usize = 100;
/// The failures that a status names, at most.
pub const MAX_FAILURES: usize = 50;
/// The longest name of an object or reason that is kept, in characters.
const MAX_TEXT: usize = 512;

/// A restore of objects into this cluster. It is planned once it is created, and performed when its plan was approved.
/// But for the approval it never changes: another restore is another object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.backup == oldSelf.backup && self.identity == oldSelf.identity && self.selection == oldSelf.selection && self.mode == oldSelf.mode && self.transform == oldSelf.transform && self.approval == oldSelf.approval",
        "message": "a restore cannot be changed, but for 'approve': create another object"
    },
    {
        "rule": "self.approval != 'auto' || !has(self.approve)",
        "message": "'approve' is for restores that wait for an approval, and 'approval: auto' does not"
    },
    {
        "rule": "self.mode != 'exact' || self.approval == 'manual'",
        "message": "mode 'exact' deletes objects, and its plan is to be read and approved"
    },
    {
        "rule": "self.mode != 'exact' || size(self.selection.namespaces) > 0",
        "message": "mode 'exact' deletes what the backup does not have, and only within namespaces that are named"
    }
]))]
pub struct RestoreSpec {
    /// Which backup: an id or the beginning of one, `latest`, or `latest-verified`.
    #[serde(default = "latest")]
    #[schemars(regex(pattern = r"^[0-9A-Za-z-]+$"), length(max = 23))]
    pub backup: String,
    /// What opens the backup.
    pub identity: IdentityRef,
    /// Which objects of it; all where nothing is said.
    #[serde(default)]
    pub selection: RestoreSelection,
    /// What becomes of objects that are there already and are not as in the backup.
    #[serde(default)]
    pub mode: RestoreMode,
    /// How objects are changed on their way.
    #[serde(default)]
    pub transform: RestoreTransform,
    /// Whether the plan has to be approved.
    #[serde(default)]
    pub approval: Approval,
    /// The hash of the plan that is to be performed, as the status shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9a-f]{64}$"), length(max = 64))]
    pub approve: Option<Digest>,
}

/// The backup that is meant where none is named.
pub(super) fn latest() -> String {
    "latest".to_owned()
}

/// A recovery identity in a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityRef {
    /// The Secret's name.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"), length(max = 253))]
    pub secret_name: String,
    /// Which of its keys holds the age identity.
    #[serde(default = "identity_key")]
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"), length(max = 253))]
    pub key: String,
}

fn identity_key() -> String {
    "identity".to_owned()
}

/// Which objects: all that fit every member; an empty member fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RestoreSelection {
    /// Of these resources: `deployments.apps`, `deploy`, `Deployment`.
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub kinds: Vec<String>,
    /// In these namespaces of the backup.
    #[schemars(length(max = 100), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    /// Of these names.
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub names: Vec<String>,
    /// With these labels, as kubectl takes them: `app=web,tier!=db`.
    #[schemars(length(max = 4096))]
    pub label_selector: String,
    /// Of these, those for which this CEL expression is true; it sees each as `object`.
    #[schemars(length(max = 4096))]
    pub expression: String,
}

/// What becomes of objects that are there already and are not as in the backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RestoreMode {
    /// They stay as they are.
    #[default]
    Skip,
    /// They are made equal, in place.
    Apply,
    /// They are deleted and created anew.
    Recreate,
    /// They are made equal, in place, and what the backup does not have is deleted.
    Exact,
}

/// How objects are changed on their way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RestoreTransform {
    /// Restore the status too.
    pub include_status: bool,
    /// Keep node ports that the server chose.
    pub keep_node_ports: bool,
    /// Namespaces of the backup, by what they are called here.
    #[schemars(extend("maxProperties" = 100))]
    pub namespaces: BTreeMap<String, String>,
    /// Storage classes of the backup, by what they are called here.
    #[schemars(extend("maxProperties" = 100))]
    pub storage_classes: BTreeMap<String, String>,
    /// Patches, in order.
    #[schemars(length(max = 20))]
    pub patches: Vec<RestorePatch>,
}

/// A patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestorePatch {
    /// What to call it in messages.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its text, as a file of `restore objects --patch` has it.
    #[schemars(length(max = 65_536))]
    pub text: String,
}

/// Whether a plan has to be approved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Approval {
    /// It is performed when `approve` is its hash.
    #[default]
    Manual,
    /// It is performed as soon as it is made, if nothing forbids it.
    Auto,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestorePhase {
    /// It waits for its turn, or is being planned.
    #[default]
    Pending,
    /// Its plan waits for an approval.
    Planned,
    /// Preflight found what forbids to perform the plan.
    Blocked,
    /// It is being performed.
    Running,
    /// All of it was done.
    Complete,
    /// Objects could not be restored.
    Partial,
    /// It was not performed, or not to its end.
    Failed,
}

impl RestorePhase {
    /// Whether nothing more will be done.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Blocked | Self::Complete | Self::Partial | Self::Failed)
    }
}

impl fmt::Display for RestorePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is known of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// The generation that this was found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    pub phase: RestorePhase,
    /// What would be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<RestorePlan>,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished: Option<Timestamp>,
    /// What was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<RestoreReport>,
    /// `Planned`: there is a plan. `Approved`: it may be performed. `Complete`: all of it was done. `Failed`: it was not
    /// performed, or not to its end.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A plan, as far as a status holds it. The hash stands for all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// Its hash, to be approved.
    pub hash: Digest,
    /// The backup.
    pub backup: BackupId,
    /// How many objects have which verdict.
    pub counts: PlanCounts,
    /// What preflight found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<PlanFinding>,
    /// The first steps: `create deployments.apps/web -n shop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub steps: Vec<String>,
    /// Steps beyond those.
    #[serde(default)]
    pub more_steps: u64,
}

/// How many objects have which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanCounts {
    /// Will be created.
    pub create: u64,
    /// Are as in the backup.
    pub unchanged: u64,
    /// Differ and stay so.
    pub leave: u64,
    /// Will be made equal.
    pub apply: u64,
    /// Will be deleted and created.
    pub recreate: u64,
    /// Will be deleted.
    pub prune: u64,
    /// Are not restored by a rule.
    pub skipped: u64,
    /// Cannot be restored.
    pub blocked: u64,
    /// Of those that will be created or made equal: the API server objects now.
    pub objections: u64,
}

/// Something that preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanFinding {
    /// Whether the plan cannot be performed because of it.
    pub blocks: bool,
    /// What kind of finding it is.
    pub code: String,
    /// What was found.
    pub message: String,
}

impl PlanFinding {
    /// A finding; its message may come from elsewhere.
    pub fn new(blocks: bool, code: &str, message: &str) -> Self {
        Self { blocks, code: printable(code, MAX_TEXT), message: printable(message, MAX_TEXT) }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreReport {
    /// Objects that were not there and are now.
    pub created: u64,
    /// Objects that were made equal.
    pub applied: u64,
    /// Objects that were deleted and created.
    pub recreated: u64,
    /// Objects that were as in the backup.
    pub unchanged: u64,
    /// Objects that differ and were left so.
    pub left: u64,
    /// Objects that were deleted.
    pub pruned: u64,
    /// Objects that could not be restored.
    pub failed: u64,
    /// Objects that were not tried, since what they need is missing.
    pub blocked: u64,
    /// Objects that were restored and are not quite as in the backup.
    pub differing: u64,
    /// The first of those that failed or were blocked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub failures: Vec<RestoreFailure>,
}

/// An object that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreFailure {
    /// The object.
    pub object: String,
    /// Why.
    pub message: String,
}

impl RestoreFailure {
    /// A failure; both texts may come from elsewhere.
    pub fn new(object: &str, message: &str) -> Self {
        Self { object: printable(object, MAX_TEXT), message: printable(message, MAX_TEXT) }
    }
}
