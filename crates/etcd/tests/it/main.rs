//! The crate against real etcd, etcdctl and etcdutl.
#![cfg(test)]

mod golden;
mod inspect;
mod keyspace;
mod kv;
mod live;
mod measure;
mod reference;
mod restore;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use lifeboat_controlplane::EtcdAccess;
use lifeboat_etcd::{ClientCertificate, EtcdOptions, Tls};
use lifeboat_tests::cluster::testbed_bin;

/// Runs a program of the testbed and gives what it prints.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(testbed_bin().join(program)).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `etcdutl snapshot status` says of a file.
fn status(snapshot: &Path) -> serde_json::Value {
    serde_json::from_str(&run("etcdutl", &["snapshot", "status", "-w", "json", snapshot.to_str().unwrap()])).unwrap()
}

fn options(access: &EtcdAccess) -> EtcdOptions {
    let read = |path: &PathBuf| fs::read(path).unwrap();
    let client = Some(ClientCertificate { cert: read(&access.cert_file), key: read(&access.key_file) });
    let tls = Tls { ca: read(&access.ca_file), client, server_name: None };
    EtcdOptions::new(access.endpoints.clone(), Some(tls))
}

/// The flags that let etcdctl reach one endpoint of a cluster.
fn etcdctl_flags(access: &EtcdAccess, endpoint: &str) -> Vec<String> {
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    vec![
        format!("--endpoints={endpoint}"),
        flag("cacert", &access.ca_file),
        flag("cert", &access.cert_file),
        flag("key", &access.key_file),
    ]
}

/// How many cases a property runs against real servers; more on request.
fn cases(usual: u32) -> u32 {
    env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
