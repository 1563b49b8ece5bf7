//! Promise 10: planning writes nothing, and what is done is what was shown, or nothing is.

use std::collections::BTreeMap;

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{Place, Site, boot, shop, turn};

const NAMESPACE: &str = "zwieback-quarters";

/// The resource version of every object that does not change by itself.
fn versions(cluster: &Cluster) -> BTreeMap<String, String> {
    let listable = cluster.kubectl(&["api-resources", "--verbs=list", "--cached=false", "-o", "name"]);
    let volatile = ["componentstatuses", "events", "events.events.k8s.io", "leases.coordination.k8s.io"];
    let wanted: Vec<&str> = listable.lines().filter(|name| !volatile.contains(name)).collect();
    let list = cluster.kubectl(&["get", &wanted.join(","), "--all-namespaces", "--chunk-size=0", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().unwrap().iter().map(|item| {
        let metadata = &item["metadata"];
        let place = [&item["kind"], &metadata["namespace"], &metadata["name"]].map(text).join(" ");
        (place, text(&metadata["uid"]) + &text(&metadata["resourceVersion"]))
    });
    items.collect()
}

/// A plan in a file of its own: of which hash, and where.
fn save(site: &Site, file: &str, arguments: &[&str]) -> Value {
    site.json(0, &[&["restore", "objects", "--details", "--save-plan", file], arguments].concat())
}

fn perform(site: &Site, code: i32, file: &str) -> String {
    let run = site.expect(code, &["restore", "objects", "--plan", file, "--yes", "--confirm", NAMESPACE, "-o", "json"]);
    run.stdout
}

fn objects(plan: &Value, verdict: &str) -> Vec<String> {
    let entries = plan["objects"].as_array().unwrap().iter().filter(|entry| entry["verdict"] == verdict);
    entries.map(|entry| entry["object"].as_str().unwrap().to_owned()).collect()
}

/// What happened to the cluster since: created, written or deleted.
fn happened(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> [usize; 3] {
    let created = after.keys().filter(|key| !before.contains_key(*key)).count();
    let deleted = before.keys().filter(|key| !after.contains_key(*key)).count();
    let written = before.iter().filter(|(key, version)| after.get(*key).is_some_and(|now| now != *version)).count();
    [created, written, deleted]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_what_was_shown() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let mut site = Site::directory(&cluster);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    let id = site.create();
    let shell = |arguments: &[&str]| cluster.kubectl(&[arguments, &["-n", NAMESPACE]].concat());
    shell(&["delete", "secret", "kielholen-secret"]);
    shell(&["delete", "configmap", "item-01", "item-02"]);
    shell(&["patch", "configmap", "item-03", "--type=merge", "-p", r#"{"data":{"number":"changed"}}"#]);
    shell(&["create", "configmap", "foreign"]);
    let exact = [&*id, "-n", NAMESPACE, "--mode", "exact"];

    // Planning writes nothing, however often, and comes to the same each time.
    let before = versions(&cluster);
    let plan = save(&site, "plan", &exact);
    let again = save(&site, "again", &exact);
    assert_eq!(versions(&cluster), before);
    assert_eq!(plan["plan"], again["plan"]);
    assert_eq!((objects(&plan, "create").len(), objects(&plan, "apply").len()), (3, 1), "{plan}");
    assert_eq!(objects(&plan, "prune"), [format!("configmaps/foreign -n {NAMESPACE}")]);

    // A target that has changed since is left alone: by one object more, one less, and one that differs.
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"kielholen-secret"},"stringData":{"a":"b"}}"#;
    std::fs::write(cluster.temp().join("secret.json"), secret).unwrap();
    let file = cluster.temp().join("secret.json");
    let changes: [(&[&str], &[&str], &str); 3] = [
        (&["create", "-f", file.to_str().unwrap()], &["delete", "secret", "kielholen-secret"], "kielholen-secret"),
        (&["annotate", "configmap", "item-03", "by=somebody"], &["annotate", "configmap", "item-03", "by-"], "item-03"),
        (&["annotate", "configmap", "foreign", "by=somebody"], &["annotate", "configmap", "foreign", "by-"], "foreign"),
    ];
    for (change, back, named) in changes {
        shell(change);
        let now = versions(&cluster);
        let refused = perform(&site, 5, "plan");
        assert!(refused.contains("has changed since the plan was made") && refused.contains(named), "{refused}");
        assert_eq!(versions(&cluster), now, "nothing was done");
        shell(back);
    }

    // Nor is a plan believed that was changed.
    let text = std::fs::read_to_string(site.path("plan")).unwrap();
    let forged = text.replacen("item-03", "item-04", 1);
    assert_ne!(forged, text);
    std::fs::write(site.path("forged"), forged).unwrap();
    assert!(perform(&site, 4, "forged").contains("was changed since it was made"));
    let cut: String = text.split_inclusive('\n').take(5).collect();
    std::fs::write(site.path("cut"), cut).unwrap();
    assert!(perform(&site, 4, "cut").contains("cut off"));

    // Done as shown, and no object besides.
    let before = versions(&cluster);
    let done: Value = serde_json::from_str(&perform(&site, 0, "plan")).unwrap();
    assert_eq!(done["plan"], plan["plan"]);
    let counts = ["created", "applied", "pruned", "failed"].map(|member| done[member].clone());
    assert_eq!(counts, [json!(3), json!(1), json!(1), json!([])], "{done}");
    assert_eq!(happened(&before, &versions(&cluster)), [3, 1, 1]);

    // A second time there is another target, and for a third there is no backup.
    assert!(perform(&site, 5, "again").contains("has changed since the plan was made"));
    let Place::Directory(store) = &site.place else { unreachable!() };
    std::fs::remove_dir_all(store.join("prod/backups").join(&id)).unwrap();
    let gone = perform(&site, 6, "again");
    assert!(gone.contains(&id), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_for_one_cluster() {
    let _turn = turn().await;
    let (cluster, other) = tokio::join!(boot(shop), Cluster::start());
    let mut site = Site::directory(&cluster);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    let id = site.create();
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);
    save(&site, "plan", &[&id, "-n", NAMESPACE]);
    site.reach(&other);
    let before = versions(&other);
    let refused = perform(&site, 5, "plan");
    assert!(refused.contains("the plan is for cluster"), "{refused}");
    assert_eq!(versions(&other), before);
}
