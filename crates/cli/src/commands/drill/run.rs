//! `drill run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Config, DrillCheckSpec, DrillChecks, DrillTargets, Tier, parse_yaml};
use lifeboat_recovery::Catalog;
use lifeboat_recovery::drill::{ContextOptions, Drilled, KindOptions, Request, Target, Way, run as drill};

use super::form::{DrillForm, exit_code};
use super::{html, junit, metrics, programs};
use crate::app::{App, block_on};
use crate::args::{DrillFiles, DrillRunArgs, TargetArg, WayArg};
use crate::commands::version::TOOL;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::{files, keys, sources};

/// The largest file of checks.
const MAX_CHECKS: u64 = 1 << 20;

pub(crate) fn run(app: &App, arguments: &DrillRunArgs) -> Result<ExitCode> {
    let config = app.config(&[])?;
    let request = request(app, &config, arguments)?;
    block_on(async |cancel| {
        let catalog = Catalog::open(sources::context(&config, cancel.clone()).await?).await?;
        let Drilled { outcome, kept } = Box::pin(drill(&catalog, &arguments.backup, request)).await?;
        let code = exit_code(&outcome.codes);
        let kubeconfig = kept.as_ref().map(|kept| kept.kubeconfig().display().to_string());
        let form = DrillForm::new("lifeboat.dev/drill-run/v1", outcome, kubeconfig);
        let shown = show(app, arguments, &form);
        if let Some(kept) = kept {
            if shown.is_ok() {
                tracing::info!("it runs on: Ctrl-C ends it and removes its data");
                cancel.cancelled().await;
            }
            kept.end().await;
        }
        shown?;
        Ok(code)
    })
}

fn show(app: &App, arguments: &DrillRunArgs, form: &DrillForm) -> Result<()> {
    write_files(&arguments.files, form)?;
    if let Some(path) = &arguments.metrics {
        files::replace(path, &metrics::text(form), files::PUBLIC)?;
    }
    app.output.print(form)
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
    let target = target(app, arguments)?;
    let default = if matches!(target, Target::Local) { Tier::Objects } else { Tier::Workloads };
    let tier = arguments.tier.unwrap_or(default);
    let identities = keys::optional_identities(&arguments.identity)?.map(Arc::new);
    if identities.is_none() && tier > Tier::Content {
        return Err(Error::NoIdentity);
    }
    let signer = if arguments.no_report { None } else { Some(Arc::new(keys::signing_key(&config.signing)?)) };
    let temporary = || PathBuf::from(app.environment.get("TMPDIR").unwrap_or("/tmp"));
    Ok(Request {
        tier,
        target,
        checks: arguments.checks.as_deref().map(checks).transpose()?.unwrap_or_default(),
        ready_within: Duration::from_secs(arguments.ready_within),
        environment: environment(app),
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

fn target(app: &App, arguments: &DrillRunArgs) -> Result<Target> {
    if arguments.by == WayArg::Etcd && arguments.target != TargetArg::Kind {
        return Err(Error::Usage(
            "--by etcd goes with --target kind: only there is a node of the drill's own".to_owned(),
        ));
    }
    Ok(match &arguments.target {
        TargetArg::Local => Target::Local,
        TargetArg::Kind => Target::Kind(KindOptions {
            program: app.environment.find_program("kind").ok_or(Error::NoProgram("kind"))?,
            image: arguments.kind_image.clone(),
            config: arguments.kind_config.as_deref().map(absolute).transpose()?,
            environment: environment(app),
            way: match arguments.by {
                WayArg::Objects => Way::Objects,
                WayArg::Etcd => Way::Etcd,
            },
        }),
        TargetArg::Context(context) => {
            Target::Context(ContextOptions { kubeconfig: None, context: context.clone(), occupied: arguments.occupied })
        }
    })
}

/// What programs that a drill runs see of the variables here: not those with keys of ours.
fn environment(app: &App) -> Vec<(String, String)> {
    let ours = |name: &str| ["LIFEBOAT_", "AWS_"].iter().any(|prefix| name.starts_with(prefix));
    let all = app.environment.beginning_with("");
    all.filter(|(name, _)| !ours(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn checks(path: &std::path::Path) -> Result<Vec<DrillCheckSpec>> {
    let text = files::read_text(path, MAX_CHECKS)?;
    let document: DrillChecks = parse_yaml(&path.display().to_string(), &text)?;
    Ok(document.checks)
}

/// A file that must be there, by its whole path.
fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io("open", path))
}
