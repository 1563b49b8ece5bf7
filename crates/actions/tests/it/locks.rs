//! Secrets with new values, and a namespace that nothing comes into.

use lifeboat_playbook::{Outcome, Planned};
use serde_json::{Value, json};

use crate::world::{SHOP, World, ended};

const SECRET: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData: {password: correct-horse-battery, user: shop}
";

fn password(world: &World, secret: &str) -> String {
    world.json(&["get", "secret", secret, "-n", "shop"])["data"]["password"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_secret_is_replaced_and_its_readers_with_it() {
    let world = World::start(1).await;
    world.apply(SHOP);
    world.apply(SECRET);
    world.cluster.kubectl(&["set", "env", "deployment/web", "-n", "shop", "--from=secret/db"]);
    let reads = ["get", "pods", "-n", "shop", "-l", "app=web", "-o", "jsonpath={..secretKeyRef.name}"];
    world
        .until("two pods read the Secret", |world| {
            let pods = world.json(&["get", "pods", "-n", "shop", "-l", "app=web"]);
            let running = pods["items"].as_array().unwrap().iter().filter(|pod| pod["status"]["phase"] == "Running");
            running.count() == 2 && world.cluster.kubectl(&reads).split_whitespace().count() == 4
        })
        .await;
    let old = password(&world, "db");

    let playbook = world.library("leaked-secret");
    let inputs = json!({"namespace": "shop", "secret": "db", "key": "password"});
    let plan = world.plan(&playbook, inputs.clone()).await.unwrap();
    let again = world.plan(&playbook, inputs).await.unwrap();
    assert_eq!(plan.hash, again.hash, "what is agreed to does not depend on chance");
    let shown = serde_json::to_string(&plan).unwrap();
    assert!(!shown.contains(&old) && !shown.contains("correct-horse"), "{shown}");
    let record = world.run_plan(&playbook, plan).await;
    let (outcome, text) = ended(&record, "rotate");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(text.contains("2 pods of Deployment shop/web are new and ready"), "{text}");
    let new = password(&world, "db");
    assert_ne!(new, old);
    assert_eq!(password(&world, "db-before-1"), old);
    let user = &world.json(&["get", "secret", "db", "-n", "shop"])["data"]["user"];
    assert_eq!(user, &world.json(&["get", "secret", "db-before-1", "-n", "shop"])["data"]["user"]);
    let journal = world.engine.journals.read(&record.run).await.unwrap().bytes;
    let journal = String::from_utf8_lossy(&journal);
    assert!(!journal.contains(&old) && !journal.contains(&new) && !journal.contains("correct-horse"));

    let record = world.rollback(&record).await;
    assert_eq!(password(&world, "db"), old);
    assert!(!world.names(&["get", "secrets", "-n", "shop"]).contains(&"db-before-1".to_owned()), "{record:?}");
    let annotations = &world.json(&["get", "secret", "db", "-n", "shop"])["metadata"]["annotations"];
    assert!(annotations.get("lifeboat.dev/rotations").is_none(), "{annotations}");

    // Readers that are left alone are named; and a second rotation is not undone by the rollback of the first.
    let step = json!({"id": "it", "uses": "secret.rotate", "with": {"namespace": "shop", "name": "db", "keys": [{"key": "password"}]}});
    let spec = json!({"description": "A test.", "steps": [step]});
    let document =
        json!({"apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": {"name": "test"}, "spec": spec});
    let playbook = world.playbook(&document.to_string());
    let first = world.run(&playbook, json!({})).await;
    let (outcome, text) = ended(&first, "it");
    assert_eq!(outcome, Outcome::Unverified, "{text}");
    assert!(text.contains("these may hold the old value: Deployment shop/web"), "{text}");
    world.run(&playbook, json!({})).await;
    let last = password(&world, "db");
    let first = world.rollback(&first).await;
    assert_eq!(first.rollback.unwrap().outcome, Some(Outcome::Unverified));
    assert_eq!(password(&world, "db"), last);
    assert_eq!(password(&world, "db-before-1"), old, "what is left of the old value stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_locked_and_opened_again() {
    let world = World::start(1).await;
    world.apply(SHOP);
    world.running("shop", "app=web", 2).await;
    let shop = json!({"kind": "Namespace", "name": "shop"});
    let playbook = world.one_step(&shop, "namespace.lockdown", &json!({}));
    let plan = world.plan(&playbook, json!({})).await.unwrap();
    let step = plan.steps.iter().find(|step| step.step == "it").unwrap();
    assert!(
        matches!(&step.state, Planned::Refused(reason) if reason.contains("NetworkPolicy web-in still allows ingress")),
        "{:?}",
        step.state
    );

    let make = |name: &str| {
        let kubeconfig = world.cluster.kubeconfig();
        let pod = ["run", name, "-n", "shop", "--image=example.com/a", "--restart=Never"];
        lifeboat_tests::cluster::kubectl(&kubeconfig, &pod)
    };
    let playbook = world.one_step(&shop, "namespace.lockdown", &json!({"allowResidual": true}));
    let record = world.run(&playbook, json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Unverified, "{text}");
    assert!(text.contains("a dry run of any pod is refused; a dry run of a pod on the host is refused"), "{text}");
    assert!(text.contains("NOT ISOLATED: NetworkPolicy web-in still allows ingress"), "{text}");
    make("more").unwrap_err();
    world.rollback(&record).await;
    for kind in ["resourcequota", "networkpolicy"] {
        assert!(!world.names(&["get", kind, "-n", "shop"]).contains(&"lifeboat-lockdown".to_owned()));
    }
    let labels: Value = world.json(&["get", "namespace", "shop"])["metadata"]["labels"].clone();
    assert!(labels.get("pod-security.kubernetes.io/enforce").is_none(), "{labels}");
    make("more").unwrap();

    let with = json!({"network": false, "security": false});
    let record = world.run(&world.one_step(&shop, "namespace.lockdown", &with), json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!((outcome, text.as_str()), (Outcome::Success, "a dry run of any pod is refused"));
}
