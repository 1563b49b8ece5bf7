//! What a line of a journal says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lifeboat_model::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Identity, ObjectRef, Outcome, Plan, Proof};

/// Version of the journal's form.
pub(crate) const FORMAT: u32 = 1;

/// What happened. Everything that a resume or a rollback has to know is in these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Entry {
    /// The first line: all that a run is made of.
    Began {
        /// Version of the form.
        format: u32,
        /// The playbook and those that it calls, as they were read: a resume does not look at the files again.
        sources: Sources,
        /// What was shown.
        plan: Box<Plan>,
    },
    /// Enough people agreed to this hash.
    Approved {
        /// Of the plan, or of a part that could be planned only later.
        hash: Digest,
        /// Who.
        by: Vec<Identity>,
    },
    /// The run as a whole was denied: by a guard, by people, or because the plan is not true any more.
    Refused {
        /// Why.
        reason: String,
    },
    /// A step could be planned only now. Nothing of it is done before this is here.
    Planned {
        /// The step's key.
        step: String,
        /// What it would do.
        plan: Box<crate::StepPlan>,
    },
    /// A step is begun, or tried again.
    StepBegan {
        /// Its key.
        step: String,
        /// The action.
        uses: String,
        /// From 1.
        attempt: u32,
        /// What stands under its `with`, with every expression evaluated.
        inputs: Value,
    },
    /// A write is about to be made, and this undoes it.
    Writing {
        /// The step's key.
        step: String,
        /// Its number within the step.
        write: u32,
        /// The id of the planned change.
        change: String,
        /// What is written to.
        object: ObjectRef,
        /// What undoes it.
        inverse: InverseRecord,
    },
    /// The write's answer.
    Wrote {
        /// The step's key.
        step: String,
        /// The write's number within the step.
        write: u32,
        /// Whether it was done.
        outcome: WriteOutcome,
        /// Why not, or why nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A step has made all of its writes; what is left is the proof.
    Applied {
        /// The step's key.
        step: String,
        /// Its outputs.
        outputs: Value,
    },
    /// A step ended.
    StepEnded {
        /// Its key.
        step: String,
        /// The action.
        uses: String,
        /// How.
        outcome: Outcome,
        /// Why, where it is not a success.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// What was observed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
        /// Its outputs, where it has any that were not noted before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outputs: Option<Value>,
    },
    /// Somebody cancelled the run: nothing but `finally` begins from here on.
    Cancelled,
    /// The run was killed, and goes on in another process.
    Resumed {
        /// Who resumed it.
        by: Identity,
    },
    /// The run ended.
    Ended {
        /// As its worst step.
        outcome: Outcome,
    },
    /// Somebody takes the run back.
    RollbackBegan {
        /// Who.
        by: Identity,
    },
    /// A write is about to be taken back.
    Undoing {
        /// The step's key.
        step: String,
        /// The write's number within the step.
        write: u32,
    },
    /// What came of it.
    Undone {
        /// The step's key.
        step: String,
        /// The write's number within the step.
        write: u32,
        /// `success`, `unverified` or `failed`.
        outcome: Outcome,
        /// What was observed, or what went wrong.
        message: String,
    },
    /// The rollback ended.
    RollbackEnded {
        /// As its worst write.
        outcome: Outcome,
    },
}

/// The texts that a run is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sources {
    /// Where the playbook was read from.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The playbooks that it calls, directly or not, by their names.
    pub called: BTreeMap<String, String>,
}

impl Sources {
    /// A digest of all of them.
    pub fn digest(&self) -> Digest {
        let called = self.called.iter().map(|(name, text)| (name.as_str(), Digest::of(text.as_bytes())));
        let all: Vec<String> = [("", Digest::of(self.text.as_bytes()))]
            .into_iter()
            .chain(called)
            .map(|(n, d)| format!("{d} {n}"))
            .collect();
        Digest::of(all.join("\n").as_bytes())
    }
}

/// What undoes a write, as it is in a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InverseRecord {
    /// The action's own form of it.
    By(Value),
    /// Nothing does, and why.
    None(String),
}

/// Whether a write was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WriteOutcome {
    /// The answer says so.
    Done,
    /// The answer says not.
    NotDone,
    /// Nobody knows.
    Uncertain,
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// From 0.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub entry: Entry,
}
