//! Backups, programs and machines that were tampered with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifeboat_tests::cluster::{Cluster, testbed_bin};
use serde_json::{Value, json};

use super::forge::Forge;
use super::{finds, left_behind, passes, verified};
use crate::program;
use crate::support::{Site, apply, boot, etcdctl, shop, small, turn};

const NAMESPACE: &str = "zwieback-quarters";

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_and_an_old_backup_under_a_new_name() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let (old, id) = (site.create(), site.create());
    passes(&site, &id, &[]);
    assert!(verified(&site, &id));
    let whole = Forge::of(&site).await;
    let forge = |change: &dyn Fn(&mut Forge)| {
        let mut forge = whole.clone();
        change(&mut forge);
        site.place.replace(&forge.files);
    };
    for part in ["etcd.db", "resources.tar", "index.jsonl", "lookup.jsonl", "coverage.json"] {
        forge(&|forge| forge.flip(&id, &format!("{part}.zst.age")));
        finds(&site, &id, &[], 4, &[("part-damaged", None)]);
        assert!(!verified(&site, &id), "a later drill has found it damaged");
        // A monitor without a key sees it too.
        let blind = site.json(4, &["drill", "run", &id, "--tier", "0", "--no-report"]);
        assert_eq!(blind["findings"][0]["code"], "part-damaged", "{blind}");
    }
    forge(&|forge| {
        forge.files.remove(&format!("prod/backups/{id}/etcd.db.zst.age")).unwrap();
    });
    finds(&site, &id, &[], 4, &[("part-missing", None), ("part-damaged", Some("etcd.db"))]);
    for file in ["manifest.json", "manifest.json.minisig"] {
        forge(&|forge| forge.flip(&id, file));
        let result = finds(&site, &id, &[], 4, &[("not-authentic", None)]);
        assert_eq!(result["stored"], false, "there is nothing that a report could be bound to");
    }
    forge(&|forge| forge.rename(&old, &id));
    finds(&site, &id, &[], 4, &[("not-authentic", None)]);
    forge(&|forge| forge.rename(&id, &old));
    finds(&site, &old, &[], 4, &[("not-authentic", None)]);
    forge(&|_| {});
    passes(&site, &id, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_differ_between_index_and_etcd_are_named() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let configmap = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"text": "first"}})
    };
    apply(&cluster, "one", &configmap("one"));
    let site = Site::directory(&cluster);
    let with_one = site.create();
    passes(&site, &with_one, &[]);
    // What changes between list and snapshot is no finding, and is accounted for.
    apply(&cluster, "two", &configmap("two"));
    cluster.kubectl(&["delete", "configmap", "item-01", "-n", NAMESPACE]);
    cluster.kubectl(&["patch", "configmap", "item-02", "-n", NAMESPACE, "-p", r#"{"data":{"text":"other"}}"#]);
    let changed = site.create();
    passes(&site, &changed, &[]);
    let untouched = Forge::of(&site).await;
    let mut forge = untouched.clone();
    forge.mix(&with_one, &changed);
    site.place.replace(&forge.files);
    let explained = passes(&site, &with_one, &[])["explained"].clone();
    let by_rule = |number: u64| {
        let rules = explained.as_array().unwrap();
        rules.iter().find(|rule| rule["rule"] == number).map(|rule| rule["objects"].as_u64().unwrap())
    };
    assert_eq!((by_rule(1), by_rule(2)), (Some(2), Some(1)), "{explained:#}");

    // The other way round: a snapshot that is older than the lists is not of the same cluster at the same time, and what
    // was written since would be lost.
    let mut forge = untouched.clone();
    forge.mix(&changed, &with_one);
    site.place.replace(&forge.files);
    let [unexpected, altered, missing] =
        ["item-01", "item-02", "two"].map(|name| format!("configmaps/{name} -n {NAMESPACE}"));
    let wanted = [
        ("object-unexpected", Some(unexpected.as_str())),
        ("object-changed", Some(&altered)),
        ("object-missing", Some(&missing)),
    ];
    let result = finds(&site, &changed, &[], 4, &wanted);
    assert_eq!(result["findings"].as_array().map(Vec::len), Some(3), "{result:#}");
    assert!(!verified(&site, &changed));

    // An object that is gone without a trace.
    site.place.replace(&untouched.files);
    cluster.kubectl(&["delete", "configmap", "one", "-n", NAMESPACE]);
    let later = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later", "namespace": NAMESPACE}});
    apply(&cluster, "later", &later);
    compact(&cluster);
    let without_one = site.create();
    passes(&site, &without_one, &[]);
    let untouched = Forge::of(&site).await;
    let mut forge = untouched.clone();
    forge.mix(&with_one, &without_one);
    site.place.replace(&forge.files);
    let gone = format!("configmaps/one -n {NAMESPACE}");
    finds(&site, &with_one, &[], 4, &[("object-missing", Some(&gone))]);

    // An object that is another one than was captured, at the same resourceVersion.
    let mut forge = untouched.clone();
    forge.change_object(&without_one, "item-03", "schiffszwieback", "schifferklavier");
    site.place.replace(&forge.files);
    let other = format!("configmaps/item-03 -n {NAMESPACE}");
    let result = finds(&site, &without_one, &[], 4, &[("object-changed", Some(&other))]);
    assert_eq!(result["findings"].as_array().map(Vec::len), Some(1), "{result:#}");
    passes(&site, &without_one, &["--tier", "1"]);
    // Whoever reads the store without the recovery key learns no name, though findings have some.
    for (key, bytes) in site.place.files().await {
        assert!(memchr::memmem::find(&bytes, b"item-03").is_none() || !key.contains("/drills/"), "{key}");
    }
    site.place.replace(&untouched.files);
    passes(&site, &without_one, &[]);
}

/// Forgets all history up to now.
fn compact(cluster: &Cluster) {
    let status = etcdctl(cluster, &["endpoint", "status", "-w", "json"], Stdio::null());
    let status: Value = serde_json::from_str(&status).unwrap();
    let revision = status[0]["Status"]["header"]["revision"].as_u64().unwrap().to_string();
    etcdctl(cluster, &["compact", &revision, "--physical"], Stdio::null());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_does_not_open_it() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    site.expect(0, &["key", "generate", "recovery", "--out", "other.key"]);
    for tier in ["0", "2"] {
        let run = site.run(&["drill", "run", &id, "--tier", tier, "-o", "json", "--identity", "other.key"]);
        assert_eq!((run.code, &run.json()["findings"][0]["code"]), (Some(5), &"wrong-identity".into()), "{run:?}");
        assert!(!verified(&site, &id));
        passes(&site, &id, &["--tier", tier]);
    }
    assert!(verified(&site, &id), "that somebody lacked the key says nothing about the backup");
}

pub(super) fn encryption(dir: &Path, name: &str, keys: &[&str]) -> std::path::PathBuf {
    let keys = keys.iter().map(|key| json!({"name": key, "secret": STANDARD.encode([key.as_bytes()[0]; 32])}));
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [
            {"aescbc": {"keys": keys.collect::<Vec<_>>()}}, {"identity": {}}]}]});
    let path = dir.join(format!("{name}.json"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_at_rest_needs_its_configuration() {
    let _turn = turn().await;
    let keys = tempfile::tempdir().unwrap();
    let right = encryption(keys.path(), "right", &["one"]);
    // Keys that were rotated since: the old one is still there, and then it is not.
    let rotated = encryption(keys.path(), "rotated", &["two", "one"]);
    let expired = encryption(keys.path(), "expired", &["two"]);
    let cluster = Cluster::start_with(|builder| builder.encryption_config(&right)).await;
    shop(&cluster);
    let site = Site::directory(&cluster);
    let id = site.create();
    passes(&site, &id, &["--encryption-config", right.to_str().unwrap()]);
    assert!(verified(&site, &id));
    finds(&site, &id, &[], 1, &[("encryption-config-missing", None)]);
    passes(&site, &id, &["--encryption-config", rotated.to_str().unwrap()]);
    finds(&site, &id, &["--encryption-config", expired.to_str().unwrap()], 1, &[("encryption-config-wrong", None)]);
    site.expect(6, &["drill", "run", &id, "-i", "recovery.key", "--encryption-config", "/nonexistent"]);
    let nonsense = keys.path().join("nonsense.json");
    std::fs::write(&nonsense, "{}").unwrap();
    finds(&site, &id, &["--encryption-config", nonsense.to_str().unwrap()], 1, &[("api-server-not-booted", None)]);
}

/// A folder with a program of that name that does what the script says; `$REAL` is the real one.
fn program(folder: &Path, name: &str, script: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let real = testbed_bin().join(name);
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/bash\nREAL={}\n{script}\n", real.display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_do_not_do_what_they_should() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let folder = |name: &str| site.path(name).to_str().unwrap().to_owned();

    // The same wrapper around the real program, first doing nothing, then leaving out what raises revisions.
    program(&site.path("honest"), "etcdutl", "exec \"$REAL\" \"$@\"");
    passes(&site, &id, &["--tier", "1", "--bin-dir", &folder("honest")]);
    let without = "args=(); while (($#)); do case $1 in --bump-revision) shift ;; --mark-compacted) ;; \
        *) args+=(\"$1\") ;; esac; shift; done; exec \"$REAL\" \"${args[@]}\"";
    program(&site.path("forgetful"), "etcdutl", without);
    finds(&site, &id, &["--tier", "1", "--bin-dir", &folder("forgetful")], 1, &[("revision-not-raised", None)]);
    program(&site.path("broken"), "etcdutl", "[[ $1 == version ]] && exec \"$REAL\" \"$@\"; echo broken >&2; exit 1");
    finds(&site, &id, &["--tier", "1", "--bin-dir", &folder("broken")], 1, &[("etcd-not-rebuilt", None)]);

    program(&site.path("dead"), "etcd", "[[ $1 == --version ]] && exec \"$REAL\" \"$@\"; echo dead; exit 3");
    finds(&site, &id, &["--tier", "1", "--bin-dir", &folder("dead")], 1, &[("etcd-not-booted", None)]);

    // An etcd that loses a key on the way up.
    let lossy = "[[ $1 == --version ]] && exec \"$REAL\" \"$@\"; for a in \"$@\"; do case $a in \
        --data-dir=*) d=${a#*=} ;; esac; done; [[ -e $d/lost ]] || { touch \"$d/lost\"; \
        \"$REAL\" --data-dir=\"$d\" --unsafe-no-fsync --listen-client-urls=unix://localhost:0 \
        --advertise-client-urls=unix://localhost:0 --listen-peer-urls=unix://localhost:1 >\"$d.log\" 2>&1 & p=$!; \
        until \"${REAL}ctl\" --endpoints=unix://localhost:0 del /registry/configmaps/zwieback-quarters/item-01 \
        2>/dev/null | grep -q 1; do kill -0 $p || exit 4; done; kill $p; wait $p; }; exec \"$REAL\" \"$@\"";
    program(&site.path("lossy"), "etcd", lossy);
    finds(&site, &id, &["--tier", "1", "--bin-dir", &folder("lossy")], 4, &[("etcd-content", None)]);

    finds(&site, &id, &["--api-server-arg=--no-such-flag"], 1, &[("api-server-not-booted", None)]);
    // One that looks for the objects elsewhere finds none of them.
    let elsewhere = ["--api-server-arg=--etcd-prefix=/elsewhere"];
    let (code, result) = super::drill(&site, &id, &elsewhere);
    assert_eq!((code, &result["restores"]), (4, &false.into()));
    let missing = result["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == "object-missing");
    assert!(missing.count() > 40, "{result:#}");
    passes(&site, &id, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named() {
    let _turn = turn().await;
    let mut site = Site::directory(small().await);
    let id = site.create();
    let folder = site.path("bin");
    std::fs::create_dir(&folder).unwrap();
    site.set("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    for (name, tier) in [("etcdutl", "1"), ("etcd", "1"), ("kube-apiserver", "2")] {
        let refused = site.expect(2, &["drill", "run", &id, "--tier", tier, "-i", "recovery.key"]);
        assert!(refused.stderr.contains(&format!("no {name} ")) && refused.stderr.contains("--bin-dir"), "{refused:?}");
        std::os::unix::fs::symlink(testbed_bin().join(name), folder.join(name)).unwrap();
    }
    // One that is older than the backup is as good as none.
    program(&site.path("old"), "kube-apiserver", "echo Kubernetes v1.20.0");
    std::fs::remove_file(folder.join("kube-apiserver")).unwrap();
    let old = site.path("old");
    let old = old.to_str().unwrap();
    let refused = site.expect(2, &["drill", "run", &id, "-i", "recovery.key", "--bin-dir", old]);
    assert!(refused.stderr.contains("there is 1.20.0"), "{refused:?}");
    // The testbed's in a folder of the environment.
    site.set("KUBEBUILDER_ASSETS", testbed_bin().to_str().unwrap());
    passes(&site, &id, &["--bin-dir", old]);
    assert!(site.json(0, &["drill", "list"])["drills"].as_array().unwrap().len() == 1, "refusals leave no report");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let disk = site.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let drill = |size: &str| {
        // A disk of its own, seen by this command alone.
        let script =
            "mount -t tmpfs -o size=$1 none \"$2\" || exit 77; shift; dir=$1; shift; exec \"$@\" --work-dir \"$dir\"";
        let program = program::path();
        let arguments = ["drill", "run", &id, "--tier", "1", "-o", "json", "-i", "recovery.key"];
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", size]).arg(&disk);
        let inner = site.command(&[]);
        command.arg(program).args(arguments).current_dir(site.path("")).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.output().unwrap()
    };
    let roomy = drill("500m");
    if roomy.status.code() == Some(77) || String::from_utf8_lossy(&roomy.stderr).contains("unshare") {
        eprintln!("SKIPPED: this machine allows no mounts in a namespace: {}", String::from_utf8_lossy(&roomy.stderr));
        return;
    }
    assert_eq!(roomy.status.code(), Some(0), "{}", String::from_utf8_lossy(&roomy.stderr));
    // Too small for what is fetched, for the snapshot, for the data directory (a log of 64 MB comes first).
    for size in ["16k", "200k", "1m", "20m"] {
        let full = drill(size);
        let result: Value = serde_json::from_slice(&full.stdout)
            .unwrap_or_else(|error| panic!("{size}: {error}: {}", String::from_utf8_lossy(&full.stderr)));
        let codes: Vec<&Value> = result["findings"].as_array().unwrap().iter().map(|f| &f["code"]).collect();
        assert_eq!(
            (full.status.code(), codes.as_slice()),
            (Some(1), &[&Value::from("no-space")][..]),
            "{size}: {result:#}"
        );
    }
    assert!(!verified(&site, &id));
    assert_eq!(left_behind(&site), Vec::<String>::new());
}
