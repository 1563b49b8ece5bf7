//! `backup download`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_recovery::download::download;
use serde::Serialize;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::DownloadArgs;
use crate::error::Result;
use crate::exit::ExitCode;
use crate::output::{Report, View, printable};
use crate::{keys, sources};

#[derive(Debug, Serialize)]
struct Downloaded {
    schema: &'static str,
    backup: String,
    files: Vec<PathBuf>,
}

impl Report for Downloaded {
    fn text(&self, view: &View) -> String {
        let mut text = String::new();
        for file in &self.files {
            let _ = writeln!(text, "{}", printable(&file.display().to_string()));
        }
        let warning = view.style.warning("These files are not sealed: they hold every Secret of the cluster.");
        let _ = writeln!(text, "\n{warning}");
        text
    }
}

pub(crate) fn run(app: &App, arguments: &DownloadArgs) -> Result<ExitCode> {
    let identities = Arc::new(keys::identities(&arguments.identity)?);
    let downloaded = block_on(async |cancel| {
        let work = async {
            let backup = sources::backup(app, &arguments.backup, cancel.clone()).await?;
            tracing::info!(backup = %backup.manifest().id, to = %arguments.to.display(), "downloading");
            let files = download(&backup, identities, arguments.to.clone()).await?;
            Ok(Downloaded {
                schema: "lifeboat.dev/backup-download/v1",
                backup: backup.manifest().id.to_string(),
                files,
            })
        };
        unless_cancelled(&cancel, work).await
    })?;
    app.output.print(&downloaded)?;
    Ok(ExitCode::Done)
}
