//! `finding list`.

use std::fmt::Write as _;

use lifeboat_playbook::Findings;
use serde::Serialize;

use super::forms;
use crate::app::App;
use crate::args::FindingListArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::findings::{self, Imports};
use crate::output::{Report, View, printable};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    schema: &'static str,
    reports: Vec<Findings>,
}

impl Report for Listed {
    fn text(&self, _: &View) -> String {
        if self.reports.is_empty() {
            return "no imports\n".to_owned();
        }
        let mut text = String::new();
        for report in &self.reports {
            let (tool, subject) = (findings::name(report.tool), printable(&report.subject));
            let blank = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{blank}{tool}, {subject}, read {}", report.read);
            text.push_str(&forms::table(&report.findings));
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &FindingListArgs) -> Result<ExitCode> {
    let mut reports = Imports::open(app, &arguments.state)?.latest()?;
    reports.retain(|report| arguments.which.means(report));
    for report in &mut reports {
        report.findings.retain(|one| arguments.severity.is_none_or(|least| one.severity >= least));
    }
    app.output.print(&Listed { schema: "lifeboat.dev/finding-list/v1", reports })?;
    Ok(ExitCode::Done)
}
