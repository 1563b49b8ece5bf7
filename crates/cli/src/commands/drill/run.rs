//! `drill run`.

use std::path::PathBuf;
use std::sync::Arc;

use lifeboat_model::{Config, DrillTargets, Tier};
use lifeboat_recovery::Catalog;
use lifeboat_recovery::drill::{Drilled, Request, run as drill};

use super::form::{DrillForm, exit_code};
use super::{html, junit, metrics, programs};
use crate::app::{App, block_on};
use crate::args::{DrillFiles, DrillRunArgs};
use crate::commands::version::TOOL;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::{files, keys, sources};

pub(crate) fn run(app: &App, arguments: &DrillRunArgs) -> Result<ExitCode> {
    let config = app.config(&[])?;
    let request = request(app, &config, arguments)?;
    block_on(async |cancel| {
        let catalog = Catalog::open(sources::context(&config, cancel.clone()).await?).await?;
        let Drilled { outcome, kept } = Box::pin(drill(&catalog, &arguments.backup, request)).await?;
        let code = exit_code(&outcome.codes);
        let kubeconfig = kept.as_ref().map(|kept| kept.kubeconfig().display().to_string());
        let form = DrillForm::new("lifeboat.dev/drill-run/v1", outcome, kubeconfig);
        write_files(&arguments.files, &form)?;
        if let Some(path) = &arguments.metrics {
            files::replace(path, &metrics::text(&form), files::PUBLIC)?;
        }
        app.output.print(&form)?;
        if let Some(kept) = kept {
            tracing::info!("the control plane runs on: Ctrl-C ends it and removes its data");
            cancel.cancelled().await;
            kept.end().await;
        }
        Ok(code)
    })
}

/// Writes the further forms that were asked for.
pub(super) fn write_files(wanted: &DrillFiles, form: &DrillForm) -> Result<()> {
    if let Some(path) = &wanted.html {
        files::replace(path, &html::page(form), files::PRIVATE)?;
    }
    if let Some(path) = &wanted.junit {
        files::replace(path, &junit::document(form), files::PRIVATE)?;
    }
    Ok(())
}

fn request(app: &App, config: &Config, arguments: &DrillRunArgs) -> Result<Request> {
    let identities = keys::optional_identities(&arguments.identity)?.map(Arc::new);
    if identities.is_none() && arguments.tier > Tier::Content {
        return Err(Error::NoIdentity);
    }
    let signer = if arguments.no_report { None } else { Some(Arc::new(keys::signing_key(&config.signing)?)) };
    let temporary = || PathBuf::from(app.environment.get("TMPDIR").unwrap_or("/tmp"));
    Ok(Request {
        tier: arguments.tier,
        identities,
        programs: programs::folders(app, &arguments.bin_dir),
        encryption_config: arguments.encryption_config.as_deref().map(absolute).transpose()?,
        api_server_args: arguments.api_server_arg.clone(),
        scratch: arguments.work_dir.clone().unwrap_or_else(temporary),
        targets: DrillTargets { rto_seconds: arguments.rto, rpo_seconds: arguments.rpo },
        signer,
        tool: TOOL.to_owned(),
        keep: arguments.keep,
    })
}

/// A file that must be there, by its whole path.
fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io("open", path))
}
