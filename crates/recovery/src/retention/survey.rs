//! What the store has, and what should become of it. Nothing is written.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_model::{BackupId, ClusterName, Hold, Manifest, Reason, RetentionPolicy};
use lifeboat_store::{Incomplete, Key, Listed, Prefix, Protection, Store, StoreError};

use super::hold;
use super::plan::{Known, Lock, Verdict, plan};
use super::remove::is_void;
use crate::catalog::{Catalog, Entry, Problem};
use crate::drill::{self, History};
use crate::error::{Result, chain};
use crate::layout;

/// Questions to the store at a time.
const CONCURRENCY: usize = 16;

/// Whose backups a policy is for. The others stay, and count for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of the cluster's.
    #[default]
    All,
    /// Those that a schedule of that name took.
    Schedule(String),
}

impl Scope {
    fn covers(&self, manifest: &Manifest) -> bool {
        match self {
            Self::All => true,
            Self::Schedule(name) => matches!(&manifest.reason, Reason::Schedule(theirs) if theirs == name),
        }
    }
}

/// What a prune would do.
#[derive(Debug)]
pub struct Prune {
    /// Every backup of the scope that can be believed, newest first.
    pub verdicts: Vec<Verdict>,
    /// What has a manifest that cannot be believed. It stays, and counts for nothing.
    pub problems: Vec<Problem>,
    /// What backups that were never finished and removals that were broken off have left, and goes.
    pub leftovers: Vec<Leftover>,
    /// What has no manifest and stays: it may be under way.
    pub unfinished: Vec<BackupId>,
    /// What is not listed any more, and whose bytes go later.
    pub awaiting: Vec<Awaiting>,
    /// Uploads that were never finished, and go.
    pub uploads: Vec<Incomplete>,
    /// Why the unfinished uploads are not known: this server does not list them, or not to everybody.
    pub uploads_unknown: Option<String>,
    /// The bucket has versions: what is removed stays there as old versions.
    pub versioned: bool,
    /// Whose backups were looked at.
    pub(super) scope: Scope,
    /// What lies in each folder.
    pub(super) folders: BTreeMap<BackupId, Folder>,
    /// Claims of places in the chain that nobody can want any more.
    pub(super) claims: Vec<Key>,
}

/// A backup that was removed and whose bytes are still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaiting {
    /// Its id.
    pub id: BackupId,
    /// Bytes that it takes.
    pub bytes: u64,
    /// From when on a prune removes them.
    pub until: Timestamp,
}

/// A folder without a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The id of the backup that it would have been.
    pub id: BackupId,
    /// Bytes in it.
    pub bytes: u64,
    /// When it was last written to, by the store's clock.
    pub written: Timestamp,
    /// What holds it; then it stays.
    pub lock: Option<Lock>,
}

impl Prune {
    /// The backups that go, newest first.
    pub fn removals(&self) -> impl Iterator<Item = &Known> {
        self.verdicts.iter().filter(|verdict| !verdict.keeps()).map(|verdict| &verdict.backup)
    }

    /// The leftovers that go.
    pub fn clearances(&self) -> impl Iterator<Item = &Leftover> {
        self.leftovers.iter().filter(|leftover| leftover.lock.is_none())
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.removals().next().is_none() && self.clearances().next().is_none() && self.uploads.is_empty()
    }
}

/// What lies in the folder of a backup.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) keys: Vec<Key>,
    bytes: u64,
    written: Timestamp,
    /// When its manifest was stored.
    manifest: Option<Timestamp>,
    /// When its manifest was put aside.
    pub(super) removed: Option<Timestamp>,
    pub(super) signed: bool,
}

impl Folder {
    fn add(&mut self, listed: Listed) {
        self.bytes = self.bytes.saturating_add(listed.bytes);
        self.written = self.written.max(listed.modified);
        match listed.key.name() {
            layout::MANIFEST => self.manifest = Some(listed.modified),
            name if name.strip_suffix(layout::SIGNATURE) == Some(layout::MANIFEST) => self.signed = true,
            _ => {}
        }
        self.keys.push(listed.key);
    }
}

/// The folders of a cluster's backups, and the store's time: the date of the newest thing that it has of the cluster. That
/// is behind its clock and never ahead of it, so nothing is older than this makes it.
struct Contents {
    folders: BTreeMap<BackupId, Folder>,
    newest: Timestamp,
    /// Numbers in the chain that are claimed, and since when.
    claims: Vec<(u64, Listed)>,
}

/// Finds out what a prune of all backups would do.
///
/// # Errors
/// When the store cannot be read. What cannot be believed is kept and told, and no error.
pub async fn survey(catalog: &Catalog, policy: &RetentionPolicy) -> Result<Prune> {
    survey_of(catalog, policy, Scope::All).await
}

/// Finds out what a prune of some backups would do. What unfinished backups have left goes, whoever took them.
///
/// # Errors
/// As [`survey`].
pub async fn survey_of(catalog: &Catalog, policy: &RetentionPolicy, scope: Scope) -> Result<Prune> {
    let context = catalog.context();
    let (store, cluster) = (context.store.as_ref(), &context.cluster);
    let listing = catalog.list().await?;
    let history = drill::read(catalog).await?;
    // After the manifests were read: what is committed meanwhile is seen here, and so is no leftover.
    let whole: Prefix = cluster.as_str().parse()?;
    let Contents { folders, newest, claims } = contents(store, &whole, cluster).await?;
    let now = context.clock.now();
    // What the store's clock says at least, and not later than this machine's.
    let today = newest.min(now);
    let held = hold::holds(context).await?;

    let covered = listing.backups.iter().filter(|entry| scope.covers(&entry.manifest));
    let mut known: Vec<Known> =
        covered.filter_map(|entry| judged(entry, &history, folders.get(&entry.manifest.id)?)).collect();
    let doomed: Vec<BackupId> =
        plan(&known, policy, now).into_iter().filter(|v| !v.keeps()).map(|v| v.backup.id).collect();
    let mut versioned = false;
    let asked = Asked { store, folders: &folders, held: &held, today };
    let locks = asked.locks(&doomed, &mut versioned).await?;
    for backup in &mut known {
        backup.lock = asked.hold(&backup.id).or_else(|| locks.get(&backup.id).cloned());
    }
    // Another prune may have removed it meanwhile.
    let problems = listing.problems.into_iter().filter(|p| folders.get(&p.id).is_some_and(|f| f.manifest.is_some()));
    let horizon = policy.unfinished_after.before(today);
    let Unlisted { leftovers, unfinished, awaiting } = asked.unlisted(policy, horizon, &mut versioned).await?;
    let last = listing.backups.iter().map(|entry| entry.manifest.sequence).max().unwrap_or_default();
    let claims = claims.into_iter().filter(|(number, claim)| *number < last && claim.modified <= horizon);
    let claims = claims.map(|(_, claim)| claim.key).collect();
    let (uploads, uploads_unknown) = uploads(store, &whole, horizon).await?;
    Ok(Prune {
        verdicts: plan(&known, policy, now),
        problems: problems.collect(),
        leftovers,
        unfinished,
        awaiting,
        uploads,
        uploads_unknown,
        versioned,
        scope,
        folders,
        claims,
    })
}

async fn contents(store: &dyn Store, whole: &Prefix, cluster: &ClusterName) -> Result<Contents> {
    let mut contents = Contents { folders: BTreeMap::new(), newest: Timestamp::MIN, claims: Vec::new() };
    let backups = format!("{}/", layout::backups(cluster)?);
    let removed = format!("{}/", layout::all_removed(cluster)?);
    let claimed = layout::claims(cluster)?;
    let mut listing = store.list(whole);
    while let Some(listed) = listing.try_next().await? {
        contents.newest = contents.newest.max(listed.modified);
        let id_in = |folder: &str| {
            let (id, _) = listed.key.as_str().strip_prefix(folder)?.split_once('/')?;
            id.parse::<BackupId>().ok()
        };
        if let Some(id) = id_in(&backups) {
            contents.folders.entry(id).or_default().add(listed);
        } else if let Some(id) = id_in(&removed) {
            contents.folders.entry(id).or_default().removed = Some(listed.modified);
        } else if claimed.contains(&listed.key)
            && let Some(number) = listed.key.name().strip_suffix(".json").and_then(|number| number.parse().ok())
        {
            contents.claims.push((number, listed));
        }
    }
    Ok(contents)
}

fn judged(entry: &Entry, history: &History, folder: &Folder) -> Option<Known> {
    let Entry { manifest, sha256, verified } = entry;
    let telling =
        |report: &&lifeboat_model::DrillReport| report.proves(manifest, *sha256) || report.refutes(manifest, *sha256);
    let newest = history.reports.iter().find(telling);
    Some(Known {
        id: manifest.id.clone(),
        stored: folder.manifest?,
        started: manifest.started,
        finished: manifest.finished,
        sequence: manifest.sequence,
        state: manifest.state,
        verified: *verified,
        damaged: newest.is_some_and(|report| report.refutes(manifest, *sha256)),
        lock: None,
        bytes: folder.bytes,
    })
}

fn lock(protection: Protection, today: Timestamp) -> Option<Lock> {
    // Stores go on telling of a retention that has ended.
    let until = protection.retained_until.filter(|until| *until > today);
    if protection.legal_hold { Some(Lock::LegalHold) } else { until.map(Lock::Until) }
}

/// Of several locks the one that lasts longest is told.
fn gravity(lock: &Lock) -> (u8, Timestamp) {
    match lock {
        Lock::Unknown(_) => (0, Timestamp::MIN),
        Lock::Until(end) => (1, *end),
        Lock::LegalHold | Lock::Held(_) => (2, Timestamp::MAX),
    }
}

/// The folders without a manifest: those that go, those that may be under way, and those that go later.
#[derive(Default)]
struct Unlisted {
    leftovers: Vec<Leftover>,
    unfinished: Vec<BackupId>,
    awaiting: Vec<Awaiting>,
}

/// What further questions go by.
struct Asked<'a> {
    store: &'a dyn Store,
    folders: &'a BTreeMap<BackupId, Folder>,
    held: &'a BTreeMap<BackupId, Hold>,
    today: Timestamp,
}

impl Asked<'_> {
    /// The hold of a backup, or of what is left of one.
    fn hold(&self, id: &BackupId) -> Option<Lock> {
        self.held.get(id).map(|hold| Lock::Held(hold.reason.clone()))
    }

    /// What holds any key of those folders; those that somebody holds are not asked about.
    async fn locks(&self, ids: &[BackupId], versioned: &mut bool) -> Result<BTreeMap<BackupId, Lock>> {
        let free = ids.iter().filter(|id| !self.held.contains_key(id));
        let keys = free.filter_map(|id| Some((id, self.folders.get(id)?)));
        let keys = keys.flat_map(|(id, folder)| folder.keys.iter().map(move |key| (id, key)));
        let mut answers = stream::iter(keys)
            .map(|(id, key)| async move { (id, self.store.protection(key).await) })
            .buffer_unordered(CONCURRENCY);
        let mut locks: BTreeMap<BackupId, Lock> = BTreeMap::new();
        while let Some((id, answer)) = answers.next().await {
            let lock = match answer {
                Ok(protection) => {
                    *versioned |= protection.versioned;
                    lock(protection, self.today)
                }
                Err(error @ StoreError::AccessDenied { .. }) => Some(Lock::Unknown(chain(&error))),
                // Another prune was there first.
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            if let Some(lock) = lock {
                let known = locks.entry(id.clone()).or_insert_with(|| lock.clone());
                if gravity(&lock) > gravity(known) {
                    *known = lock;
                }
            }
        }
        Ok(locks)
    }

    async fn unlisted(&self, policy: &RetentionPolicy, horizon: Timestamp, versioned: &mut bool) -> Result<Unlisted> {
        let (mut gone, mut unlisted) = (Vec::new(), Unlisted::default());
        for (id, folder) in self.folders.iter().filter(|(_, folder)| folder.manifest.is_none()) {
            let void = folder.signed && is_void(self.store, folder).await?;
            let waits = folder.removed.and_then(|removed| {
                let until = policy.remove_after.as_ref()?.after(removed);
                (until > self.today && !void).then_some(until)
            });
            if let Some(until) = waits {
                unlisted.awaiting.push(Awaiting { id: id.clone(), bytes: folder.bytes, until });
            } else if void || folder.removed.is_some() || folder.written <= horizon {
                gone.push(id.clone());
            } else {
                unlisted.unfinished.push(id.clone());
            }
        }
        let mut locks = self.locks(&gone, versioned).await?;
        let leftovers = gone.into_iter().filter_map(|id| {
            let folder = self.folders.get(&id)?;
            let lock = self.hold(&id).or_else(|| locks.remove(&id));
            Some(Leftover { bytes: folder.bytes, written: folder.written, lock, id })
        });
        unlisted.leftovers = leftovers.collect();
        Ok(unlisted)
    }
}

/// The uploads that were begun before the horizon; or why they are not known.
async fn uploads(store: &dyn Store, whole: &Prefix, horizon: Timestamp) -> Result<(Vec<Incomplete>, Option<String>)> {
    let all: std::result::Result<Vec<Incomplete>, StoreError> = store.incomplete_uploads(whole).try_collect().await;
    match all {
        Ok(all) => Ok((all.into_iter().filter(|upload| upload.started <= horizon).collect(), None)),
        Err(
            error @ (StoreError::AccessDenied { .. } | StoreError::Other { status: Some(400 | 404 | 405 | 501), .. }),
        ) => Ok((Vec::new(), Some(chain(&error)))),
        Err(error) => Err(error.into()),
    }
}
