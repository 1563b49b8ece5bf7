//! What a run would do, as a value.

use lifeboat_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Identity, RunId, StepPlan};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Values of the playbook's inputs.
    pub inputs: Map<String, Value>,
    /// Who asks.
    pub requester: Identity,
    /// The name of the trigger, where an event asks and no person.
    pub trigger: Option<String>,
}

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The run that it would be.
    pub run: RunId,
    /// The playbook's name.
    pub playbook: String,
    /// What is asked for.
    pub request: Request,
    /// Digest of its text, and of those that it calls.
    pub sources: Digest,
    /// Values of its inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// The steps in the order in which they would begin, those of `finally` last.
    pub steps: Vec<PlannedStep>,
    /// What is in the way, by a guard. A run of this plan is `denied`.
    pub denied: Vec<String>,
    /// Why other people have to agree, if they have to.
    pub approval: Vec<String>,
    /// How many of them.
    pub quorum: u32,
    /// The key under which only one run may be under way.
    pub concurrency: Option<String>,
    /// The canonical hash of everything that would be done. An approval quotes it.
    pub hash: Digest,
}

/// What a step would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedStep {
    /// Its key.
    pub step: String,
    /// The action.
    pub uses: String,
    /// Whether it is known what it would do.
    pub state: Planned,
    /// What stands under its `with`, with every expression evaluated.
    pub inputs: Option<Value>,
    /// What it would do.
    pub plan: StepPlan,
}

/// Whether it is known what a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Planned {
    /// It is.
    Known,
    /// It is, but whether its `if` is true is known only when these steps have run.
    Maybe(Vec<String>),
    /// Its `if` is false.
    NotWanted,
    /// Only when these steps have run. If it then writes anything, that is shown and approved on its own.
    Later(Vec<String>),
    /// It would not be done, and why.
    Refused(String),
}
