//! The daemon as a whole: what it is given, and the tasks of which it is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_archive::{Identities, Recipients, SigningKey};
use lifeboat_etcd::EtcdOptions;
use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_model::{Config, NamedSchedule};
use lifeboat_recovery::Context;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::controllers::{self, ControllerOptions};
use crate::error::Error;
use crate::event::Events;
use crate::leader::{Leader, Office};
use crate::main_loop::{Inbox, MainLoop};
use crate::runner::Runner;
use crate::scheduler::Standing;
use crate::timing::Timing;
use crate::watch::Watch;

/// Requests that may wait; who asks then waits too.
const REQUESTS: usize = 16;

/// What the daemon is given.
pub struct DaemonOptions {
    /// The store, the cluster's name in it, whose signatures are trusted, time and randomness.
    pub context: Context,
    /// The configuration.
    pub config: Config,
    /// How to reach etcd, where it can be reached.
    pub etcd: Option<EtcdOptions>,
    /// How to reach the API server; `None` on a host that has none.
    pub kubernetes: Option<ConnectOptions>,
    /// To whom backups are sealed.
    pub recipients: Arc<Recipients>,
    /// Who signs backups and reports.
    pub signer: Arc<SigningKey>,
    /// What drills need.
    pub drill: DrillOptions,
    /// Who this daemon is among others, as in the Lease: no two may bear the same.
    pub identity: String,
    /// Where metrics and health are served.
    pub listener: Option<TcpListener>,
    /// A folder for the journals of restores that custom resources ask for.
    pub work_dir: PathBuf,
    /// Name and version of the program.
    pub tool: String,
}

/// What drills need.
pub struct DrillOptions {
    /// What opens backups.
    pub identities: Option<Arc<Identities>>,
    /// Folders with `etcd`, `etcdutl` and `kube-apiserver`.
    pub programs: Vec<PathBuf>,
    /// The folder in which the private folder of a drill is made.
    pub scratch: PathBuf,
}

/// Runs until the token is cancelled. What is under way then is ended cleanly first.
///
/// # Errors
/// When a setting makes no sense, or a part of the daemon ends that never should.
pub async fn run(options: DaemonOptions, shutdown: CancellationToken) -> Result<(), Error> {
    check(&options)?;
    // What waits for the network shares one thread; sealing, hashing and parsing have others.
    LocalSet::new().run_until(Box::pin(all(options, shutdown))).await
}

async fn all(mut options: DaemonOptions, shutdown: CancellationToken) -> Result<(), Error> {
    let events = Events::default();
    let watch = Watch::new(&mut options.context, &options.tool);
    let pulse = watch.pulse();
    let (notify, listener) = (options.config.daemon.notify.clone(), options.listener.take());
    // The lease and what is told of the end outlast the work.
    let after_work = CancellationToken::new();
    let mut tasks = Tasks::default();
    tasks.spawn("notifications and metrics", watch.run(events.subscribe(), notify, listener, after_work.clone()));

    let cluster = match &options.kubernetes {
        Some(kubernetes) => Some(Cluster::connect(kubernetes.clone()).await?),
        None => None,
    };
    let (to_office, office) = watch::channel(Office::None);
    if let (Some(election), Some(kubernetes)) = (&options.config.daemon.leader_election, &options.kubernetes) {
        // An API server that keeps silent must not keep us from noticing that the lease runs out.
        let patience = Duration::from_secs(election.lease_seconds.into()) / 4;
        let impatient = ConnectOptions { connect_timeout: patience, stall_timeout: patience, ..kubernetes.clone() };
        let leader = Leader {
            cluster: Cluster::connect(impatient).await?,
            patient: Cluster::connect(kubernetes.clone()).await?,
            context: options.context.clone(),
            election: election.clone(),
            identity: options.identity.clone(),
            events: events.clone(),
            office: to_office,
        };
        tasks.spawn("leader election", leader.run(after_work.clone()));
    } else {
        to_office.send_replace(Office::Held(None));
        let over = after_work.clone();
        tasks.spawn("leadership", async move {
            over.cancelled().await;
            drop(to_office);
        });
    }
    let (to_requests, requests) = mpsc::channel(REQUESTS);
    let (to_schedules, schedules) = watch::channel(Vec::new());
    let controllers = controlled(&options, cluster, to_schedules, to_requests, &events);
    let runner = Arc::new(Runner::new(options, events.clone()));
    let inbox = Inbox { office, schedules, requests };
    let main_loop = MainLoop::new(runner, controllers, pulse);

    let result = tokio::select! {
        result = main_loop.run(inbox, shutdown) => result,
        name = tasks.ended() => Err(Error::Ended(name)),
    };
    after_work.cancel();
    tasks.all_ended().await;
    result
}

/// What the controllers of custom resources are given each time that this daemon comes to lead.
pub(crate) type Controllers = Box<dyn Fn() -> ControllerOptions + Send + Sync>;

fn controlled(
    options: &DaemonOptions,
    cluster: Option<Cluster>,
    schedules: watch::Sender<Vec<Standing>>,
    requests: mpsc::Sender<crate::request::Request>,
    events: &Events,
) -> Option<Controllers> {
    let namespace = options.config.daemon.custom_resources.as_ref()?.namespace.clone();
    let cluster = cluster?;
    let taken: Vec<String> = options.config.schedules.iter().map(|schedule| schedule.name.clone()).collect();
    let (context, events, identity) = (options.context.clone(), events.clone(), options.identity.clone());
    let work_dir = options.work_dir.clone();
    Some(Box::new(move || ControllerOptions {
        cluster: cluster.clone(),
        namespace: namespace.clone(),
        context: context.clone(),
        taken: taken.clone(),
        schedules: schedules.clone(),
        requests: requests.clone(),
        events: events.clone(),
        identity: identity.clone(),
        work_dir: work_dir.clone(),
    }))
}

/// Refuses at the start what could only fail later.
fn check(options: &DaemonOptions) -> Result<(), Error> {
    let config = &options.config;
    let now = options.context.clock.now();
    for NamedSchedule { name, spec } in &config.schedules {
        Timing::new(&spec.schedule, spec.time_zone.as_deref(), now)
            .map_err(|error| Error::Config(format!("schedule '{name}': {error}")))?;
    }
    if let Some(drill) = &config.daemon.drill {
        Timing::new(&drill.schedule, drill.time_zone.as_deref(), now)
            .map_err(|error| Error::Config(format!("daemon.drill: {error}")))?;
    }
    if config.daemon.leader_election.is_some() && options.kubernetes.is_none() {
        return Err(Error::Config("daemon.leaderElection: a Lease needs an API server".to_owned()));
    }
    if config.schedules.is_empty() && config.daemon.custom_resources.is_none() && config.daemon.drill.is_none() {
        return Err(Error::Config("there is nothing to do: no schedules, no custom resources, no drills".to_owned()));
    }
    Ok(())
}

/// Tasks that run as long as the daemon does.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + 'static) {
        self.0.spawn_local(async move {
            work.await;
            name
        });
    }

    /// Waits for one to end.
    async fn ended(&mut self) -> &'static str {
        match self.0.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) => "a task that broke",
            None => std::future::pending().await,
        }
    }

    async fn all_ended(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

impl Runner {
    fn new(options: DaemonOptions, events: Events) -> Self {
        let DaemonOptions { context, config, etcd, kubernetes, recipients, signer, drill, tool, .. } = options;
        Self { context, config, etcd, kubernetes, recipients, signer, drill, tool, events, overview: Mutex::default() }
    }
}

/// The controllers, until the token is cancelled.
pub(crate) async fn control(options: ControllerOptions, cancel: CancellationToken) {
    cancel.run_until_cancelled(controllers::run(options)).await;
}
