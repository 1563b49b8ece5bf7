//! Templates and Secrets that are replaced, and who runs them.

use lifeboat_playbook::{Outcome, Planned};
use serde_json::{Value, json};

use crate::world::{SHOP, World, ended};

const SETS: &str = r"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: db, image: 'example.com/db:1'}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: agent, image: 'example.com/agent:1'}]}
";

fn target(kind: &str, name: &str) -> Value {
    json!({"kind": kind, "namespace": "shop", "name": name})
}

fn image(world: &World, kind: &str, name: &str) -> String {
    let object = world.json(&["get", kind, name, "-n", "shop"]);
    object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_go_back_and_forth_and_each_pod_is_looked_at() {
    let world = World::start(1).await;
    world.apply(SHOP);
    world.apply(SETS);
    let before = world.running("shop", "app=web", 2).await;
    world.running("shop", "app=db", 2).await;
    world.running("shop", "app=agent", 1).await;

    let web = target("Deployment", "web");
    let record = world.run(&world.one_step(&web, "workload.restart", &json!({})), json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(text.contains("2 pods of Deployment shop/web are new and ready"), "{text}");
    assert!(!world.running("shop", "app=web", 2).await.iter().any(|pod| before.contains(pod)));

    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db"), ("DaemonSet", "agent")] {
        let bad = format!("example.com/{name}:2");
        let set = format!("{name}={bad}");
        world.cluster.kubectl(&["set", "image", &format!("{kind}/{name}"), &set, "-n", "shop"]);
        let playbook = world.library("rogue-workload");
        let inputs = json!({"namespace": "shop", "kind": kind, "name": name, "without": [bad]});
        // The controller notes the template a moment later.
        let pods = ["get", "pods", "-n", "shop", "-l", &format!("app={name}"), "-o", "jsonpath={..image}"];
        world.until("the bad image runs", |world| world.cluster.kubectl(&pods).contains(&bad)).await;
        let record = world.run(&playbook, inputs).await;
        let (outcome, text) = ended(&record, "back");
        assert_eq!(outcome, Outcome::Success, "{kind}: {text}");
        assert_eq!(image(&world, kind, name), format!("example.com/{name}:1"));
        let record = world.rollback(&record).await;
        assert_eq!(record.rollback.unwrap().outcome, Some(Outcome::Success), "{:?}", record.steps);
        assert_eq!(image(&world, kind, name), bad);
    }

    // Nothing that would do, and a workload that rolls nothing out.
    let refusal = async |with: Value| {
        let plan = world.plan(&world.one_step(&web, "workload.undo", &with), json!({})).await.unwrap();
        match &plan.steps.iter().find(|step| step.step == "it").unwrap().state {
            Planned::Refused(reason) => reason.clone(),
            state => panic!("{state:?}"),
        }
    };
    let reason = refusal(json!({"without": ["example.com/web"]})).await;
    assert!(reason.contains("has no earlier revision that would do"), "{reason}");
    let reason = refusal(json!({"revision": 999})).await;
    assert!(reason.contains("has no revision 999"), "{reason}");
    world.cluster.kubectl(&["rollout", "pause", "deployment/web", "-n", "shop"]);
    let reason = refusal(json!({})).await;
    assert!(reason.contains("it is paused"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_hunted_and_its_pods_are_contained() {
    let world = World::start(1).await;
    world.apply(SHOP);
    world.apply(SETS);
    let pods = world.running("shop", "app=web", 2).await;
    world.running("shop", "app=db", 2).await;

    let playbook = world.library("compromised-image");
    let record = world.run(&playbook, json!({"images": ["example.com/web"]})).await;
    let (outcome, text) = ended(&record, "hunt");
    assert_eq!(outcome, Outcome::Success, "{text}");
    for (place, pod) in pods.iter().enumerate() {
        let (outcome, text) = ended(&record, &format!("isolate[{place}]"));
        assert_eq!(outcome, Outcome::Unverified, "{text}");
        assert!(text.contains("NOT PROVED ISOLATED"), "{text}");
        let labels = world.json(&["get", "pod", pod, "-n", "shop"])["metadata"]["labels"].clone();
        assert!(labels.get("app").is_none(), "{labels}");
    }
    for pod in world.running("shop", "app=db", 2).await {
        assert_eq!(world.json(&["get", "pod", &pod, "-n", "shop"])["metadata"]["labels"]["app"], "db");
    }
    world.rollback(&record).await;

    let hunt = |limit: u32| {
        let step = json!({"id": "it", "uses": "image.hunt", "with": {"images": ["example.com/db:1"], "limit": limit}});
        let spec = json!({"description": "A test.", "steps": [step]});
        let metadata = json!({"name": "test"});
        let document =
            json!({"apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": metadata, "spec": spec});
        world.playbook(&document.to_string())
    };
    let (outcome, text) = ended(&world.run(&hunt(1), json!({})).await, "it");
    assert_eq!((outcome, text.as_str()), (Outcome::Unverified, "2 pods run it, and the first 1 were taken"));
    let (outcome, _) = ended(&world.run(&hunt(2), json!({})).await, "it");
    assert_eq!(outcome, Outcome::Success);
}
