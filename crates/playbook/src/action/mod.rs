//! What a step `uses`.

mod context;
mod erased;
mod error;
mod planned;
mod writes;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use context::StepContext;
pub(crate) use erased::{AnyAction, erase};
pub use error::ActionError;
pub use planned::{Change, EvidenceClock, FieldDiff, ObjectRef, StepPlan};
pub(crate) use writes::WriteLog;
pub use writes::{Inverse, Permit, Writes};

use crate::Proof;

/// What an action says of itself. The docs, the JSON Schema, `playbook actions`, `playbook rbac` and the checks of a
/// playbook all come from this one statement and the types of [`Action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `pod.isolate`: a noun and a verb, lower case.
    pub name: &'static str,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// The manual page: what it does, in which order, what it cannot do. Markdown.
    pub description: &'static str,
    /// What has to be allowed. Of an action that takes several kinds of objects, all of them.
    pub permissions: &'static [Permission],
    /// Ids of MITRE ATT&CK that it answers to: `T1046`.
    pub attack: &'static [&'static str],
    /// Ids of MITRE D3FEND that it is: `D3-NI`.
    pub defend: &'static [&'static str],
    /// Whether its writes can be undone.
    pub undo: Undo,
    /// Whether `apply` may be called again after it was broken off.
    pub repeat: Repeat,
    /// Steps that use it, as YAML: a list. [`Registry::check_examples`](crate::Registry::check_examples) loads it, with
    /// `inputs.namespace` and `inputs.name` given.
    pub example: &'static str,
}

/// What has to be allowed by RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource: `pods/eviction`.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
}

/// Whether the writes of an action can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// It writes nothing.
    ReadsOnly,
    /// All of them.
    Yes,
    /// Not all, or not fully: what remains.
    Partly(&'static str),
    /// None of them, and why.
    No(&'static str),
}

/// Whether `apply` may be called again for a step during which a run was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Repeat {
    /// Yes: it looks at what is there, and a second time does nothing more. `until` and `retry` may repeat it too.
    Safe,
    /// No, once its first write was begun. The step is then `failed`, and says why.
    Never,
}

/// The inverse of an action that has none, because it writes nothing or its writes cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoInverse {}

/// What a step `uses`.
///
/// # How to write one
///
/// - A type that can be made without a cluster, since `lint` needs its statement and schemas; clients are connected
///   when `plan` or another method is called first.
/// - `Inputs` with `deny_unknown_fields`, `rename_all = "camelCase"` and doc comments: they are its reference. Of what
///   schemars writes, `$ref`, `enum`, `oneOf` of constants, `anyOf` with null, and bounds of numbers, lengths and items
///   are understood; [`Registry::add`](crate::Registry::add) refuses other keywords. `Outputs` is a struct; members
///   that may be absent are written as null. `outcome` and `message` are taken.
/// - `plan` reads, dry-runs, reviews access, and writes nothing. It is also called for `--dry-run`, and again before a
///   run that waited for an approval: the hash of both has to be the same. What changes by itself (a resource version,
///   an age) belongs into `evidence`, `warnings` or nowhere, and not into `changes` or `memo`.
/// - `apply` does exactly the changes of the plan, each by [`Writes::write`], which makes the inverse durable before it
///   calls the closure with a [`Permit`]. Every function that writes to a cluster takes a `&Permit`; none can be had
///   otherwise. Each write has a precondition on the UID that the plan saw, and answers `Denied` when it does not hold.
///   Effects outside of the cluster (a message, an uploaded file) are changes as well.
/// - `prove` looks at the effect with other calls than those that caused it, and says what it saw. Nothing seen is
///   [`Proof::NotObserved`] with the reason; the step is then `unverified`, which is no success. It may wait
///   ([`StepContext::sleep`]); the step's `timeout` ends it.
/// - `undo` takes back one write. It is also called when nobody knows whether the write was done, and maybe twice: it
///   looks first, and what is undone already is fine. Without the object it acted on (by UID) it undoes nothing.
/// - None of the methods may keep state in the action between calls: a run goes on in another process after a kill.
///   What `apply` must know from `plan` is in `memo`; what `prove` must know is in the outputs.
///
/// The engine may drop `plan`, `prove` and `undo` at any await, and `apply` between two writes.
#[async_trait]
pub trait Action: Send + Sync + 'static {
    /// What stands under `with`.
    type Inputs: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// What later steps see as `steps.ID`.
    type Outputs: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// What undoes one write. It is in the journal: no secrets.
    type Inverse: Serialize + DeserializeOwned + Send + Sync;

    /// What it says of itself.
    fn statement(&self) -> Statement;

    /// Finds out what it would do.
    ///
    /// # Errors
    /// `Denied` when it must not be done, such as for a target that is not what was asked for.
    async fn plan(&self, inputs: &Self::Inputs, context: &StepContext) -> Result<StepPlan<Self::Outputs>, ActionError>;

    /// Does what the plan says, and no more.
    ///
    /// # Errors
    /// What was written before stays written, and is in the journal.
    async fn apply(
        &self,
        inputs: &Self::Inputs,
        plan: &StepPlan<Self::Outputs>,
        writes: &mut Writes<'_, Self::Inverse>,
        context: &StepContext,
    ) -> Result<Self::Outputs, ActionError>;

    /// Observes the effect.
    ///
    /// # Errors
    /// When it cannot look. The step is then `unverified`.
    async fn prove(
        &self,
        inputs: &Self::Inputs,
        outputs: &Self::Outputs,
        context: &StepContext,
    ) -> Result<Proof, ActionError>;

    /// Takes back one write, and observes that.
    ///
    /// # Errors
    /// When it cannot be taken back; the rollback goes on with the others and tells.
    async fn undo(&self, inverse: Self::Inverse, permit: &Permit, context: &StepContext) -> Result<Proof, ActionError>;
}
