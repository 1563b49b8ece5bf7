//! Restores of objects that somebody asks for by an object: planned into its status, and performed when that plan was
//! approved.
//!
//! Plans are not kept. One that was approved is made again, and performed only where its hash is the one that was approved:
//! if backup, target or rules have changed meanwhile, it is another plan, and waits to be approved in its turn.

mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use lifeboat_model::{
    Approval, Condition, MAX_FAILURES, RestoreFailure, RestorePhase, RestoreReport, RestoreSpec, RestoreStatus,
    set_condition, settled,
};
use lifeboat_recovery::chain;
use lifeboat_recovery::restore_objects::{Concurrency, Options, Plan, Report};
use tokio::time::interval;

use super::driver::{Failure, Guarded, drive, write_status};
use super::notes::Gravity;
use super::{RESTORED, Shared, invalid, is_restored, observed};
use crate::resources::Restore;

/// One after the other: two restores into one cluster would exclude each other anyway.
const AT_A_TIME: u16 = 1;
/// How often it is looked whether the object of a restore that is under way is still there.
const LOOK: Duration = Duration::from_secs(1);

type Object = Guarded<Restore>;

pub(super) async fn run(shared: &Arc<Shared>) {
    drive(
        shared.api::<Restore>(),
        |_| true,
        AT_A_TIME,
        |object, store| {
            let shared = Arc::clone(shared);
            async move { step(&shared, &object, &store).await }.boxed()
        },
    )
    .await;
}

async fn step(shared: &Shared, object: &Object, store: &Store<Object>) -> Result<(), Failure> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let restore = match &object.0 {
        Ok(restore) => restore,
        Err(problem) => {
            let conditions = vec![invalid(object, "Failed", true, &problem.error)];
            let (observed_generation, phase) = (object.meta().generation, RestorePhase::Failed);
            let status = RestoreStatus { observed_generation, phase, conditions, ..RestoreStatus::default() };
            return write_status(&shared.api::<Restore>(), object, &status).await.map(drop);
        }
    };
    let status = restore.status.clone().unwrap_or_default();
    match status.phase {
        RestorePhase::Pending if is_restored(object) => fail(shared, object, status, "Restored", RESTORED).await,
        RestorePhase::Pending | RestorePhase::Planned => {
            Box::pin(advance(shared, object, &restore.spec.0, status, store)).await
        }
        RestorePhase::Running => Box::pin(go_on(shared, object, &restore.spec.0, status, store)).await,
        RestorePhase::Blocked | RestorePhase::Complete | RestorePhase::Partial | RestorePhase::Failed => Ok(()),
    }
}

/// Plans, and performs the plan if it may.
async fn advance(
    shared: &Shared,
    object: &Object,
    spec: &RestoreSpec,
    status: RestoreStatus,
    store: &Store<Object>,
) -> Result<(), Failure> {
    if let Some(plan) = &status.plan
        && spec.approval == Approval::Manual
        && spec.approve != Some(plan.hash)
    {
        return wait(shared, object, spec, status).await;
    }
    let prepared = match plan::prepare(shared, spec, status.plan.as_ref().map(|plan| &plan.backup)).await? {
        Ok(prepared) => prepared,
        Err(problem) => return fail(shared, object, status, "NotPlanned", &problem).await,
    };
    let hash = prepared.plan.hash();
    let before = status.plan.as_ref().map(|plan| plan.hash);
    let status = RestoreStatus { plan: Some(plan::shown(&prepared.plan)), ..status };
    if prepared.plan.blockers().next().is_some() {
        return block(shared, object, status, &prepared.plan).await;
    }
    if spec.approval == Approval::Auto || spec.approve == Some(hash) {
        return Box::pin(perform(shared, object, spec, status, prepared, store)).await;
    }
    if before.is_some() {
        shared
            .notes
            .tell(object, Gravity::Warning, "PlanChanged", "the plan is another one now, to be approved anew")
            .await;
    }
    wait(shared, object, spec, status).await
}

/// Notes that the plan waits for an approval.
async fn wait(shared: &Shared, object: &Object, spec: &RestoreSpec, mut status: RestoreStatus) -> Result<(), Failure> {
    let before = status.clone();
    let now = shared.now();
    let (reason, message) = match (&spec.approve, &status.plan) {
        (Some(_), _) => ("OtherPlan", "what was approved is another plan than this one"),
        _ => ("Waiting", "the plan waits until 'spec.approve' is its hash"),
    };
    for (kind, holds, reason, message) in
        [("Planned", true, "Planned", "there is a plan"), ("Approved", false, reason, message)]
    {
        set_condition(&mut status.conditions, observed(object, Condition::new(kind, holds, reason, message, now)));
    }
    let first = status.phase != RestorePhase::Planned;
    status.phase = RestorePhase::Planned;
    status.observed_generation = object.meta().generation;
    let stored = object.0.as_ref().ok().and_then(|restore| restore.status.as_ref());
    if status == before && stored == Some(&status) {
        return Ok(());
    }
    let object = write_status(&shared.api::<Restore>(), object, &status).await?;
    if first {
        shared.notes.tell(&object, Gravity::Normal, "Planned", message).await;
    }
    Ok(())
}

/// Notes that preflight found what forbids to perform the plan.
async fn block(shared: &Shared, object: &Object, mut status: RestoreStatus, plan: &Plan) -> Result<(), Failure> {
    let now = shared.now();
    let message = plan.blockers().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    for (kind, holds, reason) in
        [("Planned", true, "Planned"), ("Complete", false, "Blocked"), ("Failed", true, "Blocked")]
    {
        set_condition(&mut status.conditions, observed(object, Condition::new(kind, holds, reason, &message, now)));
    }
    status.phase = RestorePhase::Blocked;
    status.finished = Some(settled(now));
    status.observed_generation = object.meta().generation;
    let object = write_status(&shared.api::<Restore>(), object, &status).await?;
    shared.notes.tell(&object, Gravity::Warning, "Blocked", &message).await;
    Ok(())
}

/// Performs a plan that may be performed.
async fn perform(
    shared: &Shared,
    object: &Object,
    spec: &RestoreSpec,
    mut status: RestoreStatus,
    prepared: plan::Prepared,
    store: &Store<Object>,
) -> Result<(), Failure> {
    let now = shared.now();
    let approved = match spec.approval {
        Approval::Auto => ("Automatic", "no approval is asked for"),
        Approval::Manual => ("ByHash", "the hash of this plan was approved"),
    };
    for (kind, holds, (reason, message)) in [
        ("Planned", true, ("Planned", "there is a plan")),
        ("Approved", true, approved),
        ("Complete", false, ("Running", "it is being performed")),
    ] {
        set_condition(&mut status.conditions, observed(object, Condition::new(kind, holds, reason, message, now)));
    }
    status.phase = RestorePhase::Running;
    status.started = Some(settled(now));
    status.observed_generation = object.meta().generation;
    let object = &write_status(&shared.api::<Restore>(), object, &status).await?;
    shared.notes.tell(object, Gravity::Normal, "Started", "the plan is being performed").await;

    let options = options(shared, object);
    let work = plan::performed(prepared, shared.options.cluster.clone(), options.clone());
    conclude(shared, object, status, &options.journal, work, store).await
}

/// Goes on with a restore that was under way when its daemon ended, or ceased to lead, if it was this one: the journal of
/// what is done is where it was written.
async fn go_on(
    shared: &Shared,
    object: &Object,
    spec: &RestoreSpec,
    status: RestoreStatus,
    store: &Store<Object>,
) -> Result<(), Failure> {
    let options = options(shared, object);
    let begun = match plan::begun(shared, spec, &status, &options.journal).await? {
        Ok(begun) => begun,
        Err(problem) => {
            let problem = format!(
                "the daemon that performed it ended, and {problem}: what it had restored stays, and a new Restore of \
                 mode 'skip' goes on with the rest"
            );
            return fail(shared, object, status, "Interrupted", &problem).await;
        }
    };
    let message = format!("{} objects are done, and it goes on with the others", begun.done());
    shared.notes.tell(object, Gravity::Normal, "Resumed", &message).await;
    let work = plan::resumed(begun, shared.options.cluster.clone(), options.clone());
    conclude(shared, object, status, &options.journal, work, store).await
}

/// How the plan of an object is performed.
fn options(shared: &Shared, object: &Object) -> Options {
    Options {
        journal: journal(shared, object),
        concurrency: Concurrency::default(),
        holder: format!("{}, restore {}", shared.options.identity, object.name_any()),
    }
}

/// Waits for the end of a restore, unless its object goes, and notes what came of it.
async fn conclude(
    shared: &Shared,
    object: &Object,
    status: RestoreStatus,
    journal: &Path,
    work: impl Future<Output = Result<plan::Performed, Failure>>,
    store: &Store<Object>,
) -> Result<(), Failure> {
    let (plan, performed) = tokio::select! {
        performed = work => performed?,
        () = gone(store, object) => {
            tracing::warn!(restore = object.name_any(), "a restore was ended by deleting its object");
            return Ok(());
        }
    };
    if let Err(error) = tokio::fs::remove_file(journal).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(journal = %journal.display(), error = chain(&error), "the journal of a restore stays");
    }
    match performed {
        Ok(report) => finish(shared, object, status, &plan, &report).await,
        Err(error) => fail(shared, object, status, "NotPerformed", &chain(&error)).await,
    }
}

/// Waits until the object is not there any more, which ends its restore.
async fn gone(store: &Store<Object>, object: &Object) {
    let wanted = ObjectRef::from_obj(object);
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        let found = store.get(&wanted);
        let same = |found: &Arc<Object>| found.uid() == object.uid() && found.meta().deletion_timestamp.is_none();
        if !found.as_ref().is_some_and(same) {
            return;
        }
    }
}

/// Where a restore notes what it has done: a file of its own.
fn journal(shared: &Shared, object: &Object) -> PathBuf {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let uid: String = object.uid().unwrap_or_default().chars().filter(plain).take(64).collect();
    shared.options.work_dir.join(format!("restore-{uid}.journal"))
}

async fn finish(
    shared: &Shared,
    object: &Object,
    mut status: RestoreStatus,
    plan: &Plan,
    report: &Report,
) -> Result<(), Failure> {
    let now = shared.now();
    let failures = report.failed.named(plan).chain(report.blocked.named(plan));
    let form = RestoreReport {
        created: report.created,
        applied: report.applied,
        recreated: report.recreated,
        unchanged: report.unchanged,
        left: report.left,
        pruned: report.pruned,
        failed: report.failed.count(),
        blocked: report.blocked.count(),
        differing: report.differing.count(),
        failures: failures.take(MAX_FAILURES).map(|(object, why)| RestoreFailure::new(&object, why)).collect(),
    };
    let (gravity, reason) = if report.ok() { (Gravity::Normal, "Complete") } else { (Gravity::Warning, "Partial") };
    let message = format!(
        "{} created, {} made equal, {} created anew, {} deleted, {} failed, {} blocked",
        form.created, form.applied, form.recreated, form.pruned, form.failed, form.blocked
    );
    let condition = Condition::new("Complete", report.ok(), reason, &message, now);
    set_condition(&mut status.conditions, observed(object, condition));
    status.phase = if report.ok() { RestorePhase::Complete } else { RestorePhase::Partial };
    status.finished = Some(settled(now));
    status.report = Some(form);
    let object = write_status(&shared.api::<Restore>(), object, &status).await?;
    shared.notes.tell(&object, gravity, reason, &message).await;
    Ok(())
}

async fn fail(
    shared: &Shared,
    object: &Object,
    mut status: RestoreStatus,
    reason: &str,
    problem: &str,
) -> Result<(), Failure> {
    let now = shared.now();
    for (kind, holds) in [("Complete", false), ("Failed", true)] {
        set_condition(&mut status.conditions, observed(object, Condition::new(kind, holds, reason, problem, now)));
    }
    status.observed_generation = object.meta().generation;
    status.phase = RestorePhase::Failed;
    status.finished = Some(settled(now));
    let object = write_status(&shared.api::<Restore>(), object, &status).await?;
    shared.notes.tell(&object, Gravity::Warning, reason, problem).await;
    Ok(())
}
