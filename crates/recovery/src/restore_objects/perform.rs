//! Performing a plan: as it was made, for the target that it was made for, and by one at a time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Cluster, Error as KubernetesError, LeaseLock, LeaseOptions};

use super::judge::MANAGER;
use super::plan::Plan;
use super::report::Report;
use super::request::Concurrency;
use super::run::{State, run};
use super::saved::{Journal, Unfinished};
use super::target::Target;
use crate::error::{Error, Result};
use crate::rules::RULES_VERSION;
use crate::{OpenBackup, Track};

/// How long the lock lasts without being renewed.
const LOCK: Duration = Duration::from_secs(15);
/// Where the lock is, and what it is called.
const LOCK_NAME: (&str, &str) = ("kube-system", "lifeboat-restore");

/// How a plan is performed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to note what has been done.
    pub journal: PathBuf,
    /// Requests under way at a time.
    pub concurrency: Concurrency,
    /// Who restores, for others to read while it lasts; another name each time.
    pub holder: String,
}

/// Does what a plan says.
///
/// # Errors
/// When preflight found what forbids it, the target or the backup is not as it was when the plan was made, another
/// restore is under way, or the API server goes away. An object that cannot be restored is no error but in the report.
pub async fn perform(
    open: &OpenBackup,
    cluster: Cluster,
    plan: &Plan,
    options: &Options,
    progress: &Track,
) -> Result<Report> {
    if let Some(finding) = plan.blockers().next() {
        let count = plan.blockers().count() - 1;
        let more = if count > 0 { format!(", and {count} more") } else { String::new() };
        return Err(Error::Refused(format!("{}{more}", finding.message)));
    }
    let target = same_target(open, cluster, plan).await?;
    let lease = target.cluster.take_lease(lease(options)).await?;
    let work = Box::pin(async {
        super::verify::unchanged(&target, plan).await?;
        let journal = Journal::begin(plan, &options.journal)?;
        run(open, target, plan, options, progress, State::new(plan, journal, None)?).await
    });
    locked(lease, plan, options, work).await
}

/// Goes on with a restore that was not finished.
///
/// # Errors
/// As [`perform`].
pub async fn resume(
    open: &OpenBackup,
    cluster: Cluster,
    unfinished: &Unfinished,
    options: &Options,
    progress: &Track,
) -> Result<Report> {
    let plan = &unfinished.plan;
    let target = same_target(open, cluster, plan).await?;
    let lease = take_over(&target.cluster, options).await?;
    let work = Box::pin(async {
        let journal = Journal::go_on(unfinished)?;
        run(open, target, plan, options, progress, State::new(plan, journal, Some(unfinished))?).await
    });
    locked(lease, plan, options, work).await
}

/// Refuses another backup and another cluster than the plan was made for.
async fn same_target(open: &OpenBackup, cluster: Cluster, plan: &Plan) -> Result<Target> {
    let (header, backup) = (&plan.header, open.backup());
    if header.backup != backup.manifest().id || header.manifest != backup.sha256() {
        return Err(Error::Refused(format!(
            "the plan is for backup {}, with another manifest than that of {}",
            header.backup,
            backup.manifest().id
        )));
    }
    if header.rules != RULES_VERSION {
        return Err(Error::Refused(format!(
            "the plan was made by version {} of the rules, and this is version {RULES_VERSION}: make a new plan",
            header.rules
        )));
    }
    let target = Target::learn(cluster).await?;
    if target.id != header.target_cluster {
        return Err(Error::Refused(format!(
            "the plan is for cluster {}, and this is cluster {}",
            header.target_cluster, target.id
        )));
    }
    Ok(target)
}

/// What keeps two restores into one cluster apart.
fn lease(options: &Options) -> LeaseOptions {
    let (namespace, name) = LOCK_NAME;
    LeaseOptions {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        holder: options.holder.clone(),
        duration: LOCK,
        field_manager: MANAGER.to_owned(),
    }
}

/// Takes the lock, after waiting for that of a restore that was killed to expire.
async fn take_over(cluster: &Cluster, options: &Options) -> Result<LeaseLock> {
    let deadline = Instant::now() + LOCK + LOCK;
    loop {
        match cluster.take_lease(lease(options)).await {
            Err(KubernetesError::Held { left, holder, .. }) if Instant::now() < deadline => {
                tracing::info!(holder, "waiting for the lock of the restore to expire");
                tokio::time::sleep(left.clamp(Duration::from_millis(200), LOCK)).await;
            }
            taken => return Ok(taken?),
        }
    }
}

/// Works while nobody else restores into the same cluster.
async fn locked(
    mut lease: LeaseLock,
    plan: &Plan,
    options: &Options,
    work: impl Future<Output = Result<Report>>,
) -> Result<Report> {
    let result = tokio::select! {
        result = work => Ok(result),
        lost = lease.keep() => Err(lost),
    };
    // What is not ours any more cannot be released, and whoever took it from us may be the only one who answers.
    let result = match result {
        Ok(result) => result,
        Err(lost) => return Err(without_lock(lost.into(), plan, options)),
    };
    if let Err(error) = lease.release().await {
        tracing::warn!(error = crate::chain(&error), "the lock of the restore could not be released and will expire");
    }
    result
}

/// What to say of a restore that lost its lock: how far it is, as its journal has it.
fn without_lock(lost: Error, plan: &Plan, options: &Options) -> Error {
    match Unfinished::read(&options.journal) {
        Ok(unfinished) if unfinished.plan == *plan => Error::Stopped {
            done: unfinished.done() as u64,
            of: plan.entries.iter().filter(|entry| entry.verdict.acts()).count() as u64,
            journal: options.journal.clone(),
            source: Box::new(lost),
        },
        // It was lost before anything was done.
        _ => lost,
    }
}
