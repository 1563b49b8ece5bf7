//! `restore etcd`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_archive::Identities;
use lifeboat_recovery::restore_etcd::{Options, Plan, Restored, perform, plan};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::guide::{self, Section};
use crate::app::{App, block_on, unless_cancelled};
use crate::args::RestoreEtcdArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report, View, bytes, printable};
use crate::{keys, prompt, sources};

/// `etcdutl`'s own default.
const PEER_URL: &str = "http://localhost:2380";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    schema: &'static str,
    backup: String,
    /// The data directory that was put in place.
    data_dir: PathBuf,
    /// Where what was there before is kept.
    kept: Option<PathBuf>,
    /// Keys in the snapshot.
    keys: u64,
    /// The highest revision in the snapshot.
    revision: u64,
    /// What remains to be done, by how the cluster is run.
    next_steps: Vec<Section>,
}

impl Report for Outcome {
    fn text(&self, view: &View) -> String {
        let path = |path: &PathBuf| printable(&path.display().to_string()).into_owned();
        let restored = format!("restored {} from backup {}", path(&self.data_dir), self.backup);
        let mut text = format!("{}: {} keys, revision {}\n", view.style.good(&restored), self.keys, self.revision);
        if let Some(kept) = &self.kept {
            let _ = writeln!(text, "kept what was there as {}", path(kept));
        }
        text.push_str("\nWhat remains to be done depends on how etcd is run here.\n");
        for section in &self.next_steps {
            let _ = writeln!(text, "\n{}", view.style.strong(&section.title));
            for (number, step) in section.steps.iter().enumerate() {
                let _ = writeln!(text, "  {}. {}", number + 1, step.replace('\n', "\n     "));
            }
        }
        text
    }
}

pub(crate) fn run(app: &App, arguments: &RestoreEtcdArgs) -> Result<ExitCode> {
    let identities = Arc::new(keys::identities(&arguments.identity)?);
    let etcdutl = app.etcdutl(arguments.etcdutl.etcdutl.as_ref());
    let etcdutl = etcdutl.ok_or_else(|| Error::NoProgram("etcdutl"))?;
    let restored = block_on(async |cancel| restore(app, arguments, etcdutl, identities, cancel).await)?;
    app.output.print(&Outcome {
        schema: "lifeboat.dev/restore-etcd/v1",
        next_steps: guide::sections(arguments, &restored),
        backup: restored.backup.to_string(),
        data_dir: restored.data_dir,
        kept: restored.kept,
        keys: restored.keys,
        revision: restored.revision,
    })?;
    Ok(ExitCode::Done)
}

async fn restore(
    app: &App,
    arguments: &RestoreEtcdArgs,
    etcdutl: PathBuf,
    identities: Arc<Identities>,
    cancel: CancellationToken,
) -> Result<Restored> {
    let chosen = sources::backup(app, &arguments.backup, cancel.clone());
    let backup = unless_cancelled(&cancel, chosen).await?;
    let options = options(arguments, etcdutl, backup.manifest().id.as_str());
    let plan = plan(&backup, &options)?;
    show(app, &plan, &options);
    if !arguments.yes {
        let asked = tokio::task::spawn_blocking(|| prompt::confirm("Type 'yes' to go ahead:"));
        let asked = async { asked.await.unwrap_or(Err(Error::Interrupted)) };
        unless_cancelled(&cancel, asked).await?;
    }
    tracing::info!(backup = %plan.backup, data_dir = %plan.data_dir.display(), "restoring etcd");
    Ok(perform(&backup, identities, &options).await?)
}

fn options(arguments: &RestoreEtcdArgs, etcdutl: PathBuf, id: &str) -> Options {
    let urls = arguments.initial_advertise_peer_urls.as_deref().unwrap_or(PEER_URL);
    let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
    // One of its own for each restore: members of the old cluster that still run are strangers to the new one.
    let token = || format!("lifeboat-{id}");
    Options {
        data_dir: arguments.data_dir.clone(),
        name: arguments.name.clone(),
        initial_cluster: arguments.initial_cluster.clone(),
        initial_cluster_token: arguments.initial_cluster_token.clone().unwrap_or_else(token),
        initial_advertise_peer_urls: urls.map(str::to_owned).collect(),
        bump_revision: arguments.bump_revision,
        etcdutl,
    }
}

/// The plan goes to stderr: it is no result, and must be read before the question.
fn show(app: &App, plan: &Plan, options: &Options) {
    let mut text = format!("{}\n", app.style.strong("Plan"));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<16}{}", printable(&value));
    };
    line("backup", plan.backup.to_string());
    line("snapshot", format!("{}, etcd {}, revision {}", bytes(plan.snapshot_bytes), plan.etcd_version, plan.revision));
    line("data directory", plan.data_dir.display().to_string());
    match &plan.keeps {
        Some(kept) => line("there now", format!("kept as {}", kept.display())),
        None => line("there now", "nothing".to_owned()),
    }
    line("member", format!("{}, peers at {}", options.name, options.initial_advertise_peer_urls.join(", ")));
    line("cluster", options.initial_cluster.clone().unwrap_or_else(|| "this member alone".to_owned()));
    line("token", options.initial_cluster_token.clone());
    line("revisions", format!("raised by {}", plan.bump_revision));
    for need in &plan.needs {
        line("needed besides", need.clone());
    }
    app.bars.suspend(|| {
        // Whoever cannot see the plan cannot answer the question either.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    });
}
