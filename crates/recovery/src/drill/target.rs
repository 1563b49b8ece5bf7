//! Where a drill of tier 3 restores to: a cluster of kind that is made and deleted, or one that is there.

use std::path::PathBuf;

use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_model::{DrillId, FindingCode, Manifest};

use super::account::Account;
use super::kind::{KindCluster, KindOptions, Made, Way};
use super::scratch::Scratch;
use super::workloads::{self, is_systems};
use crate::error::{Error, Result};

/// Where a drill restores to.
#[derive(Debug, Clone)]
pub enum Target {
    /// Processes on this machine: tiers 0 to 2.
    Local,
    /// A cluster that kind makes for the drill, and that is deleted after it.
    Kind(KindOptions),
    /// A cluster that is there.
    Context(ContextOptions),
}

/// How to reach a cluster that is there.
#[derive(Debug, Clone)]
pub struct ContextOptions {
    /// The kubeconfig file, where it is not the usual one.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it.
    pub context: String,
    /// Restore even though there is something in it.
    pub occupied: bool,
}

impl Target {
    /// What reports call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kind(KindOptions { way: Way::Objects, .. }) => "kind",
            Self::Kind(KindOptions { way: Way::Etcd, .. }) => "kind-etcd",
            Self::Context(_) => "context",
        }
    }
}

/// A cluster to restore into.
pub(super) struct Reached {
    pub(super) cluster: Cluster,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) context: Option<String>,
    /// The cluster of kind that it is.
    pub(super) kind: Option<KindCluster>,
}

/// Makes or reaches the cluster. Nothing is given where that is a finding.
///
/// # Errors
/// When a cluster that is there must not be drilled into.
pub(super) async fn reach(
    account: &mut Account,
    target: &Target,
    id: &DrillId,
    manifest: &Manifest,
    scratch: &Scratch,
    made: &Made,
) -> Result<Option<Reached>> {
    let reached = match target {
        Target::Local => return Err(Error::Usage("tier 3 restores into kind or into a context".to_owned())),
        Target::Context(options) => into_context(options, manifest).await?,
        Target::Kind(options) => {
            let name = format!("lifeboat-drill-{id}").to_lowercase();
            let cluster = KindCluster::new(name, options.clone(), scratch.path("kubeconfig"));
            // Remembered before it is begun: what is half made has to go as well.
            made.remember(cluster.clone());
            let created = cluster.create(manifest).await;
            let said = created.clone().map(|()| format!("made cluster '{}'", cluster.name()));
            account.notes.check("kind", FindingCode::ClusterNotCreated, said);
            if created.is_err() {
                account.end_phase("boot");
                return Ok(None);
            }
            let kubeconfig = Some(cluster.kubeconfig().to_owned());
            let reached =
                Cluster::connect(ConnectOptions { kubeconfig: kubeconfig.clone(), ..ConnectOptions::default() })
                    .await?;
            Reached { cluster: reached, kubeconfig, context: None, kind: Some(cluster) }
        }
    };
    account.versions.kubernetes = Some(reached.cluster.version().await?);
    account.end_phase("boot");
    Ok(Some(reached))
}

/// Reaches a cluster that is there, if it may be drilled into.
async fn into_context(options: &ContextOptions, manifest: &Manifest) -> Result<Reached> {
    let connect = ConnectOptions {
        kubeconfig: options.kubeconfig.clone(),
        context: Some(options.context.clone()),
        in_cluster: false,
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(connect).await?;
    let name = &options.context;
    if cluster.cluster_id().await? == manifest.cluster_id {
        let problem = format!("context '{name}' is the very cluster that was backed up: a drill must not touch it");
        return Err(Error::Refused(problem));
    }
    if !options.occupied {
        let occupied = workloads::foreign_namespaces(&cluster).await?;
        if let Some(first) = occupied.first() {
            let count = occupied.len();
            return Err(Error::Refused(format!(
                "context '{name}' is not empty: it has {count} namespaces of its own, such as '{first}'"
            )));
        }
    }
    let (kubeconfig, context) = (options.kubeconfig.clone(), Some(name.clone()));
    Ok(Reached { cluster, kubeconfig, context, kind: None })
}

/// Whether a namespace is one that an empty cluster has.
pub(super) fn is_initial(namespace: &str) -> bool {
    namespace == "default" || namespace == "local-path-storage" || is_systems(namespace)
}
