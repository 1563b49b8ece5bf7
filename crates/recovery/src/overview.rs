//! The catalog in memory, for whoever stays: what is known is not read again, and each backup takes some 200 bytes.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_model::{
    BackupId, BackupState, Digest, DrillId, DrillReport, EtcdRecord, Manifest, Reason, ResourcesRecord,
};
use lifeboat_store::Prefix;

use crate::catalog::{Catalog, Entry};
use crate::error::{Error, Result, chain};
use crate::{drill, layout};

/// Manifests read at a time.
const CONCURRENCY: usize = 64;

/// What is known of a backup whose manifest can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its place in the chain.
    pub sequence: u64,
    /// Whether it has all that was expected.
    pub state: BackupState,
    /// When it was begun.
    pub started: Timestamp,
    /// When it was complete.
    pub finished: Timestamp,
    /// Why it was taken.
    pub reason: Reason,
    /// Bytes that it takes in the store, without its manifest.
    pub stored_bytes: u64,
    /// Digest of its manifest.
    pub sha256: Digest,
    /// It has an etcd snapshot.
    pub etcd: bool,
    /// It has the objects of the API.
    pub objects: bool,
    /// Whether a drill has proved that it restores.
    pub verified: bool,
}

/// What a look at the store has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Backups that are new, or verified since, newest first.
    pub added: Vec<BackupId>,
    /// Backups that are gone.
    pub removed: Vec<BackupId>,
    /// How many are there and were not read yet: the next look goes on with them.
    pub pending: usize,
}

/// The backups of a cluster, as far as they were looked at.
#[derive(Debug, Default)]
pub struct Overview {
    backups: BTreeMap<BackupId, Summary>,
    problems: BTreeMap<BackupId, String>,
    reports: BTreeMap<DrillId, Option<DrillReport>>,
}

impl Overview {
    /// The backups that can be believed, by their ids, and so by time.
    pub fn backups(&self) -> &BTreeMap<BackupId, Summary> {
        &self.backups
    }

    /// What has a manifest that cannot be believed, and why.
    pub fn problems(&self) -> &BTreeMap<BackupId, String> {
        &self.problems
    }

    /// When the latest drill was begun, by its report.
    pub fn drilled(&self) -> Option<Timestamp> {
        self.reports.values().flatten().map(|report| report.started).max()
    }

    /// Brings it up to what the store has: reads what is new, the newest first and at most so many manifests, and forgets what
    /// is gone. A manifest that was read before is not read again as long as its backup has a folder and is not being removed:
    /// that somebody has taken it away or changed it since is for [`Catalog::list`] and `verify` to find.
    ///
    /// # Errors
    /// When the store cannot be read; what was read until then is kept.
    pub async fn refresh(&mut self, catalog: &Catalog, most: usize) -> Result<Changes> {
        let ids = listed(catalog).await?;
        let mut changes = Changes::default();
        self.problems.retain(|id, _| ids.contains(id));
        self.backups.retain(|id, _| {
            let stays = ids.contains(id);
            changes.removed.extend((!stays).then(|| id.clone()));
            stays
        });
        let drilled = self.hear(catalog).await?;
        let is_known = |id: &BackupId| self.backups.contains_key(id) || self.problems.contains_key(id);
        let fresh: Vec<BackupId> = ids.iter().rev().filter(|id| !is_known(id)).cloned().collect();
        changes.pending = fresh.len().saturating_sub(most);
        let again = drilled.into_iter().filter(|id| self.backups.contains_key(id));
        let wanted: Vec<BackupId> = fresh.into_iter().take(most).chain(again).collect();
        let mut read = stream::iter(wanted)
            .map(|id| async move {
                let entry = catalog.entry(&id).await;
                (id, entry)
            })
            .buffered(CONCURRENCY);
        while let Some((id, entry)) = read.next().await {
            match entry {
                // Under way, or left by a backup that was killed.
                Ok(None) => {}
                Ok(Some(entry)) => {
                    let summary = self.summary(&entry);
                    if self.backups.get(&id) != Some(&summary) {
                        self.backups.insert(id.clone(), summary);
                        changes.added.push(id);
                    }
                }
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => drop(self.problems.insert(id, chain(&error))),
            }
        }
        Ok(changes)
    }

    /// Reads the reports of drills that are new, and tells which backups they are of.
    async fn hear(&mut self, catalog: &Catalog) -> Result<BTreeSet<BackupId>> {
        let known: BTreeSet<DrillId> = self.reports.keys().cloned().collect();
        let history = drill::read_but(catalog, &known).await?;
        let of: BTreeSet<BackupId> = history.reports.iter().map(|report| report.backup.clone()).collect();
        self.reports.extend(history.problems.into_iter().map(|(id, _)| (id, None)));
        self.reports.extend(history.reports.into_iter().map(|report| (report.id.clone(), Some(report))));
        Ok(of)
    }

    fn summary(&self, Entry { manifest, sha256, .. }: &Entry) -> Summary {
        Summary {
            sequence: manifest.sequence,
            state: manifest.state,
            started: manifest.started,
            finished: manifest.finished,
            reason: manifest.reason.clone(),
            stored_bytes: manifest.stored_bytes(),
            sha256: *sha256,
            etcd: matches!(manifest.etcd, EtcdRecord::Captured { .. }),
            objects: matches!(manifest.resources, ResourcesRecord::Captured { .. }),
            verified: self.verifies(manifest, *sha256),
        }
    }

    fn verifies(&self, manifest: &Manifest, sha256: Digest) -> bool {
        drill::verdict(self.reports.values().rev().flatten(), manifest, sha256)
    }
}

/// The ids that have a folder and are not being removed.
async fn listed(catalog: &Catalog) -> Result<BTreeSet<BackupId>> {
    let (store, cluster) = (&catalog.context().store, &catalog.context().cluster);
    let removed: Vec<Prefix> = store.folders(&layout::all_removed(cluster)?).try_collect().await?;
    let mut ids: BTreeSet<BackupId> = catalog.ids().await?.into_iter().collect();
    for id in removed.iter().filter_map(|folder| folder.name().parse::<BackupId>().ok()) {
        // One that is kept after all, or was brought back, has its manifest.
        if ids.contains(&id) && catalog.entry(&id).await.is_ok_and(|entry| entry.is_none()) {
            ids.remove(&id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lifeboat_model::RetentionPolicy;
    use lifeboat_store::{FaultyStore, Operation};

    use super::*;
    use crate::retention::{perform, survey};
    use crate::scene::Scene;

    #[tokio::test]
    async fn only_what_is_new_is_read() {
        let scene = Scene::new();
        let mut ids = Vec::new();
        for number in 1..=20 {
            ids.push(scene.backup(number).await);
            scene.wait(3_600);
        }
        let reads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&reads);
        let store = FaultyStore::new(Arc::clone(&scene.store), move |call| {
            let read = call.operation == Operation::Get;
            counter.fetch_add(usize::from(read), std::sync::atomic::Ordering::Relaxed);
            None
        });
        let catalog = scene.catalog(store).await.unwrap();
        let taken = || reads.swap(0, std::sync::atomic::Ordering::Relaxed);
        taken();
        let mut overview = Overview::default();
        let changes = overview.refresh(&catalog, 5).await.unwrap();
        assert_eq!((changes.added.len(), changes.pending, taken()), (5, 15, 10));
        assert_eq!(changes.added[0], ids[19], "the newest first");
        let changes = overview.refresh(&catalog, 100).await.unwrap();
        assert_eq!((changes.added.len(), changes.pending, taken()), (15, 0, 30));
        assert_eq!(overview.refresh(&catalog, 100).await.unwrap(), Changes::default());
        assert_eq!(taken(), 0);

        // What the listing says, the overview says.
        let listing = catalog.list().await.unwrap();
        assert_eq!(listing.backups.len(), overview.backups().len());
        for entry in listing.backups {
            let summary = &overview.backups()[&entry.manifest.id];
            assert_eq!((summary.sequence, summary.sha256), (entry.manifest.sequence, entry.sha256));
        }
        // One comes, one that nobody trusts comes, and most go, but for their bytes.
        let newest = scene.backup(21).await;
        let stranger = Scene { store: Arc::clone(&scene.store), clocks: scene.clocks.clone(), ..Scene::new() };
        scene.wait(60);
        let foreign = stranger.backup(22).await;
        let policy =
            RetentionPolicy { keep_last: 3, remove_after: Some("9d".parse().unwrap()), ..RetentionPolicy::default() };
        let shown = survey(&catalog, &policy).await.unwrap();
        perform(&catalog, &policy, &shown).await.unwrap();
        taken();
        let changes = overview.refresh(&catalog, 100).await.unwrap();
        assert_eq!((changes.added, changes.removed), (vec![newest], ids[..18].to_vec()));
        assert_eq!(overview.problems().keys().collect::<Vec<_>>(), [&foreign]);
    }
}
