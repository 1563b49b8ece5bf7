//! Recovery by its own interface, on stores in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use lifeboat_etcd::{ClientCertificate, EtcdOptions, Tls};
use lifeboat_kubernetes::ConnectOptions;
use lifeboat_model::{Reason, ResourcesConfig};
use lifeboat_recovery::backup::{Request, Source};
use lifeboat_recovery::verify::Report;
use lifeboat_recovery::{BackupRef, Catalog, Clock, Context};
use lifeboat_store::{MemoryStore, Prefix, Store, body};
use lifeboat_tests::cluster::Cluster;
use tokio_util::sync::CancellationToken;

use super::{Files, Keys};

#[derive(Debug)]
struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// A clock that stands still, and a random source that counts down.
#[derive(Debug)]
pub(crate) struct Still {
    now: Timestamp,
    next: AtomicU64,
}

impl Still {
    /// Stands still now.
    pub(crate) fn now() -> Self {
        Self { now: Timestamp::now(), next: AtomicU64::new(u64::MAX) }
    }
}

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn random(&self) -> u64 {
        // The first characters of an id are its lowest bits.
        self.next.fetch_sub(1, Ordering::Relaxed)
    }
}

/// A store in memory with these files.
pub(crate) async fn memory(files: &Files) -> MemoryStore {
    let store = MemoryStore::new(Arc::new(Timestamp::now));
    for (key, bytes) in files {
        store.put_once(&key.parse().unwrap(), body(bytes.clone())).await.unwrap();
    }
    store
}

/// All that a store has.
pub(crate) async fn stored_files(store: &dyn Store) -> Files {
    let prefix: Prefix = "prod".parse().unwrap();
    let keys: Vec<_> = store.list(&prefix).map_ok(|listed| listed.key).try_collect().await.unwrap();
    let mut files = Files::new();
    for key in keys {
        let object = store.get(&key).await.unwrap();
        let chunks: Vec<bytes::Bytes> = object.body.try_collect().await.unwrap();
        files.insert(key.to_string(), chunks.concat());
    }
    files
}

/// Recovery of the cluster `prod` with those keys on that store.
pub(crate) fn context(store: impl Store + 'static, keys: &Keys) -> Context {
    Context {
        store: Arc::new(store),
        cluster: "prod".parse().unwrap(),
        trusted: Arc::clone(&keys.trusted),
        clock: Arc::new(System),
        cancel: CancellationToken::new(),
    }
}

/// A backup of everything that the cluster has.
pub(crate) fn request(cluster: &Cluster, keys: &Keys) -> Request {
    let access = cluster.etcd();
    let read = |path| std::fs::read(path).unwrap();
    let client = Some(ClientCertificate { cert: read(access.cert_file), key: read(access.key_file) });
    let tls = Tls { ca: read(access.ca_file), client, server_name: None };
    Request {
        etcd: Source::Use(EtcdOptions::new(access.endpoints, Some(tls))),
        kubernetes: Source::Use(ConnectOptions { kubeconfig: Some(cluster.kubeconfig()), ..ConnectOptions::default() }),
        resources: ResourcesConfig::default(),
        recipients: Arc::clone(&keys.recipients),
        signer: Arc::clone(&keys.signer),
        reason: Reason::Manual,
        fence: None,
        tool: "lifeboat tests".to_owned(),
    }
}

/// Verifies a backup, with the recovery key or without.
pub(crate) async fn verify(context: &Context, id: &str, keys: Option<&Keys>) -> lifeboat_recovery::Result<Report> {
    let catalog = Catalog::open(context.clone()).await?;
    let identities = keys.map(|keys| Arc::clone(&keys.identities));
    lifeboat_recovery::verify::verify(&catalog, &BackupRef::Id(id.to_owned()), identities).await
}
