//! The daemon asked by custom resources: by the definitions that are checked in, as a process, killed in between.

use std::time::Instant;

use serde_json::{Value, json};

use super::{Daemon, PATIENCE, configure};
use crate::house::root;
use crate::support::{Site, apply, boot, shop, turn};

const NAMESPACE: &str = "lifeboat";

struct Kubectl<'a>(&'a lifeboat_tests::cluster::Cluster);

impl Kubectl<'_> {
    fn objects(&self, kind: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.0.kubectl(&["get", kind, "-n", NAMESPACE, "-o", "json"])).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until the objects of a kind are as wanted.
    async fn until(&self, kind: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let objects = self.objects(kind);
            if wanted(&objects) {
                return objects;
            }
            assert!(begun.elapsed() < PATIENCE, "{kind} never become as wanted: {objects:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }

    fn create(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "lifeboat.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        });
        apply(self.0, name, &object);
    }
}

fn phase<'a>(objects: &'a [Value], name: &str) -> &'a str {
    let found = objects.iter().find(|object| object["metadata"]["name"] == name);
    found.and_then(|object| object["status"]["phase"].as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_does_what_objects_ask_and_shows_what_the_store_has() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = Site::directory(&cluster);
    // A backup of before, of which the cluster knows nothing.
    let before = site.create();
    configure(&site, &json!({"daemon": {"customResources": {"namespace": NAMESPACE}}}));
    let definitions = root().join("schema/crds");
    cluster.kubectl(&["apply", "--server-side", "-f", definitions.to_str().unwrap()]);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=120s"]);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let secret = format!("--from-file=identity={}", site.path("recovery.key").display());
    cluster.kubectl(&["create", "secret", "generic", "recovery", "-n", NAMESPACE, &secret]);

    let kubectl = Kubectl(&cluster);
    let mut daemon = Daemon::start(&site, "first", 0);
    kubectl.until("backups", |found| phase(found, &before.to_lowercase()) == "Complete").await;

    // Killed at some moment of a backup: it is taken or it is not, and never twice.
    kubectl.create("Schedule", "nightly", &json!({"schedule": "0 3 1 1 *", "etcd": false}));
    kubectl.create("Backup", "asked", &json!({}));
    kubectl.until("backups", |found| phase(found, "asked") != "").await;
    daemon.kill();
    kubectl.create("Backup", "by-schedule", &json!({"schedule": "nightly"}));
    let mut daemon = Daemon::start(&site, "second", 0);
    let settled = |found: &[Value]| {
        ["Complete", "Failed"].contains(&phase(found, "asked")) && phase(found, "by-schedule") == "Complete"
    };
    let found = kubectl.until("backups", settled).await;
    let listed = site.json(0, &["backup", "list"]);
    let taken = 2 + usize::from(phase(&found, "asked") == "Complete");
    assert_eq!(listed["backups"].as_array().unwrap().len(), taken, "{listed}\n{found:#?}");
    // It is what its schedule says.
    let by_schedule = found.iter().find(|object| object["metadata"]["name"] == "by-schedule").unwrap();
    assert_eq!(by_schedule["status"]["schedule"], "nightly");
    let shown = site.json(0, &["backup", "show", by_schedule["status"]["id"].as_str().unwrap()]);
    assert!(shown["etcd"]["captured"].is_null(), "{shown}");

    kubectl.create("Drill", "proof", &json!({"identity": {"secretName": "recovery"}}));
    let drills = kubectl.until("drills", |found| phase(found, "proof") == "Passed").await;
    let reports = site.json(0, &["drill", "list"]);
    assert_eq!(drills[0]["status"]["report"], reports["drills"][0]["drill"], "{reports}");

    cluster.kubectl(&["delete", "configmap", "item-07", "-n", "zwieback-quarters"]);
    let selection = json!({"namespaces": ["zwieback-quarters"], "kinds": ["configmaps"]});
    let spec = json!({"identity": {"secretName": "recovery"}, "selection": selection, "approval": "auto"});
    kubectl.create("Restore", "item", &spec);
    let restores = kubectl.until("restores", |found| phase(found, "item") == "Complete").await;
    assert_eq!(restores[0]["status"]["report"]["created"], 1, "{restores:#?}");
    cluster.kubectl(&["get", "configmap", "item-07", "-n", "zwieback-quarters"]);
    assert_eq!(daemon.stop().await, Some(0));
}
