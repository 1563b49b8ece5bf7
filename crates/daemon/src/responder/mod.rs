//! Playbooks in a cluster: whoever leads judges them, plans the runs that are asked for, asks people, and runs what they
//! agreed to, with the engine of the command line.
//!
//! It is a process of its own, with rights of its own: it has no key and no store of backups, and the daemon that takes
//! backups has no right to change anything. What it knows is in the objects: a run goes on from its journal, whoever leads.

mod approver;
mod gate;
mod journals;
mod playbooks;
mod progress;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use lifeboat_actions::{Connection, EvidenceFolder, NoBackups, Outside, Random, Settings, add_actions};
use lifeboat_kubernetes::{Cluster, ConnectOptions, Error as KubernetesError, LeaseLock, LeaseOptions};
use lifeboat_playbook::{Clock, Registry, RunId, add_builtin};
use lifeboat_recovery::chain;
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::controllers::driver::{Document, Failure, Guarded, MANAGER};
use crate::controllers::notes::Notes;
use crate::error::Error;

pub use journals::ClusterJournals;

/// What the responder is given.
pub struct ResponderOptions {
    /// How to reach the API server.
    pub kubernetes: ConnectOptions,
    /// The one namespace whose playbooks and runs count. Nothing is done in it.
    pub namespace: String,
    /// The name of the Lease in that namespace by which one of several leads.
    pub lease: String,
    /// How long the Lease lasts without being renewed.
    pub lease_duration: Duration,
    /// Who this responder is among others: no two may bear the same name.
    pub identity: String,
    /// The folder of evidence.
    pub evidence: PathBuf,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// What new secrets are made of.
    pub random: Random,
}

/// What all of it shares.
struct Shared {
    cluster: Cluster,
    namespace: String,
    identity: String,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    notes: Notes,
    /// The keys under which runs are under way here.
    held: Arc<Mutex<BTreeMap<String, RunId>>>,
}

impl Shared {
    fn api<K: Document>(&self) -> Api<Guarded<K>> {
        Api::namespaced(self.cluster.client().clone(), &self.namespace)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes a status, of that object and no later one of its name, whatever else was changed of it meanwhile.
    async fn show<K: Document, S: Serialize>(&self, object: &Guarded<K>, status: &S) -> Result<(), Failure> {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": object.name_any(), "uid": object.meta().uid},
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        self.api::<K>().patch_status(&object.name_any(), &parameters, &Patch::Apply(patch)).await?;
        Ok(())
    }
}

/// Runs until the token is cancelled. A run that is under way then is left as it is, and gone on with by whoever leads next.
///
/// # Errors
/// When the actions cannot be offered, or the client cannot be set up.
pub async fn respond(options: ResponderOptions, shutdown: CancellationToken) -> Result<(), Error> {
    let cluster = Cluster::connect(options.kubernetes.clone()).await?;
    let registry = Arc::new(registry(&options, &cluster)?);
    // An API server that keeps silent must not keep us from noticing that the lease runs out.
    let patience = options.lease_duration / 4;
    let impatient = ConnectOptions { connect_timeout: patience, stall_timeout: patience, ..options.kubernetes.clone() };
    let keeper = Cluster::connect(impatient).await?;
    loop {
        let taken = shutdown.run_until_cancelled(take(&options, &keeper)).await;
        match taken {
            None => return Ok(()),
            Some(Ok(lock)) => lead(&options, &cluster, &registry, lock, &shutdown).await,
            Some(Err(KubernetesError::Held { holder, .. })) => tracing::debug!(holder, "somebody else leads"),
            Some(Err(error)) => tracing::warn!(error = chain(&error), "the lease cannot be taken"),
        }
        if shutdown.run_until_cancelled(sleep(options.lease_duration / 4)).await.is_none() {
            return Ok(());
        }
    }
}

/// Every action, with the rights that this process has. It takes no file of its own for an input.
fn registry(options: &ResponderOptions, cluster: &Cluster) -> Result<Registry, Error> {
    let mut registry = Registry::new();
    let settings = Settings {
        connection: Connection::of(cluster.clone()),
        backups: Arc::new(NoBackups),
        journals: Arc::new(ClusterJournals::reader(cluster.clone(), options.namespace.clone())),
        evidence: EvidenceFolder::new(options.evidence.clone()),
        outside: Outside::default(),
        random: options.random,
        local_files: false,
    };
    let wrong = |error: lifeboat_playbook::RegistryError| Error::Config(error.to_string());
    add_builtin(&mut registry).map_err(wrong)?;
    add_actions(&mut registry, &settings).map_err(wrong)?;
    Ok(registry)
}

async fn take(options: &ResponderOptions, keeper: &Cluster) -> Result<LeaseLock, KubernetesError> {
    let lease = LeaseOptions {
        namespace: options.namespace.clone(),
        name: options.lease.clone(),
        holder: options.identity.clone(),
        duration: options.lease_duration,
        field_manager: "lifeboat-responder".to_owned(),
    };
    keeper.take_lease(lease).await
}

/// Works until the lease is lost, ahead of its end, or the process is to end.
async fn lead(
    options: &ResponderOptions,
    cluster: &Cluster,
    registry: &Arc<Registry>,
    mut lock: LeaseLock,
    shutdown: &CancellationToken,
) {
    let shared = Arc::new(Shared {
        cluster: cluster.clone(),
        namespace: options.namespace.clone(),
        identity: options.identity.clone(),
        registry: Arc::clone(registry),
        clock: Arc::clone(&options.clock),
        notes: Notes::new(cluster.client().clone(), &options.identity),
        held: Arc::default(),
    });
    tracing::info!(generation = lock.generation(), "leading");
    let work = async {
        tokio::join!(playbooks::run(&shared), Box::pin(runs::run(&shared)));
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        // Dropping the work ends it before its next write.
        lost = lock.keep_ahead(options.lease_duration / 3) => {
            tracing::warn!(error = chain(&lost), "not leading any more");
            return;
        }
        () = work => tracing::error!("the controllers ended, which they never should"),
    }
    if let Err(error) = lock.step_down(cluster).await {
        tracing::warn!(error = chain(&error), "the lease is not given up, and expires");
    }
}
