//! `run list`.

use jiff::Timestamp;
use lifeboat_playbook::{Outcome, RunRecord};
use lifeboat_recovery::chain;
use serde::Serialize;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::RunListArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, moment};
use crate::playbooks;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema: &'static str,
    runs: Vec<RunLine>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunLine {
    run: String,
    playbook: Option<String>,
    requester: Option<String>,
    began: Option<Timestamp>,
    /// `running`, `interrupted`, `altered`, or how it ended.
    state: String,
    rolled_back: bool,
    /// Why its journal is not to be believed.
    problem: Option<String>,
}

impl Report for Listed {
    fn text(&self, view: &View) -> String {
        if self.runs.is_empty() {
            return "no runs\n".to_owned();
        }
        let mut table = Table::new(["RUN", "PLAYBOOK", "STARTED", "STATE", "ROLLED BACK", "BY"]);
        for run in &self.runs {
            let began = run.began.map(|began| moment(view.now, began)).unwrap_or_default();
            let (playbook, by) = (run.playbook.as_deref(), run.requester.as_deref());
            let back = if run.rolled_back { "yes" } else { "" };
            table.row([&run.run, playbook.unwrap_or_default(), &began, &run.state, back, by.unwrap_or_default()]);
        }
        table.to_string()
    }
}

/// What a run is doing, in a word.
pub(super) fn state(record: &RunRecord, held: bool) -> String {
    match (record.outcome, held) {
        (Some(outcome), _) => outcome.name().to_owned(),
        (None, true) => "running".to_owned(),
        (None, false) => "interrupted".to_owned(),
    }
}

pub(crate) fn run(app: &App, arguments: &RunListArgs) -> Result<ExitCode> {
    let runs = block_on(async |cancel| {
        let listed = async {
            let mut lines = Vec::new();
            let place = playbooks::place(app, &arguments.state, &arguments.place).await?;
            let journals = place.journals.as_ref();
            for run in journals.list().await?.into_iter().rev() {
                lines.push(match playbooks::read_run(journals, &run).await {
                    Ok((verified, held)) => RunLine {
                        run: run.to_string(),
                        playbook: Some(verified.record.playbook.clone()),
                        requester: Some(verified.record.plan.request.requester.to_string()),
                        began: Some(verified.record.began),
                        state: state(&verified.record, held),
                        rolled_back: verified.record.rollback.as_ref().and_then(|back| back.outcome)
                            == Some(Outcome::Success),
                        problem: None,
                    },
                    Err(error) => RunLine {
                        run: run.to_string(),
                        playbook: None,
                        requester: None,
                        began: run.started(),
                        state: "altered".to_owned(),
                        rolled_back: false,
                        problem: Some(chain(&error)),
                    },
                });
            }
            Ok(lines)
        };
        unless_cancelled(&cancel, listed).await
    })?;
    let altered = runs.iter().any(|run| run.problem.is_some());
    app.output.print(&Listed { schema: "lifeboat.dev/run-list/v1", runs })?;
    Ok(if altered { ExitCode::Integrity } else { ExitCode::Done })
}
