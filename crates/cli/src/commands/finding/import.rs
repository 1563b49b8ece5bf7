//! `finding import`.

use std::fmt::Write as _;

use jiff::Timestamp;
use lifeboat_playbook::{Findings, FindingsDiff};
use serde::Serialize;

use super::forms;
use crate::app::App;
use crate::args::FindingImportArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::findings::{self, Imports};
use crate::output::{Report, View, printable};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    schema: &'static str,
    report: Findings,
    /// When the import before was read; absent where there is none.
    earlier: Option<Timestamp>,
    /// What is different from that.
    diff: Option<FindingsDiff>,
}

impl Report for Imported {
    fn text(&self, _: &View) -> String {
        let report = &self.report;
        let (tool, subject) = (findings::name(report.tool), printable(&report.subject));
        let mut text = format!("{tool}: {} findings in {subject}\n", report.findings.len());
        forms::doubts(&mut text, &report.doubts);
        match (&self.diff, self.earlier) {
            (Some(diff), Some(earlier)) => {
                let (added, removed) = (diff.added.len(), diff.removed.len());
                let _ = writeln!(text, "since {earlier}: {added} new, {removed} gone, {} as before", diff.unchanged);
                forms::difference(&mut text, &diff.added, &diff.removed);
            }
            _ => {
                let _ = write!(text, "\n{}", forms::table(&report.findings));
            }
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &FindingImportArgs) -> Result<ExitCode> {
    let imports = Imports::open(app, &arguments.state)?;
    let report = findings::report(&arguments.file, &arguments.which, app.output.view().now)?;
    let earlier = match imports.of(report.tool, &report.subject)?.first() {
        Some(file) => Some(findings::read(file)?),
        None => None,
    };
    imports.keep(&report)?;
    let diff = earlier.as_ref().map(|earlier| report.since(earlier));
    let judged = match &diff {
        Some(diff) if arguments.new => &diff.added,
        _ => &report.findings,
    };
    let code = forms::exit(judged, arguments.gate.fail_on);
    let earlier = earlier.map(|earlier| earlier.read);
    app.output.print(&Imported { schema: "lifeboat.dev/finding-import/v1", report, earlier, diff })?;
    Ok(code)
}
