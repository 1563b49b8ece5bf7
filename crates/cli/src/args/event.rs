//! `event`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lifeboat_playbook::EventSource;

use super::{ClusterArgs, LibraryArgs, StateArgs};

/// See what alerts of other tools would start
#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    Test(EventTestArgs),
    Receive(EventReceiveArgs),
}

/// Show what an alert would start, and start nothing
///
/// Brings what a tool sent into events, tries the triggers of every playbook of the library on them, and plans those that fit.
/// Exit code 5 where a plan would be refused, and 2 where the file is not what the tool sends or a playbook has faults.
#[derive(Debug, Args)]
pub(crate) struct EventTestArgs {
    /// The body that the tool sent; - for standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The tool [default: as the body looks]
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<SourceArg>,
    /// For the source generic: a file with the mapping
    #[arg(long, value_name = "FILE")]
    pub(crate) mapping: Option<PathBuf>,
    /// A header of the request, as of CloudEvents in binary mode; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = super::incident::pair)]
    pub(crate) headers: Vec<(String, String)>,
    /// Do not plan what fits: no cluster is needed
    #[arg(long)]
    pub(crate) no_plan: bool,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Receive alerts, and start what they start, until it is told to stop
///
/// A request is accepted when it is on the disk, and each event is done once, whatever becomes of the process. Receivers have the
/// mode observe, which tells what would be started, or run.
#[derive(Debug, Args)]
pub(crate) struct EventReceiveArgs {
    /// File with the receivers
    #[arg(long, value_name = "FILE")]
    pub(crate) receivers: PathBuf,
    /// Address and port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    pub(crate) listen: String,
    /// The namespace that this runs in, in which no playbook does anything
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) own_namespace: Option<String>,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// A tool that sends alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceArg {
    Falco,
    Alertmanager,
    KubernetesAudit,
    Sysdig,
    Trivy,
    Clair,
    CloudEvents,
    Generic,
}

impl From<SourceArg> for EventSource {
    fn from(source: SourceArg) -> Self {
        match source {
            SourceArg::Falco => Self::Falco,
            SourceArg::Alertmanager => Self::Alertmanager,
            SourceArg::KubernetesAudit => Self::KubernetesAudit,
            SourceArg::Sysdig => Self::Sysdig,
            SourceArg::Trivy => Self::Trivy,
            SourceArg::Clair => Self::Clair,
            SourceArg::CloudEvents => Self::CloudEvents,
            SourceArg::Generic => Self::Generic,
        }
    }
}
