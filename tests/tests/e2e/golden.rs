//! A backup of format 1 as version 0.1 wrote it: every later version opens it, and refuses each damaged copy of it for
//! the same reason.

use std::fmt::Write as _;
use std::path::Path;

use lifeboat_tests::cluster::Cluster;
use serde_json::Value;

use crate::support::{DAMAGES, Keys, Run, Scene, Site, assert_same, backup_key, digests, digests_of_index, turn};

/// The archive with its keys; see the README there.
const GOLDEN: &str = "data/golden-v1";
/// Its backups: of objects, and of objects and etcd.
const FIRST: &str = "20261121T094956Z-2aha31";
const SECOND: &str = "20261121T094957Z-3ax93s";
const OBJECT: [&str; 3] = ["secrets/kielholen-secret", "-n", "zwieback-quarters"];

fn site() -> Site {
    Site::copy_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN))
}

#[test]
fn it_is_listed_verified_and_read() {
    let site = site();
    insta::assert_snapshot!("list", site.expect(0, &["backup", "list", "-o", "json"]).stdout);
    for (name, id) in [("verify-first", FIRST), ("verify-second", SECOND)] {
        insta::assert_snapshot!(name, site.expect(0, &["backup", "verify", id, "-i", "recovery.key"]).stdout);
    }
    insta::assert_snapshot!(
        "show",
        site.expect(0, &["backup", "show", SECOND, "-i", "recovery.key", "-o", "json"]).stdout
    );
    insta::assert_snapshot!("get", site.expect(0, &get(SECOND)).stdout);
    insta::assert_snapshot!("objects", site.expect(0, &["backup", "objects", SECOND, "-i", "recovery.key"]).stdout);
    site.expect(0, &["key", "check", SECOND, "-i", "recovery.key"]);
}

fn get(id: &str) -> Vec<&str> {
    [&["backup", "get", id, "-i", "recovery.key"], &OBJECT[..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_boots_from_it() {
    let _turn = turn().await;
    let site = site();
    let (data, plain) = (site.path("data"), site.path("plain"));
    site.expect(0, &["backup", "download", SECOND, "-i", "recovery.key", "--to", plain.to_str().unwrap()]);
    let restore = ["restore", "etcd", SECOND, "-i", "recovery.key", "--yes", "--data-dir", data.to_str().unwrap()];
    site.expect(0, &restore);
    let cluster = Cluster::start_with(|builder| builder.etcd_data_dir(&data)).await;
    let captured = digests_of_index(&std::fs::read_to_string(plain.join("index.jsonl")).unwrap());
    let mut found = digests(&cluster);
    found.retain(|key, _| captured.contains_key(key));
    // Its authority is that of the control plane it is restored into, not of the one it was taken from.
    let authority =
        |key: &String| key.ends_with("/kube-root-ca.crt") || key.contains("extension-apiserver-authentication");
    let without = |mut digests: std::collections::BTreeMap<_, _>| {
        digests.retain(|key, _| !authority(key));
        digests
    };
    assert_same(&without(captured), &without(found));
}

#[test]
fn each_damage_has_its_name() {
    let site = site();
    let read = |name| std::fs::read_to_string(site.path(name)).unwrap();
    let scene = Scene {
        files: crate::support::in_folder(&site.path("store")),
        first: FIRST.to_owned(),
        second: SECOND.to_owned(),
        keys: Keys::of(&site),
        stranger: read("stranger.key"),
    };
    assert!(scene.files.contains_key(&backup_key(SECOND, "manifest.json")));
    let mut report = String::new();
    for (name, damage) in DAMAGES {
        let mut damaged = scene.clone();
        damage(&mut damaged);
        site.place.replace(&damaged.files);
        writeln!(report, "{name}").unwrap();
        let plain = site.path("plain");
        let to = plain.to_str().unwrap();
        let verified = site.run(&["backup", "verify", SECOND, "-i", "recovery.key", "-o", "json"]);
        assert_eq!(verified.code, Some(4), "{name}: {verified:?}");
        line(&mut report, "verify", &verified);
        line(&mut report, "list", &site.run(&["backup", "list", "-o", "json"]));
        line(&mut report, "get", &site.run(&[get(SECOND), vec!["-o", "json"]].concat()));
        let download = ["backup", "download", SECOND, "-i", "recovery.key", "-o", "json", "--to", to];
        line(&mut report, "download", &site.run(&download));
        if plain.exists() {
            std::fs::remove_dir_all(&plain).unwrap();
        }
        let restore = ["restore", "etcd", SECOND, "-i", "recovery.key", "-o", "json", "--yes", "--data-dir", to];
        line(&mut report, "restore", &site.run(&restore));
        if plain.exists() {
            std::fs::remove_dir_all(&plain).unwrap();
        }
    }
    insta::assert_snapshot!("damages", report);
}

/// A line of the report: the exit code, and what was wrong.
fn line(report: &mut String, command: &str, run: &Run) {
    let result = run.json();
    let mut found: Vec<String> = Vec::new();
    if let Some(error) = result.get("error") {
        let causes = error["causes"].as_array().unwrap().iter();
        let words = std::iter::once(&error["message"]).chain(causes).map(|text| text.as_str().unwrap());
        found.push(words.collect::<Vec<_>>().join(": "));
    }
    let texts = |list: &str, name: &str, text: &str, wanted: fn(&Value) -> bool| -> Vec<String> {
        let entries = result[list].as_array().into_iter().flatten().filter(|entry| wanted(entry));
        entries.map(|entry| format!("{}: {}", entry[name].as_str().unwrap(), entry[text].as_str().unwrap())).collect()
    };
    found.extend(texts("checks", "name", "detail", |check| check["ok"] == false));
    found.extend(texts("problems", "id", "message", |_| true));
    let code = run.code.unwrap();
    writeln!(report, "  {command}: {code}").unwrap();
    for text in found {
        writeln!(report, "    {}", steady(&text)).unwrap();
    }
}

/// Sealing is never the same twice: digests of what was sealed anew have no place in a snapshot, nor has its size.
fn steady(text: &str) -> String {
    let mut steady: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let hexadecimal = word.trim_matches(|c: char| !c.is_ascii_hexdigit());
        let is_size = steady.last().is_some_and(|before| before == "has") && word.parse::<u64>().is_ok();
        steady.push(match hexadecimal.len() {
            64 => word.replace(hexadecimal, "[digest]"),
            _ if is_size => "[size]".to_owned(),
            _ => word.to_owned(),
        });
    }
    steady.join(" ")
}
