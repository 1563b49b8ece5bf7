//! Owners: chains, cycles, owners that come later, owners that are not restored.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::core::pod_spec;
use crate::fidelity::shape::{Act, Shape};

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    // Any graph of maps, cycles and selves among them.
    let graph = (2_usize..8).prop_flat_map(|count| (Just(count), vec((0..count, 0..count), 0..12)));
    graph.prop_map(|(count, edges)| {
        let bare: Vec<Shape> = (0..count).map(|number| map(&format!("graph-{number}"))).collect();
        let mut maps = bare.clone();
        let mut seen = Vec::new();
        for (owned, owner) in edges {
            if !seen.contains(&(owned, owner)) {
                seen.push((owned, owner));
                maps[owned] = maps[owned].clone().owned_by(&bare[owner], false);
            }
        }
        [maps, chain(), special()].concat()
    })
}

fn map(name: &str) -> Shape {
    Shape::new("v1", "configmaps", "ConfigMap", Some("db-1"), name, json!({"data": {"name": name}}))
}

/// A Deployment with its history, and pods in the middle of a rollout.
fn chain() -> Vec<Shape> {
    let spec = |hash: Option<&str>, replicas: u8| {
        let mut labels = json!({"app": "chain"});
        if let Some(hash) = hash {
            labels["pod-template-hash"] = hash.into();
        }
        json!({"spec": {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec()}}})
    };
    let revision = |number: &str| json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": number}}});
    let deployment =
        Shape::new("apps/v1", "deployments", "Deployment", Some("db-1"), "chain", spec(None, 2)).with(revision("2"));
    let set = |hash: &str, replicas: u8, number: &str| {
        Shape::new(
            "apps/v1",
            "replicasets",
            "ReplicaSet",
            Some("db-1"),
            format!("chain-{hash}"),
            spec(Some(hash), replicas),
        )
        .with(revision(number))
        .with(json!({"metadata": {"labels": {"app": "chain", "pod-template-hash": hash}}}))
        .owned_by(&deployment, true)
    };
    let sets = [set("6b9f", 0, "1"), set("7c4d", 2, "2")];
    let pod = |name: &str, owner: &Shape| {
        let content =
            json!({"metadata": {"generateName": "chain-7c4d-", "labels": {"app": "chain"}}, "spec": pod_spec()});
        Shape::new("v1", "pods", "Pod", Some("db-1"), name, content).owned_by(owner, true).skipped(140)
    };
    let pods = [pod("chain-7c4d-x1", &sets[1]), pod("chain-7c4d-x2", &sets[1])];
    let daemons = Shape::new(
        "apps/v1",
        "daemonsets",
        "DaemonSet",
        Some("db-1"),
        "daemons",
        json!({"spec": {
        "selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}},
            "spec": pod_spec()}}}),
    );
    let history = Shape::new(
        "apps/v1",
        "controllerrevisions",
        "ControllerRevision",
        Some("db-1"),
        "daemons-5f7",
        json!({"metadata": {"labels": {"app": "d"}}, "data": {}, "revision": 1}),
    )
    .owned_by(&daemons, true);
    let cron = Shape::new(
        "batch/v1",
        "cronjobs",
        "CronJob",
        Some("db-1"),
        "cron",
        json!({"spec": {"schedule": "@yearly",
        "jobTemplate": {"spec": {"template": {"spec": never(pod_spec())}}}}}),
    );
    let job = Shape::new(
        "batch/v1",
        "jobs",
        "Job",
        Some("db-1"),
        "cron-1",
        json!({"spec": {"suspend": true, "template": {"spec": never(pod_spec())}}}),
    )
    .owned_by(&cron, true);
    let worker = Shape::new("v1", "pods", "Pod", Some("db-1"), "cron-1-abcde", json!({"spec": never(pod_spec())}))
        .owned_by(&job, true)
        .skipped(140);
    [vec![deployment, daemons, history, cron, job, worker], sets.to_vec(), pods.to_vec()].concat()
}

fn never(mut spec: Value) -> Value {
    spec["restartPolicy"] = "Never".into();
    spec
}

fn special() -> Vec<Shape> {
    let widget = Shape::new("example.com/v1", "widgets", "Widget", Some("db-1"), "owner", json!({"spec": {}}));
    let role =
        Shape::new("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", None, "owner", json!({"rules": []}));
    let done = Shape::new("v1", "pods", "Pod", Some("db-1"), "done", json!({"spec": never(pod_spec())}))
        .act(Act::Status(json!({"phase": "Succeeded"})))
        .skipped(134);
    let scratch = Shape::new("v1", "pods", "Pod", Some("db-1"), "with-scratch", json!({"spec": pod_spec()}));
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let devices = json!({"spec": {"devices": {"requests": [{"name": "gpu",
        "exactly": {"deviceClassName": "gpu"}}]}}});
    vec![
        // The owner comes in a later wave.
        map("of-a-widget").owned_by(&widget, true),
        Shape::new("v1", "pods", "Pod", Some("db-1"), "of-a-widget", json!({"spec": pod_spec()}))
            .owned_by(&widget, true),
        // An owner of the whole cluster.
        map("of-a-role").owned_by(&role, false),
        // One owner is restored, and one is not.
        map("of-two").owned_by(&done, false).owned_by(&widget, false),
        map("of-none").owned_by(&done, false),
        // Made by a pod's controller, for that pod.
        Shape::new(
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            Some("db-1"),
            "with-scratch-scratch",
            claim,
        )
        .owned_by(&scratch, true)
        .skipped(136),
        Shape::new("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", Some("db-1"), "with-scratch-gpu", devices)
            .owned_by(&scratch, true)
            .skipped(136),
        widget,
        role,
        done,
        scratch,
    ]
}
