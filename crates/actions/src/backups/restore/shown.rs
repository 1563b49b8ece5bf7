//! The plan of a restore, as a step shows it.

use lifeboat_playbook::{ActionError, Change, FieldDiff, ObjectRef, StepPlan};
use lifeboat_recovery::restore_objects::{Plan, Verdict};

use super::{MAX_OBJECTS, Memo, Outputs, Planned, Source, planned};

/// Objects that are named in one sentence, at most.
const NAMED: usize = 20;

/// The first of some names, and how many more there are.
pub(super) fn some(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let names = names.join("; ");
    if more > 0 { format!("{names}; and {more} more") } else { names }
}

/// What would be done, object by object.
pub(super) fn plan(made: &Plan, source: &Source) -> Result<StepPlan<Outputs>, ActionError> {
    let mut plan = StepPlan::default();
    let mut blockers = Vec::new();
    for finding in &made.header().findings {
        match (finding.blocks, finding.code.as_str()) {
            (true, "permission") => plan.missing.push(finding.message.clone()),
            (true, _) => blockers.push(finding.message.clone()),
            (false, _) => plan.warnings.push(finding.message.clone()),
        }
    }
    if !blockers.is_empty() {
        return Err(ActionError::denied(some(blockers.into_iter())));
    }
    let objects = planned(made);
    if objects.len() > MAX_OBJECTS {
        let words = "a step restores: choose less of it, or use 'lifeboat restore objects'";
        return Err(ActionError::denied(format!(
            "{} objects, more than the {MAX_OBJECTS} that {words}",
            objects.len()
        )));
    }
    let backup = source.open.backup();
    let id = backup.manifest().id.to_string();
    plan.targets = objects.iter().map(reference).collect();
    if objects.iter().any(|object| object.there.is_some()) {
        let kept = "a copy is only added";
        plan.changes.push(change("keep", "keep what is overwritten by", &id, Vec::new()).irreversible(kept));
    }
    if !objects.is_empty() {
        plan.changes.push(change("restore", "restore from", &id, fields(made)));
    }
    warn(made, &mut plan);
    plan.remember(&Memo { backup: id, manifest: backup.sha256(), objects })?;
    Ok(plan)
}

fn change(id: &str, verb: &str, backup: &str, fields: Vec<FieldDiff>) -> Change {
    let object = ObjectRef {
        api_version: "lifeboat.dev/v1alpha1".to_owned(),
        kind: "Backup".to_owned(),
        name: backup.to_owned(),
        ..ObjectRef::default()
    };
    Change { id: id.to_owned(), verb: verb.to_owned(), object, fields, irreversible: None, loses: None }
}

/// Each object that is written, with what happens to it.
fn fields(made: &Plan) -> Vec<FieldDiff> {
    let acting = made.entries().iter().filter(|entry| entry.verdict.acts());
    let field = acting.map(|entry| {
        let differs = matches!(entry.verdict, Verdict::Apply { .. });
        FieldDiff {
            path: made.name(entry),
            before: differs.then(|| "differs from the backup".into()),
            after: Some(if differs { "made equal" } else { "created" }.into()),
        }
    });
    field.collect()
}

fn reference(object: &Planned) -> ObjectRef {
    ObjectRef {
        api_version: object.resource.api_version(),
        kind: object.resource.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        uid: object.there.as_ref().map(|(uid, _)| uid.clone()),
    }
}

/// What is not restored, and why.
fn warn(made: &Plan, plan: &mut StepPlan<Outputs>) {
    let of = |word: &'static str| made.entries().iter().filter(move |entry| entry.verdict.word() == word);
    let counts = made.counts();
    if counts.unchanged > 0 {
        plan.warnings.push(format!("{} objects are as in the backup already", counts.unchanged));
    }
    if counts.leave > 0 {
        let names = some(of("leave").map(|entry| made.name(entry)));
        plan.warnings.push(format!("{} differ and stay as they are (changed makes them equal): {names}", counts.leave));
    }
    if counts.blocked > 0 {
        let names = of("blocked").map(|entry| match entry.verdict {
            Verdict::Blocked { reason } => format!("{}: {reason}", made.name(entry)),
            _ => made.name(entry),
        });
        plan.warnings.push(format!("{} cannot be restored: {}", counts.blocked, some(names)));
    }
    let objections = made.entries().iter().filter_map(|entry| Some((entry, entry.verdict.objection()?)));
    let objections: Vec<String> = objections.map(|(entry, words)| format!("{}: {words}", made.name(entry))).collect();
    if !objections.is_empty() {
        plan.warnings.push(format!("the API server would refuse now: {}", some(objections.into_iter())));
    }
    if counts.skipped > 0 {
        plan.warnings.push(format!("{} are left out by the rules of restores", counts.skipped));
    }
}
