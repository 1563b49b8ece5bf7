//! Playbooks at the desk: a kubeconfig, a folder of runs, and nothing else.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lifeboat_actions::{Connection, EvidenceFolder, Outside, Settings, add_actions};
use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_playbook::{ActionError, ApprovalRequest, Approver, Clock, Engine, Identity, Registry, Vote, add_builtin};

use crate::app::App;
use crate::args::{ClusterArgs, StateArgs};
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
        let (options, outside) = configured(app, cluster)?;
        let cluster = Cluster::connect(options).await?;
        // Who asks is who the API server says we are: a name from the environment would prove nothing.
        let requester = Identity(cluster.whoami().await?);
        let journals = playbooks::journals(app, state)?;
        let settings = Settings {
            connection: Connection::of(cluster),
            evidence: EvidenceFolder::new(evidence(app, state)?),
            outside,
            random,
        };
        let engine = Engine {
            registry: Arc::new(registry(&settings)?),
            journals: Arc::new(journals),
            clock: Arc::new(System),
            approver: Arc::new(Nobody),
            own_namespace: None,
        };
        Ok(Self { engine, requester })
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
    registry(&Settings { connection, evidence, outside, random })
}

/// The kernel's random source: what new secrets are made of.
fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// How to reach the cluster, and what may be done outside of it. In an incident there may be a kubeconfig and no
/// configuration: then nothing outside.
fn configured(app: &App, arguments: &ClusterArgs) -> Result<(ConnectOptions, Outside)> {
    match app.config(&sources::overrides(arguments)) {
        Ok(config) => Ok((sources::kubernetes(&config.kubernetes), Outside::from(&config))),
        Err(Error::NoConfig(_)) => {
            let (kubeconfig, context) = (arguments.kubeconfig.clone(), arguments.context.clone());
            Ok((ConnectOptions { kubeconfig, context, ..ConnectOptions::default() }, Outside::default()))
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
