//! Evidence in the store: sealed, verified without the cluster, opened by stock tools, and what was altered is found.

use std::path::Path;

use lifeboat_tests::cluster::Cluster;
use lifeboat_tests::s3::S3Server;
use serde_json::{Value, json};

use super::backups::{SHOP, apply, begins, cut_behind, password, prices, state, step};
use crate::house;
use crate::promises::{commands, shell};
use crate::support::{Place, Run, Site, turn, until};

const PODS: &str = r"
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, serviceAccountName: web, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}
";

/// The files of the bundles of a run, by their keys in the store.
async fn sealed(site: &Site, run: &str) -> Vec<(String, Vec<u8>)> {
    let files = site.place.files().await;
    files.into_iter().filter(|(key, _)| key.starts_with(&format!("prod/runs/{run}/"))).collect()
}

fn library(name: &str) -> String {
    house::root().join(format!("playbooks/{name}.yaml")).to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_namespace_is_locked_sealed_and_brought_back() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(lifeboat_controlplane::Builder::with_controller_manager).await;
    apply(&cluster, SHOP);
    apply(&cluster, PODS);
    let mut server = S3Server::versitygw().await;
    "locked".clone_into(&mut server.bucket);
    server.create_bucket("locked", true).await;
    let mut site = Site::s3(&cluster, server);
    site.set("LIFEBOAT_STORE_OBJECT_LOCK_MODE", "compliance");
    site.set("LIFEBOAT_STORE_OBJECT_LOCK_RETAIN", "36h");
    let identity = site.path("recovery.key").to_str().unwrap().to_owned();
    let backup = site.create();
    let before = (password(&cluster), prices(&cluster));
    cluster.kubectl(&["delete", "configmap", "stock", "-n", "shop"]);
    let encrypt = r#"{"data": {"apple": "ENCRYPTED"}}"#;
    cluster.kubectl(&["patch", "configmap", "prices", "-n", "shop", "--type", "merge", "-p", encrypt]);

    let playbook = library("ransomware-namespace");
    let inputs = [format!("backup={backup}"), format!("identity={identity}"), "pods=web-1".to_owned()];
    let mut arguments = vec!["playbook", "run", &playbook, "-n", "shop", "--yes"];
    inputs.iter().for_each(|input| arguments.extend(["-i", input]));
    // There is no kubelet to ask for logs: that step fails, and the rest goes on.
    let run = site.json(1, &arguments);
    let outcome = |id: &str| step(&run, id)["outcome"].as_str().unwrap().to_owned();
    assert_eq!(
        ["find", "lock", "seal", "restore"].map(outcome),
        ["success", "unverified", "success", "success"],
        "{run}"
    );
    assert_eq!(outcome("sealAll"), "success", "{run}");
    assert_eq!((password(&cluster), prices(&cluster)), before);
    assert!(cluster.kubectl(&["get", "configmap", "-n", "shop", "-o", "name"]).contains("stock"));
    let id = run["record"]["run"].as_str().unwrap().to_owned();
    let report = site.expect(0, &["run", "report", &id]).stdout;
    let digest = step(&run, "sealAll")["outputs"]["sha256"].as_str().unwrap();
    assert!(report.contains(digest), "the report names what was sealed by its digest: {report}");

    // By public keys alone, and without any cluster.
    let mut keys_only = site.command(&["run", "verify", &id, "--bundle", "-o", "json"]);
    keys_only.env("KUBECONFIG", "/nonexistent").env_remove("LIFEBOAT_IDENTITY");
    let checked = Run::from(keys_only.output().unwrap());
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let checked = checked.json();
    assert_eq!(checked["bundles"].as_array().unwrap().len(), 2, "{checked}");
    assert!(checked["bundles"][1]["notChecked"][0].as_str().unwrap().contains("recovery identity"), "{checked}");
    let opened = site.json(0, &["run", "verify", &id, "--bundle", "-i", &identity]);
    let names: Vec<&str> = opened["bundles"][1]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["bundle", "evidence.tar.zst.age", "content", "journal", "the journal here"], "{opened}");
    site.expect(6, &["run", "verify", "20200101T000000Z-aaaaaa", "--bundle"]);

    // Locked like a backup, and nothing of the cluster can be read in it.
    let Place::S3(server) = &site.place else { unreachable!() };
    for (key, bytes) in sealed(&site, &id).await {
        let head = server.client().head_object().bucket(&server.bucket).key(format!("tests/{key}")).send().await;
        assert!(head.unwrap().object_lock_retain_until_date().is_some(), "{key} is not locked");
        for words in ["shop", "web-1", "contain", "prices"] {
            assert!(!key.contains(words) && !contains(&bytes, words), "{words} can be read in {key}");
        }
    }
    exported(&site, &id);
    killed(&site, &id).await;

    // All of it back: the lock too.
    site.run(&["run", "rollback", &id, "--yes"]);
    assert!(prices(&cluster).contains("ENCRYPTED"));
    let quota = || cluster.kubectl(&["get", "resourcequota", "-n", "shop", "-o", "name"]);
    until("no lock", async || quota().is_empty().then_some(())).await;
}

fn contains(bytes: &[u8], words: &str) -> bool {
    memchr::memmem::find(bytes, words.as_bytes()).is_some()
}

/// Copied out, opened by stock tools as the book says, verified where it was copied to; and a changed byte is found.
fn exported(site: &Site, run: &str) {
    let folder = site.path("exported");
    let to = folder.to_str().unwrap();
    let exported = site.json(0, &["run", "report", run, "--bundle", to]);
    let bundle = exported["bundles"][1]["id"].as_str().unwrap();
    let files = folder.join(format!("prod/runs/{run}/{bundle}"));
    for key in ["recovery.key", "signing.pub"] {
        std::fs::copy(site.path(key), files.join(key)).unwrap();
    }
    let page = std::fs::read_to_string(house::root().join("docs/src/backup-format.md")).unwrap();
    let blocks = commands(&page, "\n## Sealed evidence", "console");
    for tool in ["minisign -V", "sha256sum --check", "age -d", "zstd -d", "tar -xf"] {
        assert!(blocks.iter().any(|block| block.contains(tool)), "the page does not say how to use '{tool}'");
    }
    let output = shell(&files, &blocks.join("\n"));
    assert!(output.contains(&format!("run {run} bundle {bundle}")), "the trusted comment names them: {output}");
    let items: Value = serde_json::from_slice(&std::fs::read(files.join("items.json")).unwrap()).unwrap();
    let paths: Vec<&str> =
        items["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap()).collect();
    assert_eq!(paths[..3], ["journal.jsonl", "plan.json", "report.md"], "{items}");
    for path in ["evidence/objects_0_/pod.json", "evidence/restore/former.jsonl.zst.age"] {
        assert!(paths.contains(&path), "{path}: {items}");
    }
    assert_eq!(items["problems"], json!([]));

    altered(site, &folder, run);
}

/// The same on a store that is a folder, each file changed in turn.
fn altered(site: &Site, folder: &Path, run: &str) {
    let config = std::fs::read_to_string(site.path("lifeboat.yaml")).unwrap();
    let (head, rest) = config.split_once("\nstore:").unwrap();
    let after = rest.split_once("# To whom backups").unwrap().1;
    let config = format!("{head}\nstore:\n  directory: {{path: {}}}\n# To whom backups{after}", folder.display());
    let file = site.path("copied.yaml");
    std::fs::write(&file, config).unwrap();
    let verify = |code: i32| {
        let mut command = site.command(&["--config", file.to_str().unwrap(), "run", "verify", run, "--bundle"]);
        for setting in ["S3_ENDPOINT", "S3_FORCE_PATH_STYLE", "OBJECT_LOCK_MODE", "OBJECT_LOCK_RETAIN"] {
            command.env_remove(format!("LIFEBOAT_STORE_{setting}"));
        }
        let run = Run::from(command.output().unwrap());
        assert_eq!(run.code, Some(code), "{run:?}");
    };
    verify(0);
    for name in ["bundle.json", "bundle.json.minisig", "evidence.tar.zst.age"] {
        let bundles = folder.join(format!("prod/runs/{run}"));
        let bundle = std::fs::read_dir(bundles).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(bundle.join(name)).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(bundle.join(name), changed).unwrap();
        verify(4);
        // A removed signature or part is found too; of two bundles, one that nothing vouches for is told, and is no fault.
        std::fs::remove_file(bundle.join(name)).unwrap();
        verify(if name == "bundle.json" { 0 } else { 4 });
        std::fs::write(bundle.join(name), whole).unwrap();
    }
    verify(0);
}

/// Killed after the last bundle was there, and before that was noted: it is found again. A file that was altered since it was
/// taken is told.
async fn killed(site: &Site, run: &str) {
    let journal = state(site).join("runs").join(format!("{run}.jsonl"));
    let whole = std::fs::read(&journal).unwrap();
    let bundles = sealed(site, run).await.len();
    cut_behind(site, run, |line| {
        begins("seal")(line) && line.pointer("/entry/writing/step").is_some_and(|step| step == "sealAll")
    });
    let resumed = site.json(1, &["run", "resume", run]);
    assert_eq!(step(&resumed, "sealAll")["outcome"], "success", "{resumed}");
    assert_eq!(sealed(site, run).await.len(), bundles);
    // Cut before that, it seals again; and evidence that was altered in between is not passed off as it was taken.
    std::fs::write(&journal, whole).unwrap();
    cut_behind(site, run, |line| line.pointer("/entry/stepEnded/step").is_some_and(|step| step == "restore"));
    let evidence = state(site).join("evidence").join(run).join("objects_0_").join("pod.json");
    std::fs::write(&evidence, "{}").unwrap();
    let resumed = site.json(1, &["run", "resume", run]);
    let sealing = step(&resumed, "sealAll");
    assert_eq!(sealing["outcome"], "unverified", "{resumed}");
    assert!(sealing["outputs"]["problems"][0].as_str().unwrap().contains("it is not as it was taken"), "{sealing}");
}
