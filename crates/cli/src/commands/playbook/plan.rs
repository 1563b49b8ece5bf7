//! `playbook plan`.

use lifeboat_playbook::{Plan, Playbook, Request};
use tokio_util::sync::CancellationToken;

use super::shown::PlanForm;
use crate::app::{App, block_on};
use crate::args::{IncidentArgs, PlaybookPlanArgs};
use crate::desk::Desk;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::playbooks;

pub(crate) fn run(app: &App, arguments: &PlaybookPlanArgs) -> Result<ExitCode> {
    block_on(async |cancel| {
        let (_, _, plan) = prepare(app, &arguments.incident, &cancel).await?;
        let form = PlanForm::of(&plan);
        app.output.print(&form)?;
        Ok(form.exit())
    })
}

/// Loads the playbook, connects, and plans.
pub(crate) async fn prepare(
    app: &App,
    arguments: &IncidentArgs,
    cancel: &CancellationToken,
) -> Result<(Desk, Playbook, Plan)> {
    // What is wrong with the playbook or the inputs is told without a cluster.
    let playbook = playbooks::named(&arguments.playbook, &playbooks::registry()?, &arguments.library)?;
    let namespace = arguments.namespace.iter().map(|namespace| ("namespace", namespace.as_str()));
    let given = arguments.inputs.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(namespace);
    let wrong = |faults: Vec<String>| Error::Usage(faults.join("; "));
    let inputs = playbook.inputs_of_texts(given).map_err(wrong)?;
    playbook.inputs(&inputs).map_err(wrong)?;
    let opened = cancel.run_until_cancelled(Desk::open(app, &arguments.cluster, &arguments.state)).await;
    let desk = opened.unwrap_or(Err(Error::Interrupted))?;
    let request = Request { inputs, requester: desk.requester.clone(), trigger: None };
    let plan = desk.engine.plan(&playbook, &request, cancel).await?;
    Ok((desk, playbook, plan))
}
