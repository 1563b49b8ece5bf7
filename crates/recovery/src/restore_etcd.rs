//! Bringing etcd's data directory back: built beside the target, proved, then swapped in; what was there is kept.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_archive::Identities;
use lifeboat_etcd::{Rebuild, SnapshotFacts, in_use, inspect_data_dir, inspect_file, rebuild, swap};
use lifeboat_model::{BackupId, EtcdRecord, PartName};
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::blocking::run_blocking;
use crate::browse::read_coverage;
use crate::catalog::Backup;
use crate::download::write_part;
use crate::error::{Error, Result};
use crate::verify::compare_etcd;

/// By how much a restore raises revisions unless it is told otherwise.
pub const DEFAULT_BUMP: u64 = 1_000_000_000;

/// How a member is to be restored.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory, there or not.
    pub data_dir: PathBuf,
    /// The member's name, as its `--name`.
    pub name: String,
    /// `--initial-cluster`; absent for a single member.
    pub initial_cluster: Option<String>,
    /// `--initial-cluster-token`, the same for all members.
    pub initial_cluster_token: String,
    /// `--initial-advertise-peer-urls`.
    pub initial_advertise_peer_urls: Vec<String>,
    /// By how much revisions jump, so that no watcher takes the restored past for news.
    pub bump_revision: u64,
    /// The `etcdutl` program.
    pub etcdutl: PathBuf,
}

/// What a restore is going to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The backup.
    pub backup: BackupId,
    /// Version of the etcd that was backed up.
    pub etcd_version: String,
    /// The highest revision in the snapshot.
    pub revision: u64,
    /// By how much revisions will jump.
    pub bump_revision: u64,
    /// Bytes of the snapshot; about as much again is needed for the data directory.
    pub snapshot_bytes: u64,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where what is there now will be kept; absent where there is nothing.
    pub keeps: Option<PathBuf>,
    /// What is needed besides: the encryption configuration, the PKI.
    pub needs: Vec<String>,
}

/// A restored data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The backup.
    pub backup: BackupId,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where what was there before is kept.
    pub kept: Option<PathBuf>,
    /// Keys in the snapshot.
    pub keys: u64,
    /// The highest revision in the snapshot.
    pub revision: u64,
}

/// What `perform` would do. Reads only.
///
/// # Errors
/// When the backup has no etcd snapshot, or an etcd runs on the data directory.
pub fn plan(backup: &Backup, options: &Options) -> Result<Plan> {
    let manifest = backup.manifest();
    let (etcd_version, revision) = match &manifest.etcd {
        EtcdRecord::Captured { version, revision, .. } => (version.clone(), *revision),
        EtcdRecord::Absent { reason } => {
            return Err(Error::NoObject(format!("backup {} has no etcd snapshot: {reason}", manifest.id)));
        }
    };
    refuse_running(&options.data_dir)?;
    parent(&options.data_dir)?;
    let required = &manifest.required_for_restore;
    let needs = [
        (required.encryption_configuration, "the API server's EncryptionConfiguration, and its KMS if it uses one"),
        (required.pki, "the certificate authorities and the key that signs service account tokens"),
    ];
    let there = options.data_dir.symlink_metadata().is_ok();
    Ok(Plan {
        backup: manifest.id.clone(),
        etcd_version,
        revision,
        bump_revision: options.bump_revision,
        snapshot_bytes: backup.part(&PartName::ETCD)?.plain_bytes,
        data_dir: options.data_dir.clone(),
        keeps: there.then(|| options.data_dir.with_added_extension(format!("before-{}", manifest.id))),
        needs: needs.into_iter().filter(|(needed, _)| *needed).map(|(_, what)| what.to_owned()).collect(),
    })
}

/// Restores the data directory as planned.
///
/// The plaintext of the snapshot lies beside the target, readable by its owner only, and is removed in the end.
///
/// # Errors
/// When the snapshot is not what was captured, `etcdutl` fails, an etcd runs on the data directory, or the context's
/// token was cancelled before the new one was put in place. Then the target is as it was.
pub async fn perform(backup: &Backup, identities: Arc<Identities>, options: &Options) -> Result<Restored> {
    plan(backup, options)?;
    let work = build(backup, identities, options);
    let built = backup.context().cancel.run_until_cancelled(work).await.unwrap_or(Err(Error::Cancelled))?;
    // Not cancelled half-way: nobody could say which of the two is in place.
    put_in_place(backup, options, built).await
}

/// A data directory that was built beside the target, in a folder that goes with this value.
struct Built {
    scratch: TempDir,
    data: PathBuf,
    facts: SnapshotFacts,
}

async fn build(backup: &Backup, identities: Arc<Identities>, options: &Options) -> Result<Built> {
    let beside = parent(&options.data_dir)?;
    let scratch = tempfile::Builder::new()
        .prefix(".lifeboat-restore-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(beside)
        .map_err(Error::io("create a folder in", beside))?;
    let snapshot = scratch.path().join("snapshot.db");
    let facts = {
        let (backup, handle, snapshot) = (backup.clone(), Handle::current(), snapshot.clone());
        run_blocking("opening the etcd snapshot", move || {
            write_part(&handle, &backup, &identities, backup.part(&PartName::ETCD)?, &snapshot)?;
            let facts = inspect_file(&snapshot)?;
            compare_etcd(&backup, &read_coverage(&handle, &backup, &identities)?, &facts)?;
            Ok(facts)
        })
        .await?
    };
    let data = scratch.path().join("data");
    let single = || {
        let peers = options.initial_advertise_peer_urls.iter();
        peers.map(|url| format!("{}={url}", options.name)).collect::<Vec<_>>().join(",")
    };
    rebuild(&Rebuild {
        etcdutl: options.etcdutl.clone(),
        snapshot,
        minor: facts.minor(),
        data_dir: data.clone(),
        name: options.name.clone(),
        initial_cluster: options.initial_cluster.clone().unwrap_or_else(single),
        initial_cluster_token: options.initial_cluster_token.clone(),
        initial_advertise_peer_urls: options.initial_advertise_peer_urls.clone(),
        bump_revision: options.bump_revision,
    })
    .await?;
    let (rebuilt, captured) = (data.clone(), facts.clone());
    run_blocking("checking the new data directory", move || compare_rebuilt(&rebuilt, &captured)).await?;
    Ok(Built { scratch, data, facts })
}

/// Whether the rebuilt data directory has all of the snapshot.
pub(crate) fn compare_rebuilt(data: &Path, captured: &SnapshotFacts) -> Result<()> {
    let rebuilt = inspect_data_dir(data)?;
    if rebuilt.key_revisions >= captured.key_revisions && rebuilt.revision >= captured.revision {
        return Ok(());
    }
    Err(Error::Inconsistent(format!(
        "the rebuilt data directory has {} revisions up to {}, the snapshot {} up to {}",
        rebuilt.key_revisions, rebuilt.revision, captured.key_revisions, captured.revision
    )))
}

async fn put_in_place(backup: &Backup, options: &Options, built: Built) -> Result<Restored> {
    let (target, id) = (options.data_dir.clone(), backup.manifest().id.clone());
    let Built { scratch, data, facts } = built;
    let kept = run_blocking("putting the data directory in place", move || {
        refuse_running(&target)?;
        let kept = swap(&data, &target, id.as_str())?;
        drop(scratch);
        Ok(kept)
    })
    .await?;
    Ok(Restored {
        backup: backup.manifest().id.clone(),
        data_dir: options.data_dir.clone(),
        kept,
        keys: facts.keys,
        revision: facts.revision.unsigned_abs(),
    })
}

fn refuse_running(data_dir: &Path) -> Result<()> {
    if in_use(data_dir)? {
        return Err(lifeboat_etcd::EtcdError::InUse(data_dir.to_owned()).into());
    }
    Ok(())
}

fn parent(data_dir: &Path) -> Result<&Path> {
    match data_dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(Error::Usage(format!("'{}' cannot be a data directory", data_dir.display()))),
    }
}
