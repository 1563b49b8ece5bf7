//! 8. No step is a success whose effect was not observed.

use std::sync::Arc;

use lifeboat_playbook::{Entry, Line, Outcome};
use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use crate::support::{Responder, Watcher};

const OBJECTS: &str = r#"
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
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: report, namespace: shop}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: example.com/a}]}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ann-looks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: ann, apiGroup: rbac.authorization.k8s.io}]
"#;

const ANN: &str = r#"{"subjects":[{"kind":"User","name":"ann","apiGroup":"rbac.authorization.k8s.io"}]}"#;

/// Whatever a step has done is taken away before it can look: the API server said yes, and there is nothing to see.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_before_it_is_seen_is_no_success() {
    let _turn = crate::support::turn().await;
    let cluster = Cluster::start().await;
    let file = cluster.temp().join("objects.yaml");
    std::fs::write(&file, OBJECTS).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let responder = Responder::new(cluster.kubeconfig(), cluster.temp());
    let node = json!({"kind": "Node", "name": "n1"});
    let pod = json!({"kind": "Pod", "namespace": "shop", "name": "web"});
    let cron_job = json!({"kind": "CronJob", "namespace": "shop", "name": "report"});
    let subject = json!({"subject": {"kind": "User", "name": "ann"}});
    let cases: [(&str, Option<Value>, Value, &[&str]); 5] = [
        ("node.cordon", Some(node.clone()), json!({}), &["uncordon", "n1"]),
        (
            "node.taint",
            Some(node),
            json!({"effect": "NoSchedule"}),
            &["taint", "node", "n1", "lifeboat.dev/contained:NoSchedule-"],
        ),
        (
            "cronjob.suspend",
            Some(cron_job),
            json!({}),
            &["patch", "cronjob", "report", "-n", "shop", "-p", r#"{"spec":{"suspend":false}}"#],
        ),
        ("pod.isolate", Some(pod), json!({}), &["delete", "networkpolicies", "--all", "-n", "shop"]),
        ("rbac.revoke", None, subject, &["patch", "clusterrolebinding", "ann-looks", "--type=merge", "-p", ANN]),
    ];
    for (uses, target, with, undo) in cases {
        let mut with = with;
        let mut steps = Vec::new();
        if let Some(target) = target {
            steps.push(json!({"id": "find", "uses": "target.resolve", "with": target}));
            with["target"] = json!("${{ steps.find.target }}");
        }
        steps.push(json!({"id": "it", "uses": uses, "with": with}));
        let playbook = responder.playbook(&Value::Array(steps));
        let kubeconfig = cluster.kubeconfig();
        let undo: Vec<String> = undo.iter().map(ToString::to_string).collect();
        let watcher = Watcher(move |line: &Line| {
            if matches!(&line.entry, Entry::Applied { step, .. } if step == "it") {
                let undo: Vec<&str> = undo.iter().map(String::as_str).collect();
                kubectl(&kubeconfig, &undo).unwrap();
            }
        });
        let record = responder.run(&playbook, Arc::new(watcher)).await;
        let step = record.step("it").unwrap();
        assert_eq!(step.outcome, Some(Outcome::Unverified), "{uses}: {step:?}");
        assert_eq!(record.outcome, Some(Outcome::Unverified), "{uses}");
        assert!(step.proof.as_ref().is_some_and(|proof| !proof.text().is_empty()), "{uses} does not say why");
    }
}
