//! Reports in the store: written once, signed, the details sealed; and read again only as far as they can be trusted.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_archive::{ArchiveError, Identities, Recipients, SealOptions, SealedReader, SealedWriter, SigningKey};
use lifeboat_model::{
    BackupId, Digest, DrillDetails, DrillId, DrillReport, FORMAT_VERSION, Manifest, Part, PartName, parse_json,
};
use lifeboat_store::{Key, body};
use tokio::runtime::Handle;

use super::Outcome;
use crate::blocking::{ObjectReader, run_blocking};
use crate::catalog::{Backup, Catalog};
use crate::error::{Error, Result};
use crate::layout;
use crate::trust::{self, Untrusted};

/// Reports read at a time.
const CONCURRENCY: usize = 16;
/// The largest details that are read; a drill keeps a thousand findings.
const MAX_DETAILS: u64 = 16 << 20;
/// Candidates that an ambiguous beginning names.
const NAMED: usize = 5;

/// What a person calls a drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillRef {
    /// The newest.
    Latest,
    /// An id, or the beginning of one.
    Id(String),
}

impl FromStr for DrillRef {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
                Ok(Self::Id(text.to_owned()))
            }
            _ => Err(format!("'{text}' is neither 'latest' nor the beginning of a drill's id")),
        }
    }
}

/// The drills of a cluster, newest first.
#[derive(Debug, Default)]
pub struct History {
    /// The reports that can be believed.
    pub reports: Vec<DrillReport>,
    /// What lies there as a report and cannot be believed.
    pub problems: Vec<(DrillId, Error)>,
}

impl History {
    /// Whether a drill has proved that the backup restores, and no later one has found it damaged.
    pub(crate) fn verifies(&self, manifest: &Manifest, sha256: Digest) -> bool {
        verdict(self.reports.iter(), manifest, sha256)
    }
}

/// Whether, of reports from the newest on, the first that says anything of the backup proves that it restores.
pub(crate) fn verdict<'a>(
    mut reports: impl Iterator<Item = &'a DrillReport>,
    manifest: &Manifest,
    sha256: Digest,
) -> bool {
    let telling = |report: &&DrillReport| report.proves(manifest, sha256) || report.refutes(manifest, sha256);
    reports.find(telling).is_some_and(|report| report.proves(manifest, sha256))
}

/// Seals the details, signs the report, and stores both.
pub(super) async fn store(outcome: &mut Outcome, backup: &Backup, signer: &SigningKey, tool: &str) -> Result<()> {
    let manifest = backup.manifest();
    let store = backup.context().store.as_ref();
    let details = serde_json::to_vec(&outcome.details).map_err(|error| Error::Inconsistent(error.to_string()))?;
    let recipients = Recipients::parse(&manifest.recipients)?;
    let (details, part) = run_blocking("sealing the details", move || seal(&details, &recipients)).await?;
    let folder = layout::drill(&manifest.cluster, &manifest.id, &outcome.id)?;
    let report = DrillReport {
        format: FORMAT_VERSION.to_owned(),
        tool: tool.to_owned(),
        id: outcome.id.clone(),
        cluster: manifest.cluster.clone(),
        cluster_id: manifest.cluster_id.clone(),
        backup: manifest.id.clone(),
        manifest_sha256: backup.sha256(),
        started: outcome.started,
        tier: outcome.tier,
        target: outcome.target.clone(),
        restores: outcome.restores,
        passed: outcome.passed,
        findings: outcome.codes.clone(),
        phases: outcome.phases.clone(),
        rto_seconds: outcome.rto_seconds,
        rpo_seconds: outcome.rpo_seconds.unwrap_or_default(),
        longest_gap_seconds: outcome.longest_gap_seconds,
        targets: outcome.targets,
        versions: outcome.versions.clone(),
        details: part,
    };
    store.put_once(&folder.key(&report.details.name.stored_name())?, body(details)).await?;
    let key = folder.key(layout::REPORT)?;
    trust::put_signed(store, signer, &key, &report).await?;
    outcome.stored = true;
    Ok(())
}

fn seal(plain: &[u8], recipients: &Recipients) -> Result<(Vec<u8>, Part)> {
    let mut writer = SealedWriter::new(Vec::new(), recipients, SealOptions::default())?;
    writer.write_all(plain).map_err(ArchiveError::from)?;
    let finished = writer.finish().map_err(ArchiveError::from)?;
    Ok((finished.sink, finished.sealed.describe(PartName::DRILL_DETAILS)))
}

/// All drills of the catalog's cluster.
///
/// # Errors
/// When the store cannot be read. A report that cannot be believed is a problem and no error.
pub async fn read(catalog: &Catalog) -> Result<History> {
    read_but(catalog, &BTreeSet::new()).await
}

/// The same without those that are known.
pub(crate) async fn read_but(catalog: &Catalog, known: &BTreeSet<DrillId>) -> Result<History> {
    let context = catalog.context();
    let prefix = layout::drills(&context.cluster)?;
    let keys: Vec<Key> = context.store.list(&prefix).map_ok(|listed| listed.key).try_collect().await?;
    let mut places: Vec<(DrillId, BackupId)> =
        keys.iter().filter_map(place).filter(|(id, _)| !known.contains(id)).collect();
    places.sort_unstable_by(|a, b| b.cmp(a));
    let reports = places.into_iter().map(|(id, backup)| async move {
        let report = report(catalog, &backup, &id).await;
        (id, report)
    });
    let mut reports = stream::iter(reports).buffered(CONCURRENCY);
    let mut history = History::default();
    while let Some((id, report)) = reports.next().await {
        match report {
            Ok(report) => history.reports.push(report),
            Err(error @ Error::Store(_)) => return Err(error),
            Err(error) => history.problems.push((id, error)),
        }
    }
    Ok(history)
}

/// Drill and backup of a report's key.
fn place(key: &Key) -> Option<(DrillId, BackupId)> {
    let text = key.to_string();
    let mut segments = text.rsplit('/');
    let is_report = segments.next() == Some(layout::REPORT);
    let drill = segments.next()?.parse().ok()?;
    let backup = segments.next()?.parse().ok()?;
    is_report.then_some((drill, backup))
}

/// Reads a report and holds it to its signature, its place and the cluster.
async fn report(catalog: &Catalog, backup: &BackupId, id: &DrillId) -> Result<DrillReport> {
    let context = catalog.context();
    let key = layout::drill(&context.cluster, backup, id)?.key(layout::REPORT)?;
    let untrusted = Untrusted::fetch(context.store.as_ref(), &key).await.map_err(|error| match error {
        // It was listed a moment ago, and its signature is written before it.
        Error::Store(lifeboat_store::StoreError::NotFound { .. }) => Error::mismatch(&key, "has no signature"),
        error => error,
    })?;
    let report = untrusted.verify::<DrillReport>(&context.trusted)?.document;
    let in_place = report.id == *id && report.backup == *backup && report.cluster == context.cluster;
    if !in_place || catalog.cluster_id().is_some_and(|cluster| cluster != report.cluster_id) {
        let whose =
            format!("is the report of drill {} of backup {}, cluster {}", report.id, report.backup, report.cluster);
        return Err(Error::mismatch(&key, whose));
    }
    Ok(report)
}

/// One drill; with an identity that opens its details, also what it found by name.
///
/// # Errors
/// When there is none, the name is not unique, its report cannot be believed, or the details are not those of the report.
pub async fn show(catalog: &Catalog, wanted: &DrillRef, identities: Option<Arc<Identities>>) -> Result<Outcome> {
    let mut history = read(catalog).await?;
    let report = match wanted {
        DrillRef::Latest if history.reports.is_empty() => None,
        DrillRef::Latest => Some(history.reports.swap_remove(0)),
        DrillRef::Id(text) => one(history, text)?,
    };
    let cluster = &catalog.context().cluster;
    let report = report.ok_or_else(|| Error::NoObject(format!("no such drill of cluster '{cluster}'")))?;
    let Some(identities) = identities else { return Ok(Outcome::of(report, None)) };
    let key = layout::drill(cluster, &report.backup, &report.id)?.key(&report.details.name.stored_name())?;
    let (handle, store, part) = (Handle::current(), Arc::clone(&catalog.context().store), report.details.clone());
    let details: DrillDetails = run_blocking("opening the details", move || {
        let source = ObjectReader::open(&handle, store.as_ref(), &key)?;
        let bytes = unseal(source, &identities, &part)?;
        parse_json(&bytes, bytes.len()).map_err(|source| Error::Document { key: key.to_string(), source })
    })
    .await?;
    Ok(Outcome::of(report, Some(details)))
}

fn unseal(source: ObjectReader, identities: &Identities, part: &Part) -> Result<Vec<u8>> {
    if part.plain_bytes > MAX_DETAILS {
        let problem = format!("the details have {} bytes, more than the {MAX_DETAILS} that are read", part.plain_bytes);
        return Err(Error::Inconsistent(problem));
    }
    let mut reader = SealedReader::new(source, identities, &part.into())?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(ArchiveError::from)?;
    reader.finish()?;
    Ok(bytes)
}

fn one(history: History, text: &str) -> Result<Option<DrillReport>> {
    let mut problems = history.problems.into_iter();
    if let Some((_, error)) = problems.find(|(id, _)| id.as_str() == text) {
        return Err(error);
    }
    let mut found: Vec<DrillReport> =
        history.reports.into_iter().filter(|report| report.id.as_str().starts_with(text)).collect();
    if found.len() > 1 {
        let candidates: Vec<&str> = found.iter().take(NAMED).map(|report| report.id.as_str()).collect();
        let candidates = candidates.join(", ");
        return Err(Error::Ambiguous { wanted: text.to_owned(), count: found.len(), candidates });
    }
    Ok(found.pop())
}
