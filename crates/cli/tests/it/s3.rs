//! A bucket as the store: what `doctor` finds out about it, and what its failures look like.

use std::path::Path;
use std::process::Output;

use lifeboat_tests::s3::{S3Kind, S3Server, unused_port};
use serde_json::Value;

use crate::program::{expect, lifeboat};

/// A folder configured for that server.
fn site(server: &S3Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    expect(0, folder.path(), &["init", "--cluster", "prod", "--store", "s3://backups/k8s"]);
    let path = folder.path().join("lifeboat.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    let endpoint = format!("    endpoint: {}\n    forcePathStyle: true\n    prefix:", server.endpoint);
    std::fs::write(&path, config.replacen("    prefix:", &endpoint, 1)).unwrap();
    folder
}

fn run(folder: &Path, keys: (&str, &str), arguments: &[&str]) -> Output {
    let mut command = lifeboat(folder);
    command.env("AWS_ACCESS_KEY_ID", keys.0).env("AWS_SECRET_ACCESS_KEY", keys.1).env("AWS_REGION", "us-east-1");
    command.env("KUBECONFIG", "/nowhere").args(arguments).output().unwrap()
}

/// The state of a check of `doctor`.
fn state(diagnosis: &Value, name: &str) -> String {
    let checks = diagnosis["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
    check.unwrap_or_else(|| panic!("{name}: {diagnosis}"))["state"].as_str().unwrap().to_owned()
}

fn diagnose(server: &S3Server, more: &[&str]) -> Value {
    let folder = site(server);
    let keys = (server.access_key.as_str(), server.secret_key.as_str());
    let output = run(folder.path(), keys, &[&["doctor", "-o", "json"], more].concat());
    // There is no API server here, so one check fails at least.
    assert_eq!(output.status.code(), Some(1));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_proves_what_a_bucket_can_do() {
    let server = S3Server::versitygw().await;
    server.create_bucket("locked", true).await;
    let plain = diagnose(&server, &[]);
    let found =
        ["store s3://backups/k8s", "conditional writes", "object lock", "clock of the store", "unfinished uploads"];
    assert_eq!(found.map(|name| state(&plain, name)), ["ok", "ok", "warn", "ok", "ok"], "{plain}");
    assert_eq!(state(&plain, "API server"), "fail");
    let locked = diagnose(&server, &["--set", "store.s3.bucket=locked"]);
    assert_eq!(["object lock", "versioning"].map(|name| state(&locked, name)), ["ok", "ok"], "{locked}");
}

/// Locks that are asked for are there, or it is a failure: where there are none, and where a server only takes the request.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_proves_the_locks_that_are_asked_for() {
    let lock = ["--set", "store.objectLock.mode=governance", "--set", "store.objectLock.retain=1d"];
    for kind in [S3Kind::Minio, S3Kind::Embedded] {
        let server = S3Server::start(kind).await;
        let diagnosis = diagnose(&server, &lock);
        assert_eq!(state(&diagnosis, "object lock"), "fail", "{diagnosis}");
        if kind == S3Kind::Minio {
            assert_eq!(state(&diagnosis, "lifecycle"), "ok", "{diagnosis}");
            server.create_bucket("locked", true).await;
            let diagnosis = diagnose(&server, &[&lock[..], &["--set", "store.s3.bucket=locked"]].concat());
            let found = ["store s3://locked/k8s", "object lock", "lifecycle"].map(|name| state(&diagnosis, name));
            assert_eq!(found, ["ok", "ok", "warn"], "old versions never end: {diagnosis}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_sees_through_a_server_that_ignores_conditions() {
    let server = S3Server::start(S3Kind::Careless).await;
    let diagnosis = diagnose(&server, &[]);
    assert_eq!(state(&diagnosis, "conditional writes"), "fail", "{diagnosis}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_a_bucket_says_what_to_do() {
    let server = S3Server::versitygw().await;
    let folder = site(&server);
    let root = (server.access_key.as_str(), server.secret_key.as_str());
    let (user, secret) = server.add_user("nobody");
    let failure = |code: i32, keys: (&str, &str), more: &[&str]| {
        let output = run(folder.path(), keys, &[&["backup", "list"], more].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(!stderr.contains(&server.secret_key) && !stderr.contains(&secret), "{stderr}");
        stderr
    };
    let text = failure(5, (&user, &secret), &[]);
    assert!(text.contains("no permission to") && text.contains("hint: grant"), "{text}");
    let output = run(folder.path(), (root.0, "wrong"), &["backup", "list"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("hint: set AWS_ACCESS_KEY_ID"), "{text}");
    let output = run(folder.path(), root, &["backup", "list", "--set", "store.s3.bucket=nowhere"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("no bucket 'nowhere'"), "{text}");
    assert!(text.contains("hint: make the bucket"), "{text}");
    let nobody = format!("store.s3.endpoint=http://127.0.0.1:{}", unused_port());
    let text = failure(1, root, &["--set", &nobody]);
    assert!(text.contains("cannot be reached") && text.contains("hint: check store.s3.endpoint"), "{text}");
    let output = run(folder.path(), root, &["backup", "list"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "no backups of cluster 'prod'\n");
}
