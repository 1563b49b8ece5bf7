//! Servers that die in the middle, and lists that expire.

use std::process::Stdio;
use std::time::Duration;

use lifeboat_kubernetes::Retry;
use lifeboat_recovery::Progress;
use lifeboat_recovery::backup::{self, Source};
use lifeboat_tests::cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    Gate, Keys, Run, Site, apply, ballast, boot, context, digests, digests_of_index, etcdctl, memory, names_in_folder,
    request, turn, until, verify,
};

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_member_of_etcd_dies_while_it_streams() {
    let _turn = turn().await;
    let mut cluster = boot(|cluster| ballast(cluster, 20)).await;
    let mut site = Site::directory(&cluster);
    let gate = Gate::before(port_of(&cluster.etcd().endpoints[0]), 3_000_000).await;
    site.set("LIFEBOAT_ETCD_ENDPOINTS", gate.address());
    let child = site.command(&["backup", "create", "-o", "json"]).spawn().unwrap();
    gate.reached().await;
    // The API server needs etcd too: the objects first.
    until("index", async || {
        names_in_folder(&site.path("store")).into_iter().find(|name| name.ends_with("/index.jsonl.zst.age"))
    })
    .await;
    cluster.kill_member(0).await.unwrap();
    gate.open();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(3), "{run:?}");
    let created = run.json();
    assert_eq!((&created["state"], &created["gaps"][0]["resource"]), (&json!("Partial"), &json!("etcd")), "{created}");
    assert_eq!(created["gaps"].as_array().unwrap().len(), 1, "{created}");
    let id = created["id"].as_str().unwrap();
    site.verify(id);
    let files = site.place.files().await;
    assert!(
        !files.keys().any(|key| key.contains("etcd.db")),
        "nothing of the broken snapshot stays: {:?}",
        files.keys()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_members_of_etcd_dies_while_it_streams() {
    let _turn = turn().await;
    let mut cluster = Cluster::start_with(|builder| builder.etcd_members(3)).await;
    ballast(&cluster, 20);
    let mut site = Site::directory(&cluster);
    let mut gates = Vec::new();
    for endpoint in &cluster.etcd().endpoints {
        gates.push(Gate::before(port_of(endpoint), 3_000_000).await);
    }
    let addresses: Vec<String> = gates.iter().map(Gate::address).collect();
    site.set("LIFEBOAT_ETCD_ENDPOINTS", addresses.join(","));
    let child = site.command(&["backup", "create", "-o", "json"]).spawn().unwrap();
    let reached = gates.iter().map(|gate| Box::pin(gate.reached()));
    let ((), streaming, _) = futures::future::select_all(reached).await;
    cluster.kill_member(streaming).await.unwrap();
    gates.iter().for_each(Gate::open);
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    let created = run.json();
    assert_eq!(created["state"], "Complete", "{created}");
    assert!(run.stderr.contains(&addresses[streaming]), "which member failed is said: {run:?}");
    let id = created["id"].as_str().unwrap();
    site.verify(id);
    let etcd = created["parts"].as_array().unwrap().iter().find(|part| part["name"] == "etcd.db").unwrap();
    assert!(etcd["plainBytes"].as_u64().unwrap() > 20_000_000, "the snapshot is whole: {created}");
}

/// A cluster with some hundred objects more, and a kubeconfig that goes through a gate.
pub(super) async fn behind_a_gate(cluster: &Cluster, bytes: u64) -> (Gate, String) {
    let gate = Gate::before(port_of(&cluster.url()), bytes).await;
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["clusters"][0]["cluster"]["server"] = gate.address().into();
    let path = cluster.temp().join("gate.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    (gate, path.to_str().unwrap().to_owned())
}

/// `ConfigMaps` of a kilobyte.
pub(super) fn many(cluster: &Cluster, prefix: &str, count: usize) {
    let item = |number| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "a text ".repeat(150)},
            "metadata": {"name": format!("{prefix}-{number:04}"), "namespace": "default"}})
    };
    let items: Vec<Value> = (0..count).map(item).collect();
    apply(cluster, prefix, &json!({"apiVersion": "v1", "kind": "List", "items": items}));
}

pub(super) async fn kill_api_server(cluster: &Cluster) {
    let pid = cluster.api_server_pid().unwrap().cast_signed();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    // A zombie has no executable any more.
    let executable = format!("/proc/{pid}/exe");
    until("end of the API server", async || std::fs::read_link(&executable).is_err().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_dies_within_a_list() {
    let _turn = turn().await;
    let mut cluster = boot(|cluster| many(cluster, "many", 300)).await;
    let truth = digests(&cluster);

    // It comes back, and the backup has everything.
    let mut site = Site::directory(&cluster);
    let (gate, kubeconfig) = behind_a_gate(&cluster, 500_000).await;
    site.set("KUBECONFIG", kubeconfig);
    let child = site.command(&["backup", "create", "-o", "json", "--set", "resources.pageSize=50"]).spawn().unwrap();
    gate.reached().await;
    kill_api_server(&cluster).await;
    gate.open();
    cluster.stop_api_server().await;
    cluster.start_api_server().await.unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    let id = run.json()["id"].as_str().unwrap().to_owned();
    site.verify(&id);
    let plain = site.path("plain");
    site.expect(0, &["backup", "download", &id, "-i", "recovery.key", "--to", plain.to_str().unwrap()]);
    let captured = digests_of_index(&std::fs::read_to_string(plain.join("index.jsonl")).unwrap());
    assert!(truth.keys().all(|key| captured.contains_key(key)));

    // It stays away: what is missing is named, and nothing is taken for complete that is not.
    let keys = Keys::generate();
    let (gate, kubeconfig) = behind_a_gate(&cluster, 500_000).await;
    let mut request = request(&cluster, &keys);
    request.resources.page_size = 50;
    let Source::Use(options) = &mut request.kubernetes else { unreachable!() };
    options.kubeconfig = Some(kubeconfig.into());
    options.retry = Retry { budget: Duration::from_millis(500), ..Retry::default() };
    let store = std::sync::Arc::new(memory(&[].into()).await);
    let context = context(std::sync::Arc::clone(&store), &keys);
    let backup = backup::create(&context, request, Progress::default());
    let (outcome, ()) = tokio::join!(backup, async {
        gate.reached().await;
        kill_api_server(&cluster).await;
        gate.open();
    });
    let outcome = outcome.unwrap();
    assert_eq!(outcome.manifest.state, lifeboat_model::BackupState::Partial);
    let id = outcome.manifest.id.as_str();
    assert!(verify(&context, id, Some(&keys)).await.unwrap().ok);
    for resource in &outcome.coverage.resources {
        let kind = &resource.resource;
        let prefix = format!("{} {} ", kind.api_version(), kind.kind);
        let there = truth.keys().filter(|key| key.starts_with(&prefix)).count() as u64;
        let name = kind.group_resource().to_string();
        let gap = outcome.coverage.gaps.iter().any(|gap| gap.resource == name);
        assert!(gap || resource.captured >= there, "{name}: {} of {there} and no gap", resource.captured);
    }
    // How many lists had been read ahead of the one that the gate held is a matter of chance.
    let listed: Vec<String> =
        outcome.coverage.resources.iter().map(|r| r.resource.group_resource().to_string()).collect();
    assert!(listed.contains(&"deployments.apps".to_owned()), "{listed:?}");
    let gaps = &outcome.coverage.gaps;
    assert!(gaps.iter().any(|gap| gap.reason.contains("no answer")), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expires_begins_again() {
    let _turn = turn().await;
    // Without its cache the API server reads every page from etcd, as older ones do.
    let cluster = Cluster::start_with(|builder| builder.api_server_arg("--watch-cache=false")).await;
    many(&cluster, "many", 300);
    let mut site = Site::directory(&cluster);
    let (gate, kubeconfig) = behind_a_gate(&cluster, 500_000).await;
    site.set("KUBECONFIG", kubeconfig);
    let child = site.command(&["backup", "create", "-o", "json", "--set", "resources.pageSize=20"]).spawn().unwrap();
    gate.reached().await;
    many(&cluster, "later", 1);
    let status: Value =
        serde_json::from_str(&etcdctl(&cluster, &["endpoint", "status", "-w", "json"], Stdio::null())).unwrap();
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    etcdctl(&cluster, &["compact", &revision], Stdio::null());
    gate.open();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    let created = run.json();
    assert_eq!(created["state"], "Complete", "{created}");
    let id = created["id"].as_str().unwrap();
    site.verify(id);

    let plain = site.path("plain");
    site.expect(0, &["backup", "download", id, "-i", "recovery.key", "--to", plain.to_str().unwrap()]);
    let coverage: Value = serde_json::from_slice(&std::fs::read(plain.join("coverage.json")).unwrap()).unwrap();
    let configmaps =
        coverage["resources"].as_array().unwrap().iter().find(|r| r["type"]["resource"] == "configmaps").unwrap();
    assert_eq!(configmaps["restarts"], 1, "{configmaps}");
    // What had been written before is void: it is in the tar, and nobody is shown it.
    let index = std::fs::read_to_string(plain.join("index.jsonl")).unwrap();
    let objects = created["objects"].as_u64().unwrap();
    assert!(index.lines().count() as u64 > objects, "{} lines for {objects} objects", index.lines().count());
    let shown = site.json(0, &["backup", "objects", id, "-i", "recovery.key", "--kind", "configmaps", "-n", "default"]);
    let names: Vec<&str> =
        shown["objects"].as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap()).collect();
    let mut wanted: Vec<String> = (0..300).map(|number| format!("many-{number:04}")).collect();
    wanted.insert(0, "later-0000".to_owned());
    assert_eq!(names, wanted);
    site.expect(0, &["backup", "get", id, "cm/later-0000", "-n", "default", "-i", "recovery.key"]);
    site.expect(0, &["backup", "get", id, "cm/many-0000", "-n", "default", "-i", "recovery.key"]);
}
