//! `run rollback`.

use std::sync::Arc;

use crate::app::{App, block_on};
use crate::args::RunRollbackArgs;
use crate::commands::playbook::perform::{Progress, exit};
use crate::commands::run::show::Shown;
use crate::desk::Desk;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::{playbooks, prompt};

pub(crate) fn run(app: &App, arguments: &RunRollbackArgs) -> Result<ExitCode> {
    let RunRollbackArgs { run: arguments, yes } = arguments;
    block_on(async |cancel| {
        let journals = playbooks::journals(app, &arguments.state)?;
        let run = playbooks::find(&journals, &arguments.run).await?;
        let desk = Desk::open(app, &arguments.cluster, &arguments.state).await?;
        if !yes {
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
