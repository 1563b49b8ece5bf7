//! Arguments of `backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeboat_model::{Age, ResourceArg};
use lifeboat_recovery::{BackupRef, LabelSelector};

use super::{ClusterArgs, IdentityArgs};

/// Take backups, list them, look inside, verify them, remove old ones
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    Create(CreateArgs),
    List(ListArgs),
    Show(ShowArgs),
    Verify(VerifyArgs),
    Objects(ObjectsArgs),
    Get(GetArgs),
    Search(SearchArgs),
    Diff(DiffArgs),
    Download(DownloadArgs),
    Prune(PruneArgs),
    Hold(HoldArgs),
    Release(ReleaseArgs),
}

/// Take a backup of etcd and of all objects
///
/// It is listed only after all its parts are stored, read again and found equal. Where something that was expected
/// could not be captured, the backup is Partial: each gap is named, and the exit code is 3.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Leave etcd out
    #[arg(long, conflicts_with = "no_resources")]
    pub(crate) no_etcd: bool,
    /// Leave the objects of the API out
    #[arg(long)]
    pub(crate) no_resources: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// List the backups, newest first
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List also what has no manifest: backups under way, and remains of those that were killed
    #[arg(long)]
    pub(crate) incomplete: bool,
}

/// Show what a backup's signed manifest says; with an identity, also what it covers
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The backup
    #[arg(default_value = "latest")]
    pub(crate) backup: BackupRef,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Verify a backup
///
/// Without an identity: the signature, whether its key is trusted, the chain, and the digests of what is stored. With
/// one, also the contents of every part: the objects against the index, and the etcd snapshot page by page.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The backup
    #[arg(default_value = "latest")]
    pub(crate) backup: BackupRef,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Which objects.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArgs {
    /// Only of this namespace
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Of all namespaces, and those of none; so it is where no namespace is given
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Only of this kind, as deployments.apps, deploy or Deployment; may be repeated
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<ResourceArg>,
    /// Only of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Only with these labels, as kubectl has it: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<LabelSelector>,
}

/// List the objects in a backup
#[derive(Debug, Args)]
pub(crate) struct ObjectsArgs {
    /// The backup
    #[arg(default_value = "latest")]
    pub(crate) backup: BackupRef,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Print one object of a backup, fetched by a few ranged reads
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The backup
    pub(crate) backup: BackupRef,
    /// The object, as deployments.apps/web; or its type alone, with the name behind it
    #[arg(value_name = "TYPE/NAME")]
    pub(crate) object: String,
    /// The object's name, where it was not given with the type
    pub(crate) name: Option<String>,
    /// Its namespace
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Print the objects for which a CEL expression is true
///
/// The expression sees each object as `object`: object.spec.replicas > 3, or
/// object.kind == 'Secret' && 'tls.key' in object.data.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The backup
    pub(crate) backup: BackupRef,
    /// The CEL expression
    pub(crate) expression: String,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Compare a backup with another one, or with the cluster as it is now
///
/// Lists the objects that were added, removed and changed since the backup, without what servers set by themselves. With
/// -o yaml it is a unified diff, as kubectl diff prints it. Values in Secrets are masked. The exit code is 0 where all is
/// the same, and 3 where something differs or could not be compared.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The backup
    pub(crate) backup: BackupRef,
    /// The backup to compare it with, unless it is the cluster
    #[arg(value_name = "BACKUP2", required_unless_present = "live", conflicts_with = "live")]
    pub(crate) other: Option<BackupRef>,
    /// Compare it with the cluster as it is now
    #[arg(long)]
    pub(crate) live: bool,
    /// Show the values in Secrets, and their annotations
    #[arg(long)]
    pub(crate) show_secrets: bool,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Leave the plain files of a backup in a folder
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The backup
    pub(crate) backup: BackupRef,
    /// Folder to write into; must be empty or not there
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Remove the backups that no rule of the retention keeps
///
/// Shows each backup with the reasons for which it stays, and asks before anything goes. The newest complete backup and
/// the newest that a drill has verified always stay, and so does what the store holds by Object Lock. Clears away also
/// what unfinished backups and removals have left.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
}

/// The rules, each instead of the configuration's.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Keep the newest N, instead of retention.keepLast; here as below 0 switches a rule off
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u32>,
    /// Keep the newest of each of N hours
    #[arg(long, value_name = "N")]
    pub(crate) keep_hourly: Option<u32>,
    /// Keep the newest of each of N days
    #[arg(long, value_name = "N")]
    pub(crate) keep_daily: Option<u32>,
    /// Keep the newest of each of N weeks
    #[arg(long, value_name = "N")]
    pub(crate) keep_weekly: Option<u32>,
    /// Keep the newest of each of N months
    #[arg(long, value_name = "N")]
    pub(crate) keep_monthly: Option<u32>,
    /// Keep the newest of each of N years
    #[arg(long, value_name = "N")]
    pub(crate) keep_yearly: Option<u32>,
    /// Keep all that are at most so much older than the newest, as 36h, 14d, 6mo
    #[arg(long, value_name = "AGE")]
    pub(crate) keep_within: Option<Age>,
    /// Keep at least N complete ones, whatever the rules say
    #[arg(long, value_name = "N")]
    pub(crate) min_backups: Option<u32>,
    /// Remove no complete one while fewer than N are verified by a drill
    #[arg(long, value_name = "N")]
    pub(crate) min_verified: Option<u32>,
    /// Clear away what an unfinished backup has left after so long
    #[arg(long, value_name = "AGE")]
    pub(crate) unfinished_after: Option<Age>,
    /// Do not list removed ones any more, and remove their bytes so much later
    #[arg(long, value_name = "AGE")]
    pub(crate) remove_after: Option<Age>,
    /// In a bucket with versions, end the old versions too: there is no way back then
    #[arg(long)]
    pub(crate) purge_versions: bool,
}

/// Hold a backup: no rule removes it until it is released
///
/// By a note in the store that every prune honours and, where the store has Object Lock, by a legal hold on each of its keys.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// The backup
    pub(crate) backup: BackupRef,
    /// Why, for whoever finds it later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// Release a backup that is held: from now on the rules decide about it
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The backup
    pub(crate) backup: BackupRef,
}
