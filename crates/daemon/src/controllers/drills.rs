//! Drills that somebody asks for by an object.

use std::sync::Arc;

use futures::FutureExt as _;
use kube::{Resource as _, ResourceExt as _};
use lifeboat_model::{Condition, DrillPhaseSeconds, DrillSpec, DrillStage, DrillStatus, Tier, set_condition, settled};
use lifeboat_recovery::{BackupRef, drill};
use tokio::sync::oneshot;

use super::driver::{Failure, Guarded, drive, write_status};
use super::notes::Gravity;
use super::{RESTORED, Shared, identity, invalid, is_restored, observed};
use crate::request::{DrillRequest, Request};
use crate::resources::Drill;

/// Objects that wait for their drill at a time.
const WAITING: u16 = 4;

type Object = Guarded<Drill>;

pub(super) async fn run(shared: &Arc<Shared>) {
    drive(
        shared.api::<Drill>(),
        |_| true,
        WAITING,
        |object, _| {
            let shared = Arc::clone(shared);
            async move { step(&shared, &object).await }.boxed()
        },
    )
    .await;
}

async fn step(shared: &Shared, object: &Object) -> Result<(), Failure> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let drill = match &object.0 {
        Ok(drill) => drill,
        Err(problem) => {
            let conditions = vec![invalid(object, "Failed", true, &problem.error)];
            let observed_generation = object.meta().generation;
            let status =
                DrillStatus { observed_generation, phase: DrillStage::Failed, conditions, ..DrillStatus::default() };
            return write_status(&shared.api::<Drill>(), object, &status).await.map(drop);
        }
    };
    let status = drill.status.clone().unwrap_or_default();
    match status.phase {
        DrillStage::Pending if is_restored(object) => fail(shared, object, status, "Restored", RESTORED).await,
        DrillStage::Pending => perform(shared, object, &drill.spec.0, status).await,
        DrillStage::Running => {
            let problem = "the daemon that ran it ended: if it came to a verdict, 'drill list' shows its report";
            fail(shared, object, status, "Interrupted", problem).await
        }
        DrillStage::Passed | DrillStage::NotPassed | DrillStage::Failed => Ok(()),
    }
}

/// Has a drill run, and notes what comes of it.
async fn perform(shared: &Shared, object: &Object, spec: &DrillSpec, mut status: DrillStatus) -> Result<(), Failure> {
    let (backup, tier) = match (spec.backup.parse::<BackupRef>(), Tier::try_from(spec.tier)) {
        (Ok(backup), Ok(tier)) => (backup, tier),
        (Err(problem), _) | (_, Err(problem)) => return fail(shared, object, status, "Invalid", &problem).await,
    };
    let identities = match &spec.identity {
        None => None,
        Some(wanted) => match identity::read(shared.client(), &shared.options.namespace, wanted).await? {
            Ok(identities) => Some(identities),
            Err(problem) => return fail(shared, object, status, "NoIdentity", &problem).await,
        },
    };
    let now = shared.now();
    status.phase = DrillStage::Running;
    status.started = Some(settled(now));
    status.observed_generation = object.meta().generation;
    let condition = Condition::new("Complete", false, "Running", "it runs, or waits for its turn", now);
    set_condition(&mut status.conditions, observed(object, condition));
    let object = &write_status(&shared.api::<Drill>(), object, &status).await?;
    let (reply, replied) = oneshot::channel();
    let targets = spec.targets.unwrap_or_default();
    let request = DrillRequest { backup, tier, identities, targets, reply };
    shared.options.requests.send(Request::Drill(request)).await.map_err(|_| Failure::Busy)?;
    match replied.await {
        Ok(Ok(outcome)) => finish(shared, object, status, &outcome).await,
        Ok(Err(problem)) => fail(shared, object, status, "NotRun", &problem).await,
        Err(_) => Err(Failure::Busy),
    }
}

async fn finish(
    shared: &Shared,
    object: &Object,
    mut status: DrillStatus,
    outcome: &drill::Outcome,
) -> Result<(), Failure> {
    let now = shared.now();
    let codes: Vec<&str> = outcome.codes.iter().map(|code| code.name()).collect();
    let (reason, message) = match (outcome.passed, outcome.restores) {
        (true, _) => ("Passed", "the backup restores, and every target was met".to_owned()),
        (false, true) => {
            ("TargetMissed", format!("the backup restores, and targets were missed: {}", codes.join(", ")))
        }
        (false, false) => ("DoesNotRestore", format!("the backup does not restore: {}", codes.join(", "))),
    };
    for (kind, holds) in [("Complete", true), ("Passed", outcome.passed)] {
        let condition = Condition::new(kind, holds, reason, &message, now);
        set_condition(&mut status.conditions, observed(object, condition));
    }
    let status = DrillStatus {
        phase: if outcome.passed { DrillStage::Passed } else { DrillStage::NotPassed },
        backup: outcome.backup.parse().ok(),
        report: outcome.stored.then(|| outcome.id.clone()),
        finished: Some(settled(now)),
        findings: outcome.codes.clone(),
        phases: outcome.phases.iter().map(phase).collect(),
        rto_seconds: outcome.rto_seconds.map(whole),
        rpo_seconds: outcome.rpo_seconds,
        ..status
    };
    let object = write_status(&shared.api::<Drill>(), object, &status).await?;
    let gravity = if outcome.passed { Gravity::Normal } else { Gravity::Warning };
    shared.notes.tell(&object, gravity, reason, &message).await;
    Ok(())
}

fn phase(phase: &lifeboat_model::DrillPhase) -> DrillPhaseSeconds {
    DrillPhaseSeconds { name: phase.name.clone(), seconds: whole(phase.seconds) }
}

/// Whole seconds, rounded up: conventions of the API advise against fractions.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before, and never negative")]
fn whole(seconds: f64) -> u64 {
    seconds.clamp(0.0, 1e9).ceil() as u64
}

async fn fail(
    shared: &Shared,
    object: &Object,
    mut status: DrillStatus,
    reason: &str,
    problem: &str,
) -> Result<(), Failure> {
    let now = shared.now();
    for (kind, holds) in [("Complete", false), ("Failed", true)] {
        set_condition(&mut status.conditions, observed(object, Condition::new(kind, holds, reason, problem, now)));
    }
    status.observed_generation = object.meta().generation;
    status.phase = DrillStage::Failed;
    status.finished = Some(settled(now));
    let object = write_status(&shared.api::<Drill>(), object, &status).await?;
    shared.notes.tell(&object, Gravity::Warning, reason, problem).await;
    tracing::warn!(drill = object.name_any(), reason, problem, "a drill that was asked for came to no verdict");
    Ok(())
}
