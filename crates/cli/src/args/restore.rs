//! Arguments of `restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lifeboat_model::ResourceArg;
use lifeboat_recovery::restore_objects::{Concurrency, Mode};
use lifeboat_recovery::{BackupRef, LabelSelector};

use super::{ClusterArgs, EtcdutlArgs, IdentityArgs};

/// Bring back what was lost
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    Objects(Box<RestoreObjectsArgs>),
    Etcd(RestoreEtcdArgs),
}

/// Bring back objects: one, a namespace, or all of them
///
/// Shows a plan and asks first. What happens to each object is decided by asking the API server and without writing
/// anything; --details names every object. Where an object could not be restored the exit code is 3.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(group = clap::ArgGroup::new("planned").multiple(true))]
pub(crate) struct RestoreObjectsArgs {
    /// The backup
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    pub(crate) backup: Option<BackupRef>,
    #[command(flatten)]
    pub(crate) selection: RestoreSelectionArgs,
    #[command(flatten)]
    pub(crate) transforms: TransformArgs,
    /// What becomes of objects that are there and differ
    #[arg(long, value_name = "MODE", default_value = "skip", group = "planned")]
    pub(crate) mode: ModeArg,
    /// Requests at a time [default: as many as the API server answers within twice the time of one alone]
    #[arg(long, value_name = "N", value_parser = parse_concurrency)]
    pub(crate) concurrency: Option<Concurrency>,
    /// Show the plan, and stop there
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Name every object in the plan
    #[arg(long)]
    pub(crate) details: bool,
    /// Write the plan into a new file, and stop there
    #[arg(long, value_name = "FILE", group = "planned")]
    pub(crate) save_plan: Option<PathBuf>,
    /// Perform a plan that was saved; refused where the target has changed since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["planned", "resume"])]
    pub(crate) plan: Option<PathBuf>,
    /// Go on with the restore of this backup that was not finished
    #[arg(long, conflicts_with_all = ["planned", "dry_run"])]
    pub(crate) resume: bool,
    /// Where to note what has been done [default: a file in ~/.local/state/lifeboat]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Do not ask. Deletions by --mode exact are asked about all the same, unless confirmed by --confirm
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// The namespace in which --mode exact may delete objects, as it would be typed; may be repeated
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) confirm: Vec<String>,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Which objects are restored.
#[derive(Debug, Args)]
pub(crate) struct RestoreSelectionArgs {
    /// Only of this namespace, which is made if it is not there; may be repeated
    #[arg(short, long, value_name = "NAME", group = "planned")]
    pub(crate) namespace: Vec<String>,
    /// Only of this kind, as deployments.apps, deploy or Deployment; may be repeated
    #[arg(long, value_name = "KIND", group = "planned")]
    pub(crate) kind: Vec<ResourceArg>,
    /// Only of this name; may be repeated
    #[arg(long, value_name = "NAME", group = "planned")]
    pub(crate) name: Vec<String>,
    /// Only with these labels, as kubectl has it: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR", group = "planned")]
    pub(crate) selector: Option<LabelSelector>,
    /// Only where this CEL expression is true: object.spec.replicas > 3
    #[arg(long = "where", value_name = "CEL", group = "planned")]
    pub(crate) expression: Option<String>,
}

/// How objects are changed on their way.
#[derive(Debug, Args)]
pub(crate) struct TransformArgs {
    /// Restore what was in one namespace into another; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = parse_mapping, group = "planned")]
    pub(crate) map_namespace: Vec<(String, String)>,
    /// Restore claims and volumes of one storage class with another; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = parse_mapping, group = "planned")]
    pub(crate) map_storage_class: Vec<(String, String)>,
    /// Patches to apply, after everything else; may be repeated
    #[arg(long, value_name = "FILE", group = "planned")]
    pub(crate) patch: Vec<PathBuf>,
    /// Restore the status too
    #[arg(long, group = "planned")]
    pub(crate) include_status: bool,
    /// Keep node ports that were not set by hand
    #[arg(long, group = "planned")]
    pub(crate) keep_node_ports: bool,
}

/// What becomes of objects that are there and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// They stay as they are
    Skip,
    /// They are made equal, in place
    Apply,
    /// They are deleted and created
    Recreate,
    /// They are made equal, and what the backup does not have is deleted
    Exact,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Skip => Self::Skip,
            ModeArg::Apply => Self::Apply,
            ModeArg::Recreate => Self::Recreate,
            ModeArg::Exact => Self::Exact,
        }
    }
}

fn parse_mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        _ => Err("expected FROM=TO".to_owned()),
    }
}

fn parse_concurrency(text: &str) -> Result<Concurrency, String> {
    let parsed = text.parse().ok().and_then(Concurrency::new);
    parsed.ok_or_else(|| format!("expected a number from 1 to {}", Concurrency::MAX))
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
    #[arg(long, value_name = "N", default_value_t = lifeboat_recovery::restore_etcd::DEFAULT_BUMP)]
    pub(crate) bump_revision: u64,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) etcdutl: EtcdutlArgs,
}
