//! 9. What undoes a write is durable before the write is made, and takes it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lifeboat_playbook::{Entry, Identity, InverseRecord, Line, Outcome, WriteOutcome};
use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Responder, Watcher};

const OBJECTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, tier: front}}
spec: {nodeName: n1, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: shop-looks, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: shop}]
";

/// What the run acts on, but for what the server counts by itself.
fn state(kubeconfig: &std::path::Path) -> Value {
    let kinds = "pods,networkpolicies,rolebindings";
    let text = kubectl(kubeconfig, &["get", kinds, "-n", "shop", "-o", "json"]).unwrap();
    let nodes = kubectl(kubeconfig, &["get", "nodes", "-o", "json"]).unwrap();
    let items = |text: &str| serde_json::from_str::<Value>(text).unwrap()["items"].as_array().unwrap().clone();
    let mut all: Vec<Value> = items(&text).into_iter().chain(items(&nodes)).collect();
    for object in &mut all {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for field in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(field);
        }
        if metadata.get("annotations") == Some(&json!({})) {
            metadata.remove("annotations");
        }
    }
    Value::Array(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_has_its_inverse_first_and_is_taken_back_by_it() {
    let _turn = crate::support::turn().await;
    let cluster = Cluster::start().await;
    let file = cluster.temp().join("objects.yaml");
    std::fs::write(&file, OBJECTS).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let responder = Responder::new(cluster.kubeconfig(), cluster.temp());
    let playbook = responder.playbook(&json!([
        {"id": "pod", "uses": "target.resolve", "with": {"kind": "Pod", "namespace": "shop", "name": "web"}},
        {"id": "node", "uses": "target.resolve", "with": {"kind": "Node", "name": "n1"}},
        {"id": "isolate", "uses": "pod.isolate", "onFailure": "continue", "with": {"target": "${{ steps.pod.target }}"}},
        {"id": "cordon", "uses": "node.cordon", "with": {"target": "${{ steps.node.target }}"}},
        {"id": "keep", "uses": "node.protect", "with": {"target": "${{ steps.node.target }}"}},
        {"id": "rights", "uses": "rbac.revoke", "with": {
            "subject": {"kind": "ServiceAccount", "namespace": "shop", "name": "default"}}},
    ]));
    let before = state(&cluster.kubeconfig());

    let (kubeconfig, last) = (cluster.kubeconfig(), std::sync::Mutex::new(before.clone()));
    let (begun, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let counts = (Arc::clone(&begun), Arc::clone(&done));
    let watcher = Watcher(move |line: &Line| match &line.entry {
        Entry::Writing { change, inverse, .. } => {
            assert!(matches!(inverse, InverseRecord::By(_)), "{change} has no inverse");
            assert_eq!(state(&kubeconfig), *last.lock().unwrap(), "{change} was made before its inverse was durable");
            counts.0.fetch_add(1, Ordering::Relaxed);
        }
        Entry::Wrote { outcome: WriteOutcome::Done, .. } => {
            let now = state(&kubeconfig);
            let mut last = last.lock().unwrap();
            assert_ne!(now, *last, "a write that changed nothing");
            *last = now;
            counts.1.fetch_add(1, Ordering::Relaxed);
        }
        _ => {}
    });
    let record = responder.run(&playbook, Arc::new(watcher)).await;
    assert_eq!(record.outcome, Some(Outcome::Unverified), "{record:?}");
    assert_eq!((begun.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (5, 5));

    // Another process takes it back: it has the journal, and nothing else.
    let other = Responder::new(cluster.kubeconfig(), &responder.folder);
    let by = Identity("somebody else".to_owned());
    let record = other.engine.rollback(&record.run, by, Arc::new(()), &CancellationToken::new()).await.unwrap();
    assert_eq!(record.rollback.unwrap().outcome, Some(Outcome::Success));
    assert_eq!(state(&cluster.kubeconfig()), before);
}
