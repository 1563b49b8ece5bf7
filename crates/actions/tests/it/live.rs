//! Looking into a pod where no kubelet runs: what is planned, what is refused, and that nothing is claimed.

use lifeboat_playbook::{Outcome, Planned};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::world::{World, ended, engine};

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
metadata: {name: web, namespace: lab, labels: {app: web}}
spec:
  nodeName: n1
  automountServiceAccountToken: false
  containers: [{name: web, image: example.com/a}, {name: side, image: example.com/b}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: looks}
rules: [{apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}]
";

fn web() -> Value {
    json!({"kind": "Pod", "namespace": "lab", "name": "web"})
}

fn pod(world: &World) -> Value {
    world.json(&["get", "pod", "-n", "lab", "web"])
}

fn added(world: &World) -> Vec<String> {
    let pod = pod(world);
    let containers = pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_kubelet_nothing_is_claimed() {
    let mut world = World::of(Cluster::start().await);
    world.apply(PODS);
    world.apply(&PODS.replace("namespace: lab", "namespace: field").replace("{name: lab}", "{name: field}"));
    tokio::join!(looked_into_in_vain(&world), isolated_without_its_probe(&world));
    what_is_not_allowed_is_in_the_plan(&mut world).await;
}

async fn looked_into_in_vain(world: &World) {
    let before = pod(world);
    let look = json!({"image": "example.com/busybox", "container": "side", "paths": ["/etc/passwd"], "within": "2s"});
    let playbook = world.one_step(&web(), "evidence.live", &look);
    let plan = world.plan(&playbook, json!({})).await.unwrap();
    assert_eq!(plan.hash, world.plan(&playbook, json!({})).await.unwrap().hash, "a plan is the same twice");
    assert_eq!(pod(world), before, "planning writes nothing");
    let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
    assert_eq!(step.state, Planned::Known);
    assert_eq!(step.plan.missing, Vec::<String>::new());
    let changes: Vec<(&str, &str)> =
        step.plan.changes.iter().map(|change| (change.id.as_str(), change.verb.as_str())).collect();
    assert_eq!(changes, [("container", "patch"), ("save", "save")]);
    let container = &step.plan.changes[0];
    assert!(container.irreversible.as_ref().unwrap().contains("stays in its pod"), "{container:?}");
    let fields = serde_json::to_string(&container.fields).unwrap();
    assert!(fields.contains("example.com/busybox") && fields.contains("targetContainerName"), "{fields}");

    // The container is added and never starts: the step fails by its deadline.
    let record = world.run_plan(&playbook, plan).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Failed, "{text}");
    assert!(text.contains("has not ended within 2 s: the kubelet of its node has told nothing of it"), "{text}");
    let found = pod(world);
    let container = &found["spec"]["ephemeralContainers"][0];
    assert_eq!(container["name"], "lifeboat-live-1");
    assert_eq!(container["targetContainerName"], "side");
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);

    // A second one beside it.
    let record = world.run(&playbook, json!({})).await;
    assert_eq!(ended(&record, "it").0, Outcome::Failed);
    assert_eq!(added(world), ["lifeboat-live-1", "lifeboat-live-2"]);

    // A program cannot be run either.
    let playbook = world.one_step(&web(), "evidence.live", &json!({"command": ["ps"]}));
    let record = world.run(&playbook, json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert!([Outcome::Failed, Outcome::Denied].contains(&outcome), "{outcome:?} {text}");

    // A pod that was replaced between plan and run gets nothing.
    let playbook = world.one_step(&web(), "evidence.live", &look);
    let plan = world.plan(&playbook, json!({})).await.unwrap();
    world.cluster.kubectl(&["delete", "pod", "-n", "lab", "web", "--force", "--grace-period=0"]);
    world.apply(PODS);
    let record = world.run_plan(&playbook, plan).await;
    assert_eq!(record.outcome, Some(Outcome::Denied), "{record:?}");
    assert_eq!(added(world), Vec::<String>::new());

    // What the server would not take, and what nobody can mean.
    for (with, words) in [
        (json!({"image": "b", "container": "none"}), "has no container 'none'"),
        (json!({"image": "b", "paths": ["etc"]}), "'etc' is no path from the root"),
        (json!({"image": "b", "command": ["ps"]}), "two ways"),
    ] {
        let playbook = world.one_step(&web(), "evidence.live", &with);
        let plan = world.plan(&playbook, json!({})).await.unwrap();
        let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
        assert!(matches!(&step.state, Planned::Refused(reason) if reason.contains(words)), "{:?}", step.state);
    }
    world.cluster.kubectl(&["label", "namespace", "lab", "pod-security.kubernetes.io/enforce=restricted"]);
    let playbook = world.one_step(&web(), "evidence.live", &look);
    let plan = world.plan(&playbook, json!({})).await.unwrap();
    let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
    assert!(matches!(&step.state, Planned::Refused(reason) if reason.contains("restricted")), "{:?}", step.state);
    world.cluster.kubectl(&["label", "namespace", "lab", "pod-security.kubernetes.io/enforce-"]);
}

/// The pod of the probe never gets an address: the pod is isolated all the same, and this is no success.
async fn isolated_without_its_probe(world: &World) {
    let target = json!({"kind": "Pod", "namespace": "field", "name": "web"});
    let playbook = world.one_step(&target, "pod.isolate", &json!({"probe": {"image": "example.com/busybox"}}));
    let changes = async || {
        let plan = world.plan(&playbook, json!({})).await.unwrap();
        let step = plan.steps.iter().find(|step| step.step == "it").unwrap().clone();
        let changes = step.plan.changes.iter().map(|change| change.id.clone()).collect::<Vec<_>>();
        (changes, step.plan.warnings.join("\n"), step.plan.missing)
    };
    let (planned, warnings, _) = changes().await;
    assert_eq!(planned, ["policy", "labels"]);
    assert!(warnings.contains("has no address, so that nothing can be tried"), "{warnings}");

    let status = r#"{"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}}"#;
    world.cluster.kubectl(&[
        "patch",
        "pod",
        "-n",
        "field",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    let (planned, _, missing) = changes().await;
    assert_eq!(planned, ["peer", "listener", "policy", "labels", "end"]);
    assert_eq!(missing, Vec::<String>::new());
    let record = world.run(&playbook, json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Unverified, "{text}");
    assert!(text.contains("NOT PROVED ISOLATED") && text.contains("has no address after 60 s"), "{text}");
    let pods = ["get", "pods", "-n", "field"];
    assert_eq!(world.names(&pods), ["web"], "the pod of the probe is deleted");
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "field"]).len(), 1);
    let record = world.rollback(&record).await;
    let writes = &record.step("it").unwrap().writes;
    let undone: Vec<Outcome> = writes.iter().map(|write| write.undone.as_ref().unwrap().outcome).collect();
    let done = Outcome::Success;
    assert_eq!(undone, [done, done, done, Outcome::Skipped], "peer, policy, labels, end: {record:?}");
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "field"]), Vec::<String>::new());
}

/// Without the rights, the plan says which.
async fn what_is_not_allowed_is_in_the_plan(world: &mut World) {
    world.cluster.kubectl(&["create", "clusterrolebinding", "eve-looks", "--clusterrole=looks", "--user=eve"]);
    let kubeconfig = world.cluster.kubeconfig_for("eve", &[]).unwrap();
    let may = ["auth", "can-i", "list", "pods", "-n", "lab"];
    world.until("eve may look", |_| lifeboat_tests::cluster::kubectl(&kubeconfig, &may).is_ok()).await;
    let journals = tempfile::tempdir().unwrap();
    world.engine = engine(&kubeconfig, world.evidence.path(), journals.path());
    for (with, right) in [
        (json!({"image": "example.com/busybox"}), "patch pods/ephemeralcontainers in namespace lab"),
        (json!({"command": ["ps"]}), "create pods/exec in namespace lab"),
    ] {
        let playbook = world.one_step(&web(), "evidence.live", &with);
        let plan = world.plan(&playbook, json!({})).await.unwrap();
        let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
        assert_eq!(step.plan.missing, [right], "{step:?}");
        assert_eq!(ended(&world.run_plan(&playbook, plan).await, "it").0, Outcome::Denied);
    }
    assert_eq!(added(world), Vec::<String>::new());
}
