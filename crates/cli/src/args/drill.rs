//! Arguments of `drill`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;
use lifeboat_model::Tier;
use lifeboat_recovery::BackupRef;
use lifeboat_recovery::drill::DrillRef;

use super::IdentityArgs;

/// Prove that a backup restores, by restoring it in a place of its own
#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    Run(Box<DrillRunArgs>),
    List(DrillListArgs),
    Show(DrillShowArgs),
}

/// Drill a backup: restore it on this machine, compare every object, measure, and sign a report
///
/// Tier 0 opens and proves every part. Tier 1 also rebuilds etcd's data directory, boots etcd from it and compares
/// revision, keys and hash. Tier 2 also boots kube-apiserver on it, lists every object and compares it with what was
/// captured. Tier 3 restores the objects, or etcd itself (--by etcd), into a cluster of kind, which is made and deleted,
/// or the objects into the cluster of a context, and waits until workloads are ready and checks are true. Everything plain lies in one private folder that
/// is removed at the end, and when interrupted. The signed report is stored with the backup; a backup that passed tier
/// 2 is latest-verified. Exit codes: 4 where something is not what
/// was captured, 5 where the identity does not open it, 1 where it cannot be brought up or read, 3 where a target was
/// missed.
#[derive(Debug, Args)]
pub(crate) struct DrillRunArgs {
    /// The backup
    #[arg(default_value = "latest")]
    pub(crate) backup: BackupRef,
    /// How deep: 0, 1, 2 or 3 [default: 2 on this machine, 3 elsewhere]. Without an identity, only tier 0 is possible,
    /// and compares signature and digests alone
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub(crate) tier: Option<Tier>,
    /// Where to restore to: local, kind, or context:NAME
    #[arg(long, value_name = "TARGET", default_value = "local")]
    pub(crate) target: TargetArg,
    /// How the backup gets into a cluster of kind: its objects by the API server, or etcd inside the node, which is stopped
    /// for that and gets a data directory built from the snapshot
    #[arg(long, value_enum, value_name = "WAY", default_value = "objects")]
    pub(crate) by: WayArg,
    /// Image of the node of the cluster of kind [default: kindest/node in the version of the backup]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) kind_image: Option<String>,
    /// Configuration of the cluster of kind, as of kind create cluster --config
    #[arg(long, value_name = "FILE")]
    pub(crate) kind_config: Option<PathBuf>,
    /// Restore into a context that is not empty. Nothing is deleted there afterwards
    #[arg(long)]
    pub(crate) occupied: bool,
    /// Checks that have to become true in the restored cluster: a YAML document
    #[arg(long, value_name = "FILE")]
    pub(crate) checks: Option<PathBuf>,
    /// How long workloads may take until they are ready
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    pub(crate) ready_within: u64,
    /// The longest that it may take until every object is readable, as in 10m
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) rto: Option<u64>,
    /// The oldest that the backup may be, and the longest time between two of the last 30 days, as in 1h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) rpo: Option<u64>,
    /// Folder with etcd, etcdutl and kube-apiserver; may be repeated. Looked into before KUBEBUILDER_ASSETS, PATH, the
    /// folders in ~/.cache/lifeboat/bin and those of setup-envtest
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: Vec<PathBuf>,
    /// The cluster's EncryptionConfiguration, where values are encrypted at rest
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_config: Option<PathBuf>,
    /// One more argument for kube-apiserver, as in --feature-gates=X=true; may be repeated
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) api_server_arg: Vec<String>,
    /// Folder in which the drill's private folder is made. Needs about twice the size of etcd's database
    /// [default: TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Keep the control plane running afterwards, print its kubeconfig, and end on Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
    /// Do not sign and store a report: the drill then proves nothing to anybody else
    #[arg(long)]
    pub(crate) no_report: bool,
    /// Write metrics for Prometheus' textfile collector
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) files: DrillFiles,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// How a backup gets into a cluster of kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WayArg {
    /// Its objects, by the API server
    Objects,
    /// etcd's data, inside the node
    Etcd,
}

/// Where a drill restores to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetArg {
    Local,
    Kind,
    Context(String),
}

impl FromStr for TargetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "local" => Ok(Self::Local),
            None if text == "kind" => Ok(Self::Kind),
            Some(("context", name)) if !name.is_empty() => Ok(Self::Context(name.to_owned())),
            _ => Err(format!("'{text}' is no target: expected local, kind or context:NAME")),
        }
    }
}

/// Further forms of a report.
#[derive(Debug, Args)]
pub(crate) struct DrillFiles {
    /// Write the report as a page of HTML that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the checks as JUnit XML, for CI
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// List the drills whose signed reports are in the store, newest first
#[derive(Debug, Args)]
pub(crate) struct DrillListArgs {}

/// Show a drill's signed report; with an identity, also findings and checks by name
#[derive(Debug, Args)]
pub(crate) struct DrillShowArgs {
    /// The drill: an id, a beginning of one that fits no other, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) drill: DrillRef,
    #[command(flatten)]
    pub(crate) files: DrillFiles,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

fn tier(text: &str) -> Result<Tier, String> {
    let number: u8 = text.parse().map_err(|_| format!("'{text}' is no tier: expected 0, 1, 2 or 3"))?;
    number.try_into()
}

/// Whole seconds of `90s`, `10m`, `1h 30m`.
fn time(text: &str) -> Result<u64, String> {
    let invalid = || format!("'{text}' is no time: expected something like 90s, 10m or 1h");
    let time: SignedDuration = text.parse().map_err(|_| invalid())?;
    u64::try_from(time.as_secs()).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_as_people_write_them() {
        assert_eq!("local".parse(), Ok(TargetArg::Local));
        assert_eq!("kind".parse(), Ok(TargetArg::Kind));
        assert_eq!("context:a:b".parse(), Ok(TargetArg::Context("a:b".to_owned())));
        for text in ["", "context", "context:", "kind:x", "elsewhere"] {
            assert!(text.parse::<TargetArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_as_people_write_them() {
        assert_eq!(time("90s"), Ok(90));
        assert_eq!(time("10m"), Ok(600));
        assert_eq!(time("1h 30m"), Ok(5400));
        for text in ["", "10", "-1h", "soon"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(tier("4").is_err() && tier("x").is_err() && tier("2").is_ok());
    }
}
