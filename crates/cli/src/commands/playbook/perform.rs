//! `playbook run`.

use std::io::{self, Write as _};
use std::sync::Arc;

use lifeboat_playbook::{Entry, Line, Observer, Outcome, RunRecord};

use super::plan::prepare;
use super::shown::PlanForm;
use crate::app::{App, block_on};
use crate::args::PlaybookRunArgs;
use crate::commands::run::show;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report as _, View, printable};
use crate::prompt;

pub(crate) fn run(app: &App, arguments: &PlaybookRunArgs) -> Result<ExitCode> {
    block_on(async |cancel| {
        let (desk, playbook, plan) = prepare(app, &arguments.incident, &cancel).await?;
        let form = PlanForm::of(&plan);
        if arguments.dry_run {
            app.output.print(&form)?;
            return Ok(form.exit());
        }
        let agreed = arguments.approve.unwrap_or(plan.hash);
        if !arguments.yes && arguments.approve.is_none() {
            // On stderr: what is on stdout is the result.
            let text = form.text(&View { style: app.style, ..app.output.view() });
            app.bars.suspend(|| {
                // Whoever cannot see the plan cannot answer the question either.
                let _ = io::stderr().write_all(text.as_bytes());
            });
            let confirmed = tokio::task::spawn_blocking(|| prompt::confirm("Type yes to do this:"));
            confirmed.await.map_err(|error| Error::Runtime(error.into()))??;
        }
        let observer = Arc::new(Progress);
        let record = desk.engine.run(&playbook, plan, &agreed, observer, &cancel).await?;
        finish(app, record)
    })
}

/// Shows how a run ended, and how it is taken back.
pub(crate) fn finish(app: &App, record: RunRecord) -> Result<ExitCode> {
    let (run, code) = (record.run.clone(), exit(record.outcome));
    let wrote = record.steps.iter().any(|step| !step.writes.is_empty());
    app.output.print(&show::Shown::of(record, false))?;
    if wrote {
        tracing::info!("to take it back: lifeboat run rollback {run}; for the post-mortem: lifeboat run report {run}");
    }
    Ok(code)
}

/// The exit code of an outcome.
pub(crate) fn exit(outcome: Option<Outcome>) -> ExitCode {
    match outcome {
        Some(Outcome::Skipped | Outcome::Success) => ExitCode::Done,
        Some(Outcome::Unverified) => ExitCode::Partial,
        Some(Outcome::Denied) => ExitCode::Refused,
        Some(Outcome::Cancelled | Outcome::Blocked | Outcome::Failed) | None => ExitCode::Failed,
    }
}

/// Tells of each step as it begins and ends.
pub(crate) struct Progress;

impl Observer for Progress {
    fn noted(&self, line: &Line) {
        match &line.entry {
            Entry::Writing { step, change, object, .. } => {
                tracing::info!("{}: {} of {}", printable(step), printable(change), printable(&object.to_string()));
            }
            Entry::StepEnded { step, outcome, .. } => tracing::info!("{}: {outcome}", printable(step)),
            Entry::Undone { step, outcome, .. } => tracing::info!("{}: taken back: {outcome}", printable(step)),
            _ => {}
        }
    }
}
