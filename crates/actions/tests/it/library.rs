//! The playbooks of the library that are made of several actions, run as a whole.

use lifeboat_playbook::Outcome;
use serde_json::json;

use crate::world::{SHOP, World, ended};

const TOOL: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: tool, namespace: shop, labels: {app: tool}}
spec: {serviceAccountName: web, containers: [{name: tool, image: example.com/tool}]}
";

fn ann_may(world: &World) -> bool {
    let args = ["auth", "can-i", "get", "configmaps", "-n", "shop", "--as", "ann"];
    lifeboat_tests::cluster::kubectl(&world.cluster.kubeconfig(), &args).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_are_stopped_and_users_lose_their_rights() {
    let world = World::start(1).await;
    world.apply(SHOP);
    let pods = world.running("shop", "app=web", 2).await;
    world.apply(TOOL);
    world.until("ann may", ann_may).await;

    let inputs = json!({"namespace": "shop", "pod": pods[0], "workload": "web"});
    let record = world.run(&world.library("cryptominer"), inputs).await;
    assert_eq!(ended(&record, "isolate").0, Outcome::Unverified, "{record:?}");
    let (outcome, text) = ended(&record, "stop");
    assert_eq!(outcome, Outcome::Success, "{text}");
    let left = world.names(&["get", "pods", "-n", "shop"]);
    assert_eq!(left.len(), 2, "the evidence is what is left: {left:?}");
    assert!(left.contains(&pods[0]) && left.contains(&"tool".to_owned()), "{left:?}");
    world.rollback(&record).await;

    let inputs = json!({"namespace": "shop", "pod": "tool", "user": "ann"});
    let record = world.run(&world.library("suspicious-exec"), inputs).await;
    for (step, wanted) in [("isolate", Outcome::Unverified), ("rights", Outcome::Success), ("user", Outcome::Success)] {
        let (outcome, text) = ended(&record, step);
        assert_eq!(outcome, wanted, "{step}: {text}");
    }
    world.until("ann may not any more", |world| !ann_may(world)).await;
    world.rollback(&record).await;
    world.until("ann may again", ann_may).await;

    let record = world.run(&world.library("stolen-user-credential"), json!({"user": "ann"})).await;
    let (outcome, text) = ended(&record, "rights");
    assert_eq!(outcome, Outcome::Success, "{text}");
    world.until("ann may not any more", |world| !ann_may(world)).await;
    world.rollback(&record).await;
    world.until("ann may again", ann_may).await;
}
