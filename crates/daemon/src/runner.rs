//! Doing what was decided: a backup, the removal of old ones, a drill, a look at the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat_archive::{Identities, Recipients, SigningKey};
use lifeboat_etcd::EtcdOptions;
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_model::{
    BackupId, BackupState, Config, DrillTargets, Gap, Manifest, ObjectLock, Reason, ResourcesConfig, RetentionPolicy,
    ScheduleSpec, Tier,
};
use lifeboat_recovery::backup::{self, Source};
use lifeboat_recovery::drill::{self, Target};
use lifeboat_recovery::{
    BackupRef, Catalog, Context, Error, Overview, Progress, Summary, chain, known_since, retention,
};
use lifeboat_store::RetainedStore;
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::event::{BackupFacts, CatalogFacts, DaemonEvent, Events, Origin, Run};
use crate::request::Begun;
use crate::run::DrillOptions;

/// How long the workloads of a drill may take; there are none on this machine.
const READY_WITHIN: Duration = Duration::from_mins(5);

/// Manifests that are read before it is looked again which there are.
const MANIFESTS: usize = 1_000;

/// What all work needs.
pub(crate) struct Runner {
    pub(crate) context: Context,
    pub(crate) config: Config,
    pub(crate) etcd: Option<EtcdOptions>,
    pub(crate) kubernetes: Option<ConnectOptions>,
    pub(crate) recipients: Arc<Recipients>,
    pub(crate) signer: Arc<SigningKey>,
    pub(crate) drill: DrillOptions,
    pub(crate) tool: String,
    pub(crate) events: Events,
    /// The backups of the store, as far as they were seen.
    pub(crate) overview: Mutex<Overview>,
}

/// A backup to take.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) reason: Reason,
    pub(crate) etcd: bool,
    pub(crate) objects: bool,
    pub(crate) resources: Option<ResourcesConfig>,
    /// The lock to put on it, instead of the store's.
    pub(crate) object_lock: Option<ObjectLock>,
    /// Whom to tell the id before anything is written.
    pub(crate) begun: Option<oneshot::Sender<Begun>>,
}

/// A drill to hold.
#[derive(Debug)]
pub(crate) struct Exercise {
    pub(crate) backup: BackupRef,
    pub(crate) tier: Tier,
    pub(crate) identities: Option<Arc<Identities>>,
    pub(crate) targets: DrillTargets,
}

/// What a look at the catalog shows.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When the backups of each schedule were begun, partial ones included; of one of the configuration that has none,
    /// since when it is known.
    pub(crate) history: Vec<(String, Timestamp)>,
    /// When the latest drill was.
    pub(crate) drilled: Option<Timestamp>,
    pub(crate) facts: CatalogFacts,
}

impl Runner {
    fn context(&self, cancel: &CancellationToken) -> Context {
        Context { cancel: cancel.clone(), ..self.context.clone() }
    }

    /// Takes a backup, in a span that has its id.
    pub(crate) async fn back_up(
        &self,
        order: Order,
        fence: Option<u64>,
        cancel: &CancellationToken,
    ) -> Result<BackupFacts, Error> {
        let clock = &self.context.clock;
        let id = BackupId::new(clock.now(), clock.random());
        let span = tracing::info_span!("run", backup = %id, fence);
        self.back_up_as(id, order, fence, cancel).instrument(span).await
    }

    /// The backup that an earlier try of this run took, where it was not known that it had succeeded.
    pub(crate) async fn taken_for(&self, run: &Run, cancel: &CancellationToken) -> Result<Option<BackupFacts>, Error> {
        let Origin::Schedule(name) = &run.origin else { return Ok(None) };
        let work = Box::pin(self.refreshed(cancel));
        let overview = cancel.run_until_cancelled(work).await.unwrap_or(Err(Error::Cancelled))?;
        let ours = |backup: &Summary| {
            backup.started >= run.due && matches!(&backup.reason, Reason::Schedule(theirs) if theirs == name)
        };
        let taken = overview.backups().iter().rev().find(|(_, backup)| ours(backup));
        Ok(taken.map(|(id, backup)| BackupFacts {
            id: id.clone(),
            sequence: backup.sequence,
            state: backup.state,
            started: backup.started,
            finished: backup.finished,
            stored_bytes: backup.stored_bytes,
            // What is sealed is not known to us any more.
            objects: 0,
            gaps: Arc::default(),
        }))
    }

    /// The backups of the store, of which only those are read that are new.
    async fn refreshed(&self, cancel: &CancellationToken) -> Result<MutexGuard<'_, Overview>, Error> {
        let catalog = Catalog::open(self.context(cancel)).await?;
        let mut overview = self.overview.lock().await;
        while overview.refresh(&catalog, MANIFESTS).await?.pending > 0 {}
        Ok(overview)
    }

    /// What is removed on behalf of a schedule: by its own rules, or by those of the configuration, if there are any.
    pub(crate) fn retention<'a>(&'a self, spec: &'a ScheduleSpec) -> Option<&'a RetentionPolicy> {
        spec.retention.as_ref().or(Some(&self.config.retention).filter(|policy| policy.has_rules()))
    }

    async fn back_up_as(
        &self,
        id: BackupId,
        order: Order,
        fence: Option<u64>,
        cancel: &CancellationToken,
    ) -> Result<BackupFacts, Error> {
        if let Some(begun) = order.begun {
            let (noted, answer) = oneshot::channel();
            let told = begun.send(Begun { id: id.clone(), noted }).is_ok();
            if !told || cancel.run_until_cancelled(answer).await.is_none_or(|answer| answer.is_err()) {
                return Err(Error::Cancelled);
            }
        }
        let request = backup::Request {
            etcd: source(order.etcd, self.etcd.as_ref(), "no etcd is configured", "left out by the schedule"),
            kubernetes: source(order.objects, self.kubernetes.as_ref(), "no API server", "left out by the schedule"),
            resources: order.resources.unwrap_or_else(|| self.config.resources.clone()),
            recipients: Arc::clone(&self.recipients),
            signer: Arc::clone(&self.signer),
            reason: order.reason,
            fence,
            tool: self.tool.clone(),
        };
        let mut context = self.context(cancel);
        if let Some(lock) = order.object_lock {
            let clock = Arc::clone(&context.clock);
            context.store = Arc::new(RetainedStore::new(context.store, lock, Arc::new(move || clock.now())));
        }
        let outcome = Box::pin(backup::create_as(&context, id, request, Progress::default())).await?;
        let backup::Outcome { manifest, coverage } = outcome;
        let objects = coverage.objects();
        Ok(facts(manifest, objects, coverage.gaps.into()))
    }

    /// Removes what the policy of a schedule does not keep of its backups, and tells what became of it.
    pub(crate) async fn prune(&self, schedule: &str, policy: &RetentionPolicy, cancel: &CancellationToken) {
        let work = Box::pin(self.prune_as(schedule, policy, cancel));
        // What is broken off anywhere leaves nothing listed that does not restore.
        let Some(result) = cancel.run_until_cancelled(work).await else { return };
        let schedule = Some(schedule.to_owned());
        self.events.publish(match result {
            Ok(outcome) => DaemonEvent::PruneFinished {
                schedule,
                removed: outcome.removed.into_iter().map(|removed| removed.id).collect(),
                failed: outcome.failed.into_iter().map(|(id, error)| (id, chain(&error))).collect(),
            },
            Err(error) => DaemonEvent::PruneFailed { schedule, error: chain(&error) },
        });
    }

    async fn prune_as(
        &self,
        schedule: &str,
        policy: &RetentionPolicy,
        cancel: &CancellationToken,
    ) -> Result<retention::Outcome, Error> {
        let catalog = Catalog::open(self.context(cancel)).await?;
        if let Some(lock) = &self.config.store.object_lock {
            retention::extend_held(catalog.context(), lock).await?;
        }
        let scope = retention::Scope::Schedule(schedule.to_owned());
        let plan = retention::survey_of(&catalog, policy, scope).await?;
        if plan.is_empty() {
            return Ok(retention::Outcome::default());
        }
        retention::perform(&catalog, policy, &plan).await
    }

    /// Holds a drill.
    pub(crate) async fn hold_drill(
        &self,
        exercise: Exercise,
        cancel: &CancellationToken,
    ) -> Result<drill::Outcome, Error> {
        let catalog = Catalog::open(self.context(cancel)).await?;
        let request = drill::Request {
            tier: exercise.tier,
            target: Target::Local,
            checks: Vec::new(),
            ready_within: READY_WITHIN,
            environment: Vec::new(),
            identities: exercise.identities.or_else(|| self.drill.identities.clone()),
            programs: self.drill.programs.clone(),
            encryption_config: None,
            api_server_args: Vec::new(),
            scratch: self.drill.scratch.clone(),
            targets: exercise.targets,
            signer: Some(Arc::clone(&self.signer)),
            tool: self.tool.clone(),
            keep: false,
        };
        Ok(Box::pin(drill::run(&catalog, &exercise.backup, request)).await?.outcome)
    }

    /// Looks what the catalog has.
    pub(crate) async fn look(&self, cancel: &CancellationToken) -> Result<Seen, Error> {
        let overview = self.refreshed(cancel).await?;
        let (mut history, mut newest_of) = (Vec::new(), BTreeMap::new());
        let mut facts = CatalogFacts {
            backups: overview.backups().len() as u64,
            problems: overview.problems().len() as u64,
            ..CatalogFacts::default()
        };
        // The newest first: what is there already is newer.
        for backup in overview.backups().values().rev() {
            let complete = backup.state == BackupState::Complete;
            if let Reason::Schedule(name) = &backup.reason {
                history.push((name.clone(), backup.started));
                if complete {
                    newest_of.entry(name.clone()).or_insert(backup.started);
                }
            }
            if complete {
                facts.newest_complete.get_or_insert(backup.started);
            }
            if backup.verified {
                facts.newest_verified.get_or_insert(backup.started);
            }
        }
        for schedule in &self.config.schedules {
            if !history.iter().any(|(name, _)| *name == schedule.name) {
                history.extend(self.first_known(&schedule.name, cancel).await);
            }
        }
        facts.newest_of = newest_of.into_iter().collect();
        Ok(Seen { history, drilled: overview.drilled(), facts })
    }

    /// Since when a schedule without backups is known. Nothing that was due before that was missed.
    async fn first_known(&self, schedule: &str, cancel: &CancellationToken) -> Option<(String, Timestamp)> {
        match known_since(&self.context(cancel), schedule).await {
            Ok(since) => Some((schedule.to_owned(), since)),
            Err(error) => {
                // It begins with what is due next, then.
                tracing::warn!(schedule, error = chain(&error), "it cannot be noted since when there is this schedule");
                None
            }
        }
    }
}

fn facts(manifest: Manifest, objects: u64, gaps: Arc<[Gap]>) -> BackupFacts {
    BackupFacts {
        sequence: manifest.sequence,
        stored_bytes: manifest.stored_bytes(),
        objects,
        id: manifest.id,
        state: manifest.state,
        started: manifest.started,
        finished: manifest.finished,
        gaps,
    }
}

fn source<T: Clone>(wanted: bool, from: Option<&T>, none: &str, unwanted: &str) -> Source<T> {
    match from {
        _ if !wanted => Source::Skip(unwanted.to_owned()),
        None => Source::Skip(none.to_owned()),
        Some(from) => Source::Use(from.clone()),
    }
}
