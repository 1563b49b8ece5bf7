//! `backup prune`.

mod forms;

use lifeboat_recovery::Catalog;
use lifeboat_recovery::retention::{Prune, perform, survey};
use tokio_util::sync::CancellationToken;

use self::forms::Pruned;
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
    let cluster = config.cluster.name.as_str();
    if arguments.dry_run || plan.is_empty() {
        return Ok(Pruned::planned(cluster, &plan, arguments.dry_run));
    }
    if !arguments.yes {
        show(app, cluster, &plan);
        let asked = tokio::task::spawn_blocking(|| prompt::confirm("Type 'yes' to go ahead:"));
        asked.await.unwrap_or(Err(Error::Interrupted))?;
    }
    let outcome = perform(&catalog, policy, &plan).await?;
    Ok(Pruned::done(cluster, &plan, &outcome))
}

/// The plan goes to stderr where it is no result, and must be read before the question.
fn show(app: &App, cluster: &str, plan: &Prune) {
    let view = View { style: app.style, ..app.output.view() };
    let text = Pruned::planned(cluster, plan, true).text(&view);
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
    ];
    options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
