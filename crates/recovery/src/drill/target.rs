//! Where a drill of tier 3 restores to: a cluster of kind that is made and deleted, or one that is there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_model::{DrillId, FindingCode, Manifest};
use tokio::process::Command;
use tokio::time::timeout;

use super::account::Account;
use super::scratch::Scratch;
use super::workloads::{self, is_systems};
use crate::error::{Error, Result};

/// How long a cluster of kind may take until its node is ready, and until it is deleted.
const CREATE: Duration = Duration::from_mins(5);
const DELETE: Duration = Duration::from_mins(2);
/// Characters of a program's complaint that a finding carries.
const COMPLAINT: usize = 2_000;

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

/// How to make a cluster of kind.
#[derive(Debug, Clone)]
pub struct KindOptions {
    /// The program.
    pub program: PathBuf,
    /// The image of its node; without it, kind's own for the version of the backup.
    pub image: Option<String>,
    /// A configuration of kind's.
    pub config: Option<PathBuf>,
    /// The variables that kind sees: it needs `PATH` and those of its provider.
    pub environment: Vec<(String, String)>,
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
            Self::Kind(_) => "kind",
            Self::Context(_) => "context",
        }
    }
}

/// A cluster of kind that has to be deleted.
#[derive(Debug, Clone)]
pub(super) struct KindCluster {
    name: String,
    options: KindOptions,
    kubeconfig: PathBuf,
}

/// The cluster of a drill, remembered outside of its work, which may be dropped at any time.
#[derive(Debug, Clone, Default)]
pub(super) struct Made(Arc<Mutex<Option<KindCluster>>>);

impl Made {
    fn remember(&self, cluster: KindCluster) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
    }

    /// Whoever takes it has to delete it.
    pub(super) fn take(&self) -> Option<KindCluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A cluster to restore into.
pub(super) struct Reached {
    pub(super) cluster: Cluster,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) context: Option<String>,
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
            let cluster = KindCluster {
                name: format!("lifeboat-drill-{id}").to_lowercase(),
                options: options.clone(),
                kubeconfig: scratch.path("kubeconfig"),
            };
            // Remembered before it is begun: what is half made has to go as well.
            made.remember(cluster.clone());
            let created = cluster.create(manifest).await;
            let said = created.clone().map(|()| format!("made cluster '{}'", cluster.name));
            account.notes.check("kind", FindingCode::ClusterNotCreated, said);
            if created.is_err() {
                account.end_phase("boot");
                return Ok(None);
            }
            let options = ConnectOptions { kubeconfig: Some(cluster.kubeconfig.clone()), ..ConnectOptions::default() };
            let reached = Cluster::connect(options).await?;
            Reached { cluster: reached, kubeconfig: Some(cluster.kubeconfig), context: None }
        }
    };
    account.versions.kubernetes = Some(reached.cluster.version().await?);
    account.end_phase("boot");
    Ok(Some(reached))
}

impl KindCluster {
    async fn create(&self, manifest: &Manifest) -> std::result::Result<(), String> {
        let version =
            manifest.kubernetes_version.as_deref().map(|version| version.split('+').next().unwrap_or(version));
        let image = self.options.image.clone().or_else(|| Some(format!("kindest/node:{}", version?)));
        let mut arguments = vec!["create".into(), "cluster".into(), "--wait".into(), "120s".into()];
        arguments.extend(image.into_iter().flat_map(|image| ["--image".into(), image.into()]));
        if let Some(config) = &self.options.config {
            arguments.extend(["--config".into(), config.as_os_str().to_owned()]);
        }
        self.run(&arguments, CREATE).await
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Deletes it, with everything in it.
    pub(super) async fn delete(self) {
        tracing::info!(cluster = self.name, "deleting the drill's cluster");
        if let Err(error) = self.try_delete().await {
            let name = &self.name;
            tracing::error!(error, "the drill's cluster is left: run 'kind delete cluster --name {name}'");
        }
    }

    /// The folder of the drill may be gone, and kind would make it again to take the cluster out of its kubeconfig: it
    /// gets another one.
    async fn try_delete(&self) -> std::result::Result<(), String> {
        let beside = self.kubeconfig.parent().and_then(Path::parent).unwrap_or(Path::new("/tmp"));
        let folder = tempfile::Builder::new().prefix("lifeboat-kind-").tempdir_in(beside).map_err(|e| e.to_string())?;
        let elsewhere = Self { kubeconfig: folder.path().join("kubeconfig"), ..self.clone() };
        elsewhere.run(&["delete".into(), "cluster".into()], DELETE).await
    }

    async fn run(&self, arguments: &[std::ffi::OsString], deadline: Duration) -> std::result::Result<(), String> {
        let mut command = Command::new(&self.options.program);
        command.args(arguments).args(["--name", &self.name]).arg("--kubeconfig").arg(&self.kubeconfig);
        command.env_clear().envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(deadline, command.output()).await;
        let output = output.map_err(|_| format!("kind did not end within {deadline:?}"))?.map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let surplus = text.chars().count().saturating_sub(COMPLAINT);
        Err(format!("kind ended with {}: {}", output.status, text.chars().skip(surplus).collect::<String>().trim()))
    }
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
    Ok(Reached { cluster, kubeconfig, context })
}

/// Whether a namespace is one that an empty cluster has.
pub(super) fn is_initial(namespace: &str) -> bool {
    namespace == "default" || namespace == "local-path-storage" || is_systems(namespace)
}
