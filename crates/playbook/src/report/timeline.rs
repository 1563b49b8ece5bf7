//! What happened in a run, in the order in which it did.

use jiff::Timestamp;
use serde_json::Value;

use crate::{Outcome, RunRecord, StepRecord, WriteOutcome, WriteRecord};

/// Something that happened.
pub(super) struct Happened {
    pub(super) at: Timestamp,
    pub(super) what: String,
    pub(super) outcome: &'static str,
    pub(super) details: String,
}

/// A piece of evidence that a step took, by its digest.
pub(super) struct Evidence {
    pub(super) step: String,
    pub(super) path: String,
    pub(super) sha256: String,
}

pub(super) fn outcome_name(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("not ended", Outcome::name)
}

/// Everything that happened, oldest first.
pub(super) fn timeline(record: &RunRecord) -> Vec<Happened> {
    let event = |at, what: &str, details: String| Happened { at, what: what.to_owned(), outcome: "", details };
    let mut events = Vec::new();
    for approval in &record.approvals {
        let names: Vec<&str> = approval.by.iter().map(|identity| identity.0.as_str()).collect();
        events.push(event(approval.at, "approved", format!("{} by {}", approval.hash, names.join(", "))));
    }
    for step in &record.steps {
        of_step(step, &mut events);
    }
    events.extend(record.cancelled.map(|at| event(at, "cancelled", String::new())));
    for resumed in &record.resumed {
        events.push(event(resumed.at, "resumed after a kill", format!("by {}", resumed.by)));
    }
    if let Some(rollback) = &record.rollback {
        events.push(event(rollback.began, "rollback", format!("by {}", rollback.by)));
    }
    events.sort_by_key(|event| event.at);
    events
}

fn of_step(step: &StepRecord, events: &mut Vec<Happened>) {
    for write in &step.writes {
        of_write(step, write, events);
    }
    let proof = step.proof.as_ref().map(super::super::outcome::Proof::text);
    let details = match (proof, step.message.as_deref()) {
        (Some(proof), _) => proof,
        (None, message) => message.unwrap_or_default(),
    };
    events.push(Happened {
        at: step.ended.unwrap_or(step.began),
        what: format!("{}: {}", step.step, step.uses),
        outcome: outcome_name(step.outcome),
        details: details.to_owned(),
    });
}

fn of_write(step: &StepRecord, write: &WriteRecord, events: &mut Vec<Happened>) {
    let outcome = match write.outcome {
        Some(WriteOutcome::Done) => "done",
        Some(WriteOutcome::NotDone) => "not done",
        Some(WriteOutcome::Uncertain) | None => "uncertain",
    };
    let undo = match &write.irreversible {
        Some(reason) => format!("cannot be undone: {reason}"),
        None => String::new(),
    };
    let what = format!("{}: {} {}", step.step, write.change, write.object);
    events.push(Happened { at: write.at, what: what.clone(), outcome, details: undo });
    if let Some(undone) = &write.undone {
        events.push(Happened {
            at: undone.at,
            what: format!("taken back: {what}"),
            outcome: undone.outcome.name(),
            details: undone.message.clone(),
        });
    }
}

/// Every digest that the steps' outputs name.
pub(super) fn evidence(record: &RunRecord) -> Vec<Evidence> {
    let mut found = Vec::new();
    // The outputs of a `forEach`, and of a playbook that was called, are those of its parts again.
    let own = record.steps.iter().filter(|step| step.attempts > 0);
    for (step, outputs) in own.filter_map(|step| Some((step, step.outputs.as_ref()?))) {
        digests(&step.step, "", outputs, &mut found);
    }
    found
}

fn digests(step: &str, path: &str, value: &Value, found: &mut Vec<Evidence>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(sha256) if key == "sha256" => {
                        let path = if path.is_empty() { "outputs" } else { path };
                        let (step, path, sha256) = (step.to_owned(), path.to_owned(), sha256.clone());
                        found.push(Evidence { step, path, sha256 });
                    }
                    value => {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        digests(step, &path, value, found);
                    }
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                digests(step, &format!("{path}[{index}]"), item, found);
            }
        }
        _ => {}
    }
}
