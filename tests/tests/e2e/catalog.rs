//! A catalog of many backups in a bucket: all are known soon, and what is known is not read again.

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lifeboat_model::{
    BackupId, BackupState, EtcdRecord, Manifest, Part, PartName, Reason, RequiredForRestore, ResourcesRecord,
};
use lifeboat_recovery::{Catalog, Overview};
use lifeboat_store::{Credentials, S3Options, S3Store, Store, body};
use lifeboat_tests::s3::S3Server;

use crate::support::{Files, Keys, context};

/// How many, unless `LIFEBOAT_CATALOG` says otherwise.
const BACKUPS: u64 = 150;
/// Manifests that a first look reads.
const FIRST: usize = 100;

fn manifest(number: u64, begun: Timestamp) -> Manifest {
    let part = |name| Part {
        name,
        plain_bytes: 1,
        plain_sha256: lifeboat_model::Digest::of(b"x"),
        stored_bytes: 1,
        stored_sha256: lifeboat_model::Digest::of(b"x"),
    };
    Manifest {
        format: "1.0".to_owned(),
        tool: "tests".to_owned(),
        id: BackupId::new(begun, number),
        cluster_id: "uid".to_owned(),
        cluster: "prod".parse().unwrap(),
        sequence: number,
        previous: None,
        fence: None,
        started: begun,
        finished: begun,
        reason: Reason::Schedule("hourly".to_owned()),
        state: BackupState::Complete,
        kubernetes_version: None,
        etcd: EtcdRecord::Absent { reason: "a test".to_owned() },
        resources: ResourcesRecord::Captured { from_resource_version: 1, to_resource_version: 2 },
        parts: [PartName::RESOURCES, PartName::INDEX, PartName::LOOKUP, PartName::COVERAGE].map(part).to_vec(),
        recipients: Vec::new(),
        canonical_version: 1,
        required_for_restore: RequiredForRestore::default(),
    }
}

async fn store_all(store: &S3Store, files: Files) {
    let puts = files.into_iter().map(|(key, bytes)| async move {
        store.put_once(&key.parse().unwrap(), body(bytes)).await.unwrap();
    });
    stream::iter(puts).buffer_unordered(32).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_not_read_again() {
    let count = std::env::var("LIFEBOAT_CATALOG").map_or(BACKUPS, |text| text.parse().unwrap());
    let server = S3Server::versitygw().await;
    let options = S3Options {
        credentials: Credentials::Static {
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
        },
        ..S3Options::new(&server.bucket, Some(server.endpoint.clone()))
    };
    let store = Arc::new(S3Store::connect(options).await.unwrap());
    let keys = Keys::generate();
    let first = Timestamp::from_second(1_700_000_000).unwrap();
    let at = |number: u64| first + SignedDuration::from_hours(i64::try_from(number).unwrap());
    let mut files = Files::new();
    for number in 1..=count {
        let manifest = manifest(number, at(number));
        Keys::put_manifest(&keys.signer, &mut files, manifest.id.as_str(), &manifest);
    }
    store_all(&store, files).await;

    let begun = Instant::now();
    let catalog = Catalog::open(context(Arc::clone(&store), &keys)).await.unwrap();
    let mut overview = Overview::default();
    let changes = overview.refresh(&catalog, FIRST).await.unwrap();
    let soon = begun.elapsed();
    assert_eq!((changes.added.len() + changes.pending) as u64, count);
    assert_eq!(changes.added.first().unwrap().started(), Some(at(count)), "the newest first");
    let changes = overview.refresh(&catalog, usize::MAX).await.unwrap();
    let whole = begun.elapsed();
    assert_eq!((overview.backups().len() as u64, changes.pending), (count, 0));

    let begun = Instant::now();
    assert!(overview.refresh(&catalog, usize::MAX).await.unwrap().added.is_empty());
    let unchanged = begun.elapsed();
    let mut files = Files::new();
    let newest = manifest(count + 1, at(count + 1));
    Keys::put_manifest(&keys.signer, &mut files, newest.id.as_str(), &newest);
    store_all(&store, files).await;
    let begun = Instant::now();
    assert_eq!(overview.refresh(&catalog, usize::MAX).await.unwrap().added, [newest.id]);
    println!(
        "figures: {count} backups; all listed and the newest {FIRST} read {soon:.2?}; all read {whole:.2?}; \
         nothing new {unchanged:.2?}; one new {:.2?}",
        begun.elapsed()
    );
}
