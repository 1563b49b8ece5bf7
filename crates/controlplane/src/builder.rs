use std::collections::BTreeSet;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use crate::controllers::Controller;
use crate::etcd::holds_data;
use crate::{Binaries, ControlPlane, Error, ProcessSpec, Result};

/// How a [`ControlPlane`] is to be; made by [`ControlPlane::builder`].
#[derive(Debug, Clone)]
pub struct Builder(Options);

/// The choices themselves, kept for later starts of single parts.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) binaries: Binaries,
    pub(crate) dir: PathBuf,
    pub(crate) deadline: Duration,
    pub(crate) members: u16,
    pub(crate) etcd_data_dir: Option<PathBuf>,
    pub(crate) etcd_port: Option<u16>,
    pub(crate) etcd_args: Vec<String>,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) unsafe_no_fsync: bool,
    pub(crate) api_server: bool,
    pub(crate) api_port: Option<u16>,
    pub(crate) api_server_args: Vec<String>,
    pub(crate) isolated: bool,
    pub(crate) encryption_config: Option<PathBuf>,
    pub(crate) service_cidr: String,
    pub(crate) controllers: BTreeSet<Controller>,
    pub(crate) kwok_nodes: u32,
}

impl Options {
    /// A process of the control plane: `program`, with its log under its own name.
    pub(crate) fn process(&self, name: &str, program: &str) -> Result<ProcessSpec> {
        let program = self.binaries.find(program)?;
        let log = self.logs().join(format!("{name}.log"));
        Ok(ProcessSpec::new(name, program, log).search(self.binaries.dirs()))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Refuses what cannot work before anything is started.
    fn check(&self) -> Result<()> {
        let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
        if self.members == 0 {
            return invalid("etcd needs at least one member");
        }
        if self.members > 1 && self.etcd_data_dir.is_some() {
            return invalid("an existing etcd data directory is of one member; ask for one");
        }
        if let Some(dir) = &self.etcd_data_dir {
            holds_data(dir)?;
        }
        if !self.api_server && (!self.controllers.is_empty() || self.kwok_nodes > 0) {
            return invalid("controller manager, scheduler and nodes need the API server");
        }
        let api_server = self.api_server.then_some("kube-apiserver");
        let kwok = (self.kwok_nodes > 0).then_some("kwok");
        let controllers = self.controllers.iter().map(|controller| controller.name());
        for program in iter::once("etcd").chain(api_server).chain(controllers).chain(kwok) {
            self.binaries.find(program)?;
        }
        Ok(())
    }
}

impl Builder {
    pub(crate) fn new(binaries: Binaries, dir: PathBuf) -> Self {
        Self(Options {
            binaries,
            dir,
            deadline: Duration::from_secs(90),
            members: 1,
            etcd_data_dir: None,
            etcd_port: None,
            etcd_args: Vec::new(),
            quota_bytes: None,
            unsafe_no_fsync: true,
            api_server: true,
            api_port: None,
            api_server_args: Vec::new(),
            isolated: false,
            encryption_config: None,
            service_cidr: "10.96.0.0/12".to_owned(),
            controllers: BTreeSet::new(),
            kwok_nodes: 0,
        })
    }

    /// How long each part may take until it is ready; 90 s unless told.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.0.deadline = deadline;
        self
    }

    /// How many members etcd has; one unless told.
    #[must_use]
    pub fn etcd_members(mut self, members: u16) -> Self {
        self.0.members = members;
        self
    }

    /// Starts from a data directory that is there already, such as a restored one, and goes on writing into it.
    ///
    /// It must be of a cluster of one member; that member's name and peer URL need not be those of this control plane,
    /// since etcd reads them from the data.
    #[must_use]
    pub fn etcd_data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.0.etcd_data_dir = Some(dir.into());
        self
    }

    /// Fixes the port on which etcd serves clients, so that it stays the same from one start to the next: member *i*
    /// gets `port + i`.
    ///
    /// Several members have their peers' ports right after those; a single member, which has no peers, any.
    #[must_use]
    pub fn etcd_port(mut self, port: u16) -> Self {
        self.0.etcd_port = Some(port);
        self
    }

    /// Adds an argument to each etcd's command line; of a flag given twice, etcd takes the last.
    #[must_use]
    pub fn etcd_arg(mut self, arg: impl Into<String>) -> Self {
        self.0.etcd_args.push(arg.into());
        self
    }

    /// The size of the database, in bytes, at which etcd takes no more writes; etcd's own default unless told.
    #[must_use]
    pub fn etcd_quota(mut self, bytes: u64) -> Self {
        self.0.quota_bytes = Some(bytes);
        self
    }

    /// Makes etcd wait for the disk as a real one does. Unless told it does not, since a throwaway cluster need not
    /// outlive a power failure, and starts and writes several times faster.
    #[must_use]
    pub fn with_fsync(mut self) -> Self {
        self.0.unsafe_no_fsync = false;
        self
    }

    /// etcd alone, without an API server.
    #[must_use]
    pub fn etcd_only(mut self) -> Self {
        self.0.api_server = false;
        self
    }

    /// Fixes the API server's port, so that kubeconfigs stay valid from one start to the next.
    #[must_use]
    pub fn api_port(mut self, port: u16) -> Self {
        self.0.api_port = Some(port);
        self
    }

    /// Adds an argument to the API server's command line, `--feature-gates=...` for one; of a flag given twice, the
    /// server takes the last.
    #[must_use]
    pub fn api_server_arg(mut self, arg: impl Into<String>) -> Self {
        self.0.api_server_args.push(arg.into());
        self
    }

    /// Encrypts objects at rest as this `EncryptionConfiguration` says, or reads those that are.
    #[must_use]
    pub fn encryption_config(mut self, file: impl Into<PathBuf>) -> Self {
        self.0.encryption_config = Some(file.into());
        self
    }

    /// For data of a real cluster: the API server connects to nothing but etcd, and asks no admission webhook or
    /// policy.
    ///
    /// A copy of a cluster knows the addresses of that cluster's webhooks, aggregated API servers and nodes, and
    /// would call them; a webhook that must answer and cannot would stop the copy from becoming ready.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.0.isolated = true;
        self
    }

    /// The range of the Services' cluster IPs; 10.96.0.0/12 unless told.
    #[must_use]
    pub fn service_cidr(mut self, cidr: impl Into<String>) -> Self {
        self.0.service_cidr = cidr.into();
        self
    }

    /// Runs the controller manager too.
    #[must_use]
    pub fn with_controller_manager(mut self) -> Self {
        self.0.controllers.insert(Controller::Manager);
        self
    }

    /// Runs the scheduler too.
    #[must_use]
    pub fn with_scheduler(mut self) -> Self {
        self.0.controllers.insert(Controller::Scheduler);
        self
    }

    /// Adds that many nodes played by kwok, `kwok-0` and so on. Its Stage files are expected in `kwok-stages` beside
    /// the program.
    #[must_use]
    pub fn with_kwok_nodes(mut self, nodes: u32) -> Self {
        self.0.kwok_nodes = nodes;
        self
    }

    /// Starts everything and waits until it is ready.
    ///
    /// Dropping the future before its end stops what was started.
    pub async fn start(self) -> Result<ControlPlane> {
        ControlPlane::start(self.into_options()?).await
    }

    /// The options, if they can work.
    pub(crate) fn into_options(self) -> Result<Options> {
        self.0.check()?;
        Ok(self.0)
    }
}
