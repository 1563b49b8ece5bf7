//! Removing, in an order that may be broken off anywhere.
//!
//! The manifest goes first: from then on nothing is listed. Then the place of its signature is taken by a note, which
//! says that this folder is done with: whoever still wanted to commit a backup there cannot, since signatures are
//! written before manifests and keys once, and the next prune goes on here whatever the age. The note goes last.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::{BackupId, RetentionPolicy};
use lifeboat_store::{Key, Store, StoreError};

use super::survey::{Folder, Prune, survey_of};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::layout;
use crate::trust::{self, Place, place};

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

/// Removes what was shown, as far as the store as it is now still says the same: a backup that came, a drill, or another
/// prune may have changed what is the last good one.
///
/// Dropping the future at any moment leaves nothing listed that does not restore.
///
/// # Errors
/// When the store cannot be read. What cannot be removed is told in the outcome.
pub async fn perform(catalog: &Catalog, policy: &RetentionPolicy, shown: &Prune) -> Result<Outcome> {
    let store = catalog.context().store.as_ref();
    let fresh = survey_of(catalog, policy, shown.scope.clone()).await?;
    let still: BTreeSet<&BackupId> = fresh.removals().map(|backup| &backup.id).collect();
    let cleared: BTreeSet<&BackupId> = fresh.clearances().map(|leftover| &leftover.id).collect();
    let mut outcome = Outcome::default();
    // Whoever is still writing after all this time fails here, and not half-way.
    for upload in shown.uploads.iter().filter(|upload| fresh.uploads.contains(upload)) {
        store.abort_incomplete(upload).await?;
        outcome.uploads += 1;
    }
    let stays = |id: &BackupId| fresh.verdicts.iter().any(|verdict| verdict.backup.id == *id);
    // The oldest first: what is done when this is broken off is what a next run would have done too.
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
    let folders = &fresh.folders;
    let mut done = stream::iter(jobs)
        .map(|(what, listed)| async move {
            let result = match folders.get(&what.id) {
                Some(folder) => dismantle(store, catalog, &what.id, folder, listed).await,
                None => Ok(()),
            };
            (what, listed, result)
        })
        .buffer_unordered(BACKUPS);
    while let Some((what, listed, result)) = done.next().await {
        match result {
            Ok(()) if listed => outcome.removed.push(what),
            Ok(()) => outcome.cleared.push(what),
            Err(error) => outcome.failed.push((what.id, error)),
        }
    }
    Ok(outcome)
}

/// Removes all that is in a folder.
async fn dismantle(store: &dyn Store, catalog: &Catalog, id: &BackupId, folder: &Folder, listed: bool) -> Result<()> {
    let manifest = layout::manifest(&catalog.context().cluster, id)?;
    let signature = layout::signature(&manifest)?;
    if listed {
        store.delete(&manifest).await?;
    }
    if folder.signed && place(store, &signature).await? == Place::Signature {
        store.delete(&signature).await?;
    }
    void(store, &signature).await?;
    let parts = folder.keys.iter().filter(|key| **key != manifest && **key != signature);
    stream::iter(parts.map(Ok::<&Key, StoreError>)).try_for_each_concurrent(KEYS, |key| store.delete(key)).await?;
    Ok(store.delete(&signature).await?)
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
