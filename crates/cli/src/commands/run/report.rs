//! `run report`.

use lifeboat_playbook::{html, markdown};

use crate::app::{App, block_on, unless_cancelled};
use crate::args::RunReportArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::playbooks;

pub(crate) fn run(app: &App, arguments: &RunReportArgs) -> Result<ExitCode> {
    if let Some(folder) = &arguments.bundle {
        return super::bundle::export_to(app, arguments, folder);
    }
    let (verified, _) = block_on(async |cancel| {
        let read = async {
            let place = playbooks::place(app, &arguments.run.state, &arguments.run.place).await?;
            let run = place.find(&arguments.run.run).await?;
            playbooks::read_run(place.journals.as_ref(), &run).await
        };
        unless_cancelled(&cancel, read).await
    })?;
    let text = if arguments.html { html(&verified.record) } else { markdown(&verified.record) };
    app.output.write(&text)?;
    Ok(ExitCode::Done)
}
