//! etcd brought back from a backup, and a control plane booted from it.

use std::path::Path;
use std::process::Stdio;

use lifeboat_controlplane::{Process, ProcessSpec, free_ports};
use lifeboat_tests::cluster::testbed_bin;
use serde_json::Value;

use crate::support::{Place, Site, assert_same, boot, digests, digests_of_index, etcdctl, shop, small, turn, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_comes_back() {
    let _turn = turn().await;
    let mut cluster = boot(shop).await;
    let site = Site::directory(&cluster);
    let id = site.create();
    let before = digests(&cluster);
    assert!(before.len() > 200, "{} objects", before.len());
    let plain = site.path("plain");
    site.expect(0, &["backup", "download", &id, "-i", "recovery.key", "--to", plain.to_str().unwrap()]);
    assert_same(&before, &digests_of_index(&std::fs::read_to_string(plain.join("index.jsonl")).unwrap()));

    // While etcd runs on it, its directory is not touched.
    let live = cluster.etcd_data_dirs()[0].clone();
    let refused = site.expect(5, &restore(&id, &live, &[]));
    assert!(refused.stderr.contains("in use") || refused.stderr.contains("running"), "{refused:?}");
    assert_same(&before, &digests(&cluster));

    // The disaster, and back to where it was.
    let revision: u64 = revision(&etcdctl(&cluster, &["endpoint", "status", "-w", "json"], Stdio::null()));
    cluster.destroy_etcd_data().await.unwrap();
    let restored = site.json(0, &restore(&id, &live, &[]));
    assert_eq!((&restored["backup"], &restored["kept"]), (&id.clone().into(), &Value::Null), "{restored}");
    let keys = restored["keys"].as_u64().unwrap();
    cluster.start_etcd().await.unwrap();
    cluster.start_api_server().await.unwrap();
    assert_same(&before, &digests(&cluster));
    // Whoever watched from before cannot take the past for news.
    let now: u64 = self::revision(&etcdctl(&cluster, &["endpoint", "status", "-w", "json"], Stdio::null()));
    assert!(now > revision + 900_000_000, "revision {revision}, then {now}");

    // Again, over a directory that has something in it: that is kept.
    cluster.stop_api_server().await;
    cluster.stop_etcd().await;
    let again = site.json(0, &restore(&id, &live, &[]));
    let kept = again["kept"].as_str().unwrap();
    assert!(Path::new(kept).join("member/snap/db").is_file(), "{again}");
    assert_eq!(again["keys"].as_u64(), Some(keys));
    cluster.start_etcd().await.unwrap();
    cluster.start_api_server().await.unwrap();
    assert_same(&before, &digests(&cluster));
    // And the restored cluster is backed up as the same one.
    let next = site.create();
    assert_eq!(site.json(0, &["backup", "show", &next])["sequence"], 2);
}

/// The arguments that restore without asking.
fn restore<'a>(id: &'a str, data_dir: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let data_dir = data_dir.to_str().unwrap();
    [&["restore", "etcd", id, "--yes", "-i", "recovery.key", "--data-dir", data_dir], more].concat()
}

fn revision(status: &str) -> u64 {
    let status: Value = serde_json::from_str(status).unwrap();
    status[0]["Status"]["header"]["revision"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_from_one_backup() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let ports: Vec<[u16; 2]> = (0..3).map(|_| free_ports().unwrap()).collect();
    let peer = |number: usize| format!("http://127.0.0.1:{}", ports[number][1]);
    let all: Vec<String> = (0..3).map(|number| format!("m{number}={}", peer(number))).collect();
    let all = all.join(",");
    let mut members = Vec::new();
    for (number, [client, _]) in ports.iter().enumerate() {
        let (name, peer) = (format!("m{number}"), peer(number));
        let data_dir = site.path(&name);
        let urls = ["--name", &name, "--initial-cluster", &all, "--initial-advertise-peer-urls", &peer];
        site.expect(0, &restore(&id, &data_dir, &urls));
        let url = format!("http://127.0.0.1:{client}");
        let log = site.path(format!("{name}.log"));
        let spec = ProcessSpec::new(&name, testbed_bin().join("etcd"), log)
            .flag("name", &name)
            .flag("data-dir", &data_dir)
            .flag("listen-client-urls", &url)
            .flag("advertise-client-urls", &url)
            .flag("listen-peer-urls", &peer);
        members.push(Process::spawn(&spec).unwrap());
    }
    let endpoints: Vec<String> = ports.iter().map(|[client, _]| format!("http://127.0.0.1:{client}")).collect();
    let ask = |arguments: &[&str]| {
        let output = std::process::Command::new(testbed_bin().join("etcdctl"))
            .args(["--endpoints", &endpoints.join(",")])
            .args(arguments)
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    until("healthy cluster of three", async || ask(&["endpoint", "health"])).await;
    let listed: Value = serde_json::from_str(&ask(&["member", "list", "-w", "json"]).unwrap()).unwrap();
    let names: Vec<_> = listed["members"].as_array().unwrap().iter().map(|member| member["name"].as_str()).collect();
    assert_eq!(names.len(), 3, "{listed}");
    let status: Value = serde_json::from_str(&ask(&["endpoint", "status", "-w", "json"]).unwrap()).unwrap();
    let clusters: std::collections::BTreeSet<_> =
        status.as_array().unwrap().iter().map(|s| s["Status"]["header"]["cluster_id"].as_u64()).collect();
    assert_eq!(clusters.len(), 1, "one cluster, not three: {status}");
    for endpoint in &endpoints {
        // Not of the member alone but of the quorum.
        let arguments = ["--endpoints", endpoint, "get", "/registry/namespaces/zwieback-quarters", "--keys-only"];
        assert!(ask(&arguments).unwrap().contains("zwieback-quarters"));
    }
    assert!(members.iter().all(|member| member.ended().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backup_of_etcd_and_no_place_for_it() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let without = site.json(0, &["backup", "create", "--no-etcd"])["id"].as_str().unwrap().to_owned();
    let to = site.path("data");
    let refused = site.expect(6, &restore(&without, &to, &[]));
    assert!(refused.stderr.contains("has no etcd snapshot: left out by --no-etcd"), "{refused:?}");

    let with = site.create();
    // The plan is shown and nobody agrees.
    let asked = site.expect(5, &["restore", "etcd", &with, "-i", "recovery.key", "--data-dir", to.to_str().unwrap()]);
    assert!(asked.stderr.contains("Plan") && asked.stderr.contains(&with), "{asked:?}");
    assert!(!to.exists());
    let missing = site.path("missing/data");
    let refused = site.expect(1, &restore(&with, &missing, &[]));
    assert!(refused.stderr.contains("missing"), "{refused:?}");
    let other = site.expect(1, &restore(&with, &to, &["--etcdutl", "/nonexistent/etcdutl"]));
    assert!(other.stderr.contains("/nonexistent/etcdutl"), "{other:?}");
    let Place::Directory(_) = &site.place else { unreachable!() };
    let left: Vec<_> = std::fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".lifeboat")), "{left:?}");
}
