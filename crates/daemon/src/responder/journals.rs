//! Journals as objects of a cluster: lines in pieces that text is only ever added to.
//!
//! A line is durable when the API server has acknowledged the write of its piece. Each write replaces just the version that
//! the writer knows, or creates the next piece: whoever takes a journal over touches its last piece, or makes the next one,
//! and from then on every write of the one before is a conflict. So who has lost the lease and does not know it yet writes
//! no line any more, and makes no change that needs one.
//!
//! A long line is a piece for itself, or several. If its writer was killed between two of those, the next piece says how
//! many before it are void.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt as _};
use lifeboat_kubernetes::{Cluster, Error, FieldValidation, ObjectPath, WriteOptions};
use lifeboat_model::{Digest, ResourceType};
use lifeboat_playbook::{
    Claim, JournalFile, Journals, PlaybookJournalSpec, PlaybookRunPhase, RunId, StorageError, Stored,
};
use serde_json::{Value, json};

use crate::controllers::driver::Guarded;
use crate::resources::{PlaybookJournal, PlaybookRun};

/// Who writes pieces, as `managedFields` have it.
const MANAGER: &str = "lifeboat-responder";
/// The label with the run's id.
const RUN: &str = "lifeboat.dev/run";
/// The label with the piece's number.
const PIECE: &str = "lifeboat.dev/piece";
/// When the next piece is begun: each line costs a write of the whole piece.
const FULL: usize = 64 << 10;
/// The longest text of a piece, in bytes. As JSON within JSON it is at most twice as long, which etcd takes.
const MAX_PIECE: usize = 256 << 10;
/// The longest journal, in bytes.
const MAX_JOURNAL: usize = 32 << 20;
/// Pieces that one answer to a list holds.
const PAGE: u32 = 16;
/// How often it is tried to take over a journal that others write.
const RACES: usize = 8;

/// Journals in a namespace.
#[derive(Clone)]
pub struct ClusterJournals {
    cluster: Cluster,
    namespace: String,
    writer: Option<Arc<Writer>>,
}

/// What is needed to write them.
struct Writer {
    holder: String,
    claims: Claims,
    /// The run's object, with which its journal goes.
    owner: Value,
}

/// The keys under which runs are under way, as far as this process knows.
#[derive(Clone)]
pub(super) struct Claims {
    held: Arc<Mutex<BTreeMap<String, RunId>>>,
    runs: Store<Guarded<PlaybookRun>>,
}

impl std::fmt::Debug for ClusterJournals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterJournals").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl ClusterJournals {
    /// The journals of that namespace, to be read.
    pub fn reader(cluster: Cluster, namespace: String) -> Self {
        Self { cluster, namespace, writer: None }
    }

    /// The same, to be written for one run.
    pub(super) fn writer(cluster: Cluster, namespace: String, holder: String, claims: Claims, owner: Value) -> Self {
        Self { cluster, namespace, writer: Some(Arc::new(Writer { holder, claims, owner })) }
    }

    fn to_write(&self) -> Result<Arc<Writer>, StorageError> {
        self.writer.clone().ok_or_else(|| StorageError::Io {
            what: "runs of the cluster are written by its responder alone".to_owned(),
            source: "these journals are to be read".into(),
        })
    }

    /// Whether a responder looks after the run. Who writes it need not ask.
    async fn is_under_way(&self, pieces: &[PlaybookJournal]) -> bool {
        let owner = pieces.first().and_then(|piece| piece.owner_references().first());
        let (None, Some(owner)) = (&self.writer, owner) else { return false };
        let api: Api<PlaybookRun> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let phase = api.get(&owner.name).await.ok().and_then(|run| run.status).map(|status| status.phase);
        let under_way = [PlaybookRunPhase::Waiting, PlaybookRunPhase::Running, PlaybookRunPhase::RollingBack];
        phase.is_some_and(|phase| under_way.contains(&phase))
    }

    /// The pieces, in order, each in its place.
    async fn pieces(&self, run: &RunId) -> Result<Vec<PlaybookJournal>, StorageError> {
        let api: Api<PlaybookJournal> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let mut parameters = ListParams::default().labels(&format!("{RUN}={run}")).limit(PAGE);
        let (mut pieces, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let page = api.list(&parameters).await.map_err(|error| failed("listing the journal of", run, error))?;
            for mut piece in page.items {
                piece.managed_fields_mut().clear();
                bytes = bytes.saturating_add(piece.spec.0.text.len());
                pieces.push(piece);
            }
            // Pieces that are void count too, so that there is an end.
            if bytes > 2 * MAX_JOURNAL {
                return Err(StorageError::TooLong(run.clone()));
            }
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => break,
            }
        }
        pieces.sort_by_key(|piece| piece.spec.0.number);
        let in_place = |(number, piece): (u32, &PlaybookJournal)| {
            piece.spec.0.number == number && piece.spec.0.run == run.as_str() && piece.name_any() == name(run, number)
        };
        if !(0..).zip(&pieces).all(in_place) {
            return Err(failed("reading the journal of", run, "a piece of it is missing"));
        }
        Ok(pieces)
    }

    /// Takes hold of the last piece, so that nobody else can write any more.
    async fn take(&self, run: &RunId) -> Result<Option<(Held, Vec<u8>)>, StorageError> {
        let writer = self.to_write()?;
        for _ in 0..RACES {
            let pieces = self.pieces(run).await?;
            let Some(last) = pieces.last() else { return Ok(None) };
            let bytes = text(&pieces);
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            let spec = PlaybookJournalSpec { holder: writer.holder.clone(), ..last.spec.0.clone() };
            let object = serde_json::to_value(last).map_err(|error| failed("reading the journal of", run, error))?;
            let known = Held {
                journals: self.clone(),
                writer: Arc::clone(&writer),
                run: run.clone(),
                spec,
                object,
                bytes: whole,
            };
            let taken = if last.spec.0.closed { known.next_after(torn(&pieces)).await } else { known.replaced().await };
            match taken {
                Ok(held) => return Ok(Some((held, bytes.into_iter().take(whole).collect()))),
                Err(Error::AlreadyExists { .. } | Error::Conflict { .. }) => {}
                Err(error) => return Err(failed("taking the journal of", run, error)),
            }
        }
        Err(StorageError::Held(run.clone()))
    }
}

/// The name of a piece.
fn name(run: &RunId, number: u32) -> String {
    format!("{}-{number}", run.as_str().to_ascii_lowercase())
}

fn failed(what: &str, run: &RunId, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StorageError {
    StorageError::Io { what: format!("{what} run '{run}'"), source: source.into() }
}

/// The pieces that are not void.
fn kept(pieces: &[PlaybookJournal]) -> Vec<&PlaybookJournalSpec> {
    let mut kept = Vec::new();
    for PlaybookJournal { spec, .. } in pieces {
        kept.truncate(kept.len().saturating_sub(spec.0.void as usize));
        kept.push(&spec.0);
    }
    kept
}

/// What the pieces say together.
fn text(pieces: &[PlaybookJournal]) -> Vec<u8> {
    kept(pieces).into_iter().flat_map(|piece| piece.text.bytes()).collect()
}

/// How many of the last pieces are parts of a line that has no end.
fn torn(pieces: &[PlaybookJournal]) -> u32 {
    let kept = kept(pieces);
    let parts = kept.iter().rev().take_while(|piece| !piece.text.is_empty() && !piece.text.ends_with('\n'));
    u32::try_from(parts.count()).unwrap_or(u32::MAX)
}

/// A line in parts that a piece has room for.
fn parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(MAX_PIECE));
        parts.push(part);
        rest = after;
    }
    parts
}

fn resource() -> ResourceType {
    ResourceType {
        group: "lifeboat.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        resource: "playbookjournals".to_owned(),
        kind: "PlaybookJournal".to_owned(),
        singular: "playbookjournal".to_owned(),
        short_names: Vec::new(),
        namespaced: true,
    }
}

const OPTIONS: WriteOptions<'static> =
    WriteOptions { dry_run: false, field_manager: MANAGER, field_validation: FieldValidation::Strict };

/// A journal that is held, by its last piece.
#[derive(Clone)]
struct Held {
    journals: ClusterJournals,
    writer: Arc<Writer>,
    run: RunId,
    /// The last piece, as it is or is to be.
    spec: PlaybookJournalSpec,
    /// The piece as the API server has it.
    object: Value,
    /// Length of the journal so far.
    bytes: usize,
}

impl Held {
    /// With the last piece replaced by what is in `spec`.
    async fn replaced(mut self) -> Result<Self, Error> {
        if let Some(members) = self.object.as_object_mut() {
            members.insert("spec".to_owned(), json!(self.spec));
        }
        let (resource, name) = (resource(), name(&self.run, self.spec.number));
        let path = ObjectPath { resource: &resource, namespace: Some(&self.journals.namespace), name: &name };
        let written = self.journals.cluster.replace(path, self.object.to_string().into_bytes().into(), OPTIONS).await?;
        self.object = read(&written.object)?;
        Ok(self)
    }

    /// With another piece behind the last one, which voids so many before it.
    async fn next_after(mut self, void: u32) -> Result<Self, Error> {
        self.spec = PlaybookJournalSpec {
            number: self.spec.number.saturating_add(1),
            closed: false,
            void,
            text: String::new(),
            ..self.spec
        };
        self.created().await
    }

    /// With a new piece of what is in `spec`.
    async fn created(mut self) -> Result<Self, Error> {
        let (resource, name) = (resource(), name(&self.run, self.spec.number));
        let path = ObjectPath { resource: &resource, namespace: Some(&self.journals.namespace), name: &name };
        let object = json!({
            "apiVersion": "lifeboat.dev/v1alpha1",
            "kind": "PlaybookJournal",
            "metadata": {
                "name": name,
                "namespace": self.journals.namespace,
                "labels": {RUN: self.run.as_str(), PIECE: self.spec.number.to_string()},
                "ownerReferences": [self.writer.owner],
            },
            "spec": self.spec,
        });
        let written = self.journals.cluster.create(path, object.to_string().into_bytes().into(), OPTIONS).await?;
        self.object = read(&written.object)?;
        Ok(self)
    }

    /// With that text behind what is there, which is durable then.
    async fn with(mut self, line: &str) -> Result<Self, Error> {
        let parts = parts(line);
        let room = self.spec.text.is_empty() || self.spec.text.len().saturating_add(line.len()) <= FULL;
        if parts.len() == 1 && room {
            self.spec.text.push_str(line);
            return self.replaced().await;
        }
        let mut held = self;
        for (place, part) in parts.iter().enumerate() {
            let closed = place + 1 < parts.len();
            if held.spec.text.is_empty() && !held.spec.closed {
                held.spec = PlaybookJournalSpec { text: (*part).to_owned(), closed, ..held.spec };
                held = held.replaced().await?;
                continue;
            }
            if !held.spec.closed {
                held.spec.closed = true;
                held = held.replaced().await?;
            }
            let number = held.spec.number.saturating_add(1);
            held.spec = PlaybookJournalSpec { number, text: (*part).to_owned(), closed, void: 0, ..held.spec };
            held = held.created().await?;
        }
        Ok(held)
    }
}

/// An answer, without what would only be sent back.
fn read(bytes: &[u8]) -> Result<Value, Error> {
    let mut object: Value = serde_json::from_slice(bytes)
        .map_err(|source| Error::Decode { resource: "playbookjournals".to_owned(), source: source.into() })?;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(object)
}

#[async_trait]
impl JournalFile for Held {
    async fn append(&mut self, line: Vec<u8>) -> Result<(), StorageError> {
        let length = self.bytes.saturating_add(line.len());
        if length > MAX_JOURNAL {
            return Err(StorageError::TooLong(self.run.clone()));
        }
        let line = String::from_utf8(line).map_err(|error| failed("writing the journal of", &self.run, error))?;
        let held =
            self.clone().with(&line).await.map_err(|error| failed("writing the journal of", &self.run, error))?;
        *self = held;
        self.bytes = length;
        Ok(())
    }

    async fn cut(&mut self, _: u64) -> Result<(), StorageError> {
        // What has no end was made void when the journal was taken.
        Err(failed("cutting the journal of", &self.run, "its last line has no end"))
    }
}

#[async_trait]
impl Journals for ClusterJournals {
    async fn create(&self, run: &RunId) -> Result<Box<dyn JournalFile>, StorageError> {
        let writer = self.to_write()?;
        // One that was killed before its first line was whole has done nothing.
        match self.take(run).await? {
            Some((held, bytes)) if bytes.is_empty() => return Ok(Box::new(held)),
            Some(_) => return Err(StorageError::Exists(run.clone())),
            None => {}
        }
        let spec = PlaybookJournalSpec {
            run: run.as_str().to_owned(),
            number: 0,
            holder: writer.holder.clone(),
            closed: false,
            void: 0,
            text: String::new(),
        };
        let held = Held { journals: self.clone(), writer, run: run.clone(), spec, object: Value::Null, bytes: 0 };
        match held.created().await {
            Ok(held) => Ok(Box::new(held)),
            Err(Error::AlreadyExists { .. }) => Err(StorageError::Exists(run.clone())),
            Err(error) => Err(failed("beginning the journal of", run, error)),
        }
    }

    async fn open(&self, run: &RunId) -> Result<(Box<dyn JournalFile>, Vec<u8>), StorageError> {
        let (held, bytes) = self.take(run).await?.ok_or_else(|| StorageError::NotFound(run.clone()))?;
        Ok((Box::new(held), bytes))
    }

    async fn read(&self, run: &RunId) -> Result<Stored, StorageError> {
        let pieces = self.pieces(run).await?;
        if pieces.is_empty() {
            return Err(StorageError::NotFound(run.clone()));
        }
        Ok(Stored { bytes: text(&pieces), held: self.is_under_way(&pieces).await })
    }

    async fn claim(&self, key: &str, run: &RunId) -> Result<Claim, StorageError> {
        Ok(self.to_write()?.claims.take(&claimed(key), run))
    }

    async fn list(&self) -> Result<Vec<RunId>, StorageError> {
        let api: Api<PlaybookJournal> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let mut parameters = ListParams::default().labels(&format!("{PIECE}=0")).limit(500);
        let mut runs: Vec<RunId> = Vec::new();
        loop {
            let listed = api.list_metadata(&parameters).await;
            let page =
                listed.map_err(|error| StorageError::Io { what: "listing runs".to_owned(), source: error.into() })?;
            runs.extend(page.items.iter().filter_map(|piece| piece.labels().get(RUN)?.parse::<RunId>().ok()));
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => break,
            }
        }
        runs.sort_unstable();
        Ok(runs)
    }
}

/// The key of a claim, as a status has it.
pub(super) fn claimed(key: &str) -> String {
    Digest::of(key.as_bytes()).to_string()
}

impl Claims {
    pub(super) fn new(runs: Store<Guarded<PlaybookRun>>, held: Arc<Mutex<BTreeMap<String, RunId>>>) -> Self {
        Self { held, runs }
    }

    /// Takes a key, unless a run of this process has it, or one that another process left in the middle.
    fn take(&self, key: &str, run: &RunId) -> Claim {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = held.get(key).filter(|other| *other != run) {
            return Claim::Held(other.clone());
        }
        if let Some(other) = self.runs.state().iter().find_map(|object| under_way(object, key, run)) {
            return Claim::Held(other);
        }
        held.insert(key.to_owned(), run.clone());
        Claim::Taken(Box::new(Taken { held: Arc::clone(&self.held), key: key.to_owned() }))
    }
}

/// The other run that an object shows to be under way with that key. Of two that have not begun, the older one is first.
fn under_way(object: &Guarded<PlaybookRun>, key: &str, run: &RunId) -> Option<RunId> {
    let status = object.0.as_ref().ok()?.status.as_ref()?;
    let active = matches!(status.phase, PlaybookRunPhase::Waiting | PlaybookRunPhase::Running);
    let other: RunId = status.run.as_ref()?.parse().ok()?;
    let same = active && status.key.as_deref() == Some(key) && other != *run;
    (same && (status.started.is_some() || other < *run)).then_some(other)
}

/// A key that is taken until this goes.
struct Taken {
    held: Arc<Mutex<BTreeMap<String, RunId>>>,
    key: String,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
