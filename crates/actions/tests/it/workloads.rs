//! Workloads: how many, and whether at all.

use lifeboat_playbook::{Outcome, Planned};
use serde_json::{Value, json};

use crate::world::{SHOP, World, ended};

const JOBS: &str = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: report, namespace: shop}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: example.com/a}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: mine, namespace: shop}
spec:
  suspend: false
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {never: there}
      containers: [{name: a, image: example.com/a}]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_stopped_and_started_again() {
    let world = World::start(1).await;
    world.apply(SHOP);
    world.apply(JOBS);
    world.running("shop", "app=web", 2).await;

    let web = json!({"kind": "Deployment", "namespace": "shop", "name": "web"});
    let record = world.run(&world.one_step(&web, "workload.scale", &json!({"replicas": 0})), json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert_eq!(world.names(&["get", "pods", "-n", "shop", "-l", "app=web"]), Vec::<String>::new());
    world.rollback(&record).await;
    world.running("shop", "app=web", 2).await;

    // Somebody else's number is left alone by a rollback, and that is told.
    let record = world.run(&world.one_step(&web, "workload.scale", &json!({"replicas": 1})), json!({})).await;
    world.cluster.kubectl(&["scale", "deployment", "web", "-n", "shop", "--replicas=3"]);
    let record = world.rollback(&record).await;
    assert_eq!(record.rollback.unwrap().outcome, Some(Outcome::Unverified));
    assert_eq!(world.json(&["get", "deployment", "web", "-n", "shop"])["spec"]["replicas"], 3);

    for (kind, name, uses) in [("CronJob", "report", "cronjob.suspend"), ("Job", "mine", "job.suspend")] {
        let target = json!({"kind": kind, "namespace": "shop", "name": name});
        let suspended = || world.json(&["get", kind, "-n", "shop", name])["spec"]["suspend"].clone();
        let playbook = world.one_step(&target, uses, &json!({}));
        let record = world.run(&playbook, json!({})).await;
        let (outcome, text) = ended(&record, "it");
        assert_eq!(outcome, Outcome::Success, "{text}");
        assert_eq!(suspended(), true);
        world.rollback(&record).await;
        assert_eq!(suspended(), false);
    }

    // Deleted, by its UID; the ReplicaSet makes another one.
    let pods = world.running("shop", "app=web", 3).await;
    let victim = json!({"kind": "Pod", "namespace": "shop", "name": pods[0]});
    let record = world.run(&world.one_step(&victim, "pod.delete", &json!({})), json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(!world.running("shop", "app=web", 3).await.contains(&pods[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_waited_for() {
    let world = World::start(1).await;
    let wait = |with: Value| {
        world.playbook(
            &json!({
                "apiVersion": "lifeboat.dev/v1alpha1",
                "kind": "Playbook",
                "metadata": {"name": "wait"},
                "spec": {"description": "A test.", "steps": [{"id": "it", "uses": "wait.for", "with": with}]},
            })
            .to_string(),
        )
    };
    let web = |condition: &str, within: &str| {
        wait(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "condition": condition,
            "within": within,
        }))
    };

    // It need not be there yet: the wait begins before it is made.
    let playbook = web("object.status.readyReplicas >= 2", "3m");
    let plan = world.plan(&playbook, json!({})).await.unwrap();
    assert_eq!(plan.steps[0].plan.changes, []);
    let (record, ()) = tokio::join!(world.run_plan(&playbook, plan), async { world.apply(SHOP) });
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(text.contains("was read again: object.status.readyReplicas >= 2"), "{text}");

    // What does not come about fails, and so does what cannot be asked.
    for (condition, words) in
        [("object.spec.replicas > 100", "not within 1s"), ("object.spec.replicas / 0 > 1", "division by zero")]
    {
        let record = world.run(&web(condition, "1s"), json!({})).await;
        let (outcome, text) = ended(&record, "it");
        assert!(outcome == Outcome::Failed && text.contains(words), "{outcome:?}: {text}");
    }

    let gone = json!({"kind": "Pod", "namespace": "shop", "name": "nobody", "gone": true});
    let (outcome, text) = ended(&world.run(&wait(gone), json!({})).await, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");

    for (with, words) in [
        (json!({"kind": "Pod", "namespace": "shop", "name": "web"}), "either `condition` or `gone: true`"),
        (json!({"kind": "Pod", "name": "web", "gone": true}), "a Pod needs a namespace"),
        (json!({"kind": "Secret", "namespace": "shop", "name": "web", "gone": true}), "Secret of v1 is not known here"),
        (json!({"kind": "Node", "name": "n", "condition": "objekt.x"}), "objekt"),
    ] {
        let plan = world.plan(&wait(with), json!({})).await.unwrap();
        assert!(matches!(&plan.steps[0].state, Planned::Refused(why) if why.contains(words)), "{plan:?}");
    }
}
