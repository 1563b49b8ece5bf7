//! Backups that somebody asks for by an object.
//!
//! The backup's id is in the object's status before anything is written to the store. So whoever finds an object of a
//! backup that was under way when its daemon died knows where to look, and takes no second one.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use lifeboat_model::{BackupId, BackupPhase, BackupStatus, Condition, set_condition, settled};
use lifeboat_recovery::{BackupRef, Catalog, Class, Context, Error, chain};
use tokio::sync::oneshot;

use super::driver::{Failure, Guarded, apart, drive, write_status};
use super::notes::Gravity;
use super::shown::Shown;
use super::{RESTORED, Shared, invalid, is_restored, observed};
use crate::request::{BackupRequest, Begun, Request};
use crate::resources::Backup;

/// Objects that wait for their backup at a time. The backups themselves are taken one after the other.
const WAITING: u16 = 16;

type Object = Guarded<Backup>;

pub(super) async fn run(shared: &Arc<Shared>) {
    drive(shared.api::<Backup>(), asks, WAITING, |object, _| {
        let shared = Arc::clone(shared);
        async move { step(&shared, &object).await }.boxed()
    })
    .await;
}

/// Whether the object asks for a backup, and does not show one.
fn asks(object: &Object) -> bool {
    object.0.as_ref().map_or(true, |backup| backup.spec.0.id.is_none())
}

async fn step(shared: &Shared, object: &Object) -> Result<(), Failure> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let backup = match &object.0 {
        Ok(backup) => backup,
        Err(problem) => {
            let condition = invalid(object, "Failed", true, &problem.error);
            let observed_generation = object.meta().generation;
            let phase = BackupPhase::Failed;
            let status = BackupStatus { observed_generation, phase, conditions: vec![condition], ..Default::default() };
            return write_status(&shared.api::<Backup>(), object, &status).await.map(drop);
        }
    };
    let status = backup.status.clone().unwrap_or_default();
    match status.phase {
        BackupPhase::Pending if is_restored(object) => fail(shared, object, status, "Restored", RESTORED).await,
        BackupPhase::Pending => take(shared, object, backup, status).await,
        BackupPhase::Running => settle(shared, object, status).await,
        _ => Ok(()),
    }
}

/// Has a backup taken, and notes what becomes of it.
async fn take(shared: &Shared, object: &Object, backup: &Backup, status: BackupStatus) -> Result<(), Failure> {
    let (begun, begins) = oneshot::channel();
    let (reply, replied) = oneshot::channel();
    let spec = &backup.spec.0;
    if spec.schedule.is_some() {
        // The sender is ours, and lives as long as this.
        let _ = shared.scheduled.subscribe().wait_for(|known| *known).await;
    }
    let request = BackupRequest {
        name: object.name_any(),
        schedule: spec.schedule.clone(),
        etcd: spec.etcd.unwrap_or(true),
        objects: spec.objects.unwrap_or(true),
        resources: spec.resources.clone(),
        begun: Some(begun),
        reply,
    };
    shared.options.requests.send(Request::Backup(request)).await.map_err(|_| Failure::Busy)?;
    let Ok(Begun { id, noted }) = begins.await else {
        // Nothing was begun, and the answer says why.
        return match replied.await {
            Ok(Err(problem)) => fail(shared, object, status, "NotBegun", &problem).await,
            Ok(Ok(_)) | Err(_) => Err(Failure::Busy),
        };
    };
    let status = running(object, status, id, shared.now());
    // Where this fails, the note is dropped, and no backup is taken.
    let object = write_status(&shared.api::<Backup>(), object, &status).await?;
    if noted.send(()).is_err() {
        return Err(Failure::Busy);
    }
    match replied.await {
        Ok(Ok(facts)) => finish(shared, &object, &status, &Shown::taken(&facts, spec.schedule.as_deref())).await,
        Ok(Err(problem)) => fail(shared, &object, status, "NotTaken", &problem).await,
        // Whoever leads next, and be it us, looks for it in the store.
        Err(_) => Err(Failure::Busy),
    }
}

/// The status of a backup that is about to be taken.
fn running(object: &Object, mut status: BackupStatus, id: BackupId, now: Timestamp) -> BackupStatus {
    let condition = Condition::new("Complete", false, "Running", "it is being taken", now);
    set_condition(&mut status.conditions, observed(object, condition));
    BackupStatus {
        observed_generation: object.meta().generation,
        phase: BackupPhase::Running,
        id: Some(id),
        started: Some(settled(now)),
        ..status
    }
}

/// Finds out what became of a backup that was under way when nobody looked after it any more.
async fn settle(shared: &Shared, object: &Object, status: BackupStatus) -> Result<(), Failure> {
    let lost = "the daemon that took it ended before it was in the store";
    let Some(id) = &status.id else { return fail(shared, object, status, "Interrupted", lost).await };
    match find(shared.options.context.clone(), id.clone()).await? {
        Ok(found) => finish(shared, object, &status, &found).await,
        Err(error) if error.class() == Class::NotFound => fail(shared, object, status, "Interrupted", lost).await,
        Err(error) if error.class() == Class::Integrity => {
            fail(shared, object, status, "Untrusted", &chain(&error)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// A backup, as the store has it.
pub(super) async fn find(context: Context, id: BackupId) -> Result<Result<Shown, Error>, Failure> {
    let found = apart(async move || {
        let catalog = Catalog::open(context).await?;
        let backup = catalog.get(&BackupRef::Id(id.to_string())).await?;
        Ok(Shown::manifest(backup.manifest(), false))
    });
    found.await
}

async fn finish(shared: &Shared, object: &Object, before: &BackupStatus, shown: &Shown) -> Result<(), Failure> {
    let status = shown.status(object.meta().generation, Some(before));
    let object = write_status(&shared.api::<Backup>(), object, &status).await?;
    let gravity = if status.phase == BackupPhase::Complete { Gravity::Normal } else { Gravity::Warning };
    shared
        .notes
        .tell(&object, gravity, &status.phase.to_string(), &format!("backup {} is in the store", shown.id))
        .await;
    Ok(())
}

async fn fail(
    shared: &Shared,
    object: &Object,
    mut status: BackupStatus,
    reason: &str,
    problem: &str,
) -> Result<(), Failure> {
    let now = shared.now();
    for (kind, holds) in [("Complete", false), ("Failed", true)] {
        set_condition(&mut status.conditions, observed(object, Condition::new(kind, holds, reason, problem, now)));
    }
    status.observed_generation = object.meta().generation;
    status.phase = BackupPhase::Failed;
    status.finished = Some(settled(now));
    let object = write_status(&shared.api::<Backup>(), object, &status).await?;
    shared.notes.tell(&object, Gravity::Warning, reason, problem).await;
    Ok(())
}
