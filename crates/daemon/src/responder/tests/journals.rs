//! What a journal of objects keeps, and against whom.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector;
use lifeboat_kubernetes::{Cluster as Client, ConnectOptions};
use lifeboat_playbook::{Claim, Journals as _, RunId, StorageError};
use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use super::super::journals::{Claims, ClusterJournals};
use crate::resources::definitions;

const NAMESPACE: &str = "lifeboat";

async fn started() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let items: Vec<Value> = definitions().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
    let file = cluster.temp().join("definitions.json");
    std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
    cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/playbookjournals.lifeboat.dev", "--timeout=120s"]);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    // That a definition is established is known a little before it is served.
    let begun = std::time::Instant::now();
    while let Err(error) = kubectl(&cluster.kubeconfig(), &["get", "playbookjournals", "-n", NAMESPACE]) {
        assert!(begun.elapsed() < Duration::from_mins(2), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let options = ConnectOptions { kubeconfig: Some(cluster.kubeconfig()), ..ConnectOptions::default() };
    let client = Client::connect(options).await.unwrap();
    (cluster, client)
}

fn journals(client: &Client, owner: &Value, holder: &str) -> ClusterJournals {
    let (store, _) = reflector::store();
    let claims = Claims::new(store, Arc::default());
    ClusterJournals::writer(client.clone(), NAMESPACE.to_owned(), holder.to_owned(), claims, owner.clone())
}

fn id(second: i64) -> RunId {
    RunId::new(jiff::Timestamp::from_second(1_800_000_000 + second).unwrap(), 7)
}

fn line(number: u32, length: usize) -> Vec<u8> {
    format!("{number}:{}\n", "\"ä".repeat(length / 3)).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_stays_and_only_one_writes() {
    let (cluster, client) = started().await;
    // Anything that has a UID owns them here.
    cluster.kubectl(&["create", "configmap", "owner", "-n", NAMESPACE]);
    let uid = cluster.kubectl(&["get", "configmap", "owner", "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}"]);
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
    let (first, second) = (journals(&client, &owner, "first"), journals(&client, &owner, "second"));
    let run = id(0);

    let error = first.open(&run).await.err().unwrap();
    assert!(matches!(error, StorageError::NotFound(_)), "{error:?}");
    let mut held = first.create(&run).await.unwrap();
    let mut wanted = Vec::new();
    // Short lines share a piece, long ones have some for themselves.
    for (number, length) in [10, 40_000, 40_000, 700_000, 10, 300_000, 300_000, 10].into_iter().enumerate() {
        let line = line(u32::try_from(number).unwrap(), length);
        held.append(line.clone()).await.unwrap();
        wanted.extend(line);
        assert_eq!(second.read(&run).await.unwrap().bytes, wanted, "line {number}");
    }
    assert!(matches!(second.create(&run).await, Err(StorageError::Exists(_))));

    // Whoever takes it over shuts the other out, in the middle of a piece and behind one.
    for length in [10, 100_000] {
        let (mut taken, bytes) = second.open(&run).await.unwrap();
        assert_eq!(bytes, wanted);
        held.append(line(90, length)).await.unwrap_err();
        taken.append(line(91, length)).await.unwrap();
        wanted.extend(line(91, length));
        let (again, bytes) = first.open(&run).await.unwrap();
        assert_eq!(bytes, wanted);
        taken.append(line(92, length)).await.unwrap_err();
        held = again;
    }
    assert_eq!(first.list().await.unwrap(), std::slice::from_ref(&run));
    unchanged(&cluster);
    torn(&cluster, &client, &owner).await;
    claims(&first, &second).await;
}

/// Nobody rewrites what is there.
fn unchanged(cluster: &Cluster) {
    let names = cluster.kubectl(&["get", "playbookjournals", "-n", NAMESPACE, "-o", "name"]);
    for (name, patch) in [
        (names.lines().next().unwrap(), json!({"spec": {"text": "other\n"}})),
        (names.lines().next().unwrap(), json!({"spec": {"closed": false}})),
        (names.lines().last().unwrap(), json!({"spec": {"text": ""}})),
    ] {
        let arguments = ["patch", name, "-n", NAMESPACE, "--type=merge", "-p", &patch.to_string()];
        let refused = kubectl(&cluster.kubeconfig(), &arguments).unwrap_err();
        assert!(refused.contains("is changed") || refused.contains("is not changed"), "{refused}");
    }
}

/// A line of several pieces whose writer was killed in the middle is not there, and the next one takes its place.
async fn torn(cluster: &Cluster, client: &Client, owner: &Value) {
    let (first, second) = (journals(client, owner, "first"), journals(client, owner, "second"));
    let run = id(1);
    let mut held = first.create(&run).await.unwrap();
    held.append(line(0, 10)).await.unwrap();
    let mut wanted = line(0, 10);
    for round in 1..4_u32 {
        let mut whole = journals(client, owner, "whole").open(&run).await.unwrap().0;
        whole.append(line(round, 700_000)).await.unwrap();
        // Without its last piece it is as if it had never been written to its end.
        let text = cluster.kubectl(&["get", "playbookjournals", "-n", NAMESPACE, "-o", "json"]);
        let all: Value = serde_json::from_str(&text).unwrap();
        let ours = all["items"].as_array().unwrap().iter().filter(|piece| piece["spec"]["run"] == run.as_str());
        let last = ours.max_by_key(|piece| piece["spec"]["number"].as_u64()).unwrap();
        let name = last["metadata"]["name"].as_str().unwrap();
        cluster.kubectl(&["delete", "playbookjournal", name, "-n", NAMESPACE]);
        let (mut taken, bytes) = second.open(&run).await.unwrap();
        assert_eq!(bytes, wanted, "{round}");
        whole.append(line(99, 10)).await.unwrap_err();
        if round != 2 {
            taken.append(line(round + 10, 10)).await.unwrap();
            wanted.extend(line(round + 10, 10));
        }
        assert_eq!(second.read(&run).await.unwrap().bytes, wanted, "{round}");
    }
    // A run whose first line has no end has done nothing, and is begun anew.
    let run = id(2);
    drop(first.create(&run).await.unwrap());
    let mut begun = second.create(&run).await.unwrap();
    begun.append(line(0, 10)).await.unwrap();
    assert_eq!(first.read(&run).await.unwrap().bytes, line(0, 10));
}

async fn claims(first: &ClusterJournals, second: &ClusterJournals) {
    let taken = first.claim("key", &id(0)).await.unwrap();
    assert!(matches!(&taken, Claim::Taken(_)));
    assert!(matches!(first.claim("key", &id(1)).await.unwrap(), Claim::Held(run) if run == id(0)));
    assert!(matches!(first.claim("other", &id(1)).await.unwrap(), Claim::Taken(_)));
    // Another process is no concern of this one: who leads is alone.
    assert!(matches!(second.claim("key", &id(1)).await.unwrap(), Claim::Taken(_)));
    drop(taken);
    assert!(matches!(first.claim("key", &id(1)).await.unwrap(), Claim::Taken(_)));
}
