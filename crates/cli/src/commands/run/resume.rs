//! `run resume`.

use std::sync::Arc;

use crate::app::{App, block_on};
use crate::args::RunResumeArgs;
use crate::commands::playbook::perform::{Progress, finish};
use crate::desk::Desk;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::playbooks;

pub(crate) fn run(app: &App, arguments: &RunResumeArgs) -> Result<ExitCode> {
    block_on(async |cancel| {
        let journals = playbooks::journals(app, &arguments.state)?;
        let run = playbooks::find(&journals, &arguments.run).await?;
        let desk = Desk::open(app, &arguments.cluster, &arguments.state).await?;
        let by = desk.requester.clone();
        finish(app, desk.engine.resume(&run, by, Arc::new(Progress), &cancel).await?)
    })
}
