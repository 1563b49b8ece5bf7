//! The sealed evidence of a run: `run verify --bundle`, `run report --bundle`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_model::{BackupId, Bundle, Digest};
use lifeboat_playbook::RunId;
use lifeboat_recovery::Context;
use lifeboat_recovery::evidence::{Checked, export, list, verify};
use lifeboat_recovery::verify::Check;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::{RunArgs, RunReportArgs, RunVerifyArgs};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report, View, printable};
use crate::{keys, playbooks, sources};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bundles {
    schema: &'static str,
    run: String,
    ok: bool,
    /// Oldest first.
    bundles: Vec<BundleForm>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BundleForm {
    id: String,
    /// When it was sealed, where that can be believed.
    sealed: Option<Timestamp>,
    ok: bool,
    checks: Vec<Check>,
    not_checked: Vec<String>,
    /// What was written, where it was exported.
    files: Vec<String>,
}

impl Report for Bundles {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        for bundle in &self.bundles {
            let _ = writeln!(text, "bundle {}", printable(&bundle.id));
            for Check { name, ok, detail } in &bundle.checks {
                let state = if *ok { view.style.good("ok   ") } else { view.style.bad("wrong") };
                let _ = writeln!(text, "{state}  {}: {}", printable(name), printable(detail));
            }
            for what in &bundle.not_checked {
                let _ = writeln!(text, "{}  {}", view.style.warning("-    "), printable(what));
            }
            for file in &bundle.files {
                let _ = writeln!(text, "wrote  {}", printable(file));
            }
            text.push('\n');
        }
        let whole = self.bundles.iter().all(|bundle| bundle.not_checked.is_empty());
        let verdict = match (self.ok, whole) {
            (true, true) => view.style.good("everything in them holds"),
            (true, false) => view.style.good("what was checked holds"),
            (false, _) => view.style.bad("not as it was sealed"),
        };
        let _ = writeln!(text, "run {}: {verdict}", printable(&self.run));
        text
    }
}

/// The run's id in the store, and its journal, where that is here.
async fn wanted(app: &App, arguments: &RunArgs) -> Result<(BackupId, Option<Vec<u8>>)> {
    let place = playbooks::place(app, &arguments.state, &arguments.place).await?;
    let (run, journal) = match place.find(&arguments.run).await {
        Ok(run) => {
            let journal = place.journals.read(&run).await?.bytes;
            (run, Some(journal))
        }
        // It was run elsewhere.
        Err(Error::NoRun(text)) => (text.parse::<RunId>().map_err(|_| Error::NoRun(text))?, None),
        Err(error) => return Err(error),
    };
    let id = run.as_str().parse().map_err(|_| Error::NoRun(run.to_string()))?;
    Ok((id, journal))
}

/// Whether the journal here begins with what was sealed.
fn here(bundle: &Bundle, journal: &[u8]) -> Check {
    let sealed = usize::try_from(bundle.journal_bytes).ok().and_then(|length| journal.get(..length));
    let ok = sealed.is_some_and(|sealed| Digest::of(sealed) == bundle.journal_sha256);
    let detail = if ok {
        format!("its first {} bytes are those that were sealed", bundle.journal_bytes)
    } else {
        "it does not begin with what was sealed".to_owned()
    };
    Check { name: "the journal here".to_owned(), ok, detail }
}

fn form(checked: Checked, journal: Option<&[u8]>) -> BundleForm {
    let Checked { bundle, mut report } = checked;
    if let (Some(bundle), Some(journal)) = (&bundle, journal) {
        report.checks.push(here(bundle, journal));
    }
    let ok = report.checks.iter().all(|check| check.ok);
    BundleForm {
        id: report.id,
        sealed: bundle.map(|bundle| bundle.sealed),
        ok,
        checks: report.checks,
        not_checked: report.not_checked,
        files: Vec::new(),
    }
}

/// The bundles of a run, of which there is at least one, and the store that they are in.
async fn open(app: &App, run: &BackupId, cancel: CancellationToken) -> Result<(Context, Vec<BackupId>)> {
    let context = sources::context(&app.config(&[])?, cancel).await?;
    let ids = list(&context, run).await?;
    if ids.is_empty() {
        let words = format!("nothing of run {run} was sealed into the store of '{}'", context.cluster);
        return Err(lifeboat_recovery::Error::NoObject(words).into());
    }
    Ok((context, ids))
}

/// Checks what was sealed of a run.
pub(crate) fn check(app: &App, arguments: &RunVerifyArgs) -> Result<ExitCode> {
    let identities = keys::optional_identities(&arguments.identity)?.map(Arc::new);
    let shown = block_on(async |cancel| {
        let work = async {
            let (run, journal) = wanted(app, &arguments.run).await?;
            let (context, ids) = open(app, &run, cancel.clone()).await?;
            let mut bundles = Vec::new();
            for id in ids {
                let checked = verify(&context, &run, &id, identities.clone()).await?;
                bundles.push(form(checked, journal.as_deref()));
            }
            Ok(Bundles::new("lifeboat.dev/run-verify-bundle/v1", &run, bundles))
        };
        unless_cancelled(&cancel, work).await
    })?;
    finish(app, &shown)
}

/// Copies what was sealed of a run into a folder.
pub(crate) fn export_to(app: &App, arguments: &RunReportArgs, to: &Path) -> Result<ExitCode> {
    let shown = block_on(async |cancel| {
        let work = async {
            let (run, journal) = wanted(app, &arguments.run).await?;
            let (context, ids) = open(app, &run, cancel.clone()).await?;
            let mut bundles = Vec::new();
            for id in ids {
                let checked = verify(&context, &run, &id, None).await?;
                let mut bundle = form(checked, journal.as_deref());
                if bundle.ok && bundle.sealed.is_some() {
                    let files = export(&context, &run, &id, to.to_owned()).await?;
                    bundle.files = files.iter().map(|file| file.display().to_string()).collect();
                }
                bundles.push(bundle);
            }
            Ok(Bundles::new("lifeboat.dev/run-report-bundle/v1", &run, bundles))
        };
        unless_cancelled(&cancel, work).await
    })?;
    finish(app, &shown)
}

impl Bundles {
    fn new(schema: &'static str, run: &BackupId, mut bundles: Vec<BundleForm>) -> Self {
        // Ids of one second have no order of their own.
        bundles.sort_by_key(|bundle| bundle.sealed);
        let ok = bundles.iter().all(|bundle| bundle.ok) && bundles.iter().any(|bundle| bundle.sealed.is_some());
        Self { schema, run: run.to_string(), ok, bundles }
    }
}

fn finish(app: &App, shown: &Bundles) -> Result<ExitCode> {
    app.output.print(shown)?;
    Ok(if shown.ok { ExitCode::Done } else { ExitCode::Integrity })
}
