//! Backups in a store in memory, without a cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use lifeboat_archive::{SigningKey, TrustedKeys};
use lifeboat_model::{
    BackupId, BackupState, Digest, EtcdRecord, Manifest, Part, PartName, Reason as Why, RequiredForRestore,
    ResourcesRecord,
};
use lifeboat_store::{MemoryStore, Prefix, Store, body, digest};
use tokio_util::sync::CancellationToken;

use crate::{Catalog, Clock, Context, layout, trust};

/// When the scene begins.
pub(crate) const START: i64 = 1_790_000_000;

/// The clock of the store, and the one of the program, which may be off.
#[derive(Debug, Clone)]
pub(crate) struct Clocks {
    pub(crate) store: Arc<AtomicI64>,
    pub(crate) off: i64,
}

impl Clocks {
    pub(crate) fn of_store(&self) -> Timestamp {
        Timestamp::from_second(self.store.load(Ordering::Relaxed)).unwrap()
    }
}

impl Clock for Clocks {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.store.load(Ordering::Relaxed) + self.off).unwrap()
    }

    fn random(&self) -> u64 {
        0
    }
}

pub(crate) struct Scene {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clocks: Clocks,
    pub(crate) signer: SigningKey,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::on(MemoryStore::new)
    }

    /// With a store that has Object Lock.
    pub(crate) fn locking() -> Self {
        Self::on(MemoryStore::with_locks)
    }

    fn on(store: impl FnOnce(lifeboat_store::Clock) -> MemoryStore) -> Self {
        let clocks = Clocks { store: Arc::new(AtomicI64::new(START)), off: 0 };
        let of_store = clocks.clone();
        let store = Arc::new(store(Arc::new(move || of_store.of_store())));
        Self { store, clocks, signer: SigningKey::generate().unwrap() }
    }

    pub(crate) fn context(&self, store: impl Store + 'static) -> Context {
        let trusted = Arc::new(TrustedKeys::new(vec![self.signer.public_key().unwrap()]));
        Context {
            store: Arc::new(store),
            cluster: "prod".parse().unwrap(),
            trusted,
            clock: Arc::new(self.clocks.clone()),
            cancel: CancellationToken::new(),
        }
    }

    pub(crate) fn catalog(&self, store: impl Store + 'static) -> impl Future<Output = crate::Result<Catalog>> {
        Catalog::open(self.context(store))
    }

    pub(crate) fn wait(&self, seconds: i64) {
        self.clocks.store.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The parts of a backup that is begun now.
    pub(crate) async fn parts(&self, number: u64) -> Manifest {
        let now = self.clocks.of_store();
        let id = BackupId::new(now, number);
        let mut parts = Vec::new();
        for name in [PartName::RESOURCES, PartName::INDEX, PartName::COVERAGE] {
            let bytes = format!("{id} {name}").into_bytes();
            let sha256 = Digest::of(&bytes);
            let length = bytes.len() as u64;
            self.store
                .put_once(&layout::part(&"prod".parse().unwrap(), &id, &name).unwrap(), body(bytes))
                .await
                .unwrap();
            parts.push(Part {
                name,
                plain_bytes: length,
                plain_sha256: sha256,
                stored_bytes: length,
                stored_sha256: sha256,
            });
        }
        Manifest {
            format: "1.0".to_owned(),
            tool: "tests".to_owned(),
            id,
            cluster_id: "uid".to_owned(),
            cluster: "prod".parse().unwrap(),
            sequence: number,
            previous: None,
            fence: None,
            started: now,
            finished: now,
            reason: Why::Manual,
            state: BackupState::Complete,
            kubernetes_version: None,
            etcd: EtcdRecord::Absent { reason: "a test".to_owned() },
            resources: ResourcesRecord::Captured { from_resource_version: 1, to_resource_version: 2 },
            parts,
            recipients: Vec::new(),
            canonical_version: 1,
            required_for_restore: RequiredForRestore { encryption_configuration: false, pki: false },
        }
    }

    pub(crate) async fn commit(&self, manifest: &Manifest) -> crate::Result<()> {
        let key = layout::manifest(&manifest.cluster, &manifest.id).unwrap();
        trust::put_signed(self.store.as_ref(), &self.signer, &key, manifest).await
    }

    pub(crate) async fn backup(&self, number: u64) -> BackupId {
        let manifest = self.parts(number).await;
        self.commit(&manifest).await.unwrap();
        manifest.id
    }

    pub(crate) async fn keys(&self) -> BTreeSet<String> {
        let whole: Prefix = "prod".parse().unwrap();
        self.store.list(&whole).map_ok(|listed| listed.key.to_string()).try_collect().await.unwrap()
    }

    /// The ids that are listed; every part of each must be there and right.
    pub(crate) async fn listed(&self) -> BTreeSet<BackupId> {
        let listing = self.catalog(Arc::clone(&self.store)).await.unwrap().list().await.unwrap();
        assert!(listing.problems.is_empty(), "{:?}", listing.problems);
        for entry in &listing.backups {
            for part in &entry.manifest.parts {
                let key = layout::part(&entry.manifest.cluster, &entry.manifest.id, &part.name).unwrap();
                let stored = digest(self.store.as_ref(), &key).await.unwrap_or_else(|e| panic!("listed: {e}"));
                assert_eq!(stored, (part.stored_bytes, part.stored_sha256));
            }
        }
        listing.backups.into_iter().map(|entry| entry.manifest.id).collect()
    }
}
