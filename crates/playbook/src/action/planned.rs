//! What a step would do.

use lifeboat_model::differences;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ActionError;

/// An object, as people name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Absent for objects of the cluster.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID; absent of an object that is not there yet.
    #[serde(default)]
    pub uid: Option<String>,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A field that a write changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldDiff {
    /// `spec.replicas`.
    pub path: String,
    /// Its value before; absent where there is none, or null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Its value afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// One write. What is not in the plan cannot be written: [`Writes::write`](crate::Writes::write) asks for one of these
/// by its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Its name within the step: `labels`.
    pub id: String,
    /// What is done: `create`, `patch`, `delete`, `evict`, `send`.
    pub verb: String,
    /// To what.
    pub object: ObjectRef,
    /// Field by field. Secrets are masked by whoever makes the plan.
    pub fields: Vec<FieldDiff>,
    /// Why it cannot be undone, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
    /// What is lost for good by it: `the container's writable layer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
}

impl Change {
    /// A write that makes `after` of `before`, as the server would store them; null where there is no object.
    pub fn new(id: &str, verb: &str, object: ObjectRef, before: &Value, after: &Value) -> Self {
        let fields = differences(before, after).into_iter().map(|change| FieldDiff {
            path: change.path.to_string(),
            before: change.before.filter(|value| !value.is_null()).cloned(),
            after: change.after.filter(|value| !value.is_null()).cloned(),
        });
        Self {
            id: id.to_owned(),
            verb: verb.to_owned(),
            object,
            fields: fields.collect(),
            irreversible: None,
            loses: None,
        }
    }

    /// Says that it cannot be undone, and why.
    #[must_use]
    pub fn irreversible(mut self, reason: &str) -> Self {
        self.irreversible = Some(reason.to_owned());
        self
    }

    /// Says what is lost for good by it.
    #[must_use]
    pub fn loses(mut self, what: &str) -> Self {
        self.loses = Some(what.to_owned());
        self
    }
}

/// Evidence that will be gone after a time: `the liveness probe restarts this container`, 30 seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvidenceClock {
    /// What, and by what.
    pub what: String,
    /// After how many seconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What a step would do, found out by reads and dry runs alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepPlan<O = Value> {
    /// Its writes, in order.
    pub changes: Vec<Change>,
    /// What it acts on: counted by guards, and compared with protected namespaces. Of a step that writes nothing, empty.
    pub targets: Vec<ObjectRef>,
    /// What a person should know first.
    pub warnings: Vec<String>,
    /// Evidence that does not wait.
    pub evidence: Vec<EvidenceClock>,
    /// Permissions that are missing: `patch pods in namespace shop`.
    pub missing: Vec<String>,
    /// How long it takes, in seconds, where it can be said.
    pub seconds: Option<u64>,
    /// The step's outputs, where they are known before it runs, as those of a step that only reads. Later steps are
    /// planned with them.
    pub outputs: Option<O>,
    /// What `apply` has to know of what `plan` saw: UIDs, old values. It is in the journal, so no secrets, and in the
    /// plan's hash, so nothing that changes by itself.
    pub memo: Value,
}

impl<O> Default for StepPlan<O> {
    fn default() -> Self {
        Self {
            changes: Vec::new(),
            targets: Vec::new(),
            warnings: Vec::new(),
            evidence: Vec::new(),
            missing: Vec::new(),
            seconds: None,
            outputs: None,
            memo: Value::Null,
        }
    }
}

impl<O> StepPlan<O> {
    /// Of a step that writes nothing and whose outputs are known.
    pub fn of_outputs(outputs: O) -> Self {
        Self { outputs: Some(outputs), ..Self::default() }
    }

    /// Keeps what `apply` has to know.
    ///
    /// # Errors
    /// `Failed` when it cannot be written down as JSON.
    pub fn remember(&mut self, memo: &impl Serialize) -> Result<(), ActionError> {
        self.memo = serde_json::to_value(memo)
            .map_err(|error| ActionError::failed("what was planned cannot be written down").because(error))?;
        Ok(())
    }

    /// What was kept by [`remember`](Self::remember).
    ///
    /// # Errors
    /// `Failed` when the plan is of another action, or of another version of this one.
    pub fn recall<M: DeserializeOwned>(&self) -> Result<M, ActionError> {
        M::deserialize(&self.memo).map_err(|error| ActionError::failed("the plan is not of this action").because(error))
    }

    /// With other outputs.
    pub(crate) fn with_outputs<P>(self, outputs: Option<P>) -> StepPlan<P> {
        let Self { changes, targets, warnings, evidence, missing, seconds, outputs: _, memo } = self;
        StepPlan { changes, targets, warnings, evidence, missing, seconds, outputs, memo }
    }
}
