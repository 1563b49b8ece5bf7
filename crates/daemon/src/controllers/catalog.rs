//! An object for each backup of the store, so that `kubectl get backups` tells the truth, after a disaster too.
//!
//! The store is the truth and the objects are a view. An object that somebody deletes comes back, and deletes no backup;
//! one that shows a backup which is gone goes too. An object by which somebody asked for a backup shows that backup
//! itself, and is never deleted here: whoever applies it from a repository would take another one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::{Client, Resource as _, ResourceExt as _};
use lifeboat_model::{BackupId, BackupPhase, BackupSpec, BackupStatus, Condition, set_condition};
use lifeboat_recovery::{Catalog, Class, Context, Error, Overview, chain};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout_at};

use super::backups::find;
use super::driver::{Failure, Guarded, MANAGER, PAGE, write_status};
use super::shown::Shown;
use super::{Shared, observed};
use crate::event::DaemonEvent;
use crate::resources::{Backup, BackupDocument};

/// How often the store is compared with the objects when nothing happened here: others write to it as well.
const EVERY: Duration = Duration::from_mins(10);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// Events that come within this time are answered at once.
const TOGETHER: Duration = Duration::from_secs(1);
/// Objects that are created at a time.
const CONCURRENCY: usize = 8;
/// Manifests that are read before what is gone meanwhile is looked for.
const AT_ONCE: usize = 2000;

type Object = Guarded<Backup>;

pub(super) async fn run(shared: &Shared) {
    let mut events = shared.options.events.subscribe();
    let mut overview = Overview::default();
    loop {
        let next = match synchronise(shared, &mut overview).await {
            Ok(()) => EVERY,
            Err(failure) => {
                tracing::warn!(error = chain(&failure), "the objects do not show what the store has yet");
                AGAIN
            }
        };
        changed(&mut events, Instant::now() + next).await;
    }
}

/// Waits until the store may have other backups, or they another state.
async fn changed(events: &mut tokio::sync::broadcast::Receiver<DaemonEvent>, deadline: Instant) {
    while let Ok(event) = timeout_at(deadline, events.recv()).await {
        match event {
            Ok(
                DaemonEvent::BackupFinished { .. }
                | DaemonEvent::PruneFinished { .. }
                | DaemonEvent::DrillFinished(_)
                | DaemonEvent::Catalog(_),
            )
            | Err(RecvError::Lagged(_)) => {
                sleep(TOGETHER).await;
                *events = events.resubscribe();
                return;
            }
            Ok(_) => {}
            // The daemon ends.
            Err(RecvError::Closed) => sleep(EVERY).await,
        }
    }
}

/// What the objects of the namespace are about.
#[derive(Default)]
struct Seen {
    /// Backups that somebody asked for by an object of their own.
    asked: HashSet<BackupId>,
    /// Objects that show a backup, with their UIDs.
    showing: HashMap<BackupId, String>,
}

async fn synchronise(shared: &Shared, overview: &mut Overview) -> Result<(), Failure> {
    let wanted = listed(shared.options.context.clone(), overview).await?;
    let api = shared.api::<Backup>();
    let mut seen = Seen::default();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let objects = api.list(&page).await?;
        for object in &objects.items {
            match look(shared, &api, object, &wanted, &mut seen).await {
                // Whoever changed it meanwhile looks after it.
                Err(failure) if failure.is_stale() => {}
                looked => looked?,
            }
        }
        match objects.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    let doubled = seen.showing.iter().filter(|(id, _)| seen.asked.contains(*id));
    for (id, uid) in doubled {
        delete(&api, &name(id), uid).await?;
    }
    let missing =
        wanted.into_values().filter(|shown| !seen.asked.contains(&shown.id) && !seen.showing.contains_key(&shown.id));
    let mut created = stream::iter(missing)
        .map(|shown| create(shared.client().clone(), shared.options.namespace.clone(), shown))
        .buffer_unordered(CONCURRENCY);
    while let Some(result) = created.next().await {
        result?;
    }
    Ok(())
}

/// What the store has. What was read of it before is not read again.
async fn listed(context: Context, overview: &mut Overview) -> Result<BTreeMap<BackupId, Shown>, Error> {
    let catalog = Catalog::open(context).await?;
    while overview.refresh(&catalog, AT_ONCE).await?.pending > 0 {}
    let backups = overview.backups().iter().map(|(id, summary)| (id.clone(), Shown::summary(id, summary)));
    let problems = overview.problems().iter().map(|(id, problem)| (id.clone(), Shown::problem(id, problem)));
    Ok(backups.chain(problems).collect())
}

/// Brings one object up to what the store has.
async fn look(
    shared: &Shared,
    api: &Api<Object>,
    object: &Object,
    wanted: &BTreeMap<BackupId, Shown>,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let Ok(backup) = &object.0 else { return Ok(()) };
    let status = backup.status.clone().unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    if let Some(id) = &backup.spec.0.id {
        if let Some(shown) = wanted.get(id) {
            seen.showing.insert(id.clone(), uid);
            return show(api, object, shown, &status).await;
        }
        return delete(api, &object.name_any(), &uid).await;
    }
    let Some(id) = &status.id else { return Ok(()) };
    seen.asked.insert(id.clone());
    match (status.phase, wanted.get(id)) {
        // It is being taken, and its own controller tells of it.
        (BackupPhase::Pending | BackupPhase::Running, _) => Ok(()),
        (_, Some(shown)) => show(api, object, shown, &status).await,
        (BackupPhase::Failed | BackupPhase::Removed, None) => Ok(()),
        (_, None) => removed(shared, api, object, id, status.clone()).await,
    }
}

/// Writes the status of a backup that the store has, unless it is there.
async fn show(api: &Api<Object>, object: &Object, shown: &Shown, status: &BackupStatus) -> Result<(), Failure> {
    let wanted = shown.status(object.meta().generation, Some(status));
    if wanted == *status { Ok(()) } else { write_status(api, object, &wanted).await.map(drop) }
}

/// Notes that a backup is gone, once the store has said so: it may have come after the catalog was read.
async fn removed(
    shared: &Shared,
    api: &Api<Object>,
    object: &Object,
    id: &BackupId,
    mut status: BackupStatus,
) -> Result<(), Failure> {
    match find(shared.options.context.clone(), id.clone()).await? {
        Err(error) if error.class() == Class::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Ok(()),
    }
    let condition = Condition::new("Complete", false, "Removed", "it is not in the store any more", shared.now());
    set_condition(&mut status.conditions, observed(object, condition));
    status.phase = BackupPhase::Removed;
    status.verified = None;
    write_status(api, object, &status).await.map(drop)
}

/// Deletes just that object.
async fn delete(api: &Api<Object>, name: &str, uid: &str) -> Result<(), Failure> {
    let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    match api.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await.map_err(Failure::from) {
        Err(failure) if failure.is_stale() => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// The name of the object that shows a backup: names have no capitals.
fn name(id: &BackupId) -> String {
    id.as_str().to_ascii_lowercase()
}

fn create(client: Client, namespace: String, shown: Shown) -> BoxFuture<'static, Result<(), Failure>> {
    async move {
        let spec = BackupSpec { id: Some(shown.id.clone()), ..BackupSpec::default() };
        let object = Backup::new(&name(&shown.id), BackupDocument(spec));
        let plain: Api<Backup> = Api::namespaced(client.clone(), &namespace);
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let created = match plain.create(&parameters, &object).await.map_err(Failure::from) {
            // Somebody made it meanwhile: the next look finds it.
            Err(failure) if failure.is_stale() => return Ok(()),
            created => created?,
        };
        let (api, created) = (Api::namespaced(client, &namespace), DeserializeGuard(Ok(created)));
        match show(&api, &created, &shown, &BackupStatus::default()).await {
            Err(failure) if failure.is_stale() => Ok(()),
            shown => shown,
        }
    }
    .boxed()
}
