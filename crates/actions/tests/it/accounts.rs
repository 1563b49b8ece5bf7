//! Credentials that die, on an API server that issues and checks them.

use lifeboat_playbook::Outcome;
use serde_json::json;

use crate::world::{SHOP, World, ended};

fn whoami(world: &World, token: &str) -> Result<String, String> {
    let server = world.cluster.url();
    let ca = world.cluster.pki().ca();
    // Without a kubeconfig of its own, kubectl would take the admin's certificate.
    let empty = world.cluster.temp().join("empty.kubeconfig");
    std::fs::write(&empty, "apiVersion: v1\nkind: Config\n").unwrap();
    let ca = format!("--certificate-authority={}", ca.display());
    let args =
        ["--server", &server, &ca, "--token", token, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    lifeboat_tests::cluster::kubectl(&empty, &args)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_die_and_are_seen_to() {
    let world = World::start(1).await;
    world.apply(SHOP);
    let pods = world.running("shop", "app=web", 2).await;
    let stolen = world.cluster.kubectl(&["create", "token", "web", "-n", "shop"]).trim().to_owned();
    assert_eq!(whoami(&world, &stolen).unwrap(), "system:serviceaccount:shop:web");
    let account = || world.json(&["get", "serviceaccount", "-n", "shop", "web"]);
    let before = account();

    let playbook = world.library("revoke-serviceaccount");
    let plan = world.plan(&playbook, json!({"namespace": "shop", "account": "web"})).await.unwrap();
    let revoke = plan.steps.iter().find(|step| step.step == "revoke").unwrap();
    let warnings = revoke.plan.warnings.join("\n");
    assert!(pods.iter().all(|pod| warnings.contains(pod)), "{warnings}");
    let record = world.run_plan(&playbook, plan).await;
    let (outcome, text) = ended(&record, "revoke");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(text.contains("was then refused 5 times in a row"), "{text}");
    whoami(&world, &stolen).unwrap_err();
    let after = account();
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    let journal = world.engine.journals.read(&record.run).await.unwrap().bytes;
    assert!(!String::from_utf8_lossy(&journal).contains("eyJ"), "no token is in the journal");

    // The account is there; and if somebody deletes it, a rollback makes it again.
    world.cluster.kubectl(&["delete", "serviceaccount", "-n", "shop", "web"]);
    world.rollback(&record).await;
    assert_eq!(account()["metadata"]["labels"], before["metadata"]["labels"]);

    // Bound to a pod: the pod goes, and the token with it.
    let victim = json!({"kind": "Pod", "namespace": "shop", "name": pods[0]});
    let playbook = world.one_step(&victim, "serviceaccount.revoke", &json!({"mode": "pod", "refusals": 2}));
    let record = world.run(&playbook, json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(!world.names(&["get", "pods", "-n", "shop"]).contains(&pods[0]));

    // In a Secret.
    world.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: old-token, namespace: shop, annotations: \
         {kubernetes.io/service-account.name: web}}\ntype: kubernetes.io/service-account-token\n",
    );
    world
        .until("the Secret has a token", |world| {
            world.json(&["get", "secret", "-n", "shop", "old-token"])["data"].get("token").is_some()
        })
        .await;
    let target = json!({"kind": "ServiceAccount", "namespace": "shop", "name": "web"});
    let with = json!({"mode": "legacySecret", "secret": "old-token", "refusals": 2});
    let record = world.run(&world.one_step(&target, "serviceaccount.revoke", &with), json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Success, "{text}");
    assert!(!world.names(&["get", "secrets", "-n", "shop"]).contains(&"old-token".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_come_from_elsewhere_are_told() {
    let world = World::of(lifeboat_tests::cluster::Cluster::start().await);
    world.apply(SHOP);
    // The same right again, by a group that every service account of the namespace is in.
    let group = "--group=system:serviceaccounts:shop";
    world.cluster.kubectl(&["create", "rolebinding", "all-read", "-n", "shop", "--role=reader", group]);
    let playbook = world.playbook(
        "apiVersion: lifeboat.dev/v1alpha1\nkind: Playbook\nmetadata: {name: test}\nspec:\n  description: A test.\n  steps:\n  \
         - id: it\n    uses: rbac.revoke\n    with: {subject: {kind: ServiceAccount, namespace: shop, name: web}}\n",
    );
    let record = world.run(&playbook, json!({})).await;
    let (outcome, text) = ended(&record, "it");
    assert_eq!(outcome, Outcome::Unverified, "{text}");
    assert!(text.contains("may still: get configmaps") && text.contains("all-read"), "{text}");
    world.rollback(&record).await;
    let binding = world.json(&["get", "rolebinding", "-n", "shop", "web-reads"]);
    assert_eq!(binding["subjects"].as_array().unwrap().len(), 2, "{binding}");
}
