//! `run approve`.

use std::io::{self, Write as _};

use lifeboat_daemon::{ClusterJournals, PlaybookRun};
use lifeboat_model::Digest;
use lifeboat_playbook::{Plan, PlaybookApprovalSpec, RunId, RunQuestion};
use serde::Serialize;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::RunApproveArgs;
use crate::cluster_runs::ClusterRuns;
use crate::commands::playbook::shown::PlanForm;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report, View, printable};
use crate::{playbooks, prompt};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    schema: &'static str,
    run: String,
    hash: Digest,
    approver: String,
    approve: bool,
    /// The object that says it.
    approval: String,
}

impl Report for Answered {
    fn text(&self, view: &View) -> String {
        let said = if self.approve { view.style.good("agreed to") } else { view.style.bad("refused") };
        format!("{said} {} by {}: {}\n", printable(&self.run), printable(&self.approver), printable(&self.approval))
    }
}

pub(crate) fn run(app: &App, arguments: &RunApproveArgs) -> Result<ExitCode> {
    let answered = block_on(async |cancel| {
        let runs = ClusterRuns::open(app, &arguments.cluster, &arguments.namespace).await?;
        let asked = unless_cancelled(&cancel, asked(&runs, &arguments.run)).await?;
        let approver = runs.cluster.whoami().await?;
        if asked.requester == approver {
            return Err(Error::NotAsked(format!(
                "{} asked for the run: somebody else has to agree",
                printable(&approver)
            )));
        }
        if let Some(hash) = arguments.approve.filter(|hash| *hash != asked.question.hash) {
            return Err(Error::NotAsked(format!("what is asked has the hash {} and not {hash}", asked.question.hash)));
        }
        if !arguments.yes && arguments.approve.is_none() {
            app.bars.suspend(|| {
                // Whoever cannot see the plan cannot answer the question either.
                let _ = io::stderr().write_all(asked.text(&View { style: app.style, ..app.output.view() }).as_bytes());
            });
            let question = if arguments.deny { "Type yes to say no to this:" } else { "Type yes to agree to this:" };
            let confirmed = tokio::task::spawn_blocking(move || prompt::confirm(question));
            confirmed.await.map_err(|error| Error::Runtime(error.into()))??;
        }
        let answer = PlaybookApprovalSpec {
            run: arguments.run.clone(),
            run_uid: asked.uid,
            hash: asked.question.hash,
            approver: approver.clone(),
            approve: !arguments.deny,
        };
        let approval = runs.answer(answer).await?;
        Ok(Answered {
            schema: "lifeboat.dev/run-approve/v1",
            run: arguments.run.clone(),
            hash: asked.question.hash,
            approver,
            approve: !arguments.deny,
            approval,
        })
    })?;
    app.output.print(&answered)?;
    Ok(ExitCode::Done)
}

/// What a run asks.
struct Asked {
    uid: String,
    requester: String,
    question: RunQuestion,
    /// The plan as the journal has it.
    plan: Plan,
}

impl Asked {
    fn text(&self, view: &View) -> String {
        let mut text = PlanForm::of(&self.plan).text(view);
        // What could be planned only later is asked on its own.
        if self.question.hash != self.plan.hash {
            text.push_str("Agreed to before. What is asked now:\n");
        }
        text.extend([printable(&self.question.text).as_ref(), "\n"]);
        text.extend([&format!("Asked {}", self.question.hash), "\n"]);
        text
    }
}

async fn asked(runs: &ClusterRuns, name: &str) -> Result<Asked> {
    let PlaybookRun { metadata, spec, status } = runs.get(name).await?.ok_or_else(|| Error::NoRun(name.to_owned()))?;
    let status = status.unwrap_or_default();
    let (Some(question), Some(id)) = (status.waiting, status.run.and_then(|id| id.parse::<RunId>().ok())) else {
        return Err(Error::NotAsked(format!("the run asks nobody: it is {:?}", status.phase)));
    };
    let journals = ClusterJournals::reader(runs.cluster.clone(), runs.namespace.clone());
    let (verified, _) = playbooks::read_run(&journals, &id).await?;
    Ok(Asked {
        uid: metadata.uid.unwrap_or_default(),
        requester: spec.0.requester,
        question,
        plan: verified.record.plan,
    })
}
