//! `backup verify`.

use std::fmt::Write as _;
use std::sync::Arc;

use lifeboat_recovery::verify;
use serde::Serialize;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::VerifyArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View, printable};
use crate::{keys, sources};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    schema: &'static str,
    id: String,
    ok: bool,
    checks: Vec<CheckForm>,
    not_checked: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CheckForm {
    name: String,
    ok: bool,
    detail: String,
}

impl From<verify::Report> for Verified {
    fn from(report: verify::Report) -> Self {
        let check = |check: verify::Check| CheckForm { name: check.name, ok: check.ok, detail: check.detail };
        Self {
            schema: "lifeboat.dev/backup-verify/v1",
            id: report.id,
            ok: report.ok,
            checks: report.checks.into_iter().map(check).collect(),
            not_checked: report.not_checked,
        }
    }
}

impl Report for Verified {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        for CheckForm { name, ok, detail } in &self.checks {
            let state = if *ok { view.style.good("ok   ") } else { view.style.bad("wrong") };
            let _ = writeln!(text, "{state}  {}: {}", printable(name), printable(detail));
        }
        for what in &self.not_checked {
            let _ = writeln!(text, "{}  {}", view.style.warning("-    "), printable(what));
        }
        let verdict = match (self.ok, self.not_checked.is_empty()) {
            (true, true) => view.style.good("everything in it holds"),
            (true, false) => view.style.good("what was checked holds"),
            (false, _) => view.style.bad("it cannot be trusted: take no restore from it"),
        };
        let _ = writeln!(text, "\nbackup {}: {verdict}", printable(&self.id));
        text
    }
}

pub(crate) fn run(app: &App, arguments: &VerifyArgs) -> Result<ExitCode> {
    let identities = keys::optional_identities(&arguments.identity)?.map(Arc::new);
    let verified: Verified = block_on(async |cancel| {
        let verified = async {
            let catalog = sources::catalog(app, cancel.clone()).await?;
            Ok(verify::verify(&catalog, &arguments.backup, identities).await?.into())
        };
        unless_cancelled(&cancel, verified).await
    })?;
    app.output.print(&verified)?;
    Ok(if verified.ok { ExitCode::Done } else { ExitCode::Integrity })
}
