//! `backup prune`.

mod forms;

use lifeboat_recovery::Catalog;
use lifeboat_recovery::retention::{extend_held, perform, survey};
use tokio_util::sync::CancellationToken;

use self::forms::{Pruned, Shown};
use crate::app::{App, block_on, unless_cancelled};
use crate::args::{PolicyArgs, PruneArgs};
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report as _, View};
use crate::{prompt, sources};

pub(crate) fn run(app: &App, arguments: &PruneArgs) -> Result<ExitCode> {
    let pruned = block_on(async |cancel| {
        let work = prune(app, arguments, cancel.clone());
        // What is broken off anywhere leaves nothing listed that does not restore.
        unless_cancelled(&cancel, work).await
    })?;
    app.output.print(&pruned)?;
    Ok(pruned.exit_code())
}

async fn prune(app: &App, arguments: &PruneArgs, cancel: CancellationToken) -> Result<Pruned> {
    let config = app.config(&overrides(&arguments.policy))?;
    let policy = &config.retention;
    let catalog = Catalog::open(sources::context(&config, cancel).await?).await?;
    let plan = survey(&catalog, policy).await?;
    let shown = Shown { cluster: config.cluster.name.as_str(), policy, plan: &plan };
    if arguments.dry_run {
        return Ok(Pruned::planned(&shown, true));
    }
    // Locks are made longer only, so nobody has to be asked.
    let extended = match &config.store.object_lock {
        Some(lock) => extend_held(catalog.context(), lock).await?,
        None => Vec::new(),
    };
    if plan.is_empty() {
        return Ok(Pruned::planned(&shown, false).extended(&extended));
    }
    if !arguments.yes {
        show(app, &shown);
        let asked = tokio::task::spawn_blocking(|| prompt::confirm("Type 'yes' to go ahead:"));
        asked.await.unwrap_or(Err(Error::Interrupted))?;
    }
    let outcome = perform(&catalog, policy, &plan).await?;
    Ok(Pruned::done(&shown, &outcome).extended(&extended))
}

/// The plan goes to stderr where it is no result, and must be read before the question.
fn show(app: &App, shown: &Shown<'_>) {
    let view = View { style: app.style, ..app.output.view() };
    let text = Pruned::planned(shown, true).text(&view);
    app.bars.suspend(|| {
        // Whoever cannot see the plan cannot answer the question either.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    });
}

/// The settings that the options override.
fn overrides(policy: &PolicyArgs) -> Vec<(&'static str, String)> {
    let count = |count: Option<u32>| count.map(|count| count.to_string());
    let options = [
        ("retention.keepLast", count(policy.keep_last)),
        ("retention.keepHourly", count(policy.keep_hourly)),
        ("retention.keepDaily", count(policy.keep_daily)),
        ("retention.keepWeekly", count(policy.keep_weekly)),
        ("retention.keepMonthly", count(policy.keep_monthly)),
        ("retention.keepYearly", count(policy.keep_yearly)),
        ("retention.keepWithin", policy.keep_within.as_ref().map(ToString::to_string)),
        ("retention.minBackups", count(policy.min_backups)),
        ("retention.minVerified", count(policy.min_verified)),
        ("retention.unfinishedAfter", policy.unfinished_after.as_ref().map(ToString::to_string)),
        ("retention.removeAfter", policy.remove_after.as_ref().map(ToString::to_string)),
        ("retention.purgeVersions", policy.purge_versions.then(|| true.to_string())),
    ];
    options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
