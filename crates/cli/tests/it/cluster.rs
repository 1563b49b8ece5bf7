//! Against a real etcd and a real API server, with a directory as the store.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_tests::cluster::{Cluster, testbed_bin};
use serde_json::{Value, json};

use crate::program::{expect, expect_json, lifeboat, run};

/// What YAML of either version, or a terminal, could take for something else.
const TRAPS: &[&str] = &[
    "yes",
    "No",
    "on",
    "y",
    "null",
    "~",
    "",
    " ",
    "012",
    "0x1f",
    "1e3",
    ".5",
    "1_000",
    "12:30:45",
    "2026-11-21",
    "true",
    "- a",
    "a: b",
    "a #b",
    "# a",
    "'a'",
    "\"a\"",
    "&a",
    "*a",
    "!a",
    "%a",
    "@a",
    "|",
    ">",
    "a\nb",
    "a\n",
    "\na",
    "a\n\n",
    "  a",
    "a  ",
    "\ta",
    "a\tb",
    "é漢🦀",
    "\u{1b}[2J\u{1b}]0;pwned\u{7}",
    "\u{9b}31m",
    "\u{202e}abc",
    "\u{85}",
    "\u{feff}",
    "{a}",
    "[a]",
    "?a",
    ": ",
    "-",
    "---",
    "...",
    "<<",
    "=",
    "0o17",
    "+1",
    "1.0",
    "NaN",
    ".inf",
    "\\n",
    "a\rb",
    "one long line of many words that is longer than any width at which a writer of YAML likes to fold its text into two",
];

/// A configured folder beside a cluster with a few objects.
struct Site {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let folder = tempfile::tempdir().unwrap();
        expect(0, folder.path(), &["init", "--cluster", "shop"]);
        let etcd = cluster.etcd();
        let mut config = std::fs::read_to_string(folder.path().join("lifeboat.yaml")).unwrap();
        write!(
            config,
            "etcd: {}\nkubernetes: {}\n",
            json!({"endpoints": etcd.endpoints, "caFile": etcd.ca_file, "certFile": etcd.cert_file, "keyFile": etcd.key_file}),
            json!({"kubeconfig": cluster.kubeconfig()})
        )
        .unwrap();
        std::fs::write(folder.path().join("lifeboat.yaml"), config).unwrap();
        let site = Self { cluster, folder };
        site.populate();
        site
    }

    fn populate(&self) {
        self.cluster.kubectl(&["create", "namespace", "shop"]);
        self.cluster.kubectl(&["create", "deployment", "web", "--image=web", "--replicas=5", "-n", "shop"]);
        self.cluster.kubectl(&["create", "secret", "generic", "db", "--from-literal=password=hunter2", "-n", "shop"]);
        let data: serde_json::Map<String, Value> =
            TRAPS.iter().enumerate().map(|(number, text)| (format!("trap-{number}"), json!(text))).collect();
        let traps = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": "traps", "namespace": "shop", "labels": {"app": "web"}},
        });
        let file = self.folder.path().join("traps.json");
        std::fs::write(&file, traps.to_string()).unwrap();
        self.cluster.kubectl(&["create", "-f", file.to_str().unwrap()]);
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn create(&self) -> String {
        let created = expect_json(0, self.path(), &["backup", "create"]);
        assert_eq!(created["state"], "Complete", "{created}");
        created["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_beginning_to_end() {
    let site = Site::start().await;
    let folder = site.path();
    let key = ["--identity", "recovery.key"];

    let diagnosis = expect_json(0, folder, &[&["doctor"], &key[..]].concat());
    let state = |name: &str| {
        let checks = diagnosis["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        check.unwrap_or_else(|| panic!("{name}: {diagnosis}"))["state"].as_str().unwrap().to_owned()
    };
    for name in [
        "configuration",
        "signing key",
        "trusted keys",
        "identity",
        "etcd https",
        "etcd snapshot",
        "API server",
        "cluster id",
        "permissions",
        "API discovery",
        "store",
        "conditional writes",
        "unfinished uploads",
        "clock of the API server",
    ] {
        assert_eq!(state(name), "ok", "{name}: {diagnosis}");
    }
    assert_eq!(state("recipients"), "warn", "{diagnosis}");

    let created = expect_json(0, folder, &["backup", "create"]);
    let id = created["id"].as_str().unwrap();
    let names: Vec<&str> =
        created["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["etcd.db", "resources.tar", "index.jsonl", "lookup.jsonl", "coverage.json"]);
    assert!(created["objects"].as_u64().unwrap() > 50 && created["gaps"] == json!([]), "{created}");

    let listed = expect_json(0, folder, &["backup", "list"]);
    let first = &listed["backups"][0];
    assert_eq!((first["id"].as_str(), &first["sequence"], &first["verified"]), (Some(id), &json!(1), &json!(false)));
    let table = expect(0, folder, &["backup", "list"]);
    assert!(table.starts_with("BACKUP") && table.contains(id) && table.contains("Complete"), "{table}");

    let shown = expect_json(0, folder, &["backup", "show", "latest"]);
    assert_eq!((shown["id"].as_str(), &shown["coverage"]), (Some(id), &Value::Null));
    let shown = expect_json(0, folder, &[&["backup", "show", id], &key[..]].concat());
    assert_eq!(shown["coverage"]["objects"], created["objects"]);
    expect(0, folder, &[&["backup", "show"], &key[..]].concat());

    let verified = expect_json(0, folder, &["backup", "verify", id]);
    assert!(verified["ok"] == json!(true) && !verified["notChecked"].as_array().unwrap().is_empty());
    let verified = expect_json(0, folder, &[&["backup", "verify"], &key[..]].concat());
    assert!(verified["ok"] == json!(true) && verified["notChecked"] == json!([]), "{verified}");
    let text = expect(0, folder, &[&["backup", "verify"], &key[..]].concat());
    assert!(text.contains("everything in it holds"), "{text}");

    let checked = expect_json(0, folder, &[&["key", "check"], &key[..]].concat());
    assert_eq!((checked["backup"].as_str(), &checked["opens"]), (Some(id), &json!(true)));
    browse(&site);
    download_and_refuse(&site, id);
}

fn with_key<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--identity", "recovery.key"]].concat()
}

/// `objects`, `get` and `search`.
fn browse(site: &Site) {
    let folder = site.path();
    let objects = expect_json(0, folder, &with_key(&["backup", "objects", "-n", "shop", "--kind", "deploy"]));
    assert_eq!(objects["count"], 1);
    assert_eq!((&objects["objects"][0]["name"], &objects["objects"][0]["kind"]), (&json!("web"), &json!("Deployment")));
    let objects = expect_json(0, folder, &with_key(&["backup", "objects", "-l", "app=web", "-A"]));
    assert_eq!(objects["count"], 2, "{objects}");
    let none = expect_json(0, folder, &with_key(&["backup", "objects", "-n", "nowhere"]));
    assert_eq!((&none["objects"], &none["count"]), (&json!([]), &json!(0)));
    let table = expect(0, folder, &with_key(&["backup", "objects"]));
    let count = expect_json(0, folder, &with_key(&["backup", "objects"]))["count"].as_u64().unwrap();
    assert_eq!(table.lines().count() as u64, count + 1);
    let yaml = expect(0, folder, &with_key(&["backup", "objects", "-n", "shop", "--kind", "secrets", "-o", "yaml"]));
    assert!(yaml.contains("objects:\n") && yaml.contains("name: db") && yaml.ends_with("count: 1\n"), "{yaml}");

    let live: Value =
        serde_json::from_str(&site.cluster.kubectl(&["get", "cm", "traps", "-n", "shop", "-o", "json"])).unwrap();
    let got = expect_json(0, folder, &with_key(&["backup", "get", "latest", "cm/traps", "-n", "shop"]));
    assert_eq!((&got["data"], &got["metadata"]["uid"]), (&live["data"], &live["metadata"]["uid"]));
    let yaml = expect(0, folder, &with_key(&["backup", "get", "latest", "configmaps", "traps", "-n", "shop"]));
    let harmless = |c: char| c == '\n' || !c.is_control();
    assert!(yaml.chars().all(harmless), "{yaml:?}");
    assert_eq!(as_kubectl_reads_it(site, &yaml)["data"], live["data"], "{yaml}");
    expect(6, folder, &with_key(&["backup", "get", "latest", "cm/nothing", "-n", "shop"]));
    expect(2, folder, &with_key(&["backup", "get", "latest", "web"]));

    let found = expect_json(0, folder, &with_key(&["backup", "search", "latest", "object.spec.replicas == 5"]));
    assert_eq!((&found["matched"], &found["matches"][0]["name"]), (&json!(1), &json!("web")));
    assert_eq!(found["matches"][0]["object"]["spec"]["replicas"], 5);
    expect(2, folder, &with_key(&["backup", "search", "latest", "object."]));
    expect(3, folder, &with_key(&["backup", "search", "latest", "object.metadata.name > 5"]));
}

/// What kubectl takes the document for.
fn as_kubectl_reads_it(site: &Site, yaml: &str) -> Value {
    let mut kubectl = Command::new(testbed_bin().join("kubectl"))
        .args(["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", "--kubeconfig"])
        .arg(site.cluster.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let output = kubectl.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `download`, and what a wrong identity may do.
fn download_and_refuse(site: &Site, id: &str) {
    let folder = site.path();
    let files = expect_json(0, folder, &["backup", "download", id, "--to", "plain", "-i", "recovery.key"]);
    assert_eq!(files["files"].as_array().unwrap().len(), 7);
    assert!(std::fs::read(folder.join("plain/etcd.db")).unwrap().len() > 10_000);
    expect(5, folder, &["backup", "download", id, "--to", "plain", "-i", "recovery.key"]);

    expect(0, folder, &["key", "generate", "recovery", "--out", "other.key"]);
    for arguments in [&["key", "check"][..], &["backup", "verify"], &["backup", "get", id, "ns/shop"]] {
        let failure = expect_json(5, folder, &[arguments, &["-i", "other.key"]].concat());
        assert!(failure["error"]["hint"].as_str().unwrap().contains("recipients"), "{failure}");
    }

    let part = folder.join("backups/shop/backups").join(id).join("index.jsonl.zst.age");
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let verified = expect_json(4, folder, &["backup", "verify", id]);
    assert_eq!(verified["ok"], false);
    expect(4, folder, &["backup", "objects", id, "-i", "recovery.key"]);
    let manifest = folder.join("backups/shop/backups").join(id).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("Manual", "manual").replace("\"manual\"", "\"Manual\"")).unwrap();
    let text = text.replacen("\"sequence\": 1", "\"sequence\": 2", 1);
    std::fs::write(&manifest, text).unwrap();
    let listed = expect_json(4, folder, &["backup", "list"]);
    assert_eq!((&listed["backups"], &listed["problems"][0]["id"]), (&json!([]), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_has_its_own_exit_code() {
    let site = Site::start().await;
    let folder = site.path();
    site.create();

    let nobody = site.cluster.kubeconfig_for("nobody", &[]).unwrap();
    let kubeconfig = ["--kubeconfig", nobody.to_str().unwrap()];
    let created = expect_json(3, folder, &[&["backup", "create"], &kubeconfig[..]].concat());
    assert_eq!((&created["state"], &created["gaps"][0]["resource"]), (&json!("Partial"), &json!("resources")));
    let text = expect(3, folder, &[&["backup", "create"], &kubeconfig[..]].concat());
    assert!(text.contains("gap: resources: not allowed to get"), "{text}");
    let diagnosis = expect_json(1, folder, &[&["doctor"], &kubeconfig[..]].concat());
    let failed = |name: &str| {
        let checks = diagnosis["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["name"] == name)
            .all(|check| check["state"] == "fail" && check["remedy"].is_string())
    };
    assert!(failed("permissions") && failed("cluster id"), "{diagnosis}");

    let nowhere = ["--set", "etcd.endpoints=https://127.0.0.1:9"];
    let created = expect_json(3, folder, &[&["backup", "create"], &nowhere[..]].concat());
    assert_eq!(created["gaps"][0]["resource"], "etcd", "{created}");
    expect(1, folder, &[&["doctor"], &nowhere[..]].concat());
    let failure = expect_json(1, folder, &[&["backup", "create", "--no-resources"], &nowhere[..]].concat());
    assert_eq!(failure["error"]["code"], "failed", "{failure}");
    let listed = expect_json(0, folder, &["backup", "list"]);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 4, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_comes_back_and_what_was_there_is_kept() {
    let mut site = Site::start().await;
    let id = site.create();
    let data_dir = site.cluster.etcd_data_dirs().remove(0);
    let restore = |site: &Site, code: i32, more: &[&str]| {
        let etcdutl = testbed_bin().join("etcdutl");
        let (data_dir, etcdutl) = (data_dir.to_str().unwrap(), etcdutl.to_str().unwrap());
        let arguments = ["restore", "etcd", &id, "--data-dir", data_dir, "-i", "recovery.key", "--etcdutl", etcdutl];
        let arguments = [&arguments, more].concat();
        let output = run(site.path(), &arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        (String::from_utf8(output.stdout).unwrap(), stderr)
    };
    let (_, stderr) = restore(&site, 5, &["--yes"]);
    assert!(stderr.contains("in use by a running etcd"), "{stderr}");

    site.cluster.kubectl(&["delete", "namespace", "shop", "--wait=false"]);
    site.cluster.stop_api_server().await;
    site.cluster.stop_etcd().await;
    let (stdout, stderr) = restore(&site, 5, &[]);
    assert!(stdout.is_empty() && stderr.contains("Plan") && stderr.contains("--yes"), "{stdout}{stderr}");

    let (stdout, _) = restore(&site, 0, &["--yes", "-o", "json"]);
    let restored: Value = serde_json::from_str(&stdout).unwrap();
    let kept = PathBuf::from(restored["kept"].as_str().unwrap());
    assert!(kept.join("member").is_dir() && data_dir.join("member").is_dir());
    let titles: Vec<&str> =
        restored["nextSteps"].as_array().unwrap().iter().map(|section| section["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["kubeadm", "etcd as a service of its own", "k3s and RKE2"]);

    site.cluster.start_etcd().await.unwrap();
    site.cluster.start_api_server().await.unwrap();
    assert_eq!(site.cluster.kubectl(&["get", "deploy", "web", "-n", "shop", "-o", "name"]), "deployment.apps/web\n");
    let phase = site.cluster.kubectl(&["get", "ns", "shop", "-o", "jsonpath={.status.phase}"]);
    assert_eq!(phase, "Active");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_backup_and_leaves_nothing() {
    let site = Site::start().await;
    // A server that takes connections and says nothing: the backup hangs at its snapshot of etcd.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = format!("etcd.endpoints=http://{}", silent.local_addr().unwrap());
    let mut backup = lifeboat(site.path());
    backup.args(["backup", "create", "--set", &endpoints]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = backup.spawn().unwrap();
    let _held = silent.accept().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty() && stderr.contains("error: interrupted"), "{stderr}");
    let listed = expect_json(0, site.path(), &["backup", "list", "--incomplete"]);
    assert_eq!((&listed["backups"], &listed["incomplete"]), (&json!([]), &json!([])));
}
