//! What a run may not do.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::frame::Frame;
use super::{Engine, EngineError};
use crate::playbook::Step;
use crate::{ObjectRef, Period, Plan, PlannedStep, Playbook, RunRecord, WriteOutcome, verify};

/// The most different objects that a run acts on, where the playbook does not say.
const MAX_TARGETS: u32 = 10;
/// Protected where the playbook does not say.
const PROTECTED: &str = "kube-system";
/// How far back the blast radius is counted, where the playbook does not say.
const WINDOW: Period = Period::seconds(3600);

/// Notes in the plan what its guards are against, and why others have to agree.
pub(crate) async fn judge(
    engine: &Engine,
    playbook: &Playbook,
    frame: &Frame<'_>,
    plan: &mut Plan,
) -> Result<(), EngineError> {
    let mut denied = Vec::new();
    let steps: Vec<&PlannedStep> = plan.steps.iter().collect();
    of_targets(engine, playbook, "", &steps, &mut denied);
    let mut approval = Vec::new();
    let history = history(engine, playbook, plan).await?;
    denied.extend(of_history(engine, playbook, plan, &history));
    approval.extend(rate(engine, playbook, &history));
    approval.extend(asked(playbook, frame, plan).await);
    for (called, prefix) in calls(playbook, "", &steps) {
        if called.spec().approval.is_some() {
            approval.push(format!("'{}' is called, and asks for an approval", prefix.trim_end_matches('/')));
        }
    }
    denied.dedup();
    (plan.denied, plan.approval) = (denied, approval);
    Ok(())
}

/// Guards over what one plan acts on: of the playbook, and of those that it calls for their parts.
fn of_targets(engine: &Engine, playbook: &Playbook, prefix: &str, steps: &[&PlannedStep], denied: &mut Vec<String>) {
    let own: Vec<&PlannedStep> = steps.iter().copied().filter(|step| step.step.starts_with(prefix)).collect();
    denied.extend(objects(engine, playbook, own.iter().flat_map(|step| &step.plan.targets)));
    let written = own.iter().flat_map(|step| &step.plan.changes).map(|change| &change.object);
    denied.extend(protected(engine, playbook, written));
    for (called, prefix) in calls(playbook, prefix, steps) {
        of_targets(engine, called, &prefix, steps, denied);
    }
}

/// Guards over what is acted on.
pub(crate) fn objects<'a>(
    engine: &Engine,
    playbook: &Playbook,
    targets: impl Iterator<Item = &'a ObjectRef>,
) -> Vec<String> {
    let targets: BTreeSet<&ObjectRef> = targets.collect();
    let most = playbook.spec().guards.max_targets.unwrap_or(MAX_TARGETS);
    let mut denied = protected(engine, playbook, targets.iter().copied());
    if targets.len() > most as usize {
        denied.push(format!("{} acts on {} objects, and at most {most} may be", playbook.name(), targets.len()));
    }
    denied
}

/// Nothing is done in a protected namespace, nor to it.
pub(crate) fn protected<'a>(
    engine: &Engine,
    playbook: &Playbook,
    objects: impl Iterator<Item = &'a ObjectRef>,
) -> Vec<String> {
    let default = vec![PROTECTED.to_owned()];
    let listed = playbook.spec().guards.protected_namespaces.as_ref().unwrap_or(&default);
    let mut denied: Vec<String> = Vec::new();
    for object in objects {
        let namespace = match object.kind.as_str() {
            "Namespace" => Some(&object.name),
            _ => object.namespace.as_ref(),
        };
        if let Some(namespace) =
            namespace.filter(|name| listed.contains(*name) || engine.own_namespace.as_ref() == Some(*name))
        {
            denied.push(format!("{object}: the namespace {namespace} is protected"));
        }
    }
    denied.sort_unstable();
    denied.dedup();
    denied
}

/// The playbooks that are called, with the beginnings of their steps' keys.
fn calls<'p>(playbook: &'p Playbook, prefix: &str, steps: &[&PlannedStep]) -> Vec<(&'p Playbook, String)> {
    let mut found: Vec<(&Playbook, String)> = Vec::new();
    for step in playbook.steps.iter().chain(&playbook.finally) {
        let Step { calls: Some(called), spec, .. } = step else { continue };
        let begin = format!("{prefix}{}", spec.id);
        let mut prefixes: Vec<String> = steps
            .iter()
            .filter_map(|planned| {
                let rest = planned.step.strip_prefix(&begin)?;
                let item = rest.find('/').filter(|_| rest.starts_with(['/', '[']))?;
                Some(format!("{begin}{}/", rest.get(..item)?))
            })
            .collect();
        prefixes.dedup();
        found.extend(prefixes.into_iter().map(|prefix| (called.as_ref(), prefix)));
    }
    found
}

/// The runs of this playbook that guards look back at, newest first.
async fn history(engine: &Engine, playbook: &Playbook, plan: &Plan) -> Result<Vec<RunRecord>, EngineError> {
    let guards = &playbook.spec().guards;
    let cooldown = guards.cooldown.map(Period::duration);
    let rate = guards.rate_limit.as_ref().map(|rate| rate.per.duration());
    let blast = guards.blast_radius.as_ref().map(window);
    let Some(longest) = [cooldown, rate, blast].into_iter().flatten().max() else { return Ok(Vec::new()) };
    // A run is found by when it began; one that took long counts from when it wrote.
    let since = ago(engine.clock.now(), longest + WINDOW.duration());
    let mut found = Vec::new();
    for run in engine.journals.list().await?.into_iter().rev().filter(|run| *run != plan.run) {
        if run.started().is_none_or(|started| started < since) {
            break;
        }
        let stored = engine.journals.read(&run).await?;
        // A journal that cannot be read is not a reason to do more than it would allow.
        let record = verify(&stored.bytes)?.record;
        if record.playbook == plan.playbook {
            found.push(record);
        }
    }
    Ok(found)
}

fn window(blast: &crate::BlastRadiusSpec) -> Duration {
    blast.window.unwrap_or(WINDOW).duration()
}

fn ago(now: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| now.checked_sub(time).ok()).unwrap_or(Timestamp::MIN)
}

/// Cool-down and blast radius.
fn of_history(engine: &Engine, playbook: &Playbook, plan: &Plan, history: &[RunRecord]) -> Vec<String> {
    let guards = &playbook.spec().guards;
    let now = engine.clock.now();
    let mut denied = Vec::new();
    if let Some(cooldown) = guards.cooldown {
        let since = ago(now, cooldown.duration());
        let same = history.iter().find(|record| {
            record.plan.concurrency == plan.concurrency
                && record.ended.unwrap_or(record.began) >= since
                && record.steps.iter().any(|step| !step.writes.is_empty())
        });
        denied.extend(same.map(|record| format!("run '{}' was less than {cooldown} ago", record.run)));
    }
    if let Some(blast) = &guards.blast_radius {
        let since = ago(now, window(blast));
        let mut targets: BTreeSet<ObjectRef> = plan.steps.iter().flat_map(|step| step.plan.targets.clone()).collect();
        for record in history {
            targets.extend(acted_on(record, since));
        }
        let within = format!("within {}", blast.window.unwrap_or(WINDOW));
        if let Some(most) = blast.per_cluster.filter(|most| targets.len() > *most as usize) {
            denied.push(format!("{} objects {within}, and at most {most} may be", targets.len()));
        }
        let namespaces: BTreeSet<&String> = targets.iter().filter_map(|target| target.namespace.as_ref()).collect();
        for namespace in namespaces {
            let found = targets.iter().filter(|target| target.namespace.as_ref() == Some(namespace)).count();
            if let Some(most) = blast.per_namespace.filter(|most| found > *most as usize) {
                denied.push(format!("{found} objects of namespace {namespace} {within}, and at most {most} may be"));
            }
        }
    }
    denied
}

/// What a run acted on since a moment, as far as it wrote anything.
fn acted_on(record: &RunRecord, since: Timestamp) -> BTreeSet<ObjectRef> {
    let mut targets = BTreeSet::new();
    for step in &record.steps {
        let wrote = step.writes.iter().any(|write| write.at >= since && write.outcome != Some(WriteOutcome::NotDone));
        let planned = record.plan.steps.iter().find(|planned| planned.step == step.step).map(|planned| &planned.plan);
        if let (true, Some(plan)) = (wrote, step.planned.as_ref().or(planned)) {
            targets.extend(plan.targets.iter().cloned());
        }
    }
    targets
}

/// More runs than are begun without an approval.
fn rate(engine: &Engine, playbook: &Playbook, history: &[RunRecord]) -> Option<String> {
    let limit = playbook.spec().guards.rate_limit.as_ref()?;
    let since = ago(engine.clock.now(), limit.per.duration());
    let runs = history.iter().filter(|record| record.began >= since).count();
    (runs >= limit.runs as usize)
        .then(|| format!("{runs} runs within {}, and {} begin without one", limit.per, limit.runs))
}

/// Whether the playbook asks for an approval of this plan.
async fn asked(playbook: &Playbook, frame: &Frame<'_>, plan: &Plan) -> Option<String> {
    playbook.spec().approval.as_ref()?;
    let Some(when) = &playbook.approval else { return Some("the playbook asks for one".to_owned()) };
    let targets: BTreeSet<&ObjectRef> = plan.steps.iter().flat_map(|step| &step.plan.targets).collect();
    let mut scope = frame.scope([]);
    scope.insert("plan".to_owned(), counts(plan, &targets));
    let values: Vec<Value> = if targets.is_empty() {
        vec![Value::Null]
    } else {
        targets.iter().map(|target| serde_json::to_value(target).unwrap_or_default()).collect()
    };
    for target in values {
        scope.insert("target".to_owned(), target);
        match when.holds(&scope).await {
            Ok(false) => {}
            Ok(true) => return Some(format!("'{}' is true", when.source())),
            Err(reason) => return Some(reason),
        }
    }
    None
}

fn counts(plan: &Plan, targets: &BTreeSet<&ObjectRef>) -> Value {
    let changes: Vec<_> = plan.steps.iter().flat_map(|step| &step.plan.changes).collect();
    let namespaces: BTreeSet<&String> = targets.iter().filter_map(|target| target.namespace.as_ref()).collect();
    json!({
        "changes": changes.len(), "targets": targets.len(), "namespaces": namespaces,
        "irreversible": changes.iter().filter(|change| change.irreversible.is_some()).count(),
    })
}
