//! Playbooks at the desk: a kubeconfig, a folder of runs, and nothing else.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_actions::{Backups, Connection, EvidenceFolder, NoBackups, Outside, Settings, add_actions};
use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_playbook::{
    ActionError, ApprovalRequest, Approver, Clock, DirectoryJournals, Engine, Identity, Journals, Registry, Vote,
    add_builtin,
};

use crate::app::App;
use crate::args::{ClusterArgs, StateArgs};
use crate::configured::Configured;
use crate::error::{Error, Result};
use crate::playbooks;
use crate::sources::{self, System};

/// What playbooks are run with, and who runs them.
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    pub(crate) requester: Identity,
}

impl Desk {
    /// The cluster that the options, the configuration if there is one, or the kubeconfig lead to.
    pub(crate) async fn open(app: &App, cluster: &ClusterArgs, state: &StateArgs) -> Result<Self> {
        Self::with(app, cluster, state, true).await
    }

    /// The same where events start playbooks: no input names a file of this machine.
    pub(crate) async fn for_events(app: &App, cluster: &ClusterArgs, state: &StateArgs) -> Result<Self> {
        Self::with(app, cluster, state, false).await
    }

    async fn with(app: &App, cluster: &ClusterArgs, state: &StateArgs, local_files: bool) -> Result<Self> {
        let (options, backups, outside) = configured(app, cluster)?;
        let (connection, requester) = reach(options).await?;
        let journals: Arc<dyn Journals> = Arc::new(playbooks::journals(app, state)?);
        let settings = Settings {
            connection,
            backups,
            journals: Arc::clone(&journals),
            evidence: EvidenceFolder::new(evidence(app, state)?),
            outside,
            random,
            local_files,
        };
        let engine = Engine {
            registry: Arc::new(registry(&settings)?),
            journals,
            clock: Arc::new(System),
            approver: Arc::new(Nobody),
            own_namespace: None,
        };
        Ok(Self { engine, requester })
    }
}

/// The cluster, and who we are to it. Who asks is who the API server says we are: a name from the environment would prove
/// nothing. Where it does not answer, steps that need no cluster can be done all the same, by nobody in particular.
async fn reach(options: ConnectOptions) -> Result<(Connection, Identity)> {
    let asked = async {
        let cluster = Cluster::connect(options.clone()).await?;
        let name = cluster.whoami().await?;
        Ok((Connection::of(cluster), Identity(name)))
    };
    match asked.await {
        Err(error @ lifeboat_kubernetes::Error::Unreachable { .. }) => {
            let error = lifeboat_recovery::chain(&error);
            tracing::warn!(error, "the API server does not answer: only what needs no cluster can be done");
            Ok((Connection::new(options), Identity("somebody: the API server does not answer".to_owned())))
        }
        asked => Ok(asked?),
    }
}

/// Every action, for a cluster.
fn registry(settings: &Settings) -> Result<Registry> {
    let mut registry = Registry::new();
    let wrong = |error: lifeboat_playbook::RegistryError| Error::Usage(error.to_string());
    add_builtin(&mut registry).map_err(wrong)?;
    add_actions(&mut registry, settings).map_err(wrong)?;
    Ok(registry)
}

/// Every action, to read playbooks with: none of them has a cluster.
pub(crate) fn manual() -> Result<Registry> {
    let connection = Connection::new(ConnectOptions::default());
    let (evidence, outside) = (EvidenceFolder::new(PathBuf::new()), Outside::default());
    let journals = Arc::new(DirectoryJournals::new(PathBuf::new()));
    let backups = Arc::new(NoBackups);
    registry(&Settings { connection, backups, journals, evidence, outside, random, local_files: true })
}

/// The kernel's random source: what new secrets are made of.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// The cluster that the options, the configuration or the kubeconfig lead to.
pub(crate) fn options(app: &App, arguments: &ClusterArgs) -> Result<ConnectOptions> {
    Ok(configured(app, arguments)?.0)
}

/// The cluster, what is configured of backups, and what may be done outside of the cluster. In an incident there may be a
/// kubeconfig and no configuration: then nothing of the latter two.
fn configured(app: &App, arguments: &ClusterArgs) -> Result<(ConnectOptions, Arc<dyn Backups>, Outside)> {
    match app.config(&sources::overrides(arguments)) {
        Ok(config) => {
            let (options, outside) = (sources::kubernetes(&config.kubernetes), Outside::from(&config));
            Ok((options, Arc::new(Configured::new(app, config)), outside))
        }
        Err(Error::NoConfig(_)) => {
            let (kubeconfig, context) = (arguments.kubeconfig.clone(), arguments.context.clone());
            let options = ConnectOptions { kubeconfig, context, ..ConnectOptions::default() };
            Ok((options, Arc::new(NoBackups), Outside::default()))
        }
        Err(error) => Err(error),
    }
}

/// The folder of evidence, beside that of the runs.
fn evidence(app: &App, state: &StateArgs) -> Result<PathBuf> {
    let default = || app.environment.state_home().map(|home| home.join("lifeboat"));
    let folder = state.state_dir.clone().or_else(default);
    let folder =
        folder.ok_or_else(|| Error::Usage("no folder for evidence: neither HOME nor --state-dir".to_owned()))?;
    Ok(folder.join("evidence"))
}

impl Clock for System {
    fn now(&self) -> jiff::Timestamp {
        lifeboat_recovery::Clock::now(self)
    }

    fn random(&self) -> u64 {
        lifeboat_recovery::Clock::random(self)
    }
}

/// Nobody proves at one desk that it was somebody else who agreed.
struct Nobody;

#[async_trait]
impl Approver for Nobody {
    async fn vote(&self, _: &ApprovalRequest) -> std::result::Result<Vote, ActionError> {
        Err(ActionError::denied("others have to agree, and from here nobody can be asked"))
    }
}
