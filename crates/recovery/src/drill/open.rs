//! Tier 0: every part is opened and proved. What deeper tiers need of it is kept.

use std::sync::Arc;

use lifeboat_archive::Identities;
use lifeboat_etcd::{SnapshotFacts, inspect_file};
use lifeboat_model::{FindingCode, PartName};
use tokio::runtime::Handle;

use std::path::PathBuf;

use super::account::Account;
use super::scratch::Scratch;
use crate::blocking::run_blocking;
use crate::browse::{OpenBackup, read_coverage};
use crate::catalog::{Backup, BackupRef, Catalog};
use crate::download::write_part;
use crate::error::Result;
use crate::verify::{self, compare_etcd};

/// An opened backup.
pub(super) struct Opened {
    pub(super) backup: OpenBackup,
    /// The snapshot in the drill's folder, where the tier needs it.
    pub(super) snapshot: Option<Snapshot>,
}

/// A snapshot file that was proved.
pub(super) struct Snapshot {
    pub(super) file: PathBuf,
    pub(super) facts: SnapshotFacts,
    /// Where lists of objects begin: what was deleted after that may be in the index.
    pub(super) oldest_list: Option<u64>,
}

/// Without an identity: signature, chain, and the digests of what is stored.
pub(super) async fn blind(account: &mut Account, catalog: &Catalog, backup: &Backup) -> Result<()> {
    let wanted = BackupRef::Id(backup.manifest().id.to_string());
    let report = verify::verify(catalog, &wanted, None).await?;
    note(account, report);
    account.end_phase("fetch");
    Ok(())
}

fn note(account: &mut Account, report: verify::Report) {
    for check in report.checks {
        let code = match check.name.as_str() {
            "manifest" => FindingCode::NotAuthentic,
            "chain" => FindingCode::ChainBroken,
            "files" => FindingCode::PartMissing,
            _ => FindingCode::PartDamaged,
        };
        account.notes.check(&check.name, code, if check.ok { Ok(check.detail) } else { Err(check.detail) });
    }
    for what in report.not_checked {
        account.notes.warn(format!("not checked: {what}"));
    }
}

/// Opens every part. Nothing is given where a deeper tier has nothing to go on with.
pub(super) async fn open(
    account: &mut Account,
    backup: &Backup,
    identities: &Arc<Identities>,
    restores_etcd: bool,
    scratch: &Scratch,
) -> Result<Option<Opened>> {
    let handle = Handle::current();
    let file = scratch.path("snapshot.db");
    let has_etcd = backup.manifest().part(&PartName::ETCD).is_some();
    let etcd = {
        let (handle, backup, identities, file) = (handle.clone(), backup.clone(), Arc::clone(identities), file.clone());
        run_blocking("opening etcd", move || Ok(unseal(&handle, &backup, &identities, restores_etcd, &file)))
    };
    let objects = {
        let (backup, identities) = (backup.clone(), Arc::clone(identities));
        run_blocking("opening the objects", move || Ok(verify::open_objects(&handle, &backup, &identities)))
    };
    let (etcd, objects) = tokio::try_join!(etcd, objects)?;
    let facts = if has_etcd {
        let found = account
            .notes
            .try_check(PartName::ETCD.as_str(), FindingCode::PartDamaged, etcd, |(_, said)| said.clone())?;
        found.map(|(facts, _)| facts)
    } else {
        None
    };
    let mut sound = true;
    for (name, outcome) in objects {
        sound &= account.notes.try_check(&name, FindingCode::PartDamaged, outcome, Clone::clone)?.is_some();
    }
    if !sound || has_etcd && facts.is_none() {
        account.end_phase("open");
        return Ok(None);
    }
    let backup = OpenBackup::open(backup.clone(), Arc::clone(identities)).await?;
    account.end_phase("open");
    let lists = backup.coverage().resources.iter().filter_map(|resource| resource.resource_version.parse().ok());
    let oldest_list = lists.min();
    let snapshot = facts.filter(|_| restores_etcd).map(|facts| Snapshot { file, facts, oldest_list });
    Ok(Some(Opened { backup, snapshot }))
}

/// Proves the snapshot; what restores etcd needs it as a file, and so it is written and then read.
fn unseal(
    handle: &Handle,
    backup: &Backup,
    identities: &Identities,
    restores_etcd: bool,
    file: &std::path::Path,
) -> Result<(SnapshotFacts, String)> {
    let part = backup.part(&PartName::ETCD)?;
    let facts = if restores_etcd {
        write_part(handle, backup, identities, part, file)?;
        inspect_file(file).map_err(Into::into)
    } else {
        verify::inspect_etcd(handle, backup, identities, part)
    };
    let facts = facts.map_err(backup.part_error(&PartName::ETCD))?;
    let said = compare_etcd(backup, &read_coverage(handle, backup, identities)?, &facts)?;
    Ok((facts, said))
}
