//! `contain-pod`: planned, run, proved as far as it can be, and taken back.

use lifeboat_playbook::{Outcome, Planned};
use serde_json::{Value, json};

use crate::world::{SHOP, World, ended};

fn labels(pod: &Value) -> &Value {
    &pod["metadata"]["labels"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_contained_and_everything_is_taken_back() {
    let world = World::start(1).await;
    world.apply(SHOP);
    let pods = world.running("shop", "app=web", 2).await;
    let victim = pods[0].as_str();
    let before = world.json(&["get", "pod", "-n", "shop", victim]);
    let playbook = world.library("contain-pod");
    let inputs = json!({"namespace": "shop", "pod": victim});

    let plan = world.plan(&playbook, inputs.clone()).await.unwrap();
    assert_eq!(plan.hash, world.plan(&playbook, inputs.clone()).await.unwrap().hash, "a plan is the same twice");
    let after = world.json(&["get", "pod", "-n", "shop", victim]);
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"], "planning writes nothing");
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "shop"]), ["web-in"]);
    let isolate = plan.steps.iter().find(|step| step.step == "isolate").unwrap();
    assert_eq!(isolate.state, Planned::Known);
    let changes: Vec<(&str, &str)> =
        isolate.plan.changes.iter().map(|change| (change.id.as_str(), change.verb.as_str())).collect();
    assert_eq!(changes, [("policy", "create"), ("labels", "patch")]);
    let warnings = isolate.plan.warnings.join("\n");
    assert!(warnings.contains("makes a new pod of the same template"), "{warnings}");
    assert!(warnings.contains("lose it as an endpoint: web"), "{warnings}");
    assert!(isolate.plan.evidence.iter().any(|clock| clock.seconds == Some(15)), "{:?}", isolate.plan.evidence);
    assert_eq!(isolate.plan.missing, Vec::<String>::new());

    let record = world.run_plan(&playbook, plan).await;
    assert_eq!(ended(&record, "find").0, Outcome::Success, "{record:?}");
    let (outcome, text) = ended(&record, "objects");
    assert_eq!(outcome, Outcome::Success, "{text}");
    // There is no kubelet.
    let (outcome, text) = ended(&record, "logs");
    assert_eq!(outcome, Outcome::Failed, "{text}");
    assert!(text.contains("no log of Pod shop/"), "{text}");
    let (outcome, text) = ended(&record, "isolate");
    assert_eq!(outcome, Outcome::Unverified, "{text}");
    assert!(text.starts_with("NOT PROVED ISOLATED: labels and policy are in force"), "{text}");
    let (outcome, text) = ended(&record, "rights");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(text.contains("asked about 4 rights of ServiceAccount shop/web: all are refused now"), "{text}");

    let isolated = world.json(&["get", "pod", "-n", "shop", victim]);
    let uid = isolated["metadata"]["uid"].as_str().unwrap();
    assert_eq!(labels(&isolated), &json!({"lifeboat.dev/quarantine": uid}));
    let policy = world.json(&["get", "networkpolicy", "-n", "shop", &format!("lifeboat-quarantine-{uid}")]);
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["lifeboat.dev/quarantine"], uid);
    assert_eq!(policy["metadata"]["annotations"]["lifeboat.dev/expires-after"], "24h");
    // The owner lets go of it and makes another one; the Service has that one, and not this.
    world.running("shop", "app=web", 2).await;
    world
        .until("the ReplicaSet lets go of the pod", |world| {
            world.json(&["get", "pod", "-n", "shop", victim])["metadata"]["ownerReferences"].is_null()
        })
        .await;
    world
        .until("the Service lets go of the pod", |world| {
            let slices = world.json(&["get", "endpointslices", "-n", "shop"]).to_string();
            !slices.contains(&format!("\"name\":\"{victim}\""))
        })
        .await;
    assert_eq!(
        world.cluster.kubectl(&["auth", "can-i", "get", "configmaps", "-n", "shop", "--as", "ann"]).trim(),
        "yes"
    );
    let files = std::fs::read_dir(world.evidence.path().join(record.run.as_str()).join("objects")).unwrap();
    assert!(files.count() >= 8, "pod, owners, node, account, bindings, policies, events");

    let record = world.rollback(&record).await;
    let back = world.json(&["get", "pods", "-n", "shop"]);
    let found = back["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["name"] == victim);
    // Its ReplicaSet may have deleted it or the new one, since there were three.
    if let Some(pod) = found {
        assert_eq!(labels(pod), labels(&before));
        assert!(pod["metadata"]["annotations"].get("lifeboat.dev/original-labels").is_none());
    }
    assert_eq!(world.names(&["get", "networkpolicies", "-n", "shop"]), ["web-in"]);
    let binding = world.json(&["get", "rolebinding", "-n", "shop", "web-reads"]);
    assert!(binding["subjects"].as_array().unwrap().iter().any(|subject| subject["name"] == "web"));
    let undone: Vec<Outcome> = record
        .steps
        .iter()
        .filter(|step| ["isolate", "rights"].contains(&step.step.as_str()))
        .flat_map(|step| &step.writes)
        .map(|write| write.undone.as_ref().unwrap().outcome)
        .collect();
    assert_eq!(undone, [Outcome::Success; 3], "{record:?}");
}
