//! Where things lie in the store. The normative table is in docs/backup-format.md.

use lifeboat_model::{BackupId, ClusterName, DrillId, PartName};
use lifeboat_store::{Key, KeyError, Prefix};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const CLUSTER: &str = "cluster.json";
pub(crate) const REPORT: &str = "report.json";
pub(crate) const BUNDLE: &str = "bundle.json";
pub(crate) const SIGNATURE: &str = ".minisig";

/// The folder of a cluster's backups.
pub(crate) fn backups(cluster: &ClusterName) -> Result<Prefix, KeyError> {
    format!("{cluster}/backups").parse()
}

/// The folder of one backup.
pub(crate) fn backup(cluster: &ClusterName, id: &BackupId) -> Result<Prefix, KeyError> {
    backups(cluster)?.folder(id.as_str())
}

/// The manifest, whose presence commits a backup.
pub(crate) fn manifest(cluster: &ClusterName, id: &BackupId) -> Result<Key, KeyError> {
    backup(cluster, id)?.key(MANIFEST)
}

/// The folder of the claims of sequence numbers.
pub(crate) fn claims(cluster: &ClusterName) -> Result<Prefix, KeyError> {
    format!("{cluster}/chain").parse()
}

/// The claim of a sequence number.
pub(crate) fn claim(cluster: &ClusterName, sequence: u64) -> Result<Key, KeyError> {
    claims(cluster)?.key(&format!("{sequence:020}.json"))
}

/// The folder of what says which backups are held.
pub(crate) fn holds(cluster: &ClusterName) -> Result<Prefix, KeyError> {
    format!("{cluster}/holds").parse()
}

/// What says that a backup is held.
pub(crate) fn hold(cluster: &ClusterName, id: &BackupId) -> Result<Key, KeyError> {
    holds(cluster)?.key(&format!("{id}.json"))
}

/// The note since when a schedule is known.
pub(crate) fn schedule(cluster: &ClusterName, name: &str) -> Result<Key, KeyError> {
    format!("{cluster}/schedules/{name}.json").parse()
}

/// The folder of what is left of backups that are being removed.
pub(crate) fn all_removed(cluster: &ClusterName) -> Result<Prefix, KeyError> {
    format!("{cluster}/removed").parse()
}

/// The folder in which a copy of a backup's manifest is while the backup is being removed.
pub(crate) fn removed(cluster: &ClusterName, id: &BackupId) -> Result<Prefix, KeyError> {
    all_removed(cluster)?.folder(id.as_str())
}

/// A sealed part.
pub(crate) fn part(cluster: &ClusterName, id: &BackupId, part: &PartName) -> Result<Key, KeyError> {
    backup(cluster, id)?.key(&part.stored_name())
}

/// The folder of the drills of a cluster's backups.
pub(crate) fn drills(cluster: &ClusterName) -> Result<Prefix, KeyError> {
    format!("{cluster}/drills").parse()
}

/// The folder of one drill.
pub(crate) fn drill(cluster: &ClusterName, backup: &BackupId, drill: &DrillId) -> Result<Prefix, KeyError> {
    drills(cluster)?.folder(backup.as_str())?.folder(drill.as_str())
}

/// The folder of the sealed evidence of one run.
pub(crate) fn run(cluster: &ClusterName, run: &BackupId) -> Result<Prefix, KeyError> {
    let runs: Prefix = format!("{cluster}/runs").parse()?;
    runs.folder(run.as_str())
}

/// The folder of one bundle of it.
pub(crate) fn bundle(cluster: &ClusterName, run: &BackupId, id: &BackupId) -> Result<Prefix, KeyError> {
    self::run(cluster, run)?.folder(id.as_str())
}

/// The record of which cluster the name stands for.
pub(crate) fn cluster(cluster: &ClusterName) -> Result<Key, KeyError> {
    format!("{cluster}/{CLUSTER}").parse()
}

/// The signature of a document.
pub(crate) fn signature(document: &Key) -> Result<Key, KeyError> {
    format!("{document}{SIGNATURE}").parse()
}
