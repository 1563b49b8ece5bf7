//! `backup hold` and `backup release`.

use std::fmt::Write as _;

use lifeboat_recovery::Catalog;
use lifeboat_recovery::retention::{self, Held};
use serde::Serialize;

use super::forms::HoldForm;
use crate::app::{App, block_on, unless_cancelled};
use crate::args::{HoldArgs, ReleaseArgs};
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View, moment, printable};
use crate::sources;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HoldReport {
    schema: &'static str,
    backup: String,
    /// Whether it is held now.
    held: bool,
    /// The hold that there is now, or was until now.
    hold: Option<HoldForm>,
    /// Keys whose legal hold was set or ended.
    legal_holds: usize,
    warnings: Vec<String>,
}

impl HoldReport {
    fn new(done: &Held, held: bool) -> Self {
        let refused = done.legal_hold.as_ref().err();
        let warning =
            |reason: &String| format!("the store puts no legal hold on it, so the note alone keeps it: {reason}");
        Self {
            schema: "lifeboat.dev/backup-hold/v1",
            backup: done.backup.to_string(),
            held,
            hold: done.hold.as_ref().map(HoldForm::from),
            legal_holds: *done.legal_hold.as_ref().unwrap_or(&0),
            warnings: refused.filter(|_| held).map(warning).into_iter().collect(),
        }
    }
}

impl Report for HoldReport {
    fn text(&self, view: &View) -> String {
        let mut text = match (self.held, &self.hold) {
            (true, Some(hold)) => format!("backup {} is held since {}", self.backup, moment(view.now, hold.since)),
            (true, None) => format!("backup {} is held", self.backup),
            (false, Some(hold)) => {
                format!("backup {} is released; it was held since {}", self.backup, moment(view.now, hold.since))
            }
            (false, None) => format!("backup {} is released; there was no note of a hold", self.backup),
        };
        if let Some(reason) = self.hold.as_ref().and_then(|hold| hold.reason.as_ref()) {
            let _ = write!(text, ": {}", printable(reason));
        }
        text.push('\n');
        if self.legal_holds > 0 {
            let done = if self.held { "under a legal hold" } else { "without a legal hold now" };
            let _ = writeln!(text, "{} keys {done}", self.legal_holds);
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "{} {}", view.style.warning("warning:"), printable(warning));
        }
        text
    }
}

pub(crate) fn hold(app: &App, arguments: &HoldArgs) -> Result<ExitCode> {
    let held = block_on(async |cancel| {
        let work = async {
            let config = app.config(&[])?;
            let catalog = Catalog::open(sources::context(&config, cancel.clone()).await?).await?;
            let backup = catalog.get(&arguments.backup).await?;
            Ok(retention::hold(&backup, arguments.reason.clone()).await?)
        };
        unless_cancelled(&cancel, work).await
    })?;
    app.output.print(&HoldReport::new(&held, true))?;
    Ok(ExitCode::Done)
}

pub(crate) fn release(app: &App, arguments: &ReleaseArgs) -> Result<ExitCode> {
    let released = block_on(async |cancel| {
        let work = async {
            let config = app.config(&[])?;
            let catalog = Catalog::open(sources::context(&config, cancel.clone()).await?).await?;
            Ok(retention::release(&catalog, &arguments.backup).await?)
        };
        unless_cancelled(&cancel, work).await
    })?;
    app.output.print(&HoldReport::new(&released, false))?;
    Ok(ExitCode::Done)
}
