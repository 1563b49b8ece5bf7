//! The backup comes out of the store, sealed as it is, into the drill's folder. From then on nothing waits for a network.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_model::FindingCode;
use lifeboat_store::{DirectoryStore, Store, StoreError, Stored};

use super::account::Account;
use super::scratch::Scratch;
use crate::catalog::{Backup, Catalog};
use crate::error::Result;
use crate::verify;

/// Parts fetched at a time.
const CONCURRENCY: usize = 4;

/// Copies the stored parts, and gives the backup as it lies there, if there was room. What is missing or does not fit the
/// manifest is found when it is opened.
pub(super) async fn fetch(
    account: &mut Account,
    catalog: &Catalog,
    backup: &Backup,
    scratch: &Scratch,
) -> Result<Option<Backup>> {
    let manifest = backup.manifest();
    let signed = format!("signed by a trusted key, cluster {}, sequence {}", manifest.cluster_id, manifest.sequence);
    account.notes.check("manifest", FindingCode::NotAuthentic, Ok(signed));
    let link = verify::chain_link(catalog, backup).await;
    account.notes.try_check("chain", FindingCode::ChainBroken, link, Clone::clone)?;
    let files = verify::files(backup).await;
    account.notes.try_check("files", FindingCode::PartMissing, files, Clone::clone)?;

    let seed = backup.context().clock.random();
    let local: Arc<dyn Store> = Arc::new(DirectoryStore::open(scratch.path("sealed"), seed).await?);
    let copies = manifest.parts.iter().map(|part| {
        let local = Arc::clone(&local);
        async move {
            let key = backup.key(&part.name)?;
            match backup.context().store.get(&key).await {
                Ok(object) => Ok(Some(local.put_once(&key, object.body).await?)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
    });
    let stored: Result<Vec<Option<Stored>>> = stream::iter(copies).buffer_unordered(CONCURRENCY).try_collect().await;
    let describe =
        |stored: &Vec<Option<Stored>>| format!("{} bytes", stored.iter().flatten().map(|part| part.bytes).sum::<u64>());
    let stored = account.notes.try_check("fetch", FindingCode::PartDamaged, stored, describe)?;
    account.end_phase("fetch");
    Ok(stored.map(|_| backup.in_store(local)))
}
