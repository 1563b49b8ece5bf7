//! Restore drills: a backup is brought back, as after a disaster, in a place of its own, and compared with what was
//! captured.
//!
//! [`run`] goes as deep as the tier says, notes what it finds, measures each phase, and leaves a signed [`report`] in the
//! store. What is wrong with the backup is a finding and no error; an error says that nothing could be found out.
//! Everything plain lies in one private folder, which goes when the drill ends, by a signal too.
//!
//! [`report`]: lifeboat_model::DrillReport

mod account;
mod compare;
mod etcd;
mod fetch;
mod merge;
mod objects;
mod open;
mod programs;
mod reports;
mod rules;
mod scratch;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lifeboat_archive::{Identities, SigningKey};
use lifeboat_controlplane::ControlPlane;
use lifeboat_model::{
    ClusterName, DrillDetails, DrillId, DrillPhase, DrillReport, DrillTargets, DrillVersions, EtcdRecord, FindingCode,
    ResourcesRecord, Tier,
};

use crate::catalog::{Backup, BackupRef, Catalog};
use crate::error::{Class, Error, Result};

use self::account::Account;
use self::programs::Programs;
use self::scratch::Scratch;

pub use self::reports::{DrillRef, History, read, show};
pub use self::rules::{RULES, Rule};

/// The only place yet that a drill restores to: processes on this machine.
const LOCAL: &str = "local";
/// Gaps between backups count as far back as this.
const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a drill is to be.
pub struct Request {
    /// How deep it goes.
    pub tier: Tier,
    /// What opens the backup. Without it only tier 0 is possible, and that sees no more than digests.
    pub identities: Option<Arc<Identities>>,
    /// Folders with `etcd`, `etcdutl` and `kube-apiserver`, in the order of preference.
    pub programs: Vec<PathBuf>,
    /// The `EncryptionConfiguration` of the cluster, for values that are encrypted at rest.
    pub encryption_config: Option<PathBuf>,
    /// More arguments for `kube-apiserver`, such as feature gates of the cluster.
    pub api_server_args: Vec<String>,
    /// The folder in which the private folder of the drill is made.
    pub scratch: PathBuf,
    /// What is asked of the drill.
    pub targets: DrillTargets,
    /// Who signs the report. Without it none is stored.
    pub signer: Option<Arc<SigningKey>>,
    /// Name and version of the program.
    pub tool: String,
    /// Leave the control plane running, for [`Kept`].
    pub keep: bool,
}

/// What came of a drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The drill.
    pub id: DrillId,
    /// The backup's id, or what was asked for where its manifest cannot be believed.
    pub backup: String,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// When it was begun.
    pub started: Timestamp,
    /// How deep it was to go.
    pub tier: Tier,
    /// Where it restored to.
    pub target: String,
    /// Whether the backup restores, as far as the tier goes.
    pub restores: bool,
    /// Whether it restores, and every target was met.
    pub passed: bool,
    /// What was found, each kind once.
    pub codes: Vec<FindingCode>,
    /// The phases, in order.
    pub phases: Vec<DrillPhase>,
    /// From the command to every object readable, where it came as far.
    pub rto_seconds: Option<f64>,
    /// The age of the backup at the start.
    pub rpo_seconds: Option<u64>,
    /// The longest time between two backups of the last 30 days.
    pub longest_gap_seconds: Option<u64>,
    /// What was asked for.
    pub targets: DrillTargets,
    /// The programs that were booted.
    pub versions: DrillVersions,
    /// Findings and checks by name; not there where the sealed details were not opened.
    pub details: Option<DrillDetails>,
    /// Whether a signed report is in the store.
    pub stored: bool,
}

/// A drill that has ended.
#[derive(Debug)]
pub struct Drilled {
    /// What came of it.
    pub outcome: Outcome,
    /// The control plane, where it was to be kept and came up.
    pub kept: Option<Kept>,
}

/// A control plane that runs on after its drill, until this value is dropped or ended.
#[derive(Debug)]
pub struct Kept {
    // First, so that the processes end before their folder goes.
    plane: ControlPlane,
    scratch: Scratch,
}

impl Kept {
    /// The kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    /// Stops the control plane and removes all of its data.
    pub async fn end(self) {
        self.plane.stop().await;
        drop(self.scratch);
    }
}

/// Drills a backup.
///
/// # Errors
/// When nothing could be found out: no such backup, a program that is missing, a store that fails, a tier that the
/// backup does not allow, or the context's token was cancelled.
pub async fn run(catalog: &Catalog, wanted: &BackupRef, request: Request) -> Result<Drilled> {
    let cancel = catalog.context().cancel.clone();
    let work = Box::pin(perform(catalog, wanted, request));
    // Dropping the work ends its processes and then removes their folder.
    cancel.run_until_cancelled(work).await.unwrap_or(Err(Error::Cancelled))
}

async fn perform(catalog: &Catalog, wanted: &BackupRef, request: Request) -> Result<Drilled> {
    let context = catalog.context();
    let started = context.clock.now();
    let id = DrillId::new(started, context.clock.random());
    let mut account = Account::begin();
    let backup = match catalog.get(wanted).await {
        Ok(backup) => backup,
        Err(error) if error.class() == Class::Integrity => {
            account.notes.try_check::<()>("manifest", FindingCode::NotAuthentic, Err(error), |()| String::new())?;
            let outcome = account.outcome(id, wanted.to_string(), catalog, started, &request);
            return Ok(Drilled { outcome, kept: None });
        }
        Err(error) => return Err(error),
    };
    tracing::info!(drill = %id, backup = %backup.manifest().id, tier = request.tier.number(), "drilling");
    allowed(&backup, &request)?;
    let programs = Programs::choose(&request, backup.manifest()).await?;
    for warning in programs.warnings() {
        account.notes.warn(warning.clone());
    }
    let scratch = Scratch::new(&request.scratch, &id)?;

    let plane = drill(&mut account, catalog, &backup, &request, &programs, &scratch).await?;
    measure(&mut account, catalog, &backup, started, &request).await?;
    let mut outcome = account.outcome(id, backup.manifest().id.to_string(), catalog, started, &request);
    if let Some(signer) = &request.signer {
        reports::store(&mut outcome, &backup, signer, &request.tool).await?;
    }
    let kept = match plane {
        Some(plane) if request.keep => Some(Kept { plane, scratch }),
        Some(plane) => {
            plane.stop().await;
            None
        }
        None => None,
    };
    Ok(Drilled { outcome, kept })
}

/// The tiers, one after the other, until one finds what makes the next impossible.
async fn drill(
    account: &mut Account,
    catalog: &Catalog,
    backup: &Backup,
    request: &Request,
    programs: &Programs,
    scratch: &Scratch,
) -> Result<Option<ControlPlane>> {
    let Some(identities) = &request.identities else {
        open::blind(account, catalog, backup).await?;
        return Ok(None);
    };
    let Some(local) = fetch::fetch(account, catalog, backup, scratch).await? else { return Ok(None) };
    let opened = open::open(account, &local, identities, request.tier, scratch).await?;
    let Some(opened) = opened else { return Ok(None) };
    let Some(snapshot) = &opened.snapshot else { return Ok(None) };
    let Some(rebuilt) = etcd::rebuild_data(account, snapshot, programs, scratch).await? else { return Ok(None) };
    let Some(mut booted) = etcd::boot(account, snapshot, rebuilt, request, programs, scratch).await? else {
        return Ok(None);
    };
    if request.tier >= Tier::Objects && !objects::compare(account, &opened, request, &mut booted).await? {
        return Ok(None);
    }
    Ok(Some(booted.plane))
}

/// Whether the backup and the request allow that tier.
fn allowed(backup: &Backup, request: &Request) -> Result<()> {
    let manifest = backup.manifest();
    let tier = request.tier;
    if request.identities.is_none() && tier > Tier::Content {
        return Err(Error::Usage(format!("tier {} opens the backup, and needs a recovery identity", tier.number())));
    }
    if let EtcdRecord::Absent { reason } = &manifest.etcd
        && tier >= Tier::Etcd
    {
        return Err(Error::NoObject(format!(
            "backup {} has no etcd snapshot ({reason}): tier 0 is as deep as it can be drilled here",
            manifest.id
        )));
    }
    if let ResourcesRecord::Absent { reason } = &manifest.resources
        && tier >= Tier::Objects
    {
        return Err(Error::NoObject(format!(
            "backup {} has no objects to compare with ({reason}): tier 1 is as deep as it can be drilled",
            manifest.id
        )));
    }
    if request.targets.rto_seconds.is_some() && tier < Tier::Objects {
        return Err(Error::Usage("the time to every object readable is measured by tier 2 only".to_owned()));
    }
    Ok(())
}

/// Ages and gaps, and what of the targets was missed.
async fn measure(
    account: &mut Account,
    catalog: &Catalog,
    backup: &Backup,
    started: Timestamp,
    request: &Request,
) -> Result<()> {
    let age = started.duration_since(backup.manifest().started);
    let since = started.checked_sub(HISTORY).unwrap_or(Timestamp::MIN);
    let listing = catalog.list().await?;
    let mut starts: Vec<Timestamp> = listing.backups.iter().map(|entry| entry.manifest.started).collect();
    starts.sort_unstable();
    starts.retain(|start| (since..=started).contains(start));
    let gap = starts.array_windows().map(|[a, b]| b.duration_since(*a)).max();
    let seconds = |time: SignedDuration| u64::try_from(time.as_secs()).unwrap_or_default();
    account.measured(seconds(age), gap.map(seconds), request.targets);
    Ok(())
}

impl Outcome {
    /// What a signed report says, with the details where they were opened.
    fn of(report: DrillReport, details: Option<DrillDetails>) -> Self {
        Self {
            id: report.id,
            backup: report.backup.to_string(),
            cluster: report.cluster,
            started: report.started,
            tier: report.tier,
            target: report.target,
            restores: report.restores,
            passed: report.passed,
            codes: report.findings,
            phases: report.phases,
            rto_seconds: report.rto_seconds,
            rpo_seconds: Some(report.rpo_seconds),
            longest_gap_seconds: report.longest_gap_seconds,
            targets: report.targets,
            versions: report.versions,
            details,
            stored: true,
        }
    }
}
