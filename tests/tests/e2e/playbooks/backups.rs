//! Backups, drills and restores as steps, from the command line.

use std::path::PathBuf;

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::house;
use crate::support::{Run, Site, turn};

pub(super) const SHOP: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prices, namespace: shop}
data: {apple: '1', pear: '2'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: stock, namespace: shop, labels: {app: stock}}
data: {apple: '10'}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData: {password: correct-horse-battery}
";

pub(super) fn apply(cluster: &Cluster, text: &str) {
    let file = cluster.temp().join("objects.yaml");
    std::fs::write(&file, text).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
}

/// Writes a playbook of these steps, and gives its file.
fn playbook(site: &Site, name: &str, steps: &Value) -> String {
    let document = json!({
        "apiVersion": "lifeboat.dev/v1alpha1",
        "kind": "Playbook",
        "metadata": {"name": name},
        "spec": {"description": "A test.", "guards": {"maxTargets": 100}, "steps": steps},
    });
    let file = site.path(format!("{name}.yaml"));
    std::fs::write(&file, document.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

pub(super) fn step<'a>(run: &'a Value, id: &str) -> &'a Value {
    let steps = run["record"]["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == id).unwrap_or_else(|| panic!("no step {id}: {run}"))
}

pub(super) fn state(site: &Site) -> PathBuf {
    site.path(".local/state/lifeboat")
}

/// Cuts a run's journal behind a line: as it is if the program is killed there.
pub(super) fn cut_behind(site: &Site, run: &str, is_last: impl Fn(&Value) -> bool) {
    let file = state(site).join("runs").join(format!("{run}.jsonl"));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut kept = String::new();
    for line in text.lines() {
        kept.push_str(line);
        kept.push('\n');
        if is_last(&serde_json::from_str(line).unwrap()) {
            std::fs::write(&file, kept).unwrap();
            return;
        }
    }
    panic!("no such line: {text}");
}

/// Whether a line of a journal says that a change is about to be made.
pub(super) fn begins(change: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line.pointer("/entry/writing/change").is_some_and(|found| found == change)
}

pub(super) fn password(cluster: &Cluster) -> String {
    cluster.kubectl(&["get", "secret", "db", "-n", "shop", "-o", "jsonpath={.data.password}"])
}

pub(super) fn prices(cluster: &Cluster) -> String {
    cluster.kubectl(&["get", "configmap", "prices", "-n", "shop", "-o", "jsonpath={.data}"])
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_drilled_and_brought_back_by_steps() {
    let _turn = turn().await;
    let cluster = Cluster::start().await;
    apply(&cluster, SHOP);
    let site = Site::directory(&cluster);
    let identity = site.path("recovery.key").to_str().unwrap().to_owned();

    let backup = json!({"id": "backup", "uses": "backup.create", "timeout": "10m"});
    let drill = |id: &str, tier: u8, identity: &Value| {
        let with = json!({"tier": tier, "identity": identity});
        json!({"id": id, "uses": "drill.run", "timeout": "10m", "with": with})
    };
    let same = json!({"id": "same", "uses": "assert", "with": {
        "that": "${{ steps.etcd.backup == steps.backup.id }}", "message": "another backup was drilled"}});
    let steps = json!([
        backup,
        drill("blind", 0, &Value::Null),
        drill("opened", 0, &json!(identity)),
        drill("etcd", 1, &json!(identity)),
        same
    ]);
    let care = playbook(&site, "care", &steps);

    // Without a configuration the playbook is sound, and the plan says what to configure.
    site.expect(0, &["playbook", "lint", &care]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut unconfigured = site.command(&["playbook", "plan", &care]);
    unconfigured.current_dir(elsewhere.path()).env("HOME", elsewhere.path());
    for setting in ["ENDPOINTS", "CA_FILE", "CERT_FILE", "KEY_FILE"] {
        unconfigured.env_remove(format!("LIFEBOAT_ETCD_{setting}"));
    }
    let run = Run::from(unconfigured.output().unwrap());
    assert_eq!(run.code, Some(5), "{run:?}");
    assert!(run.stdout.contains("no store for backups is configured"), "{run:?}");

    // A drill of tier 1 without a key is refused before anything is done.
    let blind = playbook(&site, "blind", &json!([drill("etcd", 1, &Value::Null)]));
    let run = site.expect(5, &["playbook", "run", &blind, "--yes"]);
    assert!(run.stdout.contains("name the file of the recovery key"), "{run:?}");

    let before = site.json(0, &["playbook", "plan", &care]);
    let run = site.json(0, &["playbook", "run", &care, "--approve", before["plan"]["hash"].as_str().unwrap()]);
    let id = step(&run, "backup")["outputs"]["id"].as_str().unwrap().to_owned();
    assert_eq!(step(&run, "backup")["outputs"]["state"], "Complete", "{run}");
    assert!(step(&run, "backup")["outputs"]["objects"].as_u64().unwrap() > 4, "{run}");
    assert!(step(&run, "backup")["proof"]["observed"].as_str().unwrap().contains("signed by a trusted key"), "{run}");
    assert!(step(&run, "blind")["proof"]["observed"].as_str().unwrap().contains("nothing was opened"), "{run}");
    assert!(step(&run, "etcd")["proof"]["observed"].as_str().unwrap().contains("etcd booted from it"), "{run}");
    assert_eq!(site.json(0, &["drill", "list"])["drills"].as_array().unwrap().len(), 3);
    site.expect(0, &["backup", "verify", &id, "--identity", &identity]);

    // Killed after the backup was there and before that was noted: it is found, and none is taken twice.
    let run = run["record"]["run"].as_str().unwrap();
    cut_behind(&site, run, begins("backup"));
    let resumed = site.json(0, &["run", "resume", run]);
    assert_eq!(step(&resumed, "backup")["outputs"]["id"], id.as_str(), "{resumed}");
    assert_eq!(site.json(0, &["backup", "list"])["backups"].as_array().unwrap().len(), 1);

    // With nobody at the API server: what needs no cluster is done, and nothing else.
    let library = house::root().join("playbooks");
    let library = library.to_str().unwrap();
    let nobody = site.path("nobody.conf");
    let server = format!("https://127.0.0.1:{}", lifeboat_tests::s3::unused_port());
    let admin = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    std::fs::write(&nobody, admin.replace(&cluster.url(), &server)).unwrap();
    let lost = |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env("KUBECONFIG", &nobody);
        Run::from(command.output().unwrap())
    };
    let identity_input = format!("identity={identity}");
    let run =
        lost(&["playbook", "run", "lost-etcd", "--library", library, "-i", &identity_input, "--yes", "-o", "json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let run = run.json();
    assert_eq!(step(&run, "drill")["outputs"]["backup"], id.as_str(), "{run}");
    assert!(run["record"]["plan"]["request"]["requester"].as_str().unwrap().contains("does not answer"), "{run}");
    let run = lost(&["playbook", "plan", "contain-pod", "--library", library, "-n", "shop", "-i", "pod=web-1"]);
    assert_eq!(run.code, Some(1), "{run:?}");

    // Before work on a node.
    apply(&cluster, "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
    let arguments = ["pre-maintenance", "--library", library, "-i", "node=n1", "-i", &identity_input];
    let run = site.json(0, &[&["playbook", "run", "--yes"], &arguments[..]].concat());
    assert!(step(&run, "drill")["proof"]["observed"].as_str().unwrap().contains("every part was opened"), "{run}");
    let cordoned = || cluster.kubectl(&["get", "node", "n1", "-o", "jsonpath={.spec.unschedulable}"]);
    assert_eq!(cordoned(), "true");
    site.expect(0, &["run", "rollback", "latest", "--yes"]);
    assert_eq!(cordoned(), "");

    restored(&cluster, &site, &identity);
}

/// What was deleted and what was changed comes back, and goes again.
fn restored(cluster: &Cluster, site: &Site, identity: &str) {
    let secret = password(cluster);
    cluster.kubectl(&["delete", "configmap", "stock", "-n", "shop"]);
    let encrypt = r#"{"data": {"apple": "ENCRYPTED"}}"#;
    cluster.kubectl(&["patch", "configmap", "prices", "-n", "shop", "--type", "merge", "-p", encrypt]);
    let leak = r#"{"stringData": {"password": "ransomed-value"}}"#;
    cluster.kubectl(&["patch", "secret", "db", "-n", "shop", "--type", "merge", "-p", leak]);
    let ransomed = (password(cluster), prices(cluster));

    let restore = |name: &str, more: Value| {
        let mut with = json!({"identity": identity, "namespaces": ["shop"]});
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let steps = json!([{"id": "it", "uses": "restore.fromBackup", "timeout": "10m", "with": with}]);
        playbook(site, name, &steps)
    };
    // Only what is missing.
    let missing = restore("missing", json!({}));
    let run = site.json(0, &["playbook", "run", &missing, "--yes"]);
    let outputs = &step(&run, "it")["outputs"];
    assert_eq!((&outputs["created"], &outputs["applied"]), (&json!(1), &json!(0)), "{run}");
    assert_eq!(prices(cluster), ransomed.1);
    site.expect(0, &["run", "rollback", "latest", "--yes"]);
    assert!(!cluster.kubectl(&["get", "configmap", "-n", "shop", "-o", "name"]).contains("stock"));

    // All that differs. The plan names it, has no secret in it, and is the same when made again.
    let changed = restore("changed", json!({"changed": true}));
    let text = site.expect(0, &["playbook", "plan", &changed]).stdout;
    for words in ["configmaps/stock -n shop", "configmaps/prices -n shop", "secrets/db -n shop", "made equal"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let plan = site.json(0, &["playbook", "plan", &changed]);
    let hash = plan["plan"]["hash"].as_str().unwrap();
    let run = site.json(0, &["playbook", "run", &changed, "--approve", hash]);
    let outputs = &step(&run, "it")["outputs"];
    assert_eq!((&outputs["created"], &outputs["applied"]), (&json!(1), &json!(2)), "{run}");
    assert_eq!((password(cluster), prices(cluster).contains("ENCRYPTED")), (secret.clone(), false));
    let id = run["record"]["run"].as_str().unwrap().to_owned();
    let journal = std::fs::read_to_string(state(site).join("runs").join(format!("{id}.jsonl"))).unwrap();
    for value in [&secret, &ransomed.0, "ransomed-value", "AGE-SECRET-KEY"] {
        assert!(!journal.contains(value), "{value} is in the journal");
    }
    // Killed in the middle of it, after all was done: nothing is done again.
    cut_behind(site, &id, begins("restore"));
    let resumed = site.json(0, &["run", "resume", &id]);
    assert_eq!(step(&resumed, "it")["outcome"], "success", "{resumed}");

    // Somebody changes one of them, and that is left; the others are as they were.
    let newer = r#"{"data": {"apple": "3"}}"#;
    cluster.kubectl(&["patch", "configmap", "prices", "-n", "shop", "--type", "merge", "-p", newer]);
    let run = site.expect(3, &["run", "rollback", &id, "--yes"]);
    assert!(run.stdout.contains("somebody changed it since") || run.stderr.contains("taken back"), "{run:?}");
    assert_eq!(password(cluster), ransomed.0);
    assert!(prices(cluster).contains(r#""apple":"3""#));
    assert!(!cluster.kubectl(&["get", "configmap", "-n", "shop", "-o", "name"]).contains("stock"));

    // What changes between plan and run ends it before anything is written.
    let plan = site.json(0, &["playbook", "plan", &changed]);
    let hash = plan["plan"]["hash"].as_str().unwrap();
    cluster.kubectl(&["delete", "secret", "db", "-n", "shop"]);
    site.expect(5, &["playbook", "run", &changed, "--approve", hash]);
    assert!(!cluster.kubectl(&["get", "configmap", "-n", "shop", "-o", "name"]).contains("stock"));
    // A backup that is not there, a kind that it does not have.
    for wrong in [json!({"backup": "20200101T000000Z-aaaaaa"}), json!({"kinds": ["deploymints"]})] {
        let wrong = restore("wrong", wrong);
        site.expect(5, &["playbook", "plan", &wrong]);
    }
}
