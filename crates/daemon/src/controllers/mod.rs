//! The controllers of the custom resources: schedules handed to the scheduler, backups, restores and drills done when
//! somebody asks for them, and an object for each backup of the store.
//!
//! They watch one namespace, and whoever may write there may have everything backed up, and restored. They run while this
//! daemon leads, and are simply dropped when it does not any more: what was under way is found by its status, and settled
//! by who leads next. No object has a finalizer, since nothing outside of the cluster depends on one.

mod backups;
mod catalog;
mod drills;
pub(crate) mod driver;
mod identity;
pub(crate) mod notes;
mod restores;
mod schedules;
mod shown;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kube::{Api, Client, Resource as _};
use lifeboat_kubernetes::Cluster;
use lifeboat_model::Condition;
use lifeboat_recovery::Context;
use lifeboat_recovery::rules::RESTORED_FROM;
use tokio::sync::{mpsc, watch};

use crate::event::Events;
use crate::request::Request;
use crate::scheduler::Standing;

use self::driver::{Document, Guarded};
use self::notes::Notes;

/// What the controllers are given.
pub(crate) struct ControllerOptions {
    /// The API server.
    pub(crate) cluster: Cluster,
    /// The one namespace whose objects count.
    pub(crate) namespace: String,
    /// The store, and whose signatures are trusted.
    pub(crate) context: Context,
    /// Names of schedules that the configuration has already.
    pub(crate) taken: Vec<String>,
    /// Where schedules of the cluster are handed to.
    pub(crate) schedules: watch::Sender<Vec<Standing>>,
    /// Who takes backups and drills.
    pub(crate) requests: mpsc::Sender<Request>,
    /// What happens in the daemon.
    pub(crate) events: Events,
    /// Who this daemon is among others.
    pub(crate) identity: String,
    /// A folder for journals of restores.
    pub(crate) work_dir: PathBuf,
}

/// What the controllers share.
struct Shared {
    options: ControllerOptions,
    notes: Notes,
    /// Whether the schedules of the cluster were handed over once.
    scheduled: watch::Sender<bool>,
}

impl Shared {
    fn client(&self) -> &Client {
        self.options.cluster.client()
    }

    fn api<K: Document>(&self) -> Api<Guarded<K>> {
        Api::namespaced(self.client().clone(), &self.options.namespace)
    }

    fn now(&self) -> Timestamp {
        self.options.context.clock.now()
    }
}

/// Runs the controllers until this is dropped.
pub(crate) async fn run(options: ControllerOptions) {
    let notes = Notes::new(options.cluster.client().clone(), &options.identity);
    let shared = Arc::new(Shared { options, notes, scheduled: watch::Sender::new(false) });
    tokio::join!(
        schedules::run(&shared),
        backups::run(&shared),
        catalog::run(&shared),
        Box::pin(restores::run(&shared)),
        drills::run(&shared),
    );
}

/// Whether a restore brought the object, with what was asked for and without what came of it: nobody asks for that again.
pub(crate) fn is_restored<K: Document>(object: &Guarded<K>) -> bool {
    object.meta().annotations.as_ref().is_some_and(|annotations| annotations.contains_key(RESTORED_FROM))
}

/// What is said of an object that is no request.
pub(crate) const RESTORED: &str =
    "it came back with a restore, and what it asked for was asked before: create another object";

/// A condition of an object that makes no sense. It has the time of the object, so that it is the same each time.
pub(crate) fn invalid<K: Document>(object: &Guarded<K>, kind: &str, status: bool, problem: &str) -> Condition {
    let created = object.meta().creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    observed(object, Condition::new(kind, status, "Invalid", problem, created))
}

/// A condition, with the generation of the object that it was found for.
pub(crate) fn observed<K: Document>(object: &Guarded<K>, condition: Condition) -> Condition {
    Condition { observed_generation: object.meta().generation, ..condition }
}
