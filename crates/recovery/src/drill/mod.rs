//! Restore drills: a backup is brought back, as after a disaster, in a place of its own, and compared with what was
//! captured.
//!
//! [`run`] goes as deep as the tier says, notes what it finds, measures each phase, and leaves a signed [`report`] in the
//! store. What is wrong with the backup is a finding and no error; an error says that nothing could be found out.
//! Everything plain lies in one private folder, which goes when the drill ends, by a signal too.
//!
//! [`report`]: lifeboat_model::DrillReport

mod account;
mod checks;
mod compare;
mod etcd;
mod fetch;
mod kind;
mod node;
mod objects;
mod open;
mod programs;
mod reports;
mod rules;
mod scratch;
mod settle;
mod target;
mod workloads;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_archive::{Identities, SigningKey};
use lifeboat_controlplane::ControlPlane;
use lifeboat_model::{
    ClusterName, DrillCheckSpec, DrillDetails, DrillId, DrillPhase, DrillReport, DrillTargets, DrillVersions,
    EtcdRecord, FindingCode, ResourcesRecord, Tier,
};

use crate::catalog::{Backup, BackupRef, Catalog};
use crate::error::{Class, Error, Result};

use self::account::Account;
use self::etcd::Member;
use self::kind::{KindCluster, Made};
use self::open::Opened;
use self::programs::Programs;
use self::scratch::Scratch;

pub use self::kind::{KindOptions, Way};
pub use self::reports::{DrillRef, History, read, show};
pub(crate) use self::reports::{read_but, verdict};
pub use self::rules::{RULES, Rule};
pub use self::target::{ContextOptions, Target};

/// Gaps between backups count as far back as this.
const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a drill is to be.
pub struct Request {
    /// How deep it goes.
    pub tier: Tier,
    /// Where it restores to.
    pub target: Target,
    /// What the restored cluster has to come up to, in tier 3.
    pub checks: Vec<DrillCheckSpec>,
    /// How long its workloads may take until they are ready.
    pub ready_within: Duration,
    /// The variables that commands of checks see.
    pub environment: Vec<(String, String)>,
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

/// A control plane or cluster that stays after its drill, until this value is ended.
#[derive(Debug)]
pub struct Kept {
    // First, so that the processes end before their folder goes.
    place: Place,
    scratch: Scratch,
}

#[derive(Debug)]
enum Place {
    Local(Box<ControlPlane>),
    Kind(KindCluster),
}

impl Kept {
    /// The kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.place {
            Place::Local(plane) => plane.kubeconfig(),
            Place::Kind(cluster) => cluster.kubeconfig().to_owned(),
        }
    }

    /// Ends it and removes all of its data.
    pub async fn end(self) {
        match self.place {
            Place::Local(plane) => plane.stop().await,
            Place::Kind(cluster) => cluster.delete().await,
        }
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
    let made = Made::default();
    let work = Box::pin(perform(catalog, wanted, request, made.clone()));
    // Dropping the work ends its processes and then removes their folder. A cluster of kind has to be deleted.
    let result = cancel.run_until_cancelled(work).await.unwrap_or(Err(Error::Cancelled));
    if let Some(cluster) = made.take() {
        cluster.delete().await;
    }
    result
}

async fn perform(catalog: &Catalog, wanted: &BackupRef, request: Request, made: Made) -> Result<Drilled> {
    request.validate_checks()?;
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

    let work = Work { id: &id, catalog, backup: &backup, request: &request, scratch: &scratch };
    let plane = match request.tier {
        Tier::Workloads => {
            work.workloads(&mut account, &programs, &made).await?;
            None
        }
        _ => work.local(&mut account, &programs).await?,
    };
    measure(&mut account, catalog, &backup, started, &request).await?;
    let mut outcome = account.outcome(id, backup.manifest().id.to_string(), catalog, started, &request);
    if let Some(signer) = &request.signer {
        reports::store(&mut outcome, &backup, signer, &request.tool).await?;
    }
    let stays = match plane {
        Some(plane) if request.keep => Some(Place::Local(Box::new(plane))),
        Some(plane) => {
            plane.stop().await;
            None
        }
        None if request.keep => made.take().map(Place::Kind),
        None => None,
    };
    let kept = stays.map(|place| Kept { place, scratch });
    Ok(Drilled { outcome, kept })
}

impl Request {
    /// Whether a data directory of etcd is built.
    fn restores_etcd(&self) -> bool {
        let into_node = matches!(&self.target, Target::Kind(KindOptions { way: Way::Etcd, .. }));
        matches!(self.tier, Tier::Etcd | Tier::Objects) || into_node
    }
}

/// What the tiers of one drill share.
struct Work<'a> {
    id: &'a DrillId,
    catalog: &'a Catalog,
    backup: &'a Backup,
    request: &'a Request,
    scratch: &'a Scratch,
}

impl Work<'_> {
    /// Fetches and opens the backup. Nothing is given where that finds what makes the rest impossible.
    async fn open(&self, account: &mut Account) -> Result<Option<Opened>> {
        let Some(identities) = &self.request.identities else {
            open::blind(account, self.catalog, self.backup).await?;
            return Ok(None);
        };
        let local = fetch::fetch(account, self.catalog, self.backup, self.scratch).await?;
        let Some(local) = local else { return Ok(None) };
        open::open(account, &local, identities, self.request.restores_etcd(), self.scratch).await
    }

    /// Tiers 0 to 2, one after the other.
    async fn local(&self, account: &mut Account, programs: &Programs) -> Result<Option<ControlPlane>> {
        let (request, scratch) = (self.request, self.scratch);
        let Some(opened) = self.open(account).await? else { return Ok(None) };
        let Some(snapshot) = &opened.snapshot else { return Ok(None) };
        let rebuilt = etcd::rebuild_data(account, snapshot, Member::own(), programs, scratch).await?;
        account.end_phase("rebuild");
        let Some(rebuilt) = rebuilt else { return Ok(None) };
        let booted = etcd::boot(account, snapshot, rebuilt, request, programs, scratch).await?;
        let Some(mut booted) = booted else { return Ok(None) };
        if request.tier == Tier::Objects && !objects::boot_and_compare(account, &opened, request, &mut booted).await? {
            return Ok(None);
        }
        Ok(Some(booted.plane))
    }

    /// Tier 3.
    async fn workloads(&self, account: &mut Account, programs: &Programs, made: &Made) -> Result<()> {
        let (request, manifest) = (self.request, self.backup.manifest());
        let Some(opened) = self.open(account).await? else { return Ok(()) };
        let reached = target::reach(account, &request.target, self.id, manifest, self.scratch, made).await?;
        let Some(reached) = reached else { return Ok(()) };
        if request.restores_etcd() {
            return node::restore(account, &opened, request, programs, reached, self.scratch).await;
        }
        workloads::restore(account, self.id, &opened, request, &reached, self.scratch).await
    }
}

/// Whether the backup and the request allow that tier.
fn allowed(backup: &Backup, request: &Request) -> Result<()> {
    let manifest = backup.manifest();
    let tier = request.tier;
    if request.identities.is_none() && tier > Tier::Content {
        return Err(Error::Usage(format!("tier {} opens the backup, and needs a recovery identity", tier.number())));
    }
    if matches!(request.target, Target::Local) == (tier == Tier::Workloads) {
        return Err(Error::Usage("tier 3 restores into kind or a context, and only tier 3 does".to_owned()));
    }
    if let EtcdRecord::Absent { reason } = &manifest.etcd
        && request.restores_etcd()
    {
        return Err(Error::NoObject(format!(
            "backup {} has no etcd snapshot ({reason}): tier 0, and tier 3 by objects, are as deep as it can be drilled",
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
        return Err(Error::Usage("the time to every object readable is measured from tier 2 on".to_owned()));
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
