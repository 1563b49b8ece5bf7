//! Arrows between crates go up only, and heavy dependencies stay where they are.

use std::process::Command;

use serde_json::Value;

use super::{read, root};

/// The product's crates, lowest first. A crate may use those of the lines above its own, and none beside it.
const LAYERS: [&[&str]; 6] = [
    &["lifeboat-model"],
    &[
        "lifeboat-archive",
        "lifeboat-controlplane",
        "lifeboat-etcd",
        "lifeboat-http",
        "lifeboat-kubernetes",
        "lifeboat-playbook",
        "lifeboat-store",
    ],
    &["lifeboat-recovery", "lifeboat-telemetry"],
    &["lifeboat-actions"],
    &["lifeboat-daemon"],
    &["lifeboat"],
];

/// Tests, and what only they need, are above everything.
const TESTS: &str = "lifeboat-tests";

/// Dependencies that stop at a boundary, each with the crates that may name it. A name with a dash at its end stands
/// for all that begin so.
const BOUNDARIES: [(&str, &[&str]); 25] = [
    ("age", &["lifeboat-archive"]),
    ("minisign", &["lifeboat-archive"]),
    ("tar", &["lifeboat-archive"]),
    ("zeekstd", &["lifeboat-archive"]),
    ("zstd", &["lifeboat-archive"]),
    ("aws-", &["lifeboat-store"]),
    ("prost", &["lifeboat-etcd", "lifeboat-telemetry"]),
    ("tonic", &["lifeboat-etcd"]),
    ("tonic-", &["lifeboat-etcd"]),
    ("kube", &["lifeboat-kubernetes", "lifeboat-recovery", "lifeboat-daemon", "lifeboat"]),
    ("k8s-openapi", &["lifeboat-kubernetes", "lifeboat-recovery", "lifeboat-daemon", "lifeboat"]),
    ("axum", &["lifeboat-daemon"]),
    ("cron", &["lifeboat-daemon"]),
    ("kube-runtime", &["lifeboat-daemon"]),
    ("prometheus-client", &["lifeboat-daemon"]),
    ("hyper-rustls", &["lifeboat-http"]),
    ("opentelemetry", &["lifeboat-telemetry"]),
    ("opentelemetry-", &["lifeboat-telemetry"]),
    ("opentelemetry_sdk", &["lifeboat-telemetry"]),
    ("tracing-opentelemetry", &["lifeboat-telemetry"]),
    ("rcgen", &["lifeboat-controlplane"]),
    ("cel", &["lifeboat-playbook"]),
    ("clap", &["lifeboat"]),
    ("comfy-table", &["lifeboat"]),
    ("indicatif", &["lifeboat"]),
];

/// What no crate may name, whatever it is for.
const NOWHERE: [&str; 4] = ["anyhow", "eyre", "lazy_static", "once_cell"];

struct Package {
    name: String,
    /// What it needs to be built and run. Dependencies of tests may come from anywhere.
    dependencies: Vec<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
        Package {
            name: text(&package["name"]),
            dependencies: dependencies.map(|dependency| text(&dependency["name"])).collect(),
        }
    });
    packages.collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// What the packages do that they may not.
fn faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for Package { name, dependencies } in packages.iter().filter(|package| package.name != TESTS) {
        let Some(own) = layer(name) else {
            faults.push(format!("{name} has no place in the layers"));
            continue;
        };
        for dependency in dependencies {
            if dependency == TESTS || layer(dependency).is_some_and(|other| other >= own) {
                faults.push(format!("{name} uses {dependency}, which is not below it"));
            }
            if NOWHERE.contains(&dependency.as_str()) {
                faults.push(format!("{name} uses {dependency}, which nobody may"));
            }
            let bounded = BOUNDARIES.iter().filter(|(pattern, _)| match pattern.strip_suffix('-') {
                Some(_) => dependency.starts_with(pattern),
                None => dependency == pattern,
            });
            for (_, allowed) in bounded {
                if !allowed.contains(&name.as_str()) {
                    faults.push(format!("{name} uses {dependency}, which stays in {}", allowed.join(", ")));
                }
            }
        }
    }
    faults
}

#[test]
fn arrows_go_up_and_heavy_dependencies_stay() {
    let packages = packages();
    let missing: Vec<&str> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter().copied())
        .filter(|name| !packages.iter().any(|package| package.name == *name))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "the layers name crates that are not there");
    assert_eq!(faults(&packages), Vec::<String>::new());
}

#[test]
fn a_wrong_arrow_is_a_fault() {
    let package = |name: &str, dependencies: &[&str]| Package {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(ToString::to_string).collect(),
    };
    for (name, dependency) in [
        ("lifeboat-model", "lifeboat-store"),
        ("lifeboat-store", "lifeboat-etcd"),
        ("lifeboat-archive", "lifeboat-recovery"),
        ("lifeboat-recovery", "lifeboat-tests"),
        ("lifeboat-recovery", "aws-sdk-s3"),
        ("lifeboat-store", "kube"),
        ("lifeboat-kubernetes", "tonic-prost"),
        ("lifeboat", "anyhow"),
        ("lifeboat-new", "serde"),
    ] {
        assert_eq!(faults(&[package(name, &[dependency])]).len(), 1, "{name} -> {dependency}");
    }
    let fine =
        [package("lifeboat-recovery", &["lifeboat-store", "tokio"]), package("lifeboat-tests", &["clap", "kube"])];
    assert_eq!(faults(&fine), Vec::<String>::new());
}

#[test]
fn every_crate_has_the_lints_and_says_what_it_is_for() {
    for package in packages() {
        let folder = match package.name.strip_prefix("lifeboat-") {
            Some("tests") => "tests".to_owned(),
            Some(name) => format!("crates/{name}"),
            None => "crates/cli".to_owned(),
        };
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{folder} has lints of its own");
        assert!(
            read(&format!("{folder}/src/lib.rs")).starts_with("//! "),
            "{folder}/src/lib.rs does not say what it is for"
        );
    }
}
