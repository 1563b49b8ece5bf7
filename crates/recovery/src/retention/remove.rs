//! Removing, in an order that may be broken off anywhere.
//!
//! A copy of the manifest is put aside, and then the manifest goes: from then on nothing is listed, and the copy tells the
//! next prune that this folder is to be cleared, whatever its age, and whoever wants it back what the manifest was. Then,
//! at once or after a while, the place of the signature is taken by a note, which says that this folder is done with:
//! whoever still wanted to commit a backup there cannot, since signatures are written before manifests and keys once. The
//! copy goes last.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::{BackupId, RetentionPolicy};
use lifeboat_store::{Key, Purged, Store, StoreError, body};

use super::hold;
use super::survey::{Folder, Prune, survey_of};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout;
use crate::trust::{self, Place, place, read_small};

/// Backups removed at a time.
const BACKUPS: usize = 8;
/// Keys of one backup removed at a time.
const KEYS: usize = 4;
/// How often the note is written again where others write and remove theirs.
const TRIES: u32 = 3;

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Backups that are gone.
    pub removed: Vec<Removed>,
    /// Leftovers that are gone.
    pub cleared: Vec<Removed>,
    /// How many unfinished uploads are gone.
    pub uploads: usize,
    /// Old versions that are gone, and those that stay since they are held.
    pub purged: Purged,
    /// What was to go and stays: the store is not any more as it was shown.
    pub spared: Vec<BackupId>,
    /// What could not be removed, or not whole. A backup whose manifest is gone is not listed any more all the same.
    pub failed: Vec<(BackupId, Error)>,
}

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its id.
    pub id: BackupId,
    /// Bytes that it took.
    pub bytes: u64,
}

/// Removes what was shown, as far as the store as it is now still says the same: a backup that came, a drill, a hold, or
/// another prune may have changed what is the last good one.
///
/// Dropping the future at any moment leaves nothing listed that does not restore.
///
/// # Errors
/// When the store cannot be read. What cannot be removed is told in the outcome.
pub async fn perform(catalog: &Catalog, policy: &RetentionPolicy, shown: &Prune) -> Result<Outcome> {
    let store = catalog.context().store.as_ref();
    let fresh = survey_of(catalog, policy, shown.scope.clone()).await?;
    let mut outcome = Outcome::default();
    // Whoever is still writing after all this time fails here, and not half-way.
    for upload in shown.uploads.iter().filter(|upload| fresh.uploads.contains(upload)) {
        store.abort_incomplete(upload).await?;
        outcome.uploads += 1;
    }
    let jobs = jobs(shown, &fresh, &mut outcome);
    let folders = &fresh.folders;
    let mut done = stream::iter(jobs)
        .map(|(what, listed)| async move {
            let result = match folders.get(&what.id) {
                Some(folder) => Removal { catalog, policy, id: &what.id, folder }.run(listed).await,
                None => Ok(Purged::default()),
            };
            (what, listed, result)
        })
        .buffer_unordered(BACKUPS);
    while let Some((what, listed, result)) = done.next().await {
        match result {
            Ok(purged) => {
                outcome.purged.versions += purged.versions;
                outcome.purged.bytes += purged.bytes;
                outcome.purged.held += purged.held;
                if listed { outcome.removed.push(what) } else { outcome.cleared.push(what) }
            }
            Err(error) => outcome.failed.push((what.id, error)),
        }
    }
    for claim in &fresh.claims {
        match store.delete(claim).await {
            // They are small, and worth no failure.
            Ok(()) | Err(StoreError::Locked { .. } | StoreError::AccessDenied { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(outcome)
}

/// What is to be done, each with whether it is listed. The oldest first: what is done when this is broken off is what a next
/// run would have done too.
fn jobs(shown: &Prune, fresh: &Prune, outcome: &mut Outcome) -> Vec<(Removed, bool)> {
    let still: BTreeSet<&BackupId> = fresh.removals().map(|backup| &backup.id).collect();
    let cleared: BTreeSet<&BackupId> = fresh.clearances().map(|leftover| &leftover.id).collect();
    let stays = |id: &BackupId| fresh.verdicts.iter().any(|verdict| verdict.backup.id == *id);
    let mut jobs = Vec::new();
    let mut shown_removals: Vec<_> = shown.removals().collect();
    shown_removals.reverse();
    for backup in shown_removals {
        if still.contains(&backup.id) {
            jobs.push((Removed { id: backup.id.clone(), bytes: backup.bytes }, true));
        } else if stays(&backup.id) {
            outcome.spared.push(backup.id.clone());
        }
    }
    for leftover in shown.clearances().filter(|leftover| cleared.contains(&leftover.id)) {
        jobs.push((Removed { id: leftover.id.clone(), bytes: leftover.bytes }, false));
    }
    jobs
}

/// The removal of one folder.
struct Removal<'a> {
    catalog: &'a Catalog,
    policy: &'a RetentionPolicy,
    id: &'a BackupId,
    folder: &'a Folder,
}

impl Removal<'_> {
    fn store(&self) -> &dyn Store {
        self.catalog.context().store.as_ref()
    }

    async fn run(&self, listed: bool) -> Result<Purged> {
        let cluster = &self.catalog.context().cluster;
        let manifest = layout::manifest(cluster, self.id)?;
        if listed {
            self.unlist(&manifest).await?;
            if self.policy.remove_after.is_some() {
                return Ok(Purged::default());
            }
        }
        self.dismantle(&manifest).await?;
        let aside = layout::removed(cluster, self.id)?;
        let mut purged = Purged::default();
        if self.policy.purge_versions {
            purged = self.store().purge(&layout::backup(cluster, self.id)?).await?;
        }
        self.store().delete(&aside.key(layout::MANIFEST)?).await?;
        if self.policy.purge_versions {
            self.store().purge(&aside).await?;
        }
        Ok(purged)
    }

    /// Puts the manifest aside and removes it.
    async fn unlist(&self, manifest: &Key) -> Result<()> {
        let (store, cluster) = (self.store(), &self.catalog.context().cluster);
        // Somebody may have held it in this very moment.
        if hold::read(store, &layout::hold(cluster, self.id)?, self.id).await?.is_some() {
            return Err(Error::Refused(format!("backup {} is held", self.id)));
        }
        let aside = layout::removed(cluster, self.id)?.key(layout::MANIFEST)?;
        if self.folder.removed.is_some() {
            // It was brought back, or the removal was broken off before it was one: the time begins anew.
            store.delete(&aside).await?;
        }
        let bytes = match read_small(store, manifest).await {
            // Another prune was there first.
            Err(Error::Store(StoreError::NotFound { .. })) => return Ok(()),
            other => other?,
        };
        match store.unretained().put_once(&aside, body(bytes)).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(store.delete(manifest).await?)
    }

    /// Removes all that is in the folder but the manifest.
    async fn dismantle(&self, manifest: &Key) -> Result<()> {
        let (store, signature) = (self.store(), layout::signature(manifest)?);
        if self.folder.keys.is_empty() {
            return Ok(());
        }
        if self.folder.signed && place(store, &signature).await? == Place::Signature {
            store.delete(&signature).await?;
        }
        void(store, &signature).await?;
        let parts = self.folder.keys.iter().filter(|key| *key != manifest && **key != signature);
        stream::iter(parts.map(Ok::<&Key, StoreError>)).try_for_each_concurrent(KEYS, |key| store.delete(key)).await?;
        Ok(store.delete(&signature).await?)
    }
}

/// Takes the place of the signature.
async fn void(store: &dyn Store, signature: &Key) -> Result<()> {
    let mut tries = 0..TRIES;
    loop {
        match trust::void(store, signature).await {
            Ok(()) => return Ok(()),
            Err(error @ StoreError::AlreadyExists { .. }) => match place(store, signature).await? {
                // A backup is being committed in this moment after all.
                Place::Signature => return Err(error.into()),
                // Another prune was at it, and is through.
                Place::Free if tries.next().is_some() => {}
                // Another prune is at it; or this server takes a key for written that was removed in a bucket with
                // versions, and then nobody else can write it either.
                Place::Void | Place::Free => return Ok(()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a folder is one that a removal has left.
pub(super) async fn is_void(store: &dyn Store, folder: &Folder) -> Result<bool> {
    let is_signature = |key: &&Key| key.name().strip_suffix(layout::SIGNATURE) == Some(layout::MANIFEST);
    match folder.keys.iter().find(is_signature) {
        Some(signature) => Ok(place(store, signature).await? == Place::Void),
        None => Ok(false),
    }
}
