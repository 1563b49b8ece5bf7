//! The stores that tests run on, and what they write into them.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use lifeboat_store::{
    Body, Credentials, DirectoryStore, Key, MemoryStore, Prefix, S3Options, S3Store, Store, StoreError, Timeouts,
};
use lifeboat_tests::s3::{S3Kind, S3Server};
use tempfile::TempDir;

/// A store, and what it stands on.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: &'static str,
    /// Whether it can tell what killed writers left.
    pub(crate) tells_leftovers: bool,
    /// Whether objects can be held there.
    pub(crate) locks: bool,
    _ground: Ground,
}

#[expect(dead_code, reason = "they are held, not used")]
enum Ground {
    Nothing,
    Folder(TempDir),
    Server(S3Server),
}

pub(crate) fn memory() -> Place {
    let store = Arc::new(MemoryStore::new(Arc::new(Timestamp::now)));
    Place { store, name: "memory", tells_leftovers: false, locks: false, _ground: Ground::Nothing }
}

pub(crate) async fn directory() -> Place {
    let folder = TempDir::with_prefix("lifeboat-store-").unwrap();
    let store = DirectoryStore::open(folder.path().join("new/store"), 7).await.unwrap();
    Place {
        store: Arc::new(store),
        name: "directory",
        tells_leftovers: true,
        locks: false,
        _ground: Ground::Folder(folder),
    }
}

pub(crate) fn locking_memory() -> Place {
    let store = Arc::new(MemoryStore::with_locks(Arc::new(Timestamp::now)));
    Place { store, locks: true, ..memory() }
}

pub(crate) async fn server(kind: S3Kind) -> Place {
    on(S3Server::start(kind).await, false).await
}

/// In a bucket with Object Lock, and so with versions.
pub(crate) async fn locking_server(kind: S3Kind) -> Place {
    let mut server = S3Server::start(kind).await;
    server.create_bucket("locking", true).await;
    "locking".clone_into(&mut server.bucket);
    on(server, true).await
}

async fn on(server: S3Server, locks: bool) -> Place {
    let kind = server.kind;
    let store = Arc::new(S3Store::connect(options(&server)).await.unwrap());
    let name = match kind {
        S3Kind::Versitygw => "versitygw",
        S3Kind::Minio => "minio",
        S3Kind::Embedded | S3Kind::Careless => "embedded",
    };
    Place { store, name, tells_leftovers: name != "embedded", locks, _ground: Ground::Server(server) }
}

/// How to reach a test's server.
pub(crate) fn options(server: &S3Server) -> S3Options {
    S3Options {
        prefix: "some/where".to_owned(),
        credentials: Credentials::Static {
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
        },
        timeouts: Timeouts { attempts: 3, ..Timeouts::default() },
        ..S3Options::new(&server.bucket, Some(server.endpoint.clone()))
    }
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Bytes that look like nothing, the same ones for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes.into()
}

/// A body in pieces of that size.
pub(crate) fn pieces(content: &Bytes, size: usize) -> Body {
    let content = content.clone();
    let count = content.len().div_ceil(size);
    stream::iter(0..count).map(move |n| Ok(content.slice(n * size..content.len().min((n + 1) * size)))).boxed()
}

/// All of an object.
pub(crate) async fn read(store: &dyn Store, key: &Key) -> Result<Bytes, StoreError> {
    let mut object = store.get(key).await?;
    let mut content = Vec::new();
    while let Some(chunk) = object.body.next().await {
        content.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(content.len() as u64, object.bytes, "{key}: not the size that was told");
    Ok(content.into())
}

/// All keys in a folder, as listed.
pub(crate) async fn keys(store: &dyn Store, folder: &str) -> Vec<String> {
    let listing = store.list(&prefix(folder));
    listing.map(|item| item.unwrap().key.to_string()).collect().await
}

/// The folders in a folder, as listed.
pub(crate) async fn folders(store: &dyn Store, folder: &str) -> Vec<String> {
    let listing = store.folders(&prefix(folder));
    listing.map(|item| item.unwrap().to_string()).collect().await
}

/// The keys of unfinished objects in a folder.
pub(crate) async fn leftovers(store: &dyn Store, folder: &str) -> Vec<String> {
    let listing = store.incomplete_uploads(&prefix(folder));
    listing.map(|item| item.unwrap().key.to_string()).collect().await
}
