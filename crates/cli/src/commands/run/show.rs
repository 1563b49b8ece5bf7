//! `run show`.

use std::fmt::Write as _;

use lifeboat_playbook::RunRecord;
use serde::Serialize;

use super::list::state;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::RunArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, duration, moment, printable};
use crate::playbooks;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    schema: &'static str,
    state: String,
    record: RunRecord,
}

impl Shown {
    /// A run, which somebody may be writing.
    pub(crate) fn of(record: RunRecord, held: bool) -> Self {
        let state = state(&record, held);
        Self { schema: "lifeboat.dev/run-show/v1", state, record }
    }
}

impl Report for Shown {
    fn text(&self, view: &View) -> String {
        let record = &self.record;
        let mut text = format!("Run {} of {}: {}\n", record.run, printable(&record.playbook), self.state);
        let (by, began) = (printable(&record.plan.request.requester.0), moment(view.now, record.began));
        let _ = writeln!(text, "Asked for by {by}, begun {began}");
        if let Some(refused) = &record.refused {
            let _ = writeln!(text, "{} {}", view.style.bad("denied:"), printable(refused));
        }
        let mut table = Table::new(["STEP", "USES", "OUTCOME", "TOOK", "PROOF"]);
        for step in &record.steps {
            let outcome = step.outcome.map_or("open", lifeboat_playbook::Outcome::name);
            let took =
                step.ended.and_then(|ended| std::time::Duration::try_from(ended.duration_since(step.began)).ok());
            let proof = step.proof.as_ref().map(lifeboat_playbook::Proof::text);
            let proof = proof.or(step.message.as_deref()).unwrap_or_default();
            table.row([&step.step, &step.uses, outcome, &took.map(duration).unwrap_or_default(), proof]);
        }
        let _ = write!(text, "\n{table}");
        if let Some(rollback) = &record.rollback {
            let outcome = rollback.outcome.map_or("not ended", lifeboat_playbook::Outcome::name);
            let _ = writeln!(text, "\nRolled back by {}: {outcome}", printable(&rollback.by.0));
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &RunArgs) -> Result<ExitCode> {
    let (verified, held) = block_on(async |cancel| {
        let read = async {
            let place = playbooks::place(app, &arguments.state, &arguments.place).await?;
            let run = place.find(&arguments.run).await?;
            playbooks::read_run(place.journals.as_ref(), &run).await
        };
        unless_cancelled(&cancel, read).await
    })?;
    app.output.print(&Shown::of(verified.record, held))?;
    Ok(ExitCode::Done)
}
