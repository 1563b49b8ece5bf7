//! The backups of one cluster in one store.

use std::str::FromStr;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use lifeboat_model::{BackupId, ClusterRecord, Digest, Manifest, Part, PartName};
use lifeboat_store::{Key, Store, StoreError};

use crate::context::Context;
use crate::drill;
use crate::error::{Error, Result};
use crate::layout;
use crate::trust::{Trusted, Untrusted};

/// Manifests read at a time.
const CONCURRENCY: usize = 16;
/// Candidates that an ambiguous beginning names.
const NAMED: usize = 5;

/// The catalog of a cluster's backups.
#[derive(Debug, Clone)]
pub struct Catalog {
    context: Context,
    record: Option<ClusterRecord>,
}

/// What a person calls a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupRef {
    /// The newest.
    Latest,
    /// The newest that a drill has proved to restore.
    LatestVerified,
    /// An id, or the beginning of one.
    Id(String),
}

impl FromStr for BackupRef {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            "latest-verified" => Ok(Self::LatestVerified),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
                Ok(Self::Id(text.to_owned()))
            }
            _ => Err(format!("'{text}' is neither 'latest', 'latest-verified' nor the beginning of a backup's id")),
        }
    }
}

/// A backup whose manifest is signed by a trusted key, belongs to this cluster and lies where it says.
#[derive(Debug, Clone)]
pub struct Backup {
    context: Context,
    manifest: Manifest,
    sha256: Digest,
}

/// A line of the catalog.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its manifest, which can be believed.
    pub manifest: Manifest,
    /// Digest of the manifest.
    pub sha256: Digest,
    /// Whether a drill has proved that it restores. Known where the whole catalog was listed.
    pub verified: bool,
}

/// Something in the catalog that cannot be restored.
#[derive(Debug)]
pub struct Problem {
    /// Its id.
    pub id: BackupId,
    /// What is wrong.
    pub error: Error,
}

/// All of the catalog, newest first.
#[derive(Debug, Default)]
pub struct Listing {
    /// The backups.
    pub backups: Vec<Entry>,
    /// What has a manifest that cannot be believed.
    pub problems: Vec<Problem>,
    /// What has no manifest: under way, or left by a backup that was killed.
    pub incomplete: Vec<BackupId>,
}

impl Catalog {
    /// Opens the catalog. The store need not have one yet.
    ///
    /// # Errors
    /// When the store cannot be read, or its record of the cluster cannot be trusted.
    pub async fn open(context: Context) -> Result<Self> {
        let key = layout::cluster(&context.cluster)?;
        let record = match Untrusted::fetch(context.store.as_ref(), &key).await {
            Err(Error::Store(StoreError::NotFound { .. })) => None,
            Err(error) => return Err(error),
            Ok(untrusted) => {
                let verified = untrusted.verify::<ClusterRecord>(&context.trusted)?;
                if verified.document.cluster != context.cluster {
                    let problem = format!("is the record of '{}'", verified.document.cluster);
                    return Err(Error::mismatch(&key, problem));
                }
                Some(verified.document)
            }
        };
        Ok(Self { context, record })
    }

    /// UID of the namespace `kube-system` of the cluster, as the store knows it.
    pub fn cluster_id(&self) -> Option<&str> {
        self.record.as_ref().map(|record| record.cluster_id.as_str())
    }

    /// What the catalog was opened with.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Every id in the store, newest first, whether committed or not.
    pub(crate) async fn ids(&self) -> Result<Vec<BackupId>> {
        let prefix = layout::backups(&self.context.cluster)?;
        let folders: Vec<lifeboat_store::Prefix> = self.context.store.folders(&prefix).try_collect().await?;
        let mut ids: Vec<BackupId> = folders.iter().filter_map(|folder| folder.name().parse().ok()).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// All backups.
    ///
    /// # Errors
    /// When the store cannot be read. A backup that cannot be believed is a [`Problem`] and no error.
    pub async fn list(&self) -> Result<Listing> {
        let ids = self.ids().await?;
        let mut results = stream::iter(ids)
            .map(|id| async move {
                let result = self.entry(&id).await;
                (id, result)
            })
            .buffered(CONCURRENCY);
        let mut listing = Listing::default();
        while let Some((id, result)) = results.next().await {
            match result {
                Ok(Some(entry)) => listing.backups.push(entry),
                Ok(None) => listing.incomplete.push(id),
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => listing.problems.push(Problem { id, error }),
            }
        }
        // Ids of one second have no order of their own.
        let age = |entry: &Entry| std::cmp::Reverse((entry.manifest.id.started(), entry.manifest.sequence));
        listing.backups.sort_by_key(age);
        let history = drill::read(self).await?;
        for entry in &mut listing.backups {
            entry.verified = history.verifies(&entry.manifest, entry.sha256);
        }
        Ok(listing)
    }

    /// The backup of that name.
    ///
    /// # Errors
    /// When there is none, the name is not unique, or its manifest cannot be believed.
    pub async fn get(&self, wanted: &BackupRef) -> Result<Backup> {
        let mut found = match wanted {
            BackupRef::Id(text) => self.beginning_with(text).await?,
            BackupRef::Latest => self.latest().await?.into_iter().collect(),
            BackupRef::LatestVerified => self.latest_verified().await?.into_iter().collect(),
        };
        match (found.len(), found.pop()) {
            (1, Some(Entry { manifest, sha256, .. })) => Ok(Backup { context: self.context.clone(), manifest, sha256 }),
            (count, Some(last)) => Err(Self::ambiguous(wanted, count, found.iter().chain([&last]))),
            (_, None) => Err(self.not_found(wanted).await?),
        }
    }

    /// The backups whose ids begin like this; not many more than are named.
    async fn beginning_with(&self, text: &str) -> Result<Vec<Entry>> {
        let candidates = match text.parse::<BackupId>() {
            Ok(id) => vec![id],
            Err(_) => self.ids().await?.into_iter().filter(|id| id.as_str().starts_with(text)).collect(),
        };
        let mut found = Vec::new();
        for id in candidates {
            found.extend(self.entry(&id).await?);
            if found.len() > NAMED {
                break;
            }
        }
        Ok(found)
    }

    /// The newest by the time in its id; of those of one second, the last of the chain.
    async fn latest(&self) -> Result<Option<Entry>> {
        let mut latest: Option<Entry> = None;
        for id in self.ids().await? {
            if latest.as_ref().is_some_and(|latest| latest.manifest.id.started() != id.started()) {
                break;
            }
            let entry = self.entry(&id).await?;
            latest = latest.into_iter().chain(entry).max_by_key(|entry| entry.manifest.sequence);
        }
        Ok(latest)
    }

    /// The newest that a drill has proved to restore.
    async fn latest_verified(&self) -> Result<Option<Entry>> {
        Ok(self.list().await?.backups.into_iter().find(|entry| entry.verified))
    }

    fn ambiguous<'a>(wanted: &BackupRef, count: usize, found: impl Iterator<Item = &'a Entry>) -> Error {
        let candidates: Vec<&str> = found.take(NAMED).map(|entry| entry.manifest.id.as_str()).collect();
        Error::Ambiguous { wanted: wanted.to_string(), count, candidates: candidates.join(", ") }
    }

    async fn not_found(&self, wanted: &BackupRef) -> Result<Error> {
        let newest = self.head().await?;
        let hint = match newest {
            None => ", and no other either".to_owned(),
            Some(_) if *wanted == BackupRef::LatestVerified => ": no drill has proved one".to_owned(),
            Some(newest) => format!(", the newest is {}", newest.manifest.id),
        };
        Ok(Error::NoBackup { wanted: wanted.to_string(), cluster: self.context.cluster.clone(), hint })
    }

    /// Reads and checks a manifest; `None` where there is none.
    pub(crate) async fn entry(&self, id: &BackupId) -> Result<Option<Entry>> {
        let key = layout::manifest(&self.context.cluster, id)?;
        let missing = |error: &Error| matches!(error, Error::Store(StoreError::NotFound { .. }));
        let fetch = || Untrusted::fetch(self.context.store.as_ref(), &key);
        let untrusted = match fetch().await {
            Err(error) if missing(&error) && !self.has(&key).await? => return Ok(None),
            // Written since, signature and manifest; or there is none.
            Err(error) if missing(&error) => match fetch().await {
                Err(error) if missing(&error) => return self.unsigned(&key).await,
                other => other?,
            },
            other => other?,
        };
        let verified = untrusted.verify(&self.context.trusted);
        if verified.is_err() && !self.has(&key).await? {
            // Removed between the two reads, manifest and signature.
            return Ok(None);
        }
        let Trusted { document: manifest, bytes } = verified?;
        self.check(&key, id, &manifest)?;
        Ok(Some(Entry { manifest, sha256: Digest::of(&bytes), verified: false }))
    }

    /// Manifest or signature is missing. The signature is written first, so a manifest alone was tampered with.
    async fn unsigned(&self, key: &Key) -> Result<Option<Entry>> {
        if self.has(key).await? { Err(Error::mismatch(key, "has no signature")) } else { Ok(None) }
    }

    async fn has(&self, key: &Key) -> Result<bool> {
        match self.context.store.get(key).await {
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(true),
        }
    }

    /// Whether a signed manifest is in its place and makes sense.
    fn check(&self, key: &Key, id: &BackupId, manifest: &Manifest) -> Result<()> {
        if manifest.id != *id {
            return Err(Error::mismatch(key, format!("is the manifest of backup {}", manifest.id)));
        }
        if manifest.cluster != self.context.cluster {
            return Err(Error::mismatch(key, format!("is a manifest of cluster '{}'", manifest.cluster)));
        }
        if let Some(ours) = self.cluster_id()
            && ours != manifest.cluster_id
        {
            return Err(Error::OtherCluster {
                name: manifest.cluster.clone(),
                theirs: ours.to_owned(),
                ours: manifest.cluster_id.clone(),
            });
        }
        let mut names: Vec<&PartName> = manifest.parts.iter().map(|part| &part.name).collect();
        names.sort_unstable();
        if names.array_windows().any(|[a, b]| a == b) {
            return Err(Error::mismatch(key, "lists a part twice"));
        }
        Ok(())
    }

    /// The newest backup of the chain: the highest sequence number among the newest few by id, since a clock that was
    /// set back may have put them out of order.
    pub(crate) async fn head(&self) -> Result<Option<Entry>> {
        for ids in self.ids().await?.chunks(CONCURRENCY) {
            let entries = stream::iter(ids).map(|id| async move { (id, self.entry(id).await) });
            let entries: Vec<_> = entries.buffered(CONCURRENCY).collect().await;
            let mut newest = Vec::new();
            for (id, entry) in entries {
                match entry {
                    Ok(entry) => newest.extend(entry),
                    Err(error @ Error::Store(_)) => return Err(error),
                    Err(error) => {
                        let error = crate::chain(&error);
                        tracing::warn!(backup = %id, error, "a backup that cannot be believed is left out of the chain");
                    }
                }
            }
            if let Some(head) = newest.into_iter().max_by_key(|entry| entry.manifest.sequence) {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Display for BackupRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::LatestVerified => f.write_str("latest-verified"),
            Self::Id(id) => f.write_str(id),
        }
    }
}

impl Backup {
    /// The manifest, which can be believed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the manifest.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The same backup, with its parts in another store.
    pub(crate) fn in_store(&self, store: Arc<dyn Store>) -> Self {
        Self { context: Context { store, ..self.context.clone() }, ..self.clone() }
    }

    /// The key of a part.
    pub(crate) fn key(&self, part: &PartName) -> Result<Key> {
        Ok(layout::part(&self.context.cluster, &self.manifest.id, part)?)
    }

    /// A part that must be there for what is asked.
    pub(crate) fn part(&self, name: &PartName) -> Result<&Part> {
        self.manifest.part(name).ok_or_else(|| Error::NoObject(format!("backup {} has no '{name}'", self.manifest.id)))
    }

    /// An error about one of its parts.
    pub(crate) fn part_error(&self, part: &PartName) -> impl Fn(Error) -> Error {
        let (backup, part) = (self.manifest.id.clone(), part.clone());
        move |source| Error::Part { backup: backup.clone(), part: part.clone(), source: Box::new(source) }
    }
}
