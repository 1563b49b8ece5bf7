//! What makes pods, and what belongs to it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::core::pod_spec;
use crate::fidelity::shape::{Act, Shape, Stage, dressed};

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    (1_u8..4, any::<bool>())
        .prop_flat_map(|(replicas, paused)| dressed([owners(replicas, paused), jobs(), others(), classes()].concat()))
}

/// What makes pods: two Deployments, of which one is rolled out again, and one of each other kind.
pub(crate) fn controlled() -> impl Strategy<Value = Vec<Shape>> {
    (1_u8..4).prop_flat_map(|replicas| {
        let second = json!({"spec": {"template": {"metadata": {"annotations": {"note": "second"}}}}});
        let mut shapes = owners(replicas, false);
        shapes.retain(|shape| shape.resource != "controllerrevisions");
        for shape in shapes.iter_mut().filter(|shape| shape.name == "web") {
            shape.acts.push(Act::Settle);
            shape.acts.push(Act::Patch(second.clone()));
        }
        let jobs = jobs().into_iter().filter(|shape| ["automatic", "nightly"].contains(&shape.name.as_str()));
        dressed(shapes.into_iter().chain(jobs).collect())
    })
}

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}, "annotations": {"note": "ü"}}, "spec": pod_spec()})
}

fn workload(resource: &'static str, kind: &str, name: &str, spec: Value) -> Shape {
    let content = json!({"spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name)}});
    Shape::new("apps/v1", resource, kind, Some("shop"), name, content).with_spec(spec)
}

fn owners(replicas: u8, paused: bool) -> Vec<Shape> {
    let claims = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}]);
    let revised = json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "4"}}});
    let content = json!({"spec": {"replicas": replicas, "selector": {"app": "rc"}, "template": template("rc")}});
    vec![
        workload(
            "deployments",
            "Deployment",
            "web",
            json!({"replicas": replicas, "paused": paused,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}}),
        ),
        workload(
            "deployments",
            "Deployment",
            "recreated",
            json!({"replicas": 1, "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0, "progressDeadlineSeconds": 30, "minReadySeconds": 1}),
        ),
        workload(
            "statefulsets",
            "StatefulSet",
            "db",
            json!({"replicas": replicas, "serviceName": "headless",
            "podManagementPolicy": "Parallel", "volumeClaimTemplates": claims,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
        ),
        workload("daemonsets", "DaemonSet", "agent", json!({"updateStrategy": {"type": "OnDelete"}})),
        workload("daemonsets", "DaemonSet", "revised", json!({})).with(revised),
        workload("replicasets", "ReplicaSet", "bare-set", json!({"replicas": 1})),
        Shape::new("v1", "replicationcontrollers", "ReplicationController", Some("shop"), "rc", content),
        Shape::new(
            "apps/v1",
            "controllerrevisions",
            "ControllerRevision",
            Some("shop"),
            "revision-1",
            json!({"data": {"spec": {"any": ["thing", 1, null, "ü"]}}, "revision": 3}),
        ),
    ]
}

fn jobs() -> Vec<Shape> {
    let job = |name: &str, spec: Value| {
        let pod = json!({"restartPolicy": "Never"});
        let content = json!({"spec": {"template": {"spec": pod_spec()}}});
        Shape::new("batch/v1", "jobs", "Job", Some("shop"), name, content)
            .with(json!({"spec": {"template": {"spec": pod}}}))
            .with(json!({"spec": spec}))
    };
    let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"controller-uid": "mine", "job": "a"}},
        "template": {"metadata": {"labels": {"controller-uid": "mine", "job": "a"}}}});
    let time = "2026-11-21T04:45:00Z";
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time, "lastProbeTime": time});
    let complete = json!({"startTime": time, "completionTime": time, "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]});
    let failed = json!({"startTime": time, "conditions": [condition("FailureTarget"), condition("Failed")]});
    let cron = json!({"spec": {"schedule": "*/5 * * * *", "timeZone": "Europe/Berlin", "suspend": true,
        "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "example.com/c:1"}]}}}}}});
    vec![
        job("automatic", json!({"suspend": true})),
        job("manual", manual).keeps(&["/spec/selector", "/spec/template/metadata/labels"]),
        job(
            "indexed",
            json!({"suspend": true, "completions": 3, "parallelism": 2, "completionMode": "Indexed",
            "backoffLimitPerIndex": 1, "ttlSecondsAfterFinished": 60}),
        ),
        job("complete", json!({})).act(Act::Status(complete)).skipped(135),
        job("failed-job", json!({})).act(Act::Status(failed)).skipped(135),
        Shape::new("batch/v1", "cronjobs", "CronJob", Some("shop"), "nightly", cron),
    ]
}

fn others() -> Vec<Shape> {
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
        "averageUtilization": 70}}},
        {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue",
            "averageValue": "100m"}}}]);
    let template = json!({"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu",
        "count": 1}}]}}});
    vec![
        Shape::new(
            "autoscaling/v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            Some("shop"),
            "web",
            json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 9, "metrics": metrics, "behavior": {"scaleDown": {
            "stabilizationWindowSeconds": 60, "policies": [{"type": "Percent", "value": 10,
                "periodSeconds": 60}]}}}}),
        ),
        Shape::new(
            "policy/v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            Some("shop"),
            "web",
            json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow"}}),
        ),
        Shape::new(
            "policy/v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            Some("shop"),
            "all",
            json!({"spec": {"maxUnavailable": 0, "selector": {}}}),
        ),
        Shape::new("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", Some("shop"), "gpu", template.clone()),
        Shape::new(
            "resource.k8s.io/v1",
            "resourceclaimtemplates",
            "ResourceClaimTemplate",
            Some("shop"),
            "gpu",
            json!({"spec": template}),
        ),
    ]
}

fn classes() -> Vec<Shape> {
    vec![
        Shape::new(
            "scheduling.k8s.io/v1",
            "priorityclasses",
            "PriorityClass",
            None,
            "urgent",
            json!({"value": 100_000, "preemptionPolicy": "Never", "description": "ü"}),
        )
        .stage(Stage::First),
        Shape::new(
            "scheduling.k8s.io/v1",
            "priorityclasses",
            "PriorityClass",
            None,
            "usual",
            json!({"value": 10, "globalDefault": true}),
        )
        .stage(Stage::First),
        Shape::new(
            "node.k8s.io/v1",
            "runtimeclasses",
            "RuntimeClass",
            None,
            "sandbox",
            json!({"handler": "kata",
            "overhead": {"podFixed": {"memory": "64Mi"}}, "scheduling": {"nodeSelector": {"kata": "true"}}}),
        )
        .stage(Stage::First),
        Shape::new(
            "resource.k8s.io/v1",
            "deviceclasses",
            "DeviceClass",
            None,
            "gpu",
            json!({"spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}}),
        )
        .stage(Stage::First),
    ]
}
