//! `finding`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lifeboat_playbook::{EventSource, SEVERITIES};

use super::StateArgs;

/// Read reports of scanners, and see what is new in them
#[derive(Debug, Subcommand)]
pub(crate) enum FindingCommand {
    Import(FindingImportArgs),
    List(FindingListArgs),
    Diff(FindingDiffArgs),
}

/// Read a report and keep its findings, to compare the next one with
///
/// Reads what kube-bench --json, trivy --format json and clairctl report --out json write. Exit code 3 where --fail-on finds
/// anything.
#[derive(Debug, Args)]
pub(crate) struct FindingImportArgs {
    /// The report; - for standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Let --fail-on look only at what the last import did not have
    #[arg(long, requires = "fail_on")]
    pub(crate) new: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// List the findings of the last import of each subject, worst first
#[derive(Debug, Args)]
pub(crate) struct FindingListArgs {
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// Only those that are at least so bad
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) severity: Option<u8>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Show what a report has that the last import had not, and the other way round
///
/// Without a file, the last two imports are compared. Nothing is kept. Exit code 3 where --fail-on finds anything among what is
/// new.
#[derive(Debug, Args)]
pub(crate) struct FindingDiffArgs {
    /// The report; - for standard input
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Which reports.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhichArgs {
    /// The scanner [default: as the report looks]
    #[arg(long, value_name = "TOOL")]
    pub(crate) tool: Option<ToolArg>,
    /// What was scanned [default: as the report says: the image, the manifest, the kind of node]
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
}

/// What a pipeline stops at.
#[derive(Debug, Clone, Args)]
pub(crate) struct GateArgs {
    /// Exit with 3 where a finding is at least so bad: debug, informational, notice, warning, error, critical, alert or
    /// emergency
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) fail_on: Option<u8>,
}

/// A scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToolArg {
    KubeBench,
    Trivy,
    Clair,
}

impl From<ToolArg> for EventSource {
    fn from(tool: ToolArg) -> Self {
        match tool {
            ToolArg::KubeBench => Self::KubeBench,
            ToolArg::Trivy => Self::Trivy,
            ToolArg::Clair => Self::Clair,
        }
    }
}

fn severity(text: &str) -> Result<u8, String> {
    let place = SEVERITIES.iter().position(|name| *name == text).and_then(|place| u8::try_from(place).ok());
    place.ok_or_else(|| format!("expected one of {}", SEVERITIES.join(", ")))
}
