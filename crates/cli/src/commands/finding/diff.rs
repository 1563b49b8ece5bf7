//! `finding diff`.

use jiff::Timestamp;
use lifeboat_playbook::{Findings, FindingsDiff};
use serde::Serialize;

use super::forms;
use crate::app::App;
use crate::args::FindingDiffArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::findings::{self, Imports};
use crate::output::{Report, View, printable};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    schema: &'static str,
    tool: &'static str,
    subject: String,
    /// When the earlier report was read.
    from: Timestamp,
    /// When the later one was.
    to: Timestamp,
    diff: FindingsDiff,
}

impl Report for Compared {
    fn text(&self, _: &View) -> String {
        let diff = &self.diff;
        let (added, removed) = (diff.added.len(), diff.removed.len());
        let subject = printable(&self.subject);
        let mut text = format!(
            "{}, {subject}, since {}: {added} new, {removed} gone, {} as before\n",
            self.tool, self.from, diff.unchanged
        );
        forms::difference(&mut text, &diff.added, &diff.removed);
        text
    }
}

pub(crate) fn run(app: &App, arguments: &FindingDiffArgs) -> Result<ExitCode> {
    let imports = Imports::open(app, &arguments.state)?;
    let (earlier, later) = match &arguments.file {
        Some(file) => {
            let later = findings::report(file, &arguments.which, app.output.view().now)?;
            let last = imports.of(later.tool, &later.subject)?;
            (findings::read(last.first().ok_or_else(|| none(&later.subject))?)?, later)
        }
        None => last_two(&imports, arguments)?,
    };
    let diff = later.since(&earlier);
    let code = forms::exit(&diff.added, arguments.gate.fail_on);
    app.output.print(&Compared {
        schema: "lifeboat.dev/finding-diff/v1",
        tool: findings::name(later.tool),
        subject: later.subject,
        from: earlier.read,
        to: later.read,
        diff,
    })?;
    Ok(code)
}

/// The last two imports of the one subject that is meant.
fn last_two(imports: &Imports, arguments: &FindingDiffArgs) -> Result<(Findings, Findings)> {
    let mut meant = imports.latest()?;
    meant.retain(|report| arguments.which.means(report));
    let several = meant.len();
    let later = match meant.pop() {
        Some(later) if several == 1 => later,
        Some(_) => {
            return Err(Error::Usage(format!("{several} subjects were imported: say which with --tool and --subject")));
        }
        None => return Err(none(arguments.which.subject.as_deref().unwrap_or("anything"))),
    };
    let files = imports.of(later.tool, &later.subject)?;
    let earlier = files.get(1).ok_or_else(|| Error::NoImport(format!("an earlier one of {}", later.subject)))?;
    Ok((findings::read(earlier)?, later))
}

fn none(subject: &str) -> Error {
    Error::NoImport(subject.to_owned())
}
