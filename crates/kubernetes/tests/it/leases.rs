//! The lock, held by one, and lost for good reasons only.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat_kubernetes::{Cluster, Error, LeaseOptions};
use lifeboat_model::ResourceType;
use lifeboat_tests::cluster::Cluster as TestCluster;
use serde_json::{Value, json};

use crate::objects::{MANAGER, WRITE, bytes, create, delete_options, parse, path};
use crate::{connect, resource_type};

fn leases() -> ResourceType {
    resource_type("coordination.k8s.io", "v1", "leases", "Lease")
}

fn options(holder: &str, seconds: u64) -> LeaseOptions {
    LeaseOptions {
        namespace: "default".to_owned(),
        name: "restore".to_owned(),
        holder: holder.to_owned(),
        duration: Duration::from_secs(seconds),
        field_manager: MANAGER.to_owned(),
    }
}

async fn read(cluster: &Cluster) -> Option<Value> {
    cluster.get(path(&leases(), "default", "restore")).await.unwrap().map(|lease| parse(&lease))
}

async fn replace(cluster: &Cluster, lease: &Value) {
    cluster.replace(path(&leases(), "default", "restore"), bytes(lease), WRITE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_held_by_one_at_a_time() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;

    let first = cluster.take_lease(options("first", 60)).await.unwrap();
    let error = cluster.take_lease(options("second", 60)).await.unwrap_err();
    let Error::Held { lease, holder, left } = &error else { panic!("{error:?}") };
    assert_eq!((lease.as_str(), holder.as_str()), ("leases.coordination.k8s.io default/restore", "first"));
    assert!(*left > Duration::ZERO && *left <= Duration::from_mins(1), "{left:?}");
    first.release().await.unwrap();
    assert_eq!(read(&cluster).await, None, "nothing of ours stays");

    // Of many at once, one has it.
    let names: Vec<_> = (0..8).map(|number| format!("racer-{number}")).collect();
    let racers = names.iter().map(|name| cluster.take_lease(options(name, 60)));
    let mut winners = Vec::new();
    for (name, taken) in names.iter().zip(futures::future::join_all(racers).await) {
        match taken {
            Ok(lock) => winners.push((name, lock)),
            Err(error) => assert!(matches!(error, Error::Held { .. }), "{error:?}"),
        }
    }
    let Ok([(name, lock)]) = <[_; 1]>::try_from(winners) else { panic!("one winner") };
    assert_eq!(read(&cluster).await.unwrap()["spec"]["holderIdentity"], json!(name));

    // It is renewed while it is kept, whatever others write beside it.
    let mut lock = lock;
    let mut touched = read(&cluster).await.unwrap();
    touched["metadata"]["labels"] = json!({"note": "theirs"});
    replace(&cluster, &touched).await;
    assert!(cluster.take_lease(options(name, 2)).await.is_ok(), "the same holder may take it again");
    drop(lock);
    lock = cluster.take_lease(options(name, 3)).await.unwrap();
    let before = read(&cluster).await.unwrap()["spec"]["renewTime"].clone();
    let leases = leases();
    let renewed = cluster.wait_until(path(&leases, "default", "restore"), Duration::from_mins(1), |lease| {
        lease.is_some_and(|lease| lease["spec"]["renewTime"] != before)
    });
    tokio::select! {
        error = lock.keep() => panic!("{error:?}"),
        renewed = renewed => assert!(renewed.unwrap().is_some()),
    }
    lock.release().await.unwrap();

    // Each taking has a higher generation, whoever takes it, and whoever steps down leaves it there.
    let mut lock = cluster.take_lease(options("first", 60)).await.unwrap();
    let first = lock.generation();
    lock.raise_above(first + 6).await.unwrap();
    lock.raise_above(3).await.unwrap();
    assert_eq!(lock.generation(), first + 7);
    lock.step_down(&cluster).await.unwrap();
    assert_eq!(read(&cluster).await.unwrap()["spec"]["leaseTransitions"], json!(first + 7));
    let lock = cluster.take_lease(options("second", 60)).await.unwrap();
    assert_eq!(lock.generation(), first + 8);
    let lost = cluster.take_lease(options("second", 60)).await.unwrap();
    assert_eq!(lost.generation(), first + 9, "the same holder's too");
    lost.release().await.unwrap();
    assert!(matches!(lock.step_down(&cluster).await, Err(Error::LeaseLost { .. } | Error::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_taken_when_it_is_free_or_has_expired_by_the_servers_clock() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;
    let now = cluster.server_time().await.unwrap();
    let at =
        |seconds: i64| (now + SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
    let lease = |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "restore"}, "spec": spec});
    let full = |renewed: i64| json!({"holderIdentity": "other", "leaseDurationSeconds": 30, "renewTime": at(renewed)});
    let cases = [
        (json!({}), true),
        (json!({"holderIdentity": "other"}), true),
        (json!({"holderIdentity": "", "leaseDurationSeconds": 30, "renewTime": at(0)}), true),
        (full(-31), true),
        (full(-10), false),
        (full(3600), false),
    ];
    for (spec, free) in cases {
        let written = parse(&create(&cluster, &leases(), "default", &lease(spec.clone())).await.unwrap().object);
        let uid = written["metadata"]["uid"].as_str().unwrap();
        match cluster.take_lease(options("ours", 30)).await {
            Ok(_) => assert!(free, "{spec}"),
            Err(error) => assert!(!free && matches!(error, Error::Held { .. }), "{spec} {error:?}"),
        }
        cluster.delete(path(&leases(), "default", "restore"), delete_options(uid)).await.unwrap();
    }
    let mut nowhere = options("ours", 30);
    nowhere.namespace = "nowhere".to_owned();
    assert!(matches!(cluster.take_lease(nowhere).await, Err(Error::NoNamespace { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_told_at_once() {
    let mut server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;

    let mut lock = cluster.take_lease(options("ours", 3)).await.unwrap();
    let mut stolen = read(&cluster).await.unwrap();
    stolen["spec"]["holderIdentity"] = json!("thief\n");
    replace(&cluster, &stolen).await;
    let error = lock.keep().await;
    assert_eq!(error.to_string(), "leases.coordination.k8s.io default/restore was lost: 'thief ' holds it");
    assert!(matches!(lock.release().await, Err(Error::LeaseLost { .. })));
    assert_eq!(read(&cluster).await.unwrap()["spec"]["holderIdentity"], "thief\n", "what is not ours stays");

    let mut lock = cluster.take_lease(options("thief\n", 3)).await.unwrap();
    let uid = read(&cluster).await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    cluster.delete(path(&leases(), "default", "restore"), delete_options(&uid)).await.unwrap();
    let error = lock.keep().await;
    assert!(error.to_string().ends_with("was lost: it was deleted"), "{error}");

    // Nobody can be asked, and it expires: that is told so long before others may take it as was asked for.
    let mut lock = cluster.take_lease(options("ours", 20)).await.unwrap();
    let taken = Timestamp::now();
    server.stop_api_server().await;
    let error = lock.keep_ahead(Duration::from_secs(10)).await;
    assert!(
        matches!(&error, Error::LeaseLost { message, .. } if message.starts_with("not renewed in time")),
        "{error:?}"
    );
    assert!(Timestamp::now().duration_since(taken) <= SignedDuration::from_secs(20));
}
