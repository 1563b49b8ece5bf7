//! What every controller of one kind does: watch it, keep what is needed, and reconcile each object by itself.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, BoxFuture};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::{Action, Config, Error as ControllerError, trigger_self};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, applier};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Who writes, as `managedFields` have it.
pub(crate) const MANAGER: &str = "lifeboat-daemon";
/// Objects that one answer to a list holds, at most: none of more than a page is in memory that is not needed.
pub(crate) const PAGE: u32 = 100;
/// How long after a failure an object is looked at again.
const AGAIN: Duration = Duration::from_secs(10);

/// One of the custom resources.
pub(crate) trait Document:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Document for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// An object that need not make sense: one that does not must not hide the others.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// Why an object could not be dealt with now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API server.
    #[error("the API server does not take it")]
    Api(#[source] Box<kube::Error>),
    /// The store or the catalog in it.
    #[error(transparent)]
    Recovery(#[from] lifeboat_recovery::Error),
    /// The daemon does not take requests now.
    #[error("the daemon takes no requests now")]
    Busy,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

impl Failure {
    /// Whether the object was changed or removed since it was read: what was found of it is of no use any more.
    pub(crate) fn is_stale(&self) -> bool {
        let Self::Api(error) = self else { return false };
        matches!(&**error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
    }
}

/// Does work on a thread of its own, whose futures need not go from one thread to another. It is broken off when this is
/// dropped.
pub(crate) async fn apart<T, Work>(work: impl FnOnce() -> Work + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    Work: Future<Output = T>,
{
    let cancel = CancellationToken::new();
    let _broken_off = cancel.clone().drop_guard();
    let handle = Handle::current();
    let done = spawn_blocking(move || handle.block_on(cancel.run_until_cancelled(Box::pin(work())))).await;
    done.ok().flatten().ok_or(Failure::Busy)
}

/// Reconciles the wanted objects of a kind until it is dropped. `concurrency` of them at a time, and each by one at a time.
pub(crate) async fn drive<K: Document>(
    api: Api<Guarded<K>>,
    wanted: fn(&Guarded<K>) -> bool,
    concurrency: u16,
    reconcile: impl Fn(Arc<Guarded<K>>, Store<Guarded<K>>) -> BoxFuture<'static, Result<(), Failure>> + Send,
) {
    let (reader, writer) = reflector::store();
    let store = reader.clone();
    let events = watcher::watcher(api, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .try_filter(move |event| {
            future::ready(match event {
                Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => wanted(object),
                Event::Init | Event::InitDone => true,
            })
        })
        .reflect(writer)
        .applied_objects()
        .inspect_err(|error| tracing::warn!(kind = %K::kind(&()), %error, "the watch is begun again"));
    let work = applier(
        |object, _| {
            let reconciled = reconcile(object, reader.clone());
            Box::pin(async {
                match reconciled.await {
                    // The newer object comes by the watch.
                    Err(failure) if failure.is_stale() => Ok(Action::await_change()),
                    reconciled => reconciled.map(|()| Action::await_change()),
                }
            })
        },
        |_, _: &Failure, _| Action::requeue(AGAIN),
        Arc::new(()),
        store,
        trigger_self(Box::pin(events), ()),
        Config::default().concurrency(concurrency),
    );
    let mut work = std::pin::pin!(work);
    while let Some(result) = work.next().await {
        match result {
            // It was deleted before its turn came; errors of the watch were told above.
            Ok(_) | Err(ControllerError::ObjectNotFound(_) | ControllerError::QueueError(_)) => {}
            Err(error) => {
                let error = lifeboat_recovery::chain(&error);
                tracing::warn!(kind = %K::kind(&()), error, "an object could not be dealt with, and is tried again");
            }
        }
    }
}

/// Writes a status, of just the object that was read, and as it was read: whoever was quicker wins. What we wrote before
/// and is not in it any more goes. Gives the object as it is now.
pub(crate) async fn write_status<K: Document, S: Serialize>(
    api: &Api<Guarded<K>>,
    read: &Guarded<K>,
    status: &S,
) -> Result<Guarded<K>, Failure> {
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": read.name_any(),
            "uid": read.meta().uid,
            "resourceVersion": read.meta().resource_version,
        },
        "status": status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    Ok(api.patch_status(&read.name_any(), &parameters, &Patch::Apply(patch)).await?)
}
