//! The daemon as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_archive::{Identities, Recipients, SigningKey};
use lifeboat_etcd::EtcdOptions;
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_model::Config;
use lifeboat_recovery::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

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
    let _options = options;
    shutdown.cancelled().await;
    Ok(())
}
