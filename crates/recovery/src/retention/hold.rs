//! Holding backups: by a note in the store that every prune honours and, where the store has such, by a legal hold on each of
//! the backup's keys, which whoever has the store's credentials cannot get round either.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_model::{BackupId, FORMAT_VERSION, Hold, MAX_DOCUMENT_BYTES, ObjectLock, parse_json};
use lifeboat_store::{Key, Protection, Retention, Store, StoreError, body};

use crate::catalog::{Backup, BackupRef, Catalog};
use crate::context::Context;
use crate::error::{Error, Result, chain};
use crate::layout;
use crate::trust::read_small;

/// Keys asked about at a time.
const CONCURRENCY: usize = 16;
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// What a hold, or its end, did in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The backup.
    pub backup: BackupId,
    /// The hold that there is now, or was until now.
    pub hold: Option<Hold>,
    /// Keys whose legal hold was set or ended; or why the store has none for them.
    pub legal_hold: std::result::Result<usize, String>,
}

/// Holds a backup: no rule removes it until it is released. One that is held already stays so, with the reason it has.
///
/// # Errors
/// When the reason is too long, or the store fails. The note that a prune honours is written first.
pub async fn hold(backup: &Backup, reason: Option<String>) -> Result<Held> {
    let Context { store, cluster, clock, .. } = backup.context();
    let id = backup.manifest().id.clone();
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(Error::Usage(format!("the reason is longer than {MAX_REASON} characters")));
    }
    let note = Hold { format: FORMAT_VERSION.to_owned(), backup: id.clone(), since: clock.now(), reason };
    let bytes = serde_json::to_vec(&note).map_err(|error| Error::Inconsistent(error.to_string()))?;
    match store.unretained().put_once(&layout::hold(cluster, &id)?, body(bytes)).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let hold = read(store.as_ref(), &layout::hold(cluster, &id)?, &id).await?;
    let legal_hold = legal_hold(backup.context(), &id, true).await?;
    Ok(Held { backup: id, hold, legal_hold })
}

/// Lets a backup go again: from now on the rules decide about it. One whose manifest is not there any more can be released by
/// its whole id.
///
/// # Errors
/// When there is no such backup, or the store fails; then the note is still there.
pub async fn release(catalog: &Catalog, wanted: &BackupRef) -> Result<Held> {
    let context = catalog.context();
    let (store, cluster) = (context.store.as_ref(), &context.cluster);
    let id = match (catalog.get(wanted).await, wanted) {
        (Ok(backup), _) => backup.manifest().id.clone(),
        (Err(error @ Error::NoBackup { .. }), BackupRef::Id(text)) => match text.parse::<BackupId>() {
            Ok(id) if read(store, &layout::hold(cluster, &id)?, &id).await?.is_some() => id,
            _ => return Err(error),
        },
        (Err(error), _) => return Err(error),
    };
    let note = layout::hold(cluster, &id)?;
    let hold = read(store, &note, &id).await?;
    let legal_hold = legal_hold(context, &id, false).await?;
    store.delete(&note).await?;
    Ok(Held { backup: id, hold, legal_hold })
}

/// What is held, by the notes in the store.
///
/// # Errors
/// When the store cannot be read. A note that is damaged holds all the same.
pub async fn holds(context: &Context) -> Result<BTreeMap<BackupId, Hold>> {
    let prefix = layout::holds(&context.cluster)?;
    let keys: Vec<Key> = context.store.list(&prefix).map_ok(|listed| listed.key).try_collect().await?;
    let notes = keys.into_iter().filter_map(|key| Some((id_of(&key)?, key)));
    let read = |(id, key): (BackupId, Key)| async move {
        let hold = read(context.store.as_ref(), &key, &id).await?;
        Ok::<_, Error>(hold.map(|hold| (id, hold)))
    };
    let found: Vec<_> = stream::iter(notes).map(read).buffer_unordered(CONCURRENCY).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The hold of a backup, by its note in the store.
///
/// # Errors
/// When the store cannot be read.
pub async fn hold_of(backup: &Backup) -> Result<Option<Hold>> {
    let Context { store, cluster, .. } = backup.context();
    let id = &backup.manifest().id;
    read(store.as_ref(), &layout::hold(cluster, id)?, id).await
}

/// The backup of a note's key.
fn id_of(note: &Key) -> Option<BackupId> {
    note.name().strip_suffix(".json")?.parse().ok()
}

/// A note; one that cannot be read is one without a reason.
pub(super) async fn read(store: &dyn Store, note: &Key, id: &BackupId) -> Result<Option<Hold>> {
    let bytes = match read_small(store, note).await {
        Ok(bytes) => bytes,
        Err(Error::Store(StoreError::NotFound { .. })) => return Ok(None),
        Err(error @ Error::Store(_)) => return Err(error),
        Err(_) => Vec::new(),
    };
    let unknown = || Hold {
        format: FORMAT_VERSION.to_owned(),
        backup: id.clone(),
        since: Timestamp::UNIX_EPOCH,
        reason: Some("the note of the hold cannot be read".to_owned()),
    };
    let mut hold = parse_json::<Hold>(&bytes, MAX_DOCUMENT_BYTES).unwrap_or_else(|_| unknown());
    hold.reason = hold.reason.map(|reason| reason.chars().take(MAX_REASON).collect());
    Ok(Some(hold))
}

/// Sets or ends the legal hold of all that lies in the backup's folder.
async fn legal_hold(context: &Context, id: &BackupId, held: bool) -> Result<std::result::Result<usize, String>> {
    let keys = keys(context, id).await?;
    let count = keys.len();
    let all = stream::iter(keys).map(|key| async move { context.store.hold(&key, held).await });
    let mut all = all.buffer_unordered(CONCURRENCY);
    while let Some(done) = all.next().await {
        match done {
            Ok(()) => {}
            Err(error @ (StoreError::Unsupported { .. } | StoreError::AccessDenied { .. })) if held => {
                return Ok(Err(chain(&error)));
            }
            Err(error @ StoreError::Unsupported { .. }) => return Ok(Err(chain(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ok(count))
}

async fn keys(context: &Context, id: &BackupId) -> Result<Vec<Key>> {
    let folder = layout::backup(&context.cluster, id)?;
    Ok(context.store.list(&folder).map_ok(|listed| listed.key).try_collect().await?)
}

/// Extends the locks of held backups, so that none ends while its backup is held: each that has less than half of the
/// configured time left has all of it again. Tells which backups had one extended.
///
/// # Errors
/// When the store fails, or does not extend.
pub async fn extend_held(context: &Context, lock: &ObjectLock) -> Result<Vec<BackupId>> {
    let now = context.clock.now();
    let until = lock.retain.after(now);
    let retention = Retention { mode: lock.mode, until };
    let mut extended = Vec::new();
    for id in holds(context).await?.into_keys() {
        let short = |protection: &Protection| {
            let left = protection.retained_until.map_or(jiff::SignedDuration::ZERO, |end| end.duration_since(now));
            left < until.duration_since(now) / 2
        };
        let extend = |key: Key| async move {
            let protection = context.store.protection(&key).await?;
            if !short(&protection) {
                return Ok::<_, Error>(false);
            }
            context.store.retain(&key, retention).await?;
            Ok(true)
        };
        let all = stream::iter(keys(context, &id).await?).map(extend).buffer_unordered(CONCURRENCY);
        let done: Vec<bool> = all.try_collect().await?;
        if done.contains(&true) {
            extended.push(id);
        }
    }
    Ok(extended)
}
