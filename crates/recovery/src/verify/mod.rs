//! Proving a backup: what can be proved without a secret, and everything else with a recovery identity.

mod content;
mod frames;

use std::sync::Arc;

use futures::TryStreamExt;
use lifeboat_archive::{ArchiveError, Identities};
use lifeboat_etcd::{Inspector, SnapshotFacts, Trailer};
use lifeboat_model::{Coverage, EtcdRecord, Part, PartName};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::blocking::run_blocking;
use crate::browse::{open_part, read_coverage};
use crate::catalog::{Backup, BackupRef, Catalog};
use crate::error::{Class, Error, Result, chain};
use crate::layout;

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// What was checked, and what came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The backup.
    pub id: String,
    /// Whether every check passed.
    pub ok: bool,
    /// The checks, in the order of the chain of proof.
    pub checks: Vec<Check>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

impl Report {
    pub(crate) fn new(id: String) -> Self {
        Self { id, ok: true, checks: Vec::new(), not_checked: Vec::new() }
    }

    /// Notes a check. Only what says something about the backup is a failed check; that it could not be read is an
    /// error.
    pub(crate) fn note(&mut self, name: impl Into<String>, outcome: Result<String>) -> Result<()> {
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(error) if matches!(error.class(), Class::Integrity | Class::NotFound) => (false, chain(&error)),
            Err(error) => return Err(error),
        };
        self.ok &= ok;
        self.checks.push(Check { name: name.into(), ok, detail });
        Ok(())
    }
}

/// Verifies a backup: without an identity its signature, its place in the chain and the digests of what is stored; with
/// one, that every part opens and holds together.
///
/// # Errors
/// When the store cannot be read, there is no such backup, or the identity does not open it. What is wrong with the
/// backup is in the report.
pub async fn verify(catalog: &Catalog, wanted: &BackupRef, identities: Option<Arc<Identities>>) -> Result<Report> {
    let backup = match catalog.get(wanted).await {
        Err(error) if error.class() == Class::Integrity => {
            let mut report = Report::new(wanted.to_string());
            report.note("manifest", Err(error))?;
            return Ok(report);
        }
        other => other?,
    };
    let manifest = backup.manifest();
    let mut report = Report::new(manifest.id.to_string());
    let signed = format!("signed by a trusted key, cluster {}, sequence {}", manifest.cluster_id, manifest.sequence);
    report.note("manifest", Ok(signed))?;
    report.note("chain", chain_link(catalog, &backup).await)?;
    report.note("files", files(&backup).await)?;
    if let Some(identities) = identities {
        open(&mut report, &backup, &identities).await?;
    } else {
        for part in &manifest.parts {
            report.note(part.name.stored_name(), stored(&backup, part).await)?;
        }
        report.not_checked.push("the content of the parts: a recovery identity is needed to open them".to_owned());
    }
    Ok(report)
}

/// Whether the backup before is the one that this one names.
pub(crate) async fn chain_link(catalog: &Catalog, backup: &Backup) -> Result<String> {
    let Some(previous) = &backup.manifest().previous else {
        return Ok("the first of its chain".to_owned());
    };
    let before = match catalog.get(&BackupRef::Id(previous.id.to_string())).await {
        Err(Error::NoBackup { .. }) => return Ok(format!("the backup before, {}, is not there any more", previous.id)),
        other => other?,
    };
    let key = layout::manifest(&backup.manifest().cluster, &previous.id)?;
    if before.sha256() != previous.sha256 {
        return Err(Error::mismatch(
            &key,
            "is another manifest than the one that was there when this backup was taken",
        ));
    }
    if before.manifest().sequence >= backup.manifest().sequence {
        return Err(Error::mismatch(&key, format!("has sequence {}", before.manifest().sequence)));
    }
    Ok(format!("follows {}", previous.id))
}

/// Whether the backup's folder has what the manifest lists.
pub(crate) async fn files(backup: &Backup) -> Result<String> {
    let manifest = backup.manifest();
    let folder = layout::backup(&manifest.cluster, &manifest.id)?;
    let names: Vec<String> =
        backup.context().store.list(&folder).map_ok(|listed| listed.key.name().to_owned()).try_collect().await?;
    let listed: Vec<String> = manifest.parts.iter().map(|part| part.name.stored_name()).collect();
    if let Some(missing) = listed.iter().find(|name| !names.contains(name)) {
        return Err(Error::mismatch(&missing, "is listed in the manifest and not in the store"));
    }
    let own = [layout::MANIFEST.to_owned(), format!("{}{}", layout::MANIFEST, layout::SIGNATURE)];
    let others: Vec<&str> =
        names.iter().filter(|name| !listed.contains(name) && !own.contains(name)).map(String::as_str).collect();
    if others.is_empty() {
        return Ok(format!("{} parts", listed.len()));
    }
    Ok(format!("{} parts; not listed and therefore ignored: {}", listed.len(), others.join(", ")))
}

/// Whether the stored bytes of a part are those of the manifest.
async fn stored(backup: &Backup, part: &Part) -> Result<String> {
    let key = backup.key(&part.name)?;
    let (bytes, digest) = lifeboat_store::digest(backup.context().store.as_ref(), &key).await?;
    if (bytes, digest) == (part.stored_bytes, part.stored_sha256) {
        return Ok(format!("{bytes} bytes, SHA-256 {digest}"));
    }
    let wanted = format!("{} bytes with SHA-256 {}", part.stored_bytes, part.stored_sha256);
    Err(Error::mismatch(&key, format!("has {bytes} bytes with SHA-256 {digest}, the manifest says {wanted}")))
}

/// Opens every part.
async fn open(report: &mut Report, backup: &Backup, identities: &Arc<Identities>) -> Result<()> {
    let handle = Handle::current();
    let blocking = |name, work: fn(&Handle, &Backup, &Identities) -> Outcomes| {
        let (handle, backup, identities) = (handle.clone(), backup.clone(), Arc::clone(identities));
        run_blocking(name, move || Ok(work(&handle, &backup, &identities)))
    };
    let (etcd, objects) =
        tokio::try_join!(blocking("checking etcd", open_etcd), blocking("checking the objects", open_objects))?;
    for (name, outcome) in etcd.into_iter().chain(objects) {
        report.note(name, outcome)?;
    }
    let known = [PartName::ETCD, PartName::RESOURCES, PartName::INDEX, PartName::LOOKUP, PartName::COVERAGE];
    for part in backup.manifest().parts.iter().filter(|part| !known.contains(&part.name)) {
        report.note(part.name.stored_name(), stored(backup, part).await)?;
        report.not_checked.push(format!("the content of '{}', a part that this version does not know", part.name));
    }
    Ok(())
}

/// Checks by name, and what came out.
pub(crate) type Outcomes = Vec<(String, Result<String>)>;

fn open_etcd(handle: &Handle, backup: &Backup, identities: &Identities) -> Outcomes {
    let Some(part) = backup.manifest().part(&PartName::ETCD) else { return Vec::new() };
    let outcome = inspect_etcd(handle, backup, identities, part).map_err(backup.part_error(&PartName::ETCD));
    let outcome = outcome.and_then(|facts| {
        let coverage = read_coverage(handle, backup, identities)?;
        compare_etcd(backup, &coverage, &facts)
    });
    vec![(PartName::ETCD.to_string(), outcome)]
}

pub(crate) fn inspect_etcd(
    handle: &Handle,
    backup: &Backup,
    identities: &Identities,
    part: &Part,
) -> Result<SnapshotFacts> {
    let mut reader = open_part(handle, backup, identities, part)?;
    let mut inspector = Inspector::new(Trailer::Verify);
    copy(&mut reader, |bytes| inspector.update(bytes))?;
    reader.finish()?;
    Ok(inspector.finish()?)
}

/// What the snapshot holds against what was captured.
pub(crate) fn compare_etcd(backup: &Backup, coverage: &Coverage, facts: &SnapshotFacts) -> Result<String> {
    let revision = facts.revision.unsigned_abs();
    if let EtcdRecord::Captured { revision: captured, .. } = &backup.manifest().etcd
        && revision < *captured
    {
        let problem = format!("the snapshot ends at revision {revision}, and {captured} was captured");
        return Err(Error::Inconsistent(problem));
    }
    if let Some(captured) = coverage.etcd_keys
        && facts.keys < captured
    {
        return Err(Error::Inconsistent(format!("the snapshot has {} keys, and {captured} were captured", facts.keys)));
    }
    Ok(format!(
        "{} bytes, checksum right, {} of {} pages in use and sound, {} keys, revision {revision}",
        facts.bytes, facts.live_pages, facts.pages, facts.keys
    ))
}

pub(crate) fn open_objects(handle: &Handle, backup: &Backup, identities: &Identities) -> Outcomes {
    let mut outcomes = Vec::new();
    let coverage = read_coverage(handle, backup, identities);
    let described = coverage.as_ref().map_or_else(|_| String::new(), describe_coverage);
    let coverage = match coverage {
        Ok(coverage) => {
            outcomes.push((PartName::COVERAGE.to_string(), Ok(described)));
            coverage
        }
        Err(error) => return vec![(PartName::COVERAGE.to_string(), Err(error))],
    };
    if backup.manifest().part(&PartName::RESOURCES).is_some() {
        let outcome = content::check(handle, backup, identities, &coverage);
        let names = [PartName::RESOURCES, PartName::INDEX, PartName::LOOKUP].map(|name| name.to_string());
        outcomes.push((names.join(", "), outcome));
    }
    outcomes
}

fn describe_coverage(coverage: &Coverage) -> String {
    format!("{} objects of {} resources, {} gaps", coverage.objects(), coverage.resources.len(), coverage.gaps.len())
}

/// Reads to the end.
fn copy(reader: &mut impl std::io::Read, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = reader.read(&mut buffer).map_err(ArchiveError::from)?;
        if read == 0 {
            return Ok(());
        }
        each(buffer.get(..read).unwrap_or_default());
    }
}
