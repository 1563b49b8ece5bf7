//! Promise 4: what was expected and not captured is named, and the backup is `Partial`, with an exit code of its own.

use std::path::PathBuf;

use lifeboat_controlplane::free_port;
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::{Daemon, Site, apply, backup_key, boot, configure, scrape, small, turn, until};

/// Takes a backup that must have just these gaps, and gives the JSON of it.
fn partial(site: &Site, gaps: &[&str]) -> Value {
    let created = site.json(3, &["backup", "create"]);
    assert_eq!(created["state"], "Partial", "{created}");
    let named: Vec<&str> =
        created["gaps"].as_array().unwrap().iter().map(|gap| gap["resource"].as_str().unwrap()).collect();
    assert_eq!(named, gaps, "{created}");
    assert!(created["gaps"].as_array().unwrap().iter().all(|gap| !gap["reason"].as_str().unwrap().is_empty()));

    // Whoever looks at it later is told the same; and what is there, is sound.
    let id = created["id"].as_str().unwrap();
    site.verify(id);
    let listed = site.json(0, &["backup", "list"]);
    let listed = listed["backups"].as_array().unwrap().iter().find(|backup| backup["id"] == created["id"]).unwrap();
    assert_eq!(listed["state"], "Partial", "{listed}");
    let shown = site.json(0, &["backup", "show", id, "--identity", "recovery.key"]);
    assert_eq!(shown["state"], "Partial", "{shown}");
    for gap in gaps {
        assert!(shown.to_string().contains(gap), "{shown}");
    }

    let run = site.expect(3, &["backup", "create"]);
    assert!(run.stdout.contains("Partial"), "{run:?}");
    for gap in gaps {
        assert!(run.stdout.lines().any(|line| line.contains(&format!("gap: {gap}: "))), "{gap}: {run:?}");
    }
    created
}

/// An address where nobody listens.
fn nowhere() -> String {
    format!("https://127.0.0.1:{}", free_port().unwrap())
}

/// The kubeconfig of a service account of that name that may list everything but secrets.
pub(super) fn limited(cluster: &Cluster, account: &str) -> PathBuf {
    let listable = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    let rules: Vec<Value> = listable
        .lines()
        .filter(|name| *name != "secrets")
        .map(|name| name.split_once('.').unwrap_or((name, "")))
        .map(|(resource, group)| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "list"]}))
        .collect();
    let metadata = json!({"name": account});
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": "default"});
    let api = "rbac.authorization.k8s.io/v1";
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": "default"}},
        {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account}},
    ]);
    apply(cluster, account, &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let token = cluster.kubectl(&["create", "token", account, "-n", "default"]);
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    let path = cluster.temp().join(format!("{account}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_may_not_see_secrets() {
    let _turn = turn().await;
    let cluster = small().await;
    let mut site = Site::directory(cluster);
    let kubeconfig = limited(cluster, "limited");
    site.set("KUBECONFIG", kubeconfig.to_str().unwrap());
    let path = kubeconfig.to_str().unwrap();
    until("permission", async || lifeboat_tests::cluster::kubectl(&kubeconfig, &["get", "nodes"]).ok()).await;
    let created = partial(&site, &["secrets"]);
    assert!(created["gaps"][0]["reason"].as_str().unwrap().contains("limited"), "{created} of {path}");
    // What it may see is there.
    let found = site
        .json(0, &["backup", "get", "latest", "cm/kombuese-config", "-n", "zwieback-quarters", "-i", "recovery.key"]);
    assert_eq!(found["data"]["text"], "plaintext-marker-8f3a91c4");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregated_api_without_a_server() {
    let _turn = turn().await;
    let cluster = boot(|cluster| {
        apply(
            cluster,
            "dead",
            &json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.dead.example.com"},
            "spec": {"group": "dead.example.com", "version": "v1beta1", "groupPriorityMinimum": 100,
                "versionPriority": 100, "insecureSkipTLSVerify": true,
                "service": {"name": "nobody", "namespace": "default"}}}),
        );
    })
    .await;
    // The API server takes a moment to see that nobody answers.
    until("API service found dead", async || {
        let status = cluster.kubectl(&["get", "apiservice", "v1beta1.dead.example.com", "-o", "jsonpath={.status}"]);
        status.contains("\"False\"").then_some(())
    })
    .await;
    partial(&Site::directory(&cluster), &["dead.example.com/v1beta1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_does_not_answer() {
    let _turn = turn().await;
    let mut site = Site::directory(small().await);
    site.set("LIFEBOAT_ETCD_ENDPOINTS", nowhere());
    let created = partial(&site, &["etcd"]);
    assert!(created["objects"].as_u64().unwrap() > 100);
    // The reason names the address, and is told to those alone who can open the backup.
    assert!(created["gaps"][0]["reason"].as_str().unwrap().contains("127.0.0.1"), "{created}");
    let manifest = site.place.files().await.remove(&backup_key(created["id"].as_str().unwrap(), "manifest.json"));
    assert!(!String::from_utf8(manifest.unwrap()).unwrap().contains("127.0.0.1"));
    // It cannot bring etcd back, and says so.
    let to = site.path("data");
    let restore = ["restore", "etcd", "latest", "--yes", "-i", "recovery.key", "--data-dir", to.to_str().unwrap()];
    assert!(site.expect(6, &restore).stderr.contains("no etcd snapshot"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_does_not_answer() {
    let _turn = turn().await;
    let cluster = small().await;
    let mut site = Site::directory(cluster);
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["clusters"][0]["cluster"]["server"] = nowhere().into();
    std::fs::write(site.path("dead.kubeconfig"), kubeconfig.to_string()).unwrap();
    let dead = site.path("dead.kubeconfig").to_str().unwrap().to_owned();

    // Nobody can say yet which cluster this is: nothing is captured under a guess.
    let refused = site.expect(1, &["backup", "create", "--kubeconfig", &dead]);
    assert!(refused.stderr.contains("cluster's id is not known"), "{refused:?}");
    assert_eq!((site.listed(), site.place.files().await.len()), (Vec::new(), 0));

    let complete = site.create();
    site.set("KUBECONFIG", dead);
    let created = partial(&site, &["resources"]);
    assert!(created["etcdKeys"].as_u64().unwrap() > 100, "{created}");

    // Without etcd too there is nothing: an error, and no backup.
    site.set("LIFEBOAT_ETCD_ENDPOINTS", nowhere());
    let before = site.listed();
    let files = site.place.files().await;
    assert!(before.contains(&complete));
    let nothing = site.expect(1, &["backup", "create"]);
    assert!(nothing.stderr.contains("nothing could be captured"), "{nothing:?}");
    for gap in ["etcd: ", "resources: "] {
        assert!(nothing.stderr.contains(gap), "{nothing:?}");
    }
    let as_json = site.json(1, &["backup", "create"]);
    assert_eq!(as_json["error"]["code"], "failed", "{as_json}");
    assert_eq!((site.listed(), site.place.files().await), (before, files));
}

/// A daemon that may not see secrets says so of each backup: in its log, in its metrics, and in the backup itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_tells_of_what_it_could_not_capture() {
    let _turn = turn().await;
    let cluster = small().await;
    let mut site = Site::directory(cluster);
    let kubeconfig = limited(cluster, "limited-daemon");
    site.set("KUBECONFIG", kubeconfig.to_str().unwrap());
    until("permission", async || lifeboat_tests::cluster::kubectl(&kubeconfig, &["get", "nodes"]).ok()).await;
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let schedule = json!({"name": "minutely", "spec": {"schedule": "* * * * *"}});
    configure(&site, &json!({"schedules": [schedule], "daemon": {"listen": address}}));

    let mut daemon = Daemon::start(&site, "only", 0);
    let line = daemon.says("a backup is partial", 0).await;
    let told = daemon.lines().remove(line - 1);
    assert_eq!((&told["level"], &told["fields"]["gaps"]), (&json!("ERROR"), &json!(1)), "{told}");
    let outcome = "lifeboat_backup_last_outcome{schedule=\"minutely\",outcome=\"partial\"} 1";
    // They hear of it a moment after the log.
    let metrics = until(outcome, async || Some(scrape(&address)).filter(|metrics| metrics.contains(outcome))).await;
    // It is no success, so nothing is said to be fresh.
    assert!(!metrics.contains("lifeboat_backup_last_success_timestamp_seconds{"), "{metrics}");
    assert_eq!(daemon.stop().await, Some(0), "{:?}", daemon.lines());

    let id = told["fields"]["backup"].as_str().unwrap();
    site.verify(id);
    let shown = site.json(0, &["backup", "show", id, "--identity", "recovery.key"]);
    assert_eq!((&shown["state"], &shown["coverage"]["gaps"][0]["resource"]), (&json!("Partial"), &json!("secrets")));
}
