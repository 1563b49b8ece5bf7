//! What must not be done, and what is told when it is not.

use lifeboat_playbook::{EngineError, Outcome, Plan, Planned};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::world::{SHOP, World, ended, engine};

const PODS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: lab}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: lab}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: lab, labels: {app: plain}}
spec: {nodeName: n1, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: on-host, namespace: lab, labels: {app: host}}
spec: {nodeName: n1, hostNetwork: true, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}
";

fn pod(name: &str) -> Value {
    json!({"kind": "Pod", "namespace": "lab", "name": name})
}

/// Why the step of a plan would not be done.
fn refusal(plan: &Result<Plan, EngineError>) -> String {
    match plan {
        Ok(plan) => match &plan.steps.iter().find(|step| step.step == "it").unwrap().state {
            Planned::Refused(reason) => reason.clone(),
            state => panic!("{state:?}"),
        },
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_isolate_is_refused() {
    let world = World::of(Cluster::start().await);
    world.apply(PODS);
    let on_host = world.one_step(&pod("on-host"), "pod.isolate", &json!({}));
    let reason = refusal(&world.plan(&on_host, json!({})).await);
    assert!(reason.contains("isolate node n1 instead"), "{reason}");

    // A policy that selects every pod goes on to allow what it allows.
    world.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: dns, namespace: lab}\nspec: {podSelector: {}, \
         policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}\n",
    );
    let plain = world.one_step(&pod("plain"), "pod.isolate", &json!({}));
    let reason = refusal(&world.plan(&plain, json!({})).await);
    assert!(reason.contains("NetworkPolicy dns still allows egress to anywhere on UDP 53"), "{reason}");
    let accepted = world.one_step(&pod("plain"), "pod.isolate", &json!({"allowResidual": true}));
    let plan = world.plan(&accepted, json!({})).await.unwrap();
    let record = world.run_plan(&accepted, plan).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Unverified);
    assert!(text.starts_with("NOT ISOLATED: NetworkPolicy dns still allows"), "{text}");
    world.rollback(&record).await;

    // A policy that comes between plan and run.
    world.cluster.kubectl(&["delete", "networkpolicy", "-n", "lab", "dns"]);
    let plan = world.plan(&plain, json!({})).await.unwrap();
    world.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: all, namespace: lab}\nspec: {podSelector: {}, \
         policyTypes: [Ingress], ingress: [{}]}\n",
    );
    let record = world.run_plan(&plain, plan).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Denied, "{text}");
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "lab"]), ["all"]);
    world.cluster.kubectl(&["delete", "networkpolicy", "-n", "lab", "all"]);

    // A pod that was replaced between plan and run: denied, and nothing is written.
    let plan = world.plan(&plain, json!({})).await.unwrap();
    world.cluster.kubectl(&["delete", "pod", "-n", "lab", "plain", "--force", "--grace-period=0"]);
    world.apply(PODS);
    let record = world.run_plan(&plain, plan).await;
    assert_eq!(record.outcome, Some(Outcome::Denied), "{record:?}");
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "lab"]), Vec::<String>::new());
    let labels = world.json(&["get", "pod", "-n", "lab", "plain"])["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"app": "plain"}));

    // Several pods that fit are none.
    let any = world.one_step(&json!({"kind": "Pod", "serviceAccount": "default"}), "pod.isolate", &json!({}));
    let plan = world.plan(&any, json!({})).await.unwrap();
    let find = plan.steps.iter().find(|step| step.step == "find").unwrap();
    assert!(
        matches!(&find.state, Planned::Refused(reason) if reason.contains("and one is needed")),
        "{:?}",
        find.state
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_in_the_plan_and_is_not_done() {
    let mut world = World::of(Cluster::start().await);
    world.apply(PODS);
    world.apply(SHOP);
    // The built-in role `view` is put together by a controller, which does not run here.
    world.apply(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: looks}\nrules: [{apiGroups: ['*'], \
         resources: ['*'], verbs: [get, list, watch]}]\n",
    );
    world.cluster.kubectl(&["create", "clusterrolebinding", "eve-looks", "--clusterrole=looks", "--user=eve"]);
    let kubeconfig = world.cluster.kubeconfig_for("eve", &[]).unwrap();
    let may = ["auth", "can-i", "list", "networkpolicies", "-n", "lab"];
    world.until("eve may look", |_| lifeboat_tests::cluster::kubectl(&kubeconfig, &may).is_ok()).await;
    let journals = tempfile::tempdir().unwrap();
    world.engine = engine(&kubeconfig, world.evidence.path(), journals.path());
    let playbook = world.one_step(&pod("plain"), "pod.isolate", &json!({}));
    let plan = world.plan(&playbook, json!({})).await.unwrap();
    let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
    let missing = &step.plan.missing;
    for wanted in ["patch pods in namespace lab", "create networkpolicies.networking.k8s.io in namespace lab"] {
        assert!(missing.iter().any(|one| one == wanted), "{step:?}");
    }
    let record = world.run_plan(&playbook, plan).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Denied, "{text}");
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "lab"]), Vec::<String>::new());
}
