//! The chart and the overlays of kustomize, on a real API server, and the daemon with just the rights that they give.

mod manifests;
mod responder;
mod rights;

use std::path::PathBuf;
use std::process::Command;

use lifeboat_model::parse_yaml;
use lifeboat_tests::cluster::{Cluster, testbed_bin};
use serde_json::Value;

use crate::house::root;

/// Where everything is installed.
const NAMESPACE: &str = "lifeboat-system";

/// Admission plugins besides those that the API server has on by itself, as far as they need no configuration.
const ADMISSION: &str = "--enable-admission-plugins=NodeRestriction,AlwaysPullImages,DenyServiceExternalIPs,\
    LimitPodHardAntiAffinityTopology,NamespaceExists,OwnerReferencesPermissionEnforcement,PodNodeSelector,\
    ExtendedResourceToleration";

fn chart() -> PathBuf {
    root().join("deploy/helm/lifeboat")
}

/// Runs a tool of the testbed: its output, or what it complained of.
fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(testbed_bin().join(name));
    // Nothing of the user's own: plugins, repositories, caches.
    let output = command.env_clear().env("HOME", "/nonexistent").current_dir(root()).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The chart with those settings, `--set`, as it is applied.
fn render(settings: &[&str]) -> Result<String, String> {
    let chart = chart();
    let mut arguments = vec!["template", "lifeboat", chart.to_str().unwrap(), "--namespace", NAMESPACE];
    arguments.extend(settings.iter().flat_map(|setting| ["--set-json", setting]));
    tool("helm", &arguments)
}

/// Settings without which there is nothing to install.
const NEEDED: [&str; 3] = [
    "config.cluster.name=\"prod\"",
    "config.store.s3={\"bucket\":\"my-backups\",\"region\":\"eu-central-1\"}",
    "config.encryption.recipients=[\"age1q4p5685m2h5ujqqyzmtgx9uskvcs69utv3zcqcpf7hnz8mf3k42s4zkk4f\"]",
];

/// The objects in a stream of YAML documents.
fn objects(manifests: &str) -> Vec<Value> {
    let documents = manifests.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let texts = documents.filter(|text| text.lines().any(|line| !line.is_empty() && !line.starts_with('#')));
    texts.map(|text| parse_yaml("manifests", text).unwrap_or_else(|error| panic!("{error}\n{text}"))).collect()
}

/// The one object of that kind.
fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// Applies on the server's side; what is there already is taken over.
fn apply(cluster: &Cluster, manifests: &str, more: &[&str]) {
    let file = cluster.temp().join("manifests.yaml");
    std::fs::write(&file, manifests).unwrap();
    let file = file.to_str().unwrap();
    cluster.kubectl(&[&["apply", "--server-side", "--force-conflicts", "-f", file], more].concat());
}
