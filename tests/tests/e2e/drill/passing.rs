//! What a drill does when all is well: it proves, measures, and leaves nothing plain behind.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat_tests::cluster::kubectl;
use serde_json::Value;

use super::{drill, left_behind, passes, verified};
use crate::support::{MARKERS, Site, small, turn, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_proves_a_backup_and_signs_it() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let (first, second) = (site.create(), site.create());
    let work = site.path("");
    let work = ["--work-dir", work.to_str().unwrap()];
    let none = site.expect(6, &["backup", "show", "latest-verified"]);
    assert!(none.stderr.contains("no drill has proved one"), "{none:?}");

    let html = ["--html", "drill.html", "--junit", "drill.xml", "--metrics", "drill.prom"];
    let result = passes(&site, &first, &[work, ["--rto", "5m"], ["--rpo", "1h"]].concat());
    let phases: Vec<&str> =
        result["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(phases, ["fetch", "open", "rebuild", "boot", "compare"]);
    let seconds: f64 =
        result["phases"].as_array().unwrap().iter().map(|phase| phase["seconds"].as_f64().unwrap()).sum();
    assert!((result["rtoSeconds"].as_f64().unwrap() - seconds).abs() < 1.0, "{result}");
    assert!(result["longestGapSeconds"].as_u64().is_some(), "{result}");
    let compared = |name: &str| {
        let checks = result["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["detail"].as_str().unwrap().to_owned()
    };
    assert!(compared("boats.shop.example.com").starts_with("1 objects compared"), "{result:#}");
    assert!(compared("hash").starts_with("HashKV "), "{result:#}");

    // The newest is not proved; the one before is.
    assert!(verified(&site, &first) && !verified(&site, &second));
    let shown = site.json(0, &["backup", "show", "latest-verified"]);
    assert_eq!(shown["id"], first);

    // Without the recovery key the report tells no names; with it, everything.
    let shown = site.json(0, &["drill", "show"]);
    assert_eq!((&shown["passed"], &shown["detailed"]), (&true.into(), &false.into()));
    assert_eq!(shown["checks"].as_array().map(Vec::len), Some(0));
    let shown = site.json(0, &[&["drill", "show", "latest", "--identity", "recovery.key"][..], &html[..4]].concat());
    assert_eq!(shown["checks"], result["checks"]);
    let page = std::fs::read_to_string(site.path("drill.html")).unwrap();
    assert!(page.contains("passed: it restores") && page.contains("boats.shop.example.com"), "{page}");
    assert!(!page.contains("http://") && !page.contains("<script"), "the page loads nothing");
    let junit = std::fs::read_to_string(site.path("drill.xml")).unwrap();
    assert!(junit.contains("failures=\"0\"") && junit.contains("name=\"boats.shop.example.com\""), "{junit}");
    let listed = site.json(0, &["drill", "list"]);
    assert_eq!((listed["drills"].as_array().map(Vec::len), &listed["drills"][0]["backup"]), (Some(1), &first.into()));

    let stored = site.place.files().await;
    assert!(stored.keys().any(|key| key.ends_with("report.json.minisig")));
    for (key, bytes) in stored.iter().filter(|(key, _)| key.contains("/drills/")) {
        for marker in MARKERS {
            assert!(memchr::memmem::find(bytes, marker.as_bytes()).is_none(), "{marker} in {key}");
        }
    }
    assert_eq!(left_behind(&site), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_tiers_prove_less() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    for tier in ["0", "1"] {
        let result = passes(&site, &id, &["--tier", tier]);
        assert_eq!(result["rtoSeconds"], Value::Null);
        assert!(!verified(&site, &id), "tier {tier} has not seen the objects");
    }
    // A monitor without any secret.
    let blind = site.json(0, &["drill", "run", "--tier", "0", "--no-report"]);
    assert_eq!((&blind["passed"], &blind["stored"]), (&true.into(), &false.into()));
    assert!(blind["warnings"].to_string().contains("not checked"), "{blind}");
    let refused = site.expect(2, &["drill", "run", "--tier", "1", "--no-report"]);
    assert!(refused.stderr.contains("recovery key"), "{refused:?}");
    let refused = site.expect(2, &["drill", "run", "--tier", "1", "--rto", "1m", "-i", "recovery.key"]);
    assert!(refused.stderr.contains("tier 2"), "{refused:?}");

    // What is not there cannot be drilled.
    let objects = site.json(0, &["backup", "create", "--no-etcd"])["id"].as_str().unwrap().to_owned();
    let refused = site.expect(6, &["drill", "run", &objects, "-i", "recovery.key"]);
    assert!(refused.stderr.contains("has no etcd snapshot"), "{refused:?}");
    passes(&site, &objects, &["--tier", "0"]);
    assert!(!verified(&site, &objects), "nothing brings back objects alone");
    let etcd = site.json(0, &["backup", "create", "--no-resources"])["id"].as_str().unwrap().to_owned();
    let refused = site.expect(6, &["drill", "run", &etcd, "-i", "recovery.key"]);
    assert!(refused.stderr.contains("has no objects to compare"), "{refused:?}");
    passes(&site, &etcd, &["--tier", "1"]);
    assert!(verified(&site, &etcd), "all that it has was brought back");
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_targets_are_told_apart_from_a_backup_that_does_not_restore() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let result = super::finds(&site, &id, &["--rto", "0s"], 3, &[("rto-missed", None)]);
    assert_eq!(result["restores"], true);
    assert!(verified(&site, &id), "it restores, if slowly");
    let started: jiff::Timestamp = site.json(0, &["backup", "show"])["startedAt"].as_str().unwrap().parse().unwrap();
    let age = || jiff::Timestamp::now().duration_since(started).as_secs();
    until("age of a second", async || (age() >= 1).then_some(())).await;
    let result = super::finds(&site, &id, &["--rpo", "0s"], 3, &[("rpo-missed", None)]);
    assert!(result["rpoSeconds"].as_u64().unwrap() >= 1);
    site.expect(0, &["drill", "run", "-i", "recovery.key", "--rto", "5m", "--rpo", "1h", "--metrics", "drill.prom"]);
    let metrics = std::fs::read_to_string(site.path("drill.prom")).unwrap();
    assert!(metrics.contains("lifeboat_drill_passed{cluster=\"prod\",tier=\"2\"} 1\n"), "{metrics}");
    assert!(metrics.contains("lifeboat_drill_phase_seconds{cluster=\"prod\",tier=\"2\",phase=\"boot\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_control_plane_can_be_looked_at_and_goes_when_asked() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    site.create();
    let work = site.path("");
    let arguments =
        ["drill", "run", "--keep", "--no-report", "-i", "recovery.key", "--work-dir", work.to_str().unwrap()];
    let mut child = site.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("objects of both kinds", async || {
        let folder = left_behind(&site).pop()?;
        let kubeconfig = site.path(folder).join("controlplane/kubeconfig");
        let found = |arguments: &[&str], name: &str| kubectl(&kubeconfig, arguments).is_ok_and(|it| it.contains(name));
        let config = ["get", "configmap", "-n", "zwieback-quarters", "-o", "name"];
        let boats = ["get", "boats", "-A", "-o", "name"];
        (found(&config, "kombuese-config") && found(&boats, "flying-dutchman")).then_some(())
    })
    .await;
    ended(&site, &mut child, "TERM");
}

/// Sends a signal; the program ends, and takes its folder and its processes with it.
fn ended(site: &Site, child: &mut std::process::Child, signal: &str) {
    let folder = left_behind(site).pop().unwrap();
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap();
    assert_eq!(left_behind(site), Vec::<String>::new());
    let begun = Instant::now();
    while processes_of(&folder) > 0 {
        assert!(begun.elapsed() < Duration::from_mins(2), "processes of the drill are left");
        std::thread::yield_now();
    }
}

/// How many processes have that word in their command line.
fn processes_of(word: &str) -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = pids.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| memchr::memmem::find(line, word.as_bytes()).is_some()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_drill_leaves_nothing_and_a_killed_one_is_swept_up() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    let id = site.create();
    let work = site.path("");
    let work = ["--work-dir", work.to_str().unwrap()];
    let arguments = [&["drill", "run", &id, "-i", "recovery.key"], &work[..]].concat();
    // Each time a little later in the drill, by what it has made in its folder.
    for stage in ["sealed", "etcd", "controlplane/kubeconfig"] {
        let mut child = site.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let reached = until("stage of the drill", async || {
            let folder = left_behind(&site).pop();
            let there = folder.is_some_and(|folder| site.path(folder).join(stage).exists());
            (there || child.try_wait().unwrap().is_some()).then_some(there)
        })
        .await;
        assert!(reached, "the drill ended before it had '{stage}'");
        ended(&site, &mut child, "INT");
    }
    let mut child = site.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("stage of the drill", async || {
        let folder = left_behind(&site).pop()?;
        site.path(folder).join("controlplane/kubeconfig").exists().then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left_behind(&site).len(), 1, "nobody can clean up after a kill -9");
    let (code, _) = drill(&site, &id, &[&["--tier", "1"], &work[..]].concat());
    assert_eq!((code, left_behind(&site)), (0, Vec::new()), "the next drill does");
    assert!(!site.place.files().await.keys().any(|key| key.contains("/drills/") && !key.contains(&id)));
}
