//! `restore objects`: what was deleted comes back, as planned, and nothing else happens.

mod changed;
mod interrupted;
mod refusals;
mod terminal;

use lifeboat_controlplane::Builder;
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{Site, apply, boot, shop, turn, until};

const NAMESPACE: &str = "zwieback-quarters";

/// A site that can open its backups.
fn site(cluster: &Cluster) -> Site {
    let mut site = Site::directory(cluster);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    site
}

/// Restores without being asked.
fn restore(site: &Site, code: i32, arguments: &[&str]) -> Value {
    site.json(code, &[&["restore", "objects", "--yes"], arguments].concat())
}

/// What a restore would do.
fn planned(site: &Site, arguments: &[&str]) -> Value {
    site.json(0, &[&["restore", "objects", "--dry-run", "--details"], arguments].concat())
}

/// What a refused restore says.
fn refused(site: &Site, code: i32, arguments: &[&str]) -> String {
    let run = site.expect(code, &[&["restore", "objects", "--yes"], arguments].concat());
    assert_eq!(run.stdout, "", "{run:?}");
    run.stderr
}

fn get(cluster: &Cluster, arguments: &[&str]) -> Value {
    serde_json::from_str(&cluster.kubectl(&[&["get", "-o", "json"], arguments].concat())).unwrap()
}

fn is_there(cluster: &Cluster, arguments: &[&str]) -> bool {
    !cluster.kubectl(&[&["get", "--ignore-not-found", "-o", "name"], arguments].concat()).is_empty()
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// The verdict on an object of a plan.
fn verdict<'a>(plan: &'a Value, object: &str) -> &'a Value {
    let found = plan["objects"].as_array().unwrap().iter().find(|entry| entry["object"] == object);
    found.map_or(&Value::Null, |entry| &entry["verdict"])
}

fn secret(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"password": value}})
}

fn replace(cluster: &Cluster, name: &str, document: &Value) {
    let file = cluster.temp().join(format!("{name}.json"));
    std::fs::write(&file, document.to_string()).unwrap();
    cluster.kubectl(&["replace", "-f", file.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_and_a_secret_come_back() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(Builder::with_controller_manager).await;
    shop(&cluster);
    cluster.kubectl(&["create", "secret", "generic", "lost", "--from-literal=a=b"]);
    until("pods", async || (get(&cluster, &["pods", "-n", NAMESPACE])["items"].as_array()?.len() == 2).then_some(()))
        .await;
    let site = site(&cluster);
    let id = site.create();
    let before = get(&cluster, &["deployment", "web", "-n", NAMESPACE]);

    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"]);
    cluster.kubectl(&["delete", "secret", "lost"]);
    let plan = planned(&site, &[&id, "-n", NAMESPACE]);
    assert_eq!((&plan["blocked"], &plan["apply"], &plan["prune"]), (&json!(0), &json!(0), &json!(0)), "{plan}");
    assert_eq!(verdict(&plan, &format!("namespaces/{NAMESPACE}")), "create", "{plan}");
    assert_eq!(verdict(&plan, &format!("secrets/kielholen-secret -n {NAMESPACE}")), "create");
    assert!(!is_there(&cluster, &["namespace", NAMESPACE]), "a dry run writes nothing");

    let done = restore(&site, 0, &[&id, "-n", NAMESPACE]);
    assert_eq!((&done["failed"], &done["blocked"], &done["differing"]), (&json!([]), &json!([]), &json!([])), "{done}");
    assert_eq!(done["plan"], plan["plan"], "what was shown is what was done");
    // The controllers were quicker with the account that every namespace has.
    let count = |member: &str| done[member].as_u64().unwrap();
    assert_eq!(Some(count("created") + count("applied") + count("unchanged")), plan["create"].as_u64(), "{done}");
    let after = get(&cluster, &["deployment", "web", "-n", NAMESPACE]);
    assert_ne!(uid(&before), uid(&after));
    let annotations = after["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations["lifeboat.dev/restored-from"], json!(id));
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"], "no labels of ours");
    // The controllers take over what belongs to the Deployment, and make no second set of pods.
    let settled = async || {
        let pods = get(&cluster, &["pods", "-n", NAMESPACE]);
        let sets = get(&cluster, &["replicasets", "-n", NAMESPACE]);
        let owned = |list: &Value, count: usize| {
            let items = list["items"].as_array().unwrap();
            items.len() == count && items.iter().all(|item| item["metadata"]["ownerReferences"][0]["uid"].is_string())
        };
        let keeper = &sets["items"][0]["metadata"]["ownerReferences"][0]["uid"];
        (owned(&pods, 2) && owned(&sets, 1) && *keeper == *uid(&after)).then_some(())
    };
    until("two pods of one ReplicaSet", settled).await;

    // One Secret out of another namespace, which is there.
    let done = restore(&site, 0, &[&id, "-n", "default", "--kind", "secret", "--name", "lost"]);
    assert_eq!((&done["created"], &done["failed"]), (&json!(1), &json!([])), "{done}");
    assert_eq!(get(&cluster, &["secret", "lost"])["data"]["a"], "Yg==");
    // Nothing is left to be done.
    let again = restore(&site, 0, &[&id, "-n", NAMESPACE, "--mode", "apply"]);
    assert_eq!((&again["created"], &again["applied"], &again["failed"]), (&json!(0), &json!(0), &json!([])), "{again}");
    assert!(!is_there(&cluster, &["lease", "lifeboat-restore", "-n", "kube-system"]), "the lock is gone");
    let journals = site.path(".local/state/lifeboat/restores");
    assert_eq!(std::fs::read_dir(journals).unwrap().count(), 0, "no journal stays behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_left_or_made_equal_or_made_anew() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let id = site.create();
    let secret_of = || get(&cluster, &["secret", "kielholen-secret", "-n", NAMESPACE]);
    let original = secret_of();
    let change = || {
        replace(&cluster, "changed", &secret("kielholen-secret", "changed"));
        cluster.kubectl(&["create", "configmap", "foreign", "-n", NAMESPACE, "--from-literal=a=b"]);
    };
    change();
    let name = format!("secrets/kielholen-secret -n {NAMESPACE}");

    let left = restore(&site, 0, &[&id, "-n", NAMESPACE]);
    assert_eq!((&left["left"], &left["created"]), (&json!([name]), &json!(0)), "{left}");
    assert_ne!(secret_of()["data"], original["data"]);

    let plan = planned(&site, &[&id, "-n", NAMESPACE, "--mode", "apply"]);
    assert_eq!((verdict(&plan, &name), &plan["apply"]), (&json!("apply"), &json!(1)), "{plan}");
    let applied = restore(&site, 0, &[&id, "-n", NAMESPACE, "--mode", "apply"]);
    assert_eq!((&applied["applied"], &applied["pruned"]), (&json!(1), &json!(0)), "{applied}");
    let equal = secret_of();
    assert_eq!((&equal["data"], uid(&equal)), (&original["data"], uid(&original)));
    assert_eq!(equal["metadata"]["labels"], original["metadata"]["labels"], "labels that were lost are back");

    replace(&cluster, "changed", &secret("kielholen-secret", "changed"));
    let anew = restore(&site, 0, &[&id, "-n", NAMESPACE, "--mode", "recreate", "--kind", "secrets"]);
    assert_eq!((&anew["recreated"], &anew["failed"]), (&json!(1), &json!([])), "{anew}");
    assert_eq!(secret_of()["data"], original["data"]);
    assert_ne!(uid(&secret_of()), uid(&original));

    // Exact: shown, confirmed by name, and only what is in the selection.
    let exact = [&*id, "-n", NAMESPACE, "--mode", "exact", "--kind", "configmaps"];
    let plan = planned(&site, &exact);
    assert_eq!(plan["prune"], 1, "{plan}");
    assert_eq!(verdict(&plan, &format!("configmaps/foreign -n {NAMESPACE}")), "prune");
    let asked = refused(&site, 5, &exact);
    assert!(asked.contains("foreign"), "{asked}");
    refused(&site, 5, &[&exact[..], &["--confirm", "other"]].concat());
    assert!(is_there(&cluster, &["configmap", "foreign", "-n", NAMESPACE]));
    let done = restore(&site, 0, &[&exact[..], &["--confirm", NAMESPACE]].concat());
    assert_eq!((&done["pruned"], &done["failed"]), (&json!(1), &json!([])), "{done}");
    assert!(!is_there(&cluster, &["configmap", "foreign", "-n", NAMESPACE]));
    assert!(is_there(&cluster, &["configmap", "kombuese-config", "-n", NAMESPACE]));
    let same = site.json(0, &["backup", "diff", &id, "--live", "-n", NAMESPACE]);
    assert_eq!(same["same"], true, "{same}");
}

/// A definition and objects of it, owners that come after what they own, owners in a cycle, an owner that is gone, and
/// a webhook that nobody answers.
fn entangled(cluster: &Cluster) {
    shop(cluster);
    let config = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}});
    let items: Vec<Value> = ["late", "cycle-a", "cycle-b", "orphan"].map(config).to_vec();
    apply(cluster, "owned", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let owned = |name: &str, api: &str, kind: &str, owner: &str, uid: &str| {
        let patch =
            json!({"metadata": {"ownerReferences": [{"apiVersion": api, "kind": kind, "name": owner, "uid": uid}]}});
        cluster.kubectl(&["patch", "configmap", name, "-n", NAMESPACE, "--type=merge", "-p", &patch.to_string()]);
    };
    let boat = get(cluster, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    owned("late", "shop.example.com/v1", "Boat", "flying-dutchman", uid(&boat));
    let [a, b] = ["cycle-a", "cycle-b"].map(|name| get(cluster, &["configmap", name, "-n", NAMESPACE]));
    owned("cycle-a", "v1", "ConfigMap", "cycle-b", uid(&b));
    owned("cycle-b", "v1", "ConfigMap", "cycle-a", uid(&a));
    owned("orphan", "v1", "ConfigMap", "nobody", "00000000-0000-4000-8000-000000000000");
    let rule = json!({"apiGroups": [""], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"]});
    let service = json!({"namespace": NAMESPACE, "name": "web"});
    apply(
        cluster,
        "webhook",
        &json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "nobody"},
        "webhooks": [{"name": "nobody.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 1, "rules": [rule], "clientConfig": {"service": service}}]}),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_gets_everything_in_order() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(entangled), Cluster::start());
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    let plan = planned(&site, &[&id]);
    let codes: Vec<&str> =
        plan["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["otherCluster"], "{plan}");
    let done = restore(&site, 0, &[&id]);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    let differing = done["differing"].as_array().unwrap();
    assert_eq!(differing.len(), 1, "{done}");
    assert_eq!(differing[0]["object"], format!("configmaps/orphan -n {NAMESPACE}"));

    let boat = get(&target, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    let original = get(&source, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    assert_eq!(boat["cargo"], original["cargo"]);
    let owner = |name: &str| get(&target, &["configmap", name, "-n", NAMESPACE])["metadata"]["ownerReferences"].clone();
    let there = |name: &str| uid(&get(&target, &["configmap", name, "-n", NAMESPACE])).to_owned();
    assert_eq!(owner("late")[0]["uid"], *uid(&boat));
    assert_eq!(owner("cycle-a")[0]["uid"], there("cycle-b"));
    assert_eq!(owner("cycle-b")[0]["uid"], there("cycle-a"));
    assert_eq!(owner("orphan"), Value::Null, "a reference to nobody would have it deleted");
    assert!(is_there(&target, &["validatingwebhookconfiguration", "nobody"]), "last, and all the same");

    // The webhook is named before it blocks; what it refuses fails with the server's words, and nothing else does.
    target.kubectl(&["delete", "configmap", "kombuese-config", "-n", NAMESPACE]);
    let one = [&*id, "-n", NAMESPACE, "--kind", "cm", "--name", "kombuese-config"];
    let plan = planned(&site, &one);
    let findings = plan["findings"].to_string();
    assert!(findings.contains("nobody.example.com") && findings.contains("no endpoints"), "{plan}");
    assert_eq!(plan["objections"], 1, "{plan}");
    let failed = restore(&site, 3, &one);
    let message = failed["failed"][0]["message"].as_str().unwrap();
    assert!(message.contains("nobody.example.com"), "{failed}");
    // The journal stays: once the cause is away, the same restore goes on.
    target.kubectl(&["delete", "validatingwebhookconfiguration", "nobody"]);
    let done = site.json(0, &["restore", "objects", &id, "--resume"]);
    assert_eq!((&done["created"], &done["failed"]), (&json!(1), &json!([])), "{done}");
}
