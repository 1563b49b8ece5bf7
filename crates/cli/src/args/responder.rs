//! Arguments of `responder`, and of what people say to runs of a cluster.

use std::path::PathBuf;

use clap::Args;
use lifeboat_model::Digest;

use super::ClusterArgs;

/// Run the playbooks that objects of a cluster ask for, until it is told to stop
///
/// Of several responders one leads, by a Lease. A run that is under way when a responder ends is gone on with by the next one
/// from its journal, which is in the cluster. No configuration file is needed, and no store.
#[derive(Debug, Args)]
pub(crate) struct ResponderArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Namespace of the playbooks and of their runs; nothing is done in it
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Name of the Lease in that namespace
    #[arg(long, value_name = "NAME", default_value = "lifeboat-playbooks")]
    pub(crate) lease: String,
    /// How long the Lease lasts without being renewed
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = clap::value_parser!(u16).range(6..=600))]
    pub(crate) lease_seconds: u16,
    /// Name of this responder in the Lease [default: the host's name, and a number of its own]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Folder of evidence [default: lifeboat-evidence in TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) evidence: Option<PathBuf>,
}

/// Where the runs are, if not at this desk.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceArgs {
    /// Runs that are objects of that namespace of the cluster, instead of those of this desk
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Agree to a run that somebody else asks for in the cluster
///
/// Shows the plan from the run's journal, asks, and creates a PlaybookApproval with the plan's hash. It counts only if you
/// did not ask for the run yourself, may approve it, and the plan is still this one when the run begins.
#[derive(Debug, Args)]
pub(crate) struct RunApproveArgs {
    /// Name of the PlaybookRun
    pub(crate) run: String,
    /// Its namespace
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Say no: the run ends
    #[arg(long)]
    pub(crate) deny: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Do not ask, and agree only if what is asked has this hash
    #[arg(long, value_name = "HASH", conflicts_with = "yes")]
    pub(crate) approve: Option<Digest>,
}
