//! Playbooks, their runs, and what people say to these, as objects of a cluster.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use lifeboat_model::{Condition, Digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::clean;
use crate::{Change, FieldDiff, Outcome, Plan, PlannedStep, RunRecord, StepRecord};

/// The faults of a playbook that a status names, at most.
const MAX_FAULTS: usize = 50;
/// The changes of a plan that a status shows, at most.
const MAX_CHANGES: usize = 60;
/// The fields of one change that a status shows, at most.
const MAX_FIELDS: usize = 8;
/// The sentences of one sort that a status shows, at most.
const MAX_SENTENCES: usize = 20;
/// The steps that a status shows, at most.
const MAX_STEPS: usize = 100;
/// The longest text that is kept, in characters.
const MAX_TEXT: usize = 300;

/// What is known of a playbook that is an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlaybookStatus {
    /// The generation that this was found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many steps it has.
    pub steps: u32,
    /// The actions that it uses, those of playbooks that it calls included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// What is wrong with it, in the order of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub faults: Vec<PlaybookFault>,
    /// `Ready`: it can be run.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Something that is wrong with a playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookFault {
    /// The playbook: another one's where that is called.
    pub playbook: String,
    /// Line, from 1, of the object as `lifeboat` writes it: `apiVersion`, `kind`, `metadata` with the name alone, `spec`.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Where that is in the object: `spec.steps[2].with.target`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl PlaybookFault {
    /// Those that a status names, of what may come from elsewhere.
    pub fn list(faults: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let bounded = |fault: Self| Self {
            playbook: cut(&fault.playbook),
            path: cut(&fault.path),
            message: cut(&fault.message),
            ..fault
        };
        faults.into_iter().take(MAX_FAULTS).map(bounded).collect()
    }
}

impl fmt::Display for PlaybookFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({}): {}", self.line, self.column, self.path, self.message)
    }
}

/// A run of a playbook: planned once it is created, and done when enough people have agreed to that plan. But for its end it
/// never changes: another run is another object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.playbook == oldSelf.playbook && self.requester == oldSelf.requester && self.inputs == oldSelf.inputs && self.approval == oldSelf.approval",
        "message": "a run cannot be changed, but for 'cancelledBy' and 'rolledBackBy': create another object"
    },
    {
        "rule": "!has(oldSelf.cancelledBy) || (has(self.cancelledBy) && self.cancelledBy == oldSelf.cancelledBy)",
        "message": "what was cancelled stays so"
    }
]))]
pub struct PlaybookRunSpec {
    /// The playbook, an object of the same namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub playbook: String,
    /// Who asks for the run: the name under which the API server knows whoever creates it. It takes no other.
    #[schemars(length(min = 1, max = 253))]
    pub requester: String,
    /// Values of the playbook's inputs, as texts; items of a list are separated by commas.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 100))]
    pub inputs: BTreeMap<String, String>,
    /// Whether somebody else has to agree in any case.
    #[serde(default)]
    pub approval: RunApproval,
    /// Who cancels the run: whoever writes this. What is under way ends after its write, and `finally` runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cancelled_by: Option<String>,
    /// Who has what was done taken back: whoever writes this. Where not all could be taken back, it is tried again when this
    /// is removed and written anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub rolled_back_by: Option<String>,
}

/// Whether somebody else has to agree in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RunApproval {
    /// One person other than the requester, or as many as the playbook wants.
    #[default]
    Manual,
    /// Only where the playbook or one of its guards asks for it. Needs the right to `autoapprove` runs.
    Auto,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlaybookRunPhase {
    /// It waits for its turn, or is being planned.
    #[default]
    Pending,
    /// People are asked.
    Waiting,
    /// It is under way.
    Running,
    /// It ended; the outcome says how.
    Ended,
    /// What was done is being taken back.
    RollingBack,
    /// What was done was taken back, as far as `rollback.outcome` says.
    RolledBack,
    /// It was never begun.
    NotRun,
}

/// What is known of a run. Its journal has all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlaybookRunStatus {
    /// The generation that this was found for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    pub phase: PlaybookRunPhase,
    /// Its id, under which its journal is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Digest of the key under which one run is under way at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<RunPlan>,
    /// What people are asked, while they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<RunQuestion>,
    /// The steps so far.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub steps: Vec<RunStep>,
    /// Steps beyond those.
    pub more_steps: u64,
    /// As its worst step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished: Option<Timestamp>,
    /// What became of the rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RunRollback>,
    /// `Planned`: there is a plan. `Approved`: enough people agreed. `Complete`: every step is a success. `Failed`: it was
    /// not run, or not all of it is a success. `RolledBack`: all that it did was taken back.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A plan, as far as a status holds it. The hash stands for all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// Its hash, to be quoted by who agrees.
    pub hash: Digest,
    /// The first changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 60))]
    pub changes: Vec<RunChange>,
    /// Changes beyond those.
    #[serde(default)]
    pub more_changes: u64,
    /// What a person should know first; evidence that does not wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Permissions that are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What would not be done, and what the guards are against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// Steps of which it is known only later what they would do. If they write, they are approved on their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<String>,
    /// Why others have to agree, if they have to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approval: Vec<String>,
    /// How many of them.
    #[serde(default)]
    pub quorum: u32,
}

/// A change of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunChange {
    /// The step.
    pub step: String,
    /// `patch Pod shop/web-1`.
    pub what: String,
    /// The first of its fields: `metadata.labels.app: "web" -> nothing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Why it cannot be undone, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
    /// What is lost for good by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
}

/// What people are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunQuestion {
    /// What they have to quote.
    pub hash: Digest,
    /// The question.
    pub text: String,
    /// How many different people have to agree.
    pub quorum: u32,
    /// Who did already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStep {
    /// Its key.
    pub step: String,
    /// The action.
    pub uses: String,
    /// How it ended; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What was observed, or why it is no success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// When it was begun.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub began: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<Timestamp>,
}

/// What became of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRollback {
    /// Who asked for it.
    pub by: String,
    /// When it was begun.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub began: Timestamp,
    /// As its worst write; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What one person says to a plan. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "an approval cannot be changed: create another object"}
]))]
pub struct PlaybookApprovalSpec {
    /// The run, an object of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub run: String,
    /// Its UID: a later run of the same name is another one.
    #[schemars(length(min = 1, max = 64))]
    pub run_uid: String,
    /// The hash of what is agreed to, as the run's status shows it.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{64}$"), length(max = 64))]
    pub hash: Digest,
    /// Who says it: the name under which the API server knows whoever creates this. It takes no other.
    #[schemars(length(min = 1, max = 253))]
    pub approver: String,
    /// Yes or no. A no ends the run.
    #[serde(default = "yes")]
    pub approve: bool,
}

fn yes() -> bool {
    true
}

/// What became of an approval.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlaybookApprovalStatus {
    /// `Counted`: whether it counts, and why not.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A piece of the journal of a run. Text is only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.run == oldSelf.run && self.number == oldSelf.number && self.text.startsWith(oldSelf.text) && self.void == oldSelf.void",
        "message": "nothing that is in a journal is changed"
    },
    {
        "rule": "!oldSelf.closed || (self.closed && self.text == oldSelf.text && self.holder == oldSelf.holder)",
        "message": "a piece of a journal that is closed is not changed"
    }
]))]
pub struct PlaybookJournalSpec {
    /// The run's id.
    #[schemars(length(min = 1, max = 64))]
    pub run: String,
    /// The how many-th piece, from 0.
    #[schemars(range(min = 0, max = 100_000))]
    pub number: u32,
    /// Who writes it. Who takes it over makes what the one before would still write a conflict.
    #[schemars(length(max = 253))]
    pub holder: String,
    /// Whether another piece follows.
    #[serde(default)]
    pub closed: bool,
    /// How many pieces before this one hold a line that was not written to its end, and are void.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub void: u32,
    /// Lines, or a part of a long one.
    #[serde(default)]
    #[schemars(length(max = 262_144))]
    pub text: String,
}

/// Text from elsewhere on one line, and not at any length.
fn cut(text: &str) -> String {
    let text = clean(text);
    if text.chars().count() <= MAX_TEXT {
        return text;
    }
    text.chars().take(MAX_TEXT - 1).chain(['…']).collect()
}

fn sentences<'a>(all: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    all.into_iter().take(MAX_SENTENCES).map(|text| cut(text)).collect()
}

impl RunPlan {
    /// A plan, as far as a status holds it.
    pub fn of(plan: &Plan) -> Self {
        let changes = || plan.steps.iter().flat_map(|step| step.plan.changes.iter().map(move |change| (step, change)));
        let clocks = plan.steps.iter().flat_map(|step| &step.plan.evidence).map(|clock| match clock.seconds {
            Some(seconds) => format!("evidence, for {seconds} s: {}", clock.what),
            None => format!("evidence: {}", clock.what),
        });
        let clocks: Vec<String> = clocks.collect();
        let refused: Vec<String> = plan.steps.iter().filter_map(refusal).collect();
        let later = plan.steps.iter().filter(|step| matches!(step.state, crate::Planned::Later(_)));
        Self {
            hash: plan.hash,
            changes: changes().take(MAX_CHANGES).map(|(step, change)| RunChange::of(step, change)).collect(),
            more_changes: changes().count().saturating_sub(MAX_CHANGES) as u64,
            warnings: sentences(clocks.iter().chain(plan.steps.iter().flat_map(|step| &step.plan.warnings))),
            missing: sentences(plan.steps.iter().flat_map(|step| &step.plan.missing)),
            denied: sentences(plan.denied.iter().chain(&refused)),
            later: sentences(later.map(|step| &step.step)),
            approval: sentences(&plan.approval),
            quorum: plan.quorum,
        }
    }
}

fn refusal(step: &PlannedStep) -> Option<String> {
    match &step.state {
        crate::Planned::Refused(reason) => Some(format!("step '{}': {reason}", step.step)),
        _ => None,
    }
}

impl RunChange {
    fn of(step: &PlannedStep, change: &Change) -> Self {
        let optional = |text: &Option<String>| text.as_deref().map(cut);
        Self {
            step: cut(&step.step),
            what: cut(&format!("{} {}", change.verb, change.object)),
            fields: change.fields.iter().take(MAX_FIELDS).map(field).collect(),
            irreversible: optional(&change.irreversible),
            loses: optional(&change.loses),
        }
    }
}

fn field(diff: &FieldDiff) -> String {
    let shown =
        |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    cut(&format!("{}: {} -> {}", diff.path, shown(&diff.before), shown(&diff.after)))
}

impl RunQuestion {
    /// What is asked; the text may name things of the cluster.
    pub fn new(hash: Digest, text: &str, quorum: u32) -> Self {
        Self { hash, text: cut(text), quorum, approved_by: Vec::new() }
    }
}

impl PlaybookRunStatus {
    /// Takes in what the journal says, but for conditions.
    pub fn note(&mut self, record: &RunRecord) {
        self.run = Some(record.run.to_string());
        self.steps = record.steps.iter().take(MAX_STEPS).map(RunStep::of).collect();
        self.more_steps = record.steps.len().saturating_sub(MAX_STEPS) as u64;
        self.outcome = record.outcome;
        self.started = Some(lifeboat_model::settled(record.began));
        self.finished = record.ended.map(lifeboat_model::settled);
        self.rollback = record.rollback.as_ref().map(|rollback| RunRollback {
            by: cut(&rollback.by.0),
            began: lifeboat_model::settled(rollback.began),
            outcome: rollback.outcome,
        });
    }
}

impl RunStep {
    fn of(step: &StepRecord) -> Self {
        let proof = step.proof.as_ref().map(crate::Proof::text).or(step.message.as_deref());
        Self {
            step: cut(&step.step),
            uses: cut(&step.uses),
            outcome: step.outcome,
            proof: proof.map(cut),
            began: lifeboat_model::settled(step.began),
            ended: step.ended.map(lifeboat_model::settled),
        }
    }
}
