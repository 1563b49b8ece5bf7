//! `run rollback`.

use std::sync::Arc;
use std::time::Duration;

use lifeboat_daemon::ClusterJournals;
use lifeboat_playbook::PlaybookRunPhase;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::{RunResumeArgs, RunRollbackArgs};
use crate::cluster_runs::ClusterRuns;
use crate::commands::playbook::perform::{Progress, exit};
use crate::commands::run::show::Shown;
use crate::desk::Desk;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::printable;
use crate::{playbooks, prompt};

/// How often it is looked how far the responder is.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) fn run(app: &App, arguments: &RunRollbackArgs) -> Result<ExitCode> {
    let RunRollbackArgs { run: arguments, namespace, yes } = arguments;
    if let Some(namespace) = namespace {
        return in_cluster(app, arguments, namespace, *yes);
    }
    block_on(async |cancel| {
        let journals = playbooks::journals(app, &arguments.state)?;
        let run = playbooks::find(&journals, &arguments.run).await?;
        let desk = Desk::open(app, &arguments.cluster, &arguments.state).await?;
        if !*yes {
            let question = format!("Type yes to take back what run {run} did:");
            let confirmed = tokio::task::spawn_blocking(move || prompt::confirm(&question));
            confirmed.await.map_err(|error| Error::Runtime(error.into()))??;
        }
        let by = desk.requester.clone();
        let record = desk.engine.rollback(&run, by, Arc::new(Progress), &cancel).await?;
        let outcome = record.rollback.as_ref().and_then(|rollback| rollback.outcome);
        app.output.print(&Shown::of(record, false))?;
        Ok(exit(outcome))
    })
}

/// Asks the responder, and waits for what it says.
fn in_cluster(app: &App, arguments: &RunResumeArgs, namespace: &str, yes: bool) -> Result<ExitCode> {
    block_on(async |cancel| {
        let runs = ClusterRuns::open(app, &arguments.cluster, namespace).await?;
        let run = runs.get(&arguments.run).await?.ok_or_else(|| Error::NoRun(arguments.run.clone()))?;
        if !yes {
            let question = format!("Type yes to have taken back what run {} did:", printable(&arguments.run));
            let confirmed = tokio::task::spawn_blocking(move || prompt::confirm(&question));
            confirmed.await.map_err(|error| Error::Runtime(error.into()))??;
        }
        let by = runs.cluster.whoami().await?;
        let before = run.status.as_ref().and_then(|status| status.rollback.as_ref().map(|rollback| rollback.began));
        runs.take_back(&run, &by).await?;
        let ended = async {
            loop {
                let now = runs.get(&arguments.run).await?.ok_or_else(|| Error::NoRun(arguments.run.clone()))?;
                let status = now.status.unwrap_or_default();
                let rollback = status.rollback.as_ref().filter(|_| status.phase == PlaybookRunPhase::RolledBack);
                if let Some(rollback) = rollback.filter(|rollback| before.is_none_or(|before| rollback.began > before))
                {
                    let id = status.run.as_deref().and_then(|id| id.parse().ok());
                    return Ok((rollback.outcome, id.ok_or_else(|| Error::NoRun(arguments.run.clone()))?));
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let (outcome, id) = unless_cancelled(&cancel, ended).await?;
        let journals = ClusterJournals::reader(runs.cluster.clone(), namespace.to_owned());
        let (verified, _) = playbooks::read_run(&journals, &id).await?;
        app.output.print(&Shown::of(verified.record, false))?;
        Ok(exit(outcome))
    })
}
