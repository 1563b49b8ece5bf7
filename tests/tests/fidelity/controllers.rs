//! The same with the controllers of Kubernetes on both clusters: workloads adopt what is restored, and no pod is made
//! twice.

use std::collections::BTreeMap;

use http::Request as HttpRequest;
use kube::client::Body;
use lifeboat_kubernetes::Cluster as Client;
use lifeboat_recovery::restore_objects::Settings;
use lifeboat_tests::cluster::Cluster;
use serde_json::Value;

use super::compare::compare;
use super::load::{connect, load};
use super::{back_up, cases, complaints, objects, restore, shapes};
use crate::support::{Keys, turn, until};

async fn with_controllers() -> Cluster {
    let options = |builder: lifeboat_controlplane::Builder| {
        builder.service_cidr("10.96.0.0/16,fd00:96::/112").with_controller_manager()
    };
    Cluster::start_with(options).await
}

async fn read(client: &Client, path: &str) -> Vec<u8> {
    let response = client.client().send(HttpRequest::get(path).body(Body::empty()).unwrap()).await.unwrap();
    response.into_body().collect_bytes().await.unwrap().to_vec()
}

async fn list(client: &Client, path: &str) -> Vec<Value> {
    let list: Value = serde_json::from_slice(&read(client, path).await).unwrap();
    list["items"].as_array().unwrap_or_else(|| panic!("{path}: {list}")).clone()
}

/// Waits until all controllers have begun: each makes its account then, one after the other.
async fn started(client: &Client) {
    until("controller manager that has begun", async || {
        let namespaces = list(client, "/api/v1/namespaces").await.len();
        let maps = list(client, "/api/v1/configmaps").await;
        let published = maps.iter().filter(|map| map["metadata"]["name"] == "kube-root-ca.crt").count();
        let accounts = "/api/v1/serviceaccounts";
        let version = version(client, accounts).await;
        (published == namespaces && added(client, accounts, &version).await == 0).then_some(())
    })
    .await;
}

/// What workloads have come to: for each `ReplicaSet` and so on its replicas, and the number of its pods.
type Counts = BTreeMap<String, (u64, usize)>;

const MAKERS: [(&str, &str); 3] = [
    ("ReplicaSet", "/apis/apps/v1/replicasets"),
    ("StatefulSet", "/apis/apps/v1/statefulsets"),
    ("ReplicationController", "/api/v1/replicationcontrollers"),
];

async fn counts(client: &Client) -> Counts {
    let mut pods: BTreeMap<String, usize> = BTreeMap::new();
    for pod in list(client, "/api/v1/pods").await {
        for owner in pod["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
            *pods.entry(owner["uid"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let mut counts = Counts::new();
    for (kind, path) in MAKERS {
        for maker in list(client, path).await {
            let metadata = &maker["metadata"];
            let made = pods.get(metadata["uid"].as_str().unwrap()).copied().unwrap_or_default();
            let name = format!("{kind} {}", metadata["name"].as_str().unwrap());
            counts.insert(name, (maker["spec"]["replicas"].as_u64().unwrap(), made));
        }
    }
    counts
}

/// Waits until the controllers have nothing more to do.
async fn settled(client: &Client) -> Counts {
    until("state in which controllers rest", async || {
        let workloads = [
            list(client, "/apis/apps/v1/deployments").await,
            list(client, "/apis/apps/v1/replicasets").await,
            list(client, "/apis/apps/v1/statefulsets").await,
            list(client, "/apis/apps/v1/daemonsets").await,
        ];
        let seen = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let volumes = list(client, "/api/v1/persistentvolumes").await;
        let claims = list(client, "/api/v1/namespaces/shop/persistentvolumeclaims").await;
        let kept = |object: &&Value| object["metadata"]["name"] == "kept";
        let bound = volumes.iter().chain(&claims).filter(kept).all(|object| object["status"]["phase"] == "Bound");
        let tokens = list(client, "/api/v1/namespaces/shop/secrets").await;
        let filled = tokens.iter().all(|secret| secret["data"]["token"].is_string());
        let quotas = list(client, "/api/v1/namespaces/shop/resourcequotas").await;
        let counted = quotas.iter().all(|quota| quota["status"]["used"].is_object());
        let counts = counts(client).await;
        let made = counts.values().all(|(wanted, made)| usize::try_from(*wanted).unwrap() == *made);
        // Nothing runs the pods, so that a rollout stays where it is: with pods of both templates.
        let rolled = workloads[0].iter().all(|deployment| {
            let sets = workloads[1].iter().filter(|set| is_owned(set, deployment));
            let pods: u64 = sets.map(|set| set["spec"]["replicas"].as_u64().unwrap()).sum();
            deployment["status"]["replicas"].as_u64() == Some(pods)
        });
        let rests = workloads.iter().flatten().all(seen) && bound && filled && counted && made && rolled;
        (rests && !counts.is_empty()).then_some(counts)
    })
    .await
}

fn is_owned(object: &Value, owner: &Value) -> bool {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    references.into_iter().any(|reference| reference["uid"] == owner["metadata"]["uid"])
}

/// The version of a list.
async fn version(client: &Client, path: &str) -> String {
    let list: Value = serde_json::from_slice(&read(client, path).await).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// How many objects were made since that version, and in the second that begins now.
async fn added(client: &Client, path: &str, since: &str) -> usize {
    let events = read(client, &format!("{path}?watch=1&timeoutSeconds=1&resourceVersion={since}")).await;
    let events = serde_json::Deserializer::from_slice(&events).into_iter::<Value>().map(Result::unwrap);
    let events: Vec<Value> = events.collect();
    assert!(!events.iter().any(|event| event["type"] == "ERROR"), "{events:?}");
    events.iter().filter(|event| event["type"] == "ADDED").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_adopt_what_is_restored_and_make_no_pod_twice() {
    let keys = Keys::generate();
    for (case, shapes) in cases(shapes::controlled()) {
        let _turn = turn().await;
        let (before, expected) = {
            let source = with_controllers().await;
            let client = connect(&source).await;
            started(&client).await;
            load(&client, &shapes).await;
            let expected = settled(&client).await;
            (back_up(&source, &keys).await, expected)
        };
        assert!(expected.keys().filter(|name| name.starts_with("ReplicaSet web-")).count() == 2, "{expected:?}");

        let target = with_controllers().await;
        let client = connect(&target).await;
        started(&client).await;
        let since = version(&client, "/api/v1/pods").await;
        let (plan, report) = restore(&before, &target, Settings::default()).await;
        let found = settled(&client).await;
        let after = back_up(&target, &keys).await;
        let verdicts = compare(&objects(&before).await, &objects(&after).await, &plan, &shapes, true);
        let problems = [complaints(&plan, &report), verdicts.problems].concat();
        assert!(problems.is_empty(), "{case}: {} problems:\n{}", problems.len(), problems.join("\n"));
        assert_eq!(found, expected, "{case}");
        // One bare pod, and those that belong to workloads.
        let pods: usize = 1 + expected.values().map(|(_, made)| made).sum::<usize>();
        assert_eq!(added(&client, "/api/v1/pods", &since).await, pods, "{case}: {found:?}");
    }
}
