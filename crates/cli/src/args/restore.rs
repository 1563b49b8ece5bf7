//! Arguments of `restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeboat_recovery::BackupRef;

use super::{EtcdutlArgs, IdentityArgs};

/// Bring back what was lost
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    Etcd(RestoreEtcdArgs),
}

/// Rebuild an etcd member's data directory from a backup
///
/// Builds beside the directory, verifies what was built, puts it in place in one step and keeps what was there. A
/// directory that a running etcd holds is refused. Shows the plan and asks first; says afterwards what remains to be done.
#[derive(Debug, Args)]
pub(crate) struct RestoreEtcdArgs {
    /// The backup
    pub(crate) backup: BackupRef,
    /// The member's data directory, such as /var/lib/etcd
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Name of the member
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) name: String,
    /// All members of the new cluster: NAME=PEER-URL,... The same on every member
    #[arg(long, value_name = "MEMBERS")]
    pub(crate) initial_cluster: Option<String>,
    /// Token of the new cluster. The same on every member
    #[arg(long, value_name = "TOKEN")]
    pub(crate) initial_cluster_token: Option<String>,
    /// Peer URLs of this member, separated by commas
    #[arg(long, value_name = "URLS")]
    pub(crate) initial_advertise_peer_urls: Option<String>,
    /// How far to raise the revision, so that nobody who watches takes old for new
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000)]
    pub(crate) bump_revision: u64,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) etcdutl: EtcdutlArgs,
}
