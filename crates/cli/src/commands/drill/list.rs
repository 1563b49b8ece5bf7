//! `drill list`.

use std::fmt::Write as _;

use jiff::Timestamp;
use lifeboat_model::{DrillReport, FindingCode};
use lifeboat_recovery::{chain, drill};
use serde::Serialize;

use super::form::seconds;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::DrillListArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, Table, View, moment, printable};
use crate::sources;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema: &'static str,
    cluster: String,
    drills: Vec<DrillLine>,
    /// Reports that cannot be believed.
    problems: Vec<ProblemForm>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DrillLine {
    id: String,
    backup: String,
    started_at: Timestamp,
    tier: u8,
    passed: bool,
    restores: bool,
    findings: Vec<FindingCode>,
    rto_seconds: Option<f64>,
    rpo_seconds: u64,
}

#[derive(Debug, Serialize)]
struct ProblemForm {
    id: String,
    message: String,
}

impl From<DrillReport> for DrillLine {
    fn from(report: DrillReport) -> Self {
        Self {
            id: report.id.to_string(),
            backup: report.backup.to_string(),
            started_at: report.started,
            tier: report.tier.number(),
            passed: report.passed,
            restores: report.restores,
            findings: report.findings,
            rto_seconds: report.rto_seconds,
            rpo_seconds: report.rpo_seconds,
        }
    }
}

impl Report for Listed {
    fn text(&self, view: &View) -> String {
        if self.drills.is_empty() && self.problems.is_empty() {
            return format!("no drills of cluster '{}'\n", self.cluster);
        }
        let mut table = Table::new(["DRILL", "BACKUP", "STARTED", "TIER", "RESULT", "RTO", "FINDINGS"]);
        for drill in &self.drills {
            let result = match (drill.passed, drill.restores) {
                (true, _) => "passed",
                (false, true) => "missed",
                (false, false) => "failed",
            };
            let findings: Vec<&str> = drill.findings.iter().map(|code| code.name()).collect();
            let rto = drill.rto_seconds.map(seconds).unwrap_or_default();
            let (started, tier) = (moment(view.now, drill.started_at), drill.tier.to_string());
            table.row([&drill.id, &drill.backup, &started, &tier, result, &rto, &findings.join(", ")]);
        }
        for problem in &self.problems {
            table.row([&problem.id, "", "", "", "untrusted", "", ""]);
        }
        let mut text = table.to_string();
        for ProblemForm { id, message } in &self.problems {
            let _ = writeln!(text, "{} {id}: {}", view.style.bad("untrusted:"), printable(message));
        }
        text
    }
}

pub(crate) fn run(app: &App, _: &DrillListArgs) -> Result<ExitCode> {
    let (cluster, history) = block_on(async |cancel| {
        let listed = async {
            let catalog = sources::catalog(app, cancel.clone()).await?;
            let history = drill::read(&catalog).await?;
            Ok((catalog.context().cluster.to_string(), history))
        };
        unless_cancelled(&cancel, listed).await
    })?;
    let problems = history.problems.iter();
    let listed = Listed {
        schema: "lifeboat.dev/drill-list/v1",
        cluster,
        problems: problems.map(|(id, error)| ProblemForm { id: id.to_string(), message: chain(error) }).collect(),
        drills: history.reports.into_iter().map(DrillLine::from).collect(),
    };
    app.output.print(&listed)?;
    Ok(if listed.problems.is_empty() { ExitCode::Done } else { ExitCode::Integrity })
}
