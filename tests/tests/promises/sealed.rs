//! Promise 2: nothing of the cluster is readable in the store, names and counts of objects included; whoever takes
//! backups holds only public recipients and cannot read them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifeboat_tests::s3::S3Server;
use serde_json::Value;

use crate::support::{Files, Keys, MARKERS, Site, backup_key, small, turn};

/// Words of any cluster.
const COMMON: [&str; 9] = [
    "kube-root-ca.crt",
    "kubernetes.io",
    "configmaps",
    "secrets",
    "apiVersion",
    "system:masters",
    "/registry/",
    "kube-public",
    "BEGIN CERTIFICATE",
];

/// The claim of the first place in the chain.
const CLAIM: &str = "prod/chain/00000000000000000001.json";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_cluster_is_readable_in_a_directory() {
    let _turn = turn().await;
    nothing_is_readable(Site::directory(small().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_cluster_is_readable_in_s3() {
    let _turn = turn().await;
    nothing_is_readable(Site::s3(small().await, S3Server::versitygw().await)).await;
}

async fn nothing_is_readable(site: Site) {
    let run = site.expect(0, &["backup", "create", "-vv", "-o", "json"]);
    let created = run.json();
    let id = created["id"].as_str().unwrap();
    let files = site.place.files().await;
    let wanted = ["etcd.db", "resources.tar", "index.jsonl", "lookup.jsonl", "coverage.json"]
        .map(|part| format!("{part}.zst.age"));
    let documents = ["manifest.json", "manifest.json.minisig"].map(str::to_owned);
    let names = wanted.iter().chain(&documents).map(|name| backup_key(id, name));
    let records = ["prod/cluster.json", "prod/cluster.json.minisig", CLAIM].map(str::to_owned);
    assert_eq!(files.keys().cloned().collect::<BTreeSet<_>>(), names.chain(records).collect());
    for name in wanted {
        let bytes = &files[&backup_key(id, &name)];
        assert!(bytes.starts_with(b"age-encryption.org/v1\n"), "{name} is not sealed");
    }

    let needles: Vec<String> = MARKERS.iter().chain(&COMMON).flat_map(|word| spellings(word)).collect();
    for (key, bytes) in &files {
        for needle in &needles {
            assert!(!contains(bytes, needle), "'{needle}' is readable in {key}");
        }
    }
    manifest_tells_sizes_and_times_only(&files, id, created["objects"].as_u64().unwrap());
    let claim: serde_json::Map<String, Value> = serde_json::from_slice(&files[CLAIM]).unwrap();
    assert_eq!(claim.keys().collect::<Vec<_>>(), ["backup", "fence", "format", "manifest", "seen"]);
    assert_eq!(claim["manifest"].as_str().unwrap().as_bytes(), &*files[&backup_key(id, "manifest.json")]);

    // The same search finds everything once the parts are open, so it would have found them.
    let keys = Keys::of(&site);
    let tar = keys.open(&files, id, &lifeboat_model::PartName::RESOURCES);
    let etcd = keys.open(&files, id, &lifeboat_model::PartName::ETCD);
    for word in MARKERS {
        assert!(spellings(word).iter().any(|needle| contains(&tar, needle)), "{word}");
    }
    assert!(contains(&etcd, "plaintext-marker-8f3a91c4"));

    for secret in ["plaintext-marker-8f3a91c4", &STANDARD.encode("plaintext-marker-8f3a91c4")] {
        assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret), "a value is in the log");
    }
}

/// A word, and how base64 writes it at each place that it can have within a longer text.
fn spellings(word: &str) -> Vec<String> {
    let shifted = (0..3).map(|shift| {
        let encoded = STANDARD.encode([&b"\0\0\0"[..shift], word.as_bytes()].concat());
        // The first and the last characters depend on what stands around the word.
        let start = [0, 2, 3][shift];
        let whole = (shift + word.len()) / 3 * 4;
        encoded[start..whole].to_owned()
    });
    std::iter::once(word.to_owned()).chain(shifted).collect()
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    memchr::memmem::find(bytes, needle.as_bytes()).is_some()
}

/// Every member of the manifest is one that is known to tell nothing, and no number in it counts objects.
fn manifest_tells_sizes_and_times_only(files: &Files, id: &str, objects: u64) {
    let manifest: Value = serde_json::from_slice(&files[&backup_key(id, "manifest.json")]).unwrap();
    let known = [
        "format",
        "tool",
        "id",
        "clusterId",
        "cluster",
        "sequence",
        "previous",
        "started",
        "finished",
        "reason",
        "state",
        "kubernetesVersion",
        "etcd",
        "captured",
        "version",
        "memberId",
        "revision",
        "raftIndex",
        "alarms",
        "resources",
        "fromResourceVersion",
        "toResourceVersion",
        "parts",
        "name",
        "plainBytes",
        "plainSha256",
        "storedBytes",
        "storedSha256",
        "recipients",
        "canonicalVersion",
        "requiredForRestore",
        "encryptionConfiguration",
        "pki",
    ];
    let mut values = vec![&manifest];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    assert!(known.contains(&name.as_str()), "the manifest tells '{name}'");
                    values.push(value);
                }
            }
            Value::Array(elements) => values.extend(elements),
            other => assert_ne!(other.as_u64(), Some(objects), "the manifest counts the objects"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_backups_cannot_read_them() {
    let _turn = turn().await;
    let site = Site::directory(small().await);
    // As `init` asks: the recovery key leaves this machine. What stays is all that a daemon has.
    let recovery = std::fs::read_to_string(site.path("recovery.key")).unwrap();
    std::fs::remove_file(site.path("recovery.key")).unwrap();
    let id = site.create();
    for name in ["lifeboat.yaml", "signing.key", "signing.pub"] {
        let text = std::fs::read_to_string(site.path(name)).unwrap();
        assert!(!text.contains("AGE-SECRET-KEY"), "{name} has a secret that opens backups");
    }
    site.expect(0, &["backup", "verify", &id]);
    let to = site.path("plain");
    let attempts: [&[&str]; 5] = [
        &["backup", "get", &id, "secrets/kielholen-secret", "-n", "zwieback-quarters"],
        &["backup", "objects", &id],
        &["backup", "search", &id, "true"],
        &["backup", "download", &id, "--to", to.to_str().unwrap()],
        &["restore", "etcd", &id, "--yes", "--data-dir", to.to_str().unwrap()],
    ];
    // Somebody else's recovery key, and the one secret that the daemon does have.
    site.expect(0, &["key", "generate", "recovery", "--out", "other.key"]);
    for arguments in attempts {
        assert_eq!(site.expect(2, arguments).stdout, "");
        let other = site.expect(5, &[arguments, &["--identity", "other.key"]].concat());
        assert!(other.stdout.is_empty() && other.stderr.contains("identity"), "{other:?}");
        assert_eq!(site.expect(2, &[arguments, &["--identity", "signing.key"]].concat()).stdout, "");
    }
    assert!(!to.join("resources.tar").exists() && !to.join("member").exists());

    std::fs::write(site.path("recovery.key"), recovery).unwrap();
    let found = site.expect(0, &[attempts[0], &["--identity", "recovery.key", "-o", "json"]].concat()).json();
    assert_eq!(found["data"]["password"], STANDARD.encode("plaintext-marker-8f3a91c4"));
}
