//! Schedules of the cluster: handed to the scheduler as far as they make sense, and what is known of each in its status.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Resource as _, ResourceExt as _};
use lifeboat_model::{
    BackupId, BackupState, Condition, NamedSchedule, ScheduleSpec, ScheduleStatus, set_condition, settled,
};
use lifeboat_recovery::chain;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::driver::{Guarded, PAGE, write_status};
use super::notes::Gravity;
use super::{Shared, invalid, observed};
use crate::event::{DaemonEvent, Origin, Run};
use crate::resources::Schedule;
use crate::scheduler::Standing;
use crate::timing::Timing;

/// How often the times in the statuses are looked at.
const EVERY: Duration = Duration::from_secs(30);

type Object = Guarded<Schedule>;

/// What happened to a schedule since this daemon leads.
#[derive(Debug, Clone, Default)]
struct Facts {
    last_run: Option<Timestamp>,
    last_success: Option<Timestamp>,
    last_backup: Option<BackupId>,
    health: Option<Condition>,
}

pub(super) async fn run(shared: &Shared) {
    let (reader, writer) = reflector::store();
    let config = watcher::Config::default().page_size(PAGE);
    let watched = watcher::watcher(shared.api::<Schedule>(), config)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer);
    let mut watched = pin!(watched);
    let mut events = shared.options.events.subscribe();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut facts = HashMap::new();
    let mut known = false;
    loop {
        tokio::select! {
            event = watched.next() => match event {
                Some(Ok(Event::Init | Event::InitApply(_))) | None => continue,
                Some(Ok(Event::InitDone)) => known = true,
                Some(Ok(Event::Apply(_) | Event::Delete(_))) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "the watch of schedules is begun again");
                    continue;
                }
            },
            event = events.recv() => match event {
                Ok(event) if note(&mut facts, &event, shared.now()) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                // The daemon ends.
                Err(RecvError::Closed) => return,
            },
            _ = tick.tick() => {}
        }
        if known {
            refresh(shared, &reader, &facts).await;
            shared.scheduled.send_replace(true);
        }
    }
}

/// Notes what an event says of a schedule; whether it says anything.
fn note(facts: &mut HashMap<String, Facts>, event: &DaemonEvent, now: Timestamp) -> bool {
    let healthy = |holds: bool, reason, message: &str| Some(Condition::new("Healthy", holds, reason, message, now));
    match event {
        DaemonEvent::BackupStarted { run, .. } => {
            let Some(facts) = of(facts, run) else { return false };
            facts.last_run = Some(settled(now));
        }
        DaemonEvent::BackupFinished { run, backup, .. } => {
            let Some(facts) = of(facts, run) else { return false };
            match backup.state {
                BackupState::Complete => {
                    facts.last_success = Some(settled(backup.started));
                    facts.last_backup = Some(backup.id.clone());
                    facts.health = healthy(true, "Succeeded", &format!("backup {} is complete", backup.id));
                }
                BackupState::Partial => {
                    facts.health = healthy(false, "Partial", &format!("backup {} lacks something", backup.id));
                }
            }
        }
        DaemonEvent::BackupFailed { run, error, retry, .. } => {
            let Some(facts) = of(facts, run) else { return false };
            let reason = if retry.is_some() { "Retrying" } else { "Failed" };
            facts.health = healthy(false, reason, error);
        }
        DaemonEvent::RunMissed { schedule, first, count, reason, .. } => {
            let message = format!("{count} due from {first} on were missed: {reason:?}");
            facts.entry(schedule.clone()).or_default().health = healthy(false, "Missed", &message);
        }
        DaemonEvent::Catalog(catalog) => {
            for (name, newest) in &catalog.newest_of {
                let facts = facts.entry(name.clone()).or_default();
                facts.last_success = facts.last_success.max(Some(settled(*newest)));
            }
        }
        _ => return false,
    }
    true
}

/// What is known of the schedule that a run is of.
fn of<'a>(facts: &'a mut HashMap<String, Facts>, run: &Run) -> Option<&'a mut Facts> {
    match &run.origin {
        Origin::Schedule(name) => Some(facts.entry(name.clone()).or_default()),
        Origin::Request(_) => None,
    }
}

/// Hands over what is in force, and writes the statuses that are not as they should be.
async fn refresh(shared: &Shared, reader: &Store<Object>, facts: &HashMap<String, Facts>) {
    let mut objects = reader.state();
    objects.retain(|object| object.meta().deletion_timestamp.is_none());
    objects.sort_unstable_by_key(|object| object.name_any());
    let judged: Vec<(Arc<Object>, Result<Judged, Refused>)> =
        objects.into_iter().map(|object| (Arc::clone(&object), judge(shared, &object))).collect();
    let in_force: Vec<Standing> = judged
        .iter()
        .filter_map(|(object, judged)| {
            let schedule = NamedSchedule { name: object.name_any(), spec: judged.as_ref().ok()?.spec.clone() };
            Some(Standing { schedule, created: object.meta().creation_timestamp.as_ref().map(|time| time.0) })
        })
        .collect();
    shared.options.schedules.send_if_modified(|known| {
        let changed = *known != in_force;
        if changed {
            *known = in_force;
        }
        changed
    });
    for (object, judged) in &judged {
        let empty = Facts::default();
        let facts = facts.get(&object.name_any()).unwrap_or(&empty);
        write(shared, object, judged, facts).await;
    }
}

/// A schedule that makes sense.
struct Judged {
    spec: ScheduleSpec,
    next: Option<Timestamp>,
}

/// Why a schedule is not in force.
struct Refused {
    reason: &'static str,
    message: String,
}

fn judge(shared: &Shared, object: &Object) -> Result<Judged, Refused> {
    let refused = |reason, message| Refused { reason, message };
    let spec = match &object.0 {
        Ok(schedule) => &schedule.spec.0,
        Err(problem) => return Err(refused("Invalid", problem.error.clone())),
    };
    if shared.options.taken.contains(&object.name_any()) {
        let message = "the configuration of the daemon has a schedule of this name, and that one is in force";
        return Err(refused("NameTaken", message.to_owned()));
    }
    let faults = spec.faults();
    if !faults.is_empty() {
        return Err(refused("Invalid", faults.join("; ")));
    }
    let timing = Timing::new(&spec.schedule, spec.time_zone.as_deref(), shared.now());
    let timing = timing.map_err(|error| refused("Invalid", chain(&error)))?;
    let next = if spec.suspend { None } else { timing.after(shared.now()).map(settled) };
    Ok(Judged { spec: spec.clone(), next })
}

/// Writes the status, unless it is as it should be.
async fn write(shared: &Shared, object: &Object, judged: &Result<Judged, Refused>, facts: &Facts) {
    let before = object.0.as_ref().ok().and_then(|schedule| schedule.status.clone());
    let status = status(shared, object, before.clone().unwrap_or_default(), judged, facts);
    if before.as_ref() == Some(&status) {
        return;
    }
    match write_status(&shared.api::<Schedule>(), object, &status).await {
        Ok(written) => {
            let ready = |status: &ScheduleStatus| {
                status.conditions.iter().find(|known| known.kind == "Ready").map(|known| known.reason.clone())
            };
            if let Err(refused) = judged
                && before.as_ref().and_then(ready) != ready(&status)
                && object.0.is_ok()
            {
                shared.notes.tell(&written, Gravity::Warning, refused.reason, &refused.message).await;
            }
        }
        // It was changed meanwhile, and comes again.
        Err(failure) if failure.is_stale() => {}
        Err(failure) => {
            tracing::warn!(schedule = object.name_any(), error = chain(&failure), "its status could not be written");
        }
    }
}

fn status(
    shared: &Shared,
    object: &Object,
    mut status: ScheduleStatus,
    judged: &Result<Judged, Refused>,
    facts: &Facts,
) -> ScheduleStatus {
    let now = shared.now();
    let ready = match judged {
        Ok(judged) if judged.spec.suspend => Condition::new("Ready", true, "Suspended", "it is suspended", now),
        Ok(_) => Condition::new("Ready", true, "InForce", "it is in force", now),
        Err(refused) if object.0.is_err() => invalid(object, "Ready", false, &refused.message),
        Err(refused) => Condition::new("Ready", false, refused.reason, &refused.message, now),
    };
    set_condition(&mut status.conditions, observed(object, ready));
    if let Some(health) = &facts.health {
        set_condition(&mut status.conditions, observed(object, health.clone()));
    }
    ScheduleStatus {
        observed_generation: object.meta().generation,
        next_run: judged.as_ref().ok().and_then(|judged| judged.next),
        last_run: facts.last_run.or(status.last_run),
        last_success: facts.last_success.max(status.last_success),
        last_backup: facts.last_backup.clone().or(status.last_backup),
        conditions: status.conditions,
    }
}
