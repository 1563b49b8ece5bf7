//! Taking a backup: all objects and then etcd, each part sealed on its way into the store, then read back, and the
//! signed manifest last. A backup that ends early leaves nothing that is listed.

mod claim;
mod etcd;
pub(crate) mod part;
mod resources;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use lifeboat_archive::{Recipients, SealOptions, SigningKey};
use lifeboat_etcd::EtcdOptions;
use lifeboat_kubernetes::{Cluster, ConnectOptions};
use lifeboat_model::{
    BackupId, BackupState, CANONICAL_VERSION, ClusterName, ClusterRecord, Coverage, EtcdRecord, FORMAT_VERSION, Gap,
    GroupResource, LookupEntry, Manifest, Part, PartName, Reason, RequiredForRestore, ResourceCoverage,
    ResourcesConfig, ResourcesRecord, SignedDocument,
};
use lifeboat_store::{Key, Store, StoreError, body};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span, info_span};

pub use self::claim::take_over;
use crate::blocking::run_blocking;
use crate::catalog::Catalog;
use crate::context::Context;
use crate::error::{Error, Result, chain};
use crate::progress::{Progress, Track};
use crate::trust::Place;
use crate::{layout, trust};

/// How long the removal of a failed backup's parts may take.
const CLEANUP: Duration = Duration::from_secs(30);

/// What is to be captured.
#[derive(Debug)]
pub enum Source<T> {
    /// From there.
    Use(T),
    /// Not at all; why, in words for the manifest.
    Skip(String),
}

/// What a backup is to be.
pub struct Request {
    /// etcd, or why it is left out.
    pub etcd: Source<EtcdOptions>,
    /// The API server, or why no objects are captured.
    pub kubernetes: Source<ConnectOptions>,
    /// Which objects.
    pub resources: ResourcesConfig,
    /// To whom it is sealed.
    pub recipients: Arc<Recipients>,
    /// Who signs it.
    pub signer: Arc<SigningKey>,
    /// Why it is taken.
    pub reason: Reason,
    /// The generation of the leadership under which it is taken: it is not committed once the store has seen a higher one.
    pub fence: Option<u64>,
    /// Name and version of the program.
    pub tool: String,
}

/// A backup that was taken.
#[derive(Debug)]
pub struct Outcome {
    /// Its manifest.
    pub manifest: Manifest,
    /// What it has and what it lacks.
    pub coverage: Coverage,
}

/// What the lines of work of one backup share.
struct Shared {
    store: Arc<dyn Store>,
    cluster: ClusterName,
    id: BackupId,
    started: Timestamp,
    recipients: Arc<Recipients>,
    progress: Progress,
    cancel: CancellationToken,
}

impl Shared {
    fn begin(&self, name: PartName, options: SealOptions, track: Track) -> Result<(part::PartWriter, part::Upload)> {
        let key = layout::part(&self.cluster, &self.id, &name)?;
        part::begin(&self.store, key, name, &self.recipients, options, track)
    }

    /// Seals and stores a small part.
    async fn store_whole(&self, name: PartName, bytes: Vec<u8>) -> Result<Part> {
        let (writer, mut upload) = self.begin(name, SealOptions::default(), Track::default())?;
        let work = run_blocking("sealing a part", move || part::write_whole(writer, &bytes));
        let written = part::settle(work, &mut [&mut upload]).await?;
        upload.describe(&written.sealed).await
    }
}

/// Takes a backup.
///
/// A source that fails is a gap, and the backup is `Partial`; a store that fails, or two sources, are an error.
///
/// # Errors
/// When nothing could be captured, the store fails, the store knows another cluster by this name, or the context's
/// token was cancelled. Then nothing is listed, and what was written is removed as far as the store allows.
pub async fn create(context: &Context, request: Request, progress: Progress) -> Result<Outcome> {
    let id = BackupId::new(context.clock.now(), context.clock.random());
    create_as(context, id, request, progress).await
}

/// Takes a backup under an id of the caller, who may have noted it before. No other backup may ever have had it.
/// The backup was begun when its id says, however long the noting took: retention believes no manifest that says otherwise.
///
/// # Errors
/// As [`create`].
pub async fn create_as(context: &Context, id: BackupId, request: Request, progress: Progress) -> Result<Outcome> {
    let started = id.started().unwrap_or_else(|| context.clock.now());
    let span = info_span!("backup", %id);
    let shared = Shared {
        store: Arc::clone(&context.store),
        cluster: context.cluster.clone(),
        id,
        started,
        recipients: Arc::clone(&request.recipients),
        progress,
        cancel: context.cancel.child_token(),
    };
    let _cancel_stragglers = shared.cancel.clone().drop_guard();
    let work = Box::pin(run(context, &shared, &request).instrument(span.clone()));
    let captured = context.cancel.run_until_cancelled(work).await.unwrap_or(Err(Error::Cancelled));
    let result = match captured {
        // The commit is not cancelled half-way: nobody could say whether it had happened.
        Ok(outcome) => commit(&shared, &request.signer, outcome).instrument(debug_span!(parent: &span, "commit")).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &result
        && !matches!(error, Error::Store(StoreError::Uncertain { .. }))
    {
        remove_leftovers(&shared).await;
    }
    context.store.close().await;
    result
}

async fn run(context: &Context, shared: &Shared, request: &Request) -> Result<Outcome> {
    let api = connect(&request.kubernetes).await;
    let (catalog, api) = known_catalog(context, &request.signer, api).await?;
    let objects = capture_objects(shared, &api, &request.resources).instrument(debug_span!("objects")).await?;
    // After the lists: what was deleted since one of them is then in the snapshot's own history, where a drill finds the
    // proof of it. Nothing would tell what was deleted between a snapshot and a later list.
    let etcd = etcd::capture(shared, &request.etcd).instrument(debug_span!("etcd")).await?;
    let captured = Captured { api, etcd, objects };
    if captured.etcd.part.is_none() && captured.objects.parts.is_empty() {
        let reasons: Vec<String> = captured.gaps().map(|gap| format!("{}: {}", gap.resource, gap.reason)).collect();
        return Err(Error::NothingCaptured(reasons.join("; ")));
    }
    let Outcome { manifest, coverage } = describe(shared, request, &catalog, captured).await?;
    let manifest = claim::claim(&catalog, manifest).instrument(debug_span!("claim")).await?;
    Ok(Outcome { manifest, coverage })
}

/// The API server at the beginning of a backup.
enum Api {
    Connected { cluster: Cluster, id: String, version: String },
    Failed(lifeboat_kubernetes::Error),
    Skipped(String),
}

async fn connect(source: &Source<ConnectOptions>) -> Api {
    let options = match source {
        Source::Skip(reason) => return Api::Skipped(reason.clone()),
        Source::Use(options) => options,
    };
    let connected = async {
        let cluster = Cluster::connect(options.clone()).await?;
        let (id, version) = tokio::try_join!(cluster.cluster_id(), cluster.version())?;
        Ok((cluster, id, version))
    };
    match connected.await {
        Ok((cluster, id, version)) => Api::Connected { cluster, id, version },
        Err(error) => Api::Failed(error),
    }
}

/// The catalog, once its record of the cluster is there and is of this cluster.
async fn known_catalog(context: &Context, signer: &SigningKey, api: Api) -> Result<(Catalog, Api)> {
    let catalog = Catalog::open(context.clone()).await?;
    let ours = match (&api, catalog.cluster_id()) {
        (Api::Connected { id, .. }, _) => id.clone(),
        (_, Some(_)) => return Ok((catalog, api)),
        (_, None) => {
            let source = if let Api::Failed(error) = api { Some(error) } else { None };
            return Err(Error::UnknownCluster { name: context.cluster.clone(), source });
        }
    };
    let catalog = if catalog.cluster_id().is_some() { catalog } else { introduce(context, signer, &ours).await? };
    match catalog.cluster_id() {
        Some(theirs) if theirs != ours => {
            let (name, theirs) = (context.cluster.clone(), theirs.to_owned());
            Err(Error::OtherCluster { name, theirs, ours })
        }
        _ => Ok((catalog, api)),
    }
}

/// Writes the record of the cluster. What is there of it already, by somebody else in this moment or by a backup that
/// was killed in between, fits: all write the same.
async fn introduce(context: &Context, signer: &SigningKey, id: &str) -> Result<Catalog> {
    let record = ClusterRecord {
        format: FORMAT_VERSION.to_owned(),
        cluster: context.cluster.clone(),
        cluster_id: id.to_owned(),
    };
    let key = layout::cluster(&context.cluster)?;
    let bytes = record.to_bytes().map_err(|source| Error::Document { key: key.to_string(), source })?;
    let signature = signer.sign(&bytes, &record.trusted_comment())?;
    for (key, content) in [(&layout::signature(&key)?, signature.into_bytes()), (&key, bytes)] {
        match context.store.put_once(key, body(content)).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let catalog = Catalog::open(context.clone()).await?;
    match catalog.cluster_id() {
        Some(_) => Ok(catalog),
        None => Err(Error::mismatch(&key, "was written and cannot be read")),
    }
}

/// What became of the objects.
struct Objects {
    record: ResourcesRecord,
    parts: Vec<Part>,
    lookup: Vec<LookupEntry>,
    resources: Vec<ResourceCoverage>,
    gaps: Vec<Gap>,
    /// What the configuration leaves out of what is served.
    left_out: Vec<GroupResource>,
}

impl Objects {
    fn absent(reason: String, gap: bool) -> Self {
        let gaps =
            if gap { vec![Gap { resource: "resources".to_owned(), reason: reason.clone() }] } else { Vec::new() };
        let (parts, lookup, resources, left_out) = Default::default();
        Self { record: ResourcesRecord::Absent { reason }, parts, lookup, resources, gaps, left_out }
    }
}

/// What the plain manifest says of a source that is not there, and the gap if it was expected. An error can hold names
/// and addresses, which belong into the sealed coverage alone.
fn absence(source: &str, reason: String, expected: bool) -> (String, Option<Gap>) {
    if !expected {
        return (reason, None);
    }
    ("it could not be captured: the coverage says why".to_owned(), Some(Gap { resource: source.to_owned(), reason }))
}

async fn capture_objects(shared: &Shared, api: &Api, wanted: &ResourcesConfig) -> Result<Objects> {
    match api {
        Api::Skipped(reason) => Ok(Objects::absent(reason.clone(), false)),
        Api::Failed(error) => Ok(Objects::absent(chain(error), true)),
        Api::Connected { cluster, .. } => match resources::capture(shared, cluster, wanted).await {
            Err(Error::Kubernetes(error)) => Ok(Objects::absent(chain(&error), true)),
            other => other,
        },
    }
}

/// What was captured.
struct Captured {
    api: Api,
    etcd: etcd::Captured,
    objects: Objects,
}

impl Captured {
    fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.etcd.gaps.iter().chain(&self.objects.gaps)
    }
}

/// Stores the lookup and the coverage, and describes it all in a manifest, which has no place in the chain yet.
async fn describe(shared: &Shared, request: &Request, catalog: &Catalog, captured: Captured) -> Result<Outcome> {
    let gaps: Vec<Gap> = captured.gaps().cloned().collect();
    let Captured { api, etcd, objects } = captured;
    // Where nobody could say what is served, what is excluded by name is known all the same.
    let excluded = if objects.left_out.is_empty() { request.resources.exclude.clone() } else { objects.left_out };
    let coverage = Coverage {
        resources: objects.resources,
        gaps,
        excluded,
        etcd_keys: etcd.keys,
        encryption_at_rest: etcd.encryption,
    };
    let mut parts: Vec<Part> = etcd.part.into_iter().chain(objects.parts).collect();
    if !objects.lookup.is_empty() {
        parts.push(shared.store_whole(PartName::LOOKUP, json_lines(&objects.lookup)?).await?);
    }
    parts.push(shared.store_whole(PartName::COVERAGE, json(&coverage)?).await?);

    let pki = matches!(etcd.record, EtcdRecord::Captured { .. });
    let manifest = Manifest {
        format: FORMAT_VERSION.to_owned(),
        tool: request.tool.clone(),
        id: shared.id.clone(),
        cluster_id: catalog.cluster_id().unwrap_or_default().to_owned(),
        cluster: shared.cluster.clone(),
        sequence: 0,
        previous: None,
        fence: request.fence,
        started: shared.started,
        finished: catalog.context().clock.now(),
        reason: request.reason.clone(),
        state: if coverage.gaps.is_empty() { BackupState::Complete } else { BackupState::Partial },
        kubernetes_version: if let Api::Connected { version, .. } = api { Some(version) } else { None },
        etcd: etcd.record,
        resources: objects.record,
        parts,
        recipients: shared.recipients.as_texts().to_vec(),
        canonical_version: CANONICAL_VERSION,
        required_for_restore: RequiredForRestore {
            encryption_configuration: !coverage.encryption_at_rest.is_empty(),
            pki,
        },
    };
    Ok(Outcome { manifest, coverage })
}

/// Stores the signed manifest: from then on the backup is listed.
async fn commit(shared: &Shared, signer: &SigningKey, outcome: Outcome) -> Result<Outcome> {
    let key = layout::manifest(&shared.cluster, &shared.id)?;
    write_signed(shared.store.as_ref(), signer, &key, &outcome.manifest).await?;
    Ok(outcome)
}

async fn write_signed(store: &dyn Store, signer: &SigningKey, key: &Key, manifest: &Manifest) -> Result<()> {
    match trust::put_signed(store, signer, key, manifest).await {
        Err(error @ Error::Store(StoreError::AlreadyExists { .. })) => settled(store, key, manifest, error).await,
        other => other,
    }
}

/// Somebody else wrote what was to be written: the next leader, which has finished this commit or fenced it off, or
/// whoever clears away what took too long.
async fn settled(store: &dyn Store, key: &Key, manifest: &Manifest, error: Error) -> Result<()> {
    if trust::place(store, &layout::signature(key)?).await? == Place::Void {
        let reason = "its place was taken by a later leader, or by a removal of what looked unfinished".to_owned();
        return Err(Error::Superseded { id: manifest.id.clone(), reason });
    }
    let ours = manifest.to_bytes().map_err(|source| Error::Document { key: key.to_string(), source })?;
    match trust::read_small(store, key).await {
        Ok(stored) if stored == ours => Ok(()),
        _ => Err(error),
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Inconsistent(error.to_string()))
}

fn json_lines(values: &[impl Serialize]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for value in values {
        lines.extend(json(value)?);
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Removes what a backup that failed had stored already. It is invisible without a manifest; this saves its space.
async fn remove_leftovers(shared: &Shared) {
    let Ok(folder) = layout::backup(&shared.cluster, &shared.id) else { return };
    let removal = async {
        let keys: Vec<_> = shared.store.list(&folder).map_ok(|listed| listed.key).try_collect().await?;
        // A manifest that got there all the same commits the backup, whatever the answer to its upload was.
        if keys.iter().any(|key| key.name() == layout::MANIFEST) {
            return Ok(());
        }
        for key in keys {
            shared.store.delete(&key).await?;
        }
        Ok::<_, StoreError>(())
    };
    match tokio::time::timeout(CLEANUP, removal).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "parts of the failed backup stay in the store"),
        Err(_) => tracing::warn!("parts of the failed backup stay in the store: it does not answer"),
    }
}
