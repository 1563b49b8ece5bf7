//! What it costs to read one object.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lifeboat_recovery::{BackupRef, Catalog, OpenBackup, Progress, backup};
use lifeboat_store::FaultyStore;

use crate::support::{Keys, boot, context, memory, request, stored_files, turn};

/// The most requests that one object may take, of however many.
const REQUESTS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn one_object_of_thousands_takes_a_few_requests() {
    let _turn = turn().await;
    let cluster = boot(|cluster| {
        let loaded = Command::new(env!("CARGO_BIN_EXE_lifeboat-test-load"))
            .args(["--namespaces", "7"])
            .env_clear()
            .env("KUBECONFIG", cluster.kubeconfig())
            .output()
            .unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    })
    .await;
    let keys = Keys::generate();
    let store = Arc::new(memory(&[].into()).await);
    let writing = context(Arc::clone(&store), &keys);
    let taken = backup::create(&writing, request(&cluster, &keys), Progress::default()).await.unwrap();
    assert!(taken.coverage.objects() > 3500);
    let stored = stored_files(&store).await.values().map(Vec::len).sum::<usize>();

    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let counting = FaultyStore::new(Arc::clone(&store), move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        None
    });
    let context = context(counting, &keys);
    // First, last, and in between; of namespaces and of none.
    let objects = [
        ("configmaps/configmaps-000", Some("load-0000")),
        ("secrets/secrets-099", Some("load-0006")),
        ("deployments.apps/deployments-050", Some("load-0003")),
        ("rolebindings.rbac.authorization.k8s.io/rolebindings-049", Some("load-0006")),
        ("clusterroles/view", None),
        ("namespaces/load-0004", None),
    ];
    for (object, namespace) in objects {
        let before = calls.load(Ordering::Relaxed);
        // As the command does it: from the beginning.
        let catalog = Catalog::open(context.clone()).await.unwrap();
        let found = catalog.get(&BackupRef::Id(taken.manifest.id.to_string())).await.unwrap();
        let opened = OpenBackup::open(found, Arc::clone(&keys.identities)).await.unwrap();
        let (entry, json) = opened.get(&object.parse().unwrap(), namespace).await.unwrap();
        let requests = calls.load(Ordering::Relaxed) - before;
        assert_eq!(entry.name, object.split_once('/').unwrap().1);
        assert!(json.starts_with(b"{"));
        println!("{object}: {requests} requests, of {stored} bytes stored");
        assert!(requests <= REQUESTS, "{object}: {requests} requests");
    }
}
