//! Arguments of what plans, runs and takes back playbooks.

use clap::Args;
use lifeboat_model::Digest;

use super::{ClusterArgs, LibraryArgs, StateArgs};

/// A playbook with its inputs, and the cluster that it is for.
#[derive(Debug, Args)]
pub(crate) struct IncidentArgs {
    /// A file, or the name of a playbook in the library
    pub(crate) playbook: String,
    /// An input of the playbook; may be repeated. Items of a list are separated by commas. (An option of the command line
    /// stands before the command: lifeboat --set ... playbook run)
    #[arg(long = "input", short = 'i', value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) inputs: Vec<(String, String)>,
    /// Value of the input `namespace`
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Show what a playbook would do, and do nothing
///
/// Every write is found out by a dry run on the server and shown field by field, with what is lost for good, what cannot
/// be undone, how long evidence lasts, and the permissions that are missing. Exit code 5 where a step would be refused.
#[derive(Debug, Args)]
pub(crate) struct PlaybookPlanArgs {
    #[command(flatten)]
    pub(crate) incident: IncidentArgs,
}

/// Plan a playbook, ask once, and run what was shown
///
/// The first Ctrl-C ends the run after the write that is under way; a second one ends the program, and
/// lifeboat run resume goes on. Exit codes: 3 where something was done and could not be observed, 5 where a guard, a
/// permission or a changed target was in the way, 1 where a step failed.
#[derive(Debug, Args)]
pub(crate) struct PlaybookRunArgs {
    #[command(flatten)]
    pub(crate) incident: IncidentArgs,
    /// Plan only, as playbook plan
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Do not ask, and run only if the plan has this hash
    #[arg(long, value_name = "HASH", conflicts_with = "yes")]
    pub(crate) approve: Option<Digest>,
}

/// Print the ClusterRole that playbooks need, and no more
#[derive(Debug, Args)]
pub(crate) struct PlaybookRbacArgs {
    /// Files, or names of playbooks in the library
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub(crate) playbooks: Vec<String>,
    /// Name of the ClusterRole
    #[arg(long, value_name = "NAME", default_value = "lifeboat-playbooks")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
}

/// Go on with a run that was killed
#[derive(Debug, Args)]
pub(crate) struct RunResumeArgs {
    /// Id of the run, a beginning of one that fits no other, or `latest`
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Take back what a run wrote, newest first
///
/// What cannot be taken back is told, and does not stop the rest: exit code 3.
#[derive(Debug, Args)]
pub(crate) struct RunRollbackArgs {
    #[command(flatten)]
    pub(crate) run: RunResumeArgs,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}
