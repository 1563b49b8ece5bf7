//! A run, as its status shows it.

use jiff::Timestamp;
use kube::Resource as _;
use lifeboat_model::{Condition, set_condition};
use lifeboat_playbook::{Outcome, PlaybookRunPhase, PlaybookRunStatus, RunRecord};

use super::{NotRun, Object};
use crate::controllers::observed;
use crate::responder::progress::Progress;

fn conditions(object: &Object, status: &mut PlaybookRunStatus, now: Timestamp, all: &[(&str, bool, &str, &str)]) {
    for (kind, holds, reason, message) in all {
        let condition = Condition::new(kind, *holds, reason, message, now);
        set_condition(&mut status.conditions, observed(object, condition));
    }
    status.observed_generation = object.meta().generation;
}

/// It was never begun.
pub(super) fn not_run(object: &Object, status: &mut PlaybookRunStatus, now: Timestamp, why: &NotRun) {
    let NotRun(reason, message) = why;
    status.phase = PlaybookRunPhase::NotRun;
    status.waiting = None;
    status.finished = Some(lifeboat_model::settled(now));
    conditions(object, status, now, &[("Complete", false, reason, message), ("Failed", true, reason, message)]);
}

/// There is a plan.
pub(super) fn planned(object: &Object, status: &mut PlaybookRunStatus, now: Timestamp, asks: bool) {
    status.phase = if asks { PlaybookRunPhase::Waiting } else { PlaybookRunPhase::Running };
    let approved = if asks {
        ("Approved", false, "Waiting", "people are asked: 'status.waiting' has the hash that they have to quote")
    } else {
        ("Approved", true, "NotNeeded", "neither run nor playbook ask for an approval")
    };
    conditions(
        object,
        status,
        now,
        &[
            ("Planned", true, "Planned", "there is a plan"),
            approved,
            ("Complete", false, "Running", "it has not ended"),
        ],
    );
}

/// It is further than it was.
pub(super) fn under_way(object: &Object, status: &mut PlaybookRunStatus, now: Timestamp, progress: &Progress) {
    let Some(record) = progress.record() else { return };
    status.note(&record);
    status.waiting = progress.question();
    status.phase = match (&status.waiting, &record.rollback) {
        (_, Some(_)) => PlaybookRunPhase::RollingBack,
        (Some(_), None) => PlaybookRunPhase::Waiting,
        (None, None) => PlaybookRunPhase::Running,
    };
    approved(object, status, now, &record);
}

fn approved(object: &Object, status: &mut PlaybookRunStatus, now: Timestamp, record: &RunRecord) {
    let Some(approval) = record.approvals.iter().find(|approval| approval.hash == record.plan.hash) else { return };
    let by: Vec<&str> = approval.by.iter().map(|by| by.0.as_str()).collect();
    let (reason, message) = if by.is_empty() {
        ("TimedOut", "nobody answered in time, and the playbook goes on then".to_owned())
    } else {
        ("ByPeople", format!("agreed to by {}", by.join(", ")))
    };
    conditions(object, status, now, &[("Approved", true, reason, &message)]);
}

/// It ended, or was taken back. Whether that is as it should be, and the words for an event.
pub(super) fn ended(
    object: &Object,
    status: &mut PlaybookRunStatus,
    now: Timestamp,
    record: &RunRecord,
) -> (bool, &'static str, String) {
    status.note(record);
    status.waiting = None;
    approved(object, status, now, record);
    if let Some(rollback) = &record.rollback {
        let outcome = rollback.outcome.unwrap_or(Outcome::Failed);
        let good = outcome == Outcome::Success;
        status.phase = PlaybookRunPhase::RolledBack;
        let message = format!("{} had it taken back: {outcome}", rollback.by);
        let reason = if good { "RolledBack" } else { "NotAllRolledBack" };
        conditions(object, status, now, &[("RolledBack", good, reason, &message)]);
        return (good, reason, message);
    }
    let outcome = record.outcome.unwrap_or(Outcome::Failed);
    let good = outcome.satisfies();
    status.phase = PlaybookRunPhase::Ended;
    let reason = reason(outcome);
    let steps = record.steps.iter().filter(|step| step.outcome.is_some_and(|outcome| !outcome.satisfies()));
    let steps: Vec<String> =
        steps.take(10).filter_map(|step| Some(format!("{} {}", step.step, step.outcome?))).collect();
    let message = match &record.refused {
        Some(refused) => refused.clone(),
        None if steps.is_empty() => format!("{} steps: {outcome}", record.steps.len()),
        None => format!("{} steps: {outcome}; {}", record.steps.len(), steps.join(", ")),
    };
    conditions(object, status, now, &[("Complete", good, reason, &message), ("Failed", !good, reason, &message)]);
    (good, reason, message)
}

fn reason(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Skipped | Outcome::Success => "Success",
        Outcome::Unverified => "Unverified",
        Outcome::Cancelled => "Cancelled",
        Outcome::Blocked => "Blocked",
        Outcome::Denied => "Denied",
        Outcome::Failed => "Failed",
    }
}

/// Whether a rollback that did not take all back is asked for once more, by a later change of the object.
pub(super) fn asks_again(object: &Object, status: &PlaybookRunStatus) -> bool {
    let incomplete = status.rollback.as_ref().is_some_and(|rollback| rollback.outcome != Some(Outcome::Success));
    // Somebody removed the wish, and wrote it anew.
    let seen = status.observed_generation.unwrap_or_default();
    incomplete && object.meta().generation.is_some_and(|generation| generation >= seen.saturating_add(2))
}
