//! Nodes: kept, emptied, and given back.

use lifeboat_playbook::Outcome;
use serde_json::json;

use crate::world::{SHOP, World, ended};

const BUDGET: &str = r"
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: all-of-web, namespace: shop}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_contained_and_given_back() {
    let world = World::start(2).await;
    world.apply(SHOP);
    let pods = world.running("shop", "app=web", 2).await;
    world.apply(BUDGET);
    world
        .until("the budget was counted", |world| {
            let budget = world.json(&["get", "pdb", "-n", "shop", "all-of-web"]);
            budget["status"]["currentHealthy"] == 2 && budget["status"]["disruptionsAllowed"] == 0
        })
        .await;
    let node = world.json(&["get", "pod", "-n", "shop", &pods[0]])["spec"]["nodeName"].as_str().unwrap().to_owned();
    let playbook = world.library("contain-node");

    // Blocked: the budget is named, in the plan and by the step.
    let inputs = json!({"node": node, "within": "3s"});
    let plan = world.plan(&playbook, inputs.clone()).await.unwrap();
    let drain = plan.steps.iter().find(|step| step.step == "drain").unwrap();
    assert!(
        drain.plan.warnings.iter().any(|text| text.contains("PodDisruptionBudget all-of-web lets Pod shop/")),
        "{drain:?}"
    );
    let record = world.run_plan(&playbook, plan).await;
    for step in ["find", "protect", "cordon"] {
        assert_eq!(ended(&record, step).0, Outcome::Success, "{step}: {record:?}");
    }
    let (outcome, text) = ended(&record, "drain");
    assert_eq!(outcome, Outcome::Failed, "{text}");
    assert!(text.contains("is blocked by PodDisruptionBudget all-of-web"), "{text}");
    world.rollback(&record).await;
    let found = world.json(&["get", "node", &node]);
    assert!(found["spec"].get("unschedulable").is_none(), "{}", found["spec"]);
    let annotations = found["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.keys().any(|key| key.contains("do-not-disrupt") || key.contains("scale-down")));

    // Free.
    world.cluster.kubectl(&["delete", "pdb", "-n", "shop", "all-of-web"]);
    let record = world.run(&playbook, json!({"node": node, "within": "2m"})).await;
    let (outcome, text) = ended(&record, "drain");
    assert_eq!(outcome, Outcome::Success, "{text}");
    let moved = world.running("shop", "app=web", 2).await;
    for pod in &moved {
        assert_ne!(world.json(&["get", "pod", "-n", "shop", pod])["spec"]["nodeName"], json!(node));
    }
    world.rollback(&record).await;
    assert!(world.json(&["get", "node", &node])["spec"].get("unschedulable").is_none());

    // A taint drives away what does not tolerate it, and stays no longer than its run.
    let other = world.json(&["get", "pod", "-n", "shop", &moved[0]])["spec"]["nodeName"].as_str().unwrap().to_owned();
    let target = json!({"kind": "Node", "name": other});
    let record = world.run(&world.one_step(&target, "node.taint", &json!({})), json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    world.rollback(&record).await;
    let taints = world.json(&["get", "node", &other])["spec"]["taints"].to_string();
    assert!(!taints.contains("lifeboat.dev/contained"), "{taints}");
}
