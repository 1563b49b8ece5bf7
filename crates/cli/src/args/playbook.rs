//! `playbook` and `run`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::incident::{PlaybookPlanArgs, PlaybookRbacArgs, PlaybookRunArgs, RunResumeArgs, RunRollbackArgs};
use super::{IdentityArgs, PlaceArgs, RunApproveArgs};

/// Read, check, plan and run playbooks for incidents
#[derive(Debug, Subcommand)]
pub(crate) enum PlaybookCommand {
    List(PlaybookListArgs),
    Show(PlaybookShowArgs),
    Lint(PlaybookLintArgs),
    Actions(PlaybookActionsArgs),
    Plan(PlaybookPlanArgs),
    Run(PlaybookRunArgs),
    Rbac(PlaybookRbacArgs),
}

/// Where playbooks are that are named by a name.
#[derive(Debug, Clone, Args)]
pub(crate) struct LibraryArgs {
    /// Folder of playbooks, files NAME.yaml, that others may call by their names
    #[arg(long, value_name = "DIR", default_value = "playbooks")]
    pub(crate) library: PathBuf,
}

/// List the playbooks of a folder
#[derive(Debug, Args)]
pub(crate) struct PlaybookListArgs {
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
}

/// Show what a playbook takes and does
#[derive(Debug, Args)]
pub(crate) struct PlaybookShowArgs {
    /// A file, or the name of a playbook in the library
    pub(crate) playbook: String,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
}

/// Check playbooks, and tell everything that is wrong with them
///
/// Keys, types, ids, actions, cycles, guards, called playbooks, and every path in every expression. No cluster is needed.
#[derive(Debug, Args)]
pub(crate) struct PlaybookLintArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
}

/// List the actions that steps may use, or show the manual page of one
#[derive(Debug, Args)]
pub(crate) struct PlaybookActionsArgs {
    /// The action
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Look at runs of playbooks, go on with them, and undo them
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    List(RunListArgs),
    /// Show a run: its steps, how they ended, and what was observed
    Show(RunArgs),
    Verify(RunVerifyArgs),
    Approve(RunApproveArgs),
    Report(RunReportArgs),
    Resume(RunResumeArgs),
    Rollback(RunRollbackArgs),
}

/// Where the journals of runs are.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateArgs {
    /// Folder of the journals of runs [default: lifeboat/runs in the folder of the user's state, ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// List the runs, newest first
#[derive(Debug, Args)]
pub(crate) struct RunListArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Which run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Id of the run, a beginning of one that fits no other, or `latest`; with --namespace also the name of its object
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Check that no line of a run's journal was altered
///
/// With --bundle, what evidence.seal put into the configured store is checked instead: by public keys alone its signature and
/// every stored byte, and with the recovery key every file in it. The cluster is not asked. Exit code 4 where something is not
/// as it was sealed.
#[derive(Debug, Args)]
pub(crate) struct RunVerifyArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Check what was sealed of the run; one that was run elsewhere is named by its whole id
    #[arg(long)]
    pub(crate) bundle: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
}

/// Write the timeline of a run, for a post-mortem
#[derive(Debug, Args)]
pub(crate) struct RunReportArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// As one page of HTML that loads nothing, instead of Markdown
    #[arg(long)]
    pub(crate) html: bool,
    /// Copy what was sealed of the run out of the store instead, as it is, into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "html")]
    pub(crate) bundle: Option<PathBuf>,
}
