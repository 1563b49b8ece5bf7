//! A cluster of kind: real kubelets, pods that run, network policies that are enforced.

use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_tests::cluster::kubectl;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A cluster with two workers, deleted when dropped.
pub(super) struct Kind {
    name: String,
    folder: TempDir,
    pub(super) pod_image: String,
}

impl Kind {
    /// `None` where no container engine is given.
    pub(super) fn start() -> Option<Self> {
        let Ok(image) = std::env::var("LIFEBOAT_TEST_KIND_IMAGE") else {
            eprintln!("SKIPPED: no container engine is given: set LIFEBOAT_TEST_KIND_IMAGE to a node image of kind");
            return None;
        };
        let pod_image = std::env::var("LIFEBOAT_TEST_KIND_POD_IMAGE").unwrap_or_else(|_| "busybox:local".to_owned());
        let name = format!("lifeboat-test-{}", std::process::id());
        let kind = Self { name, folder: tempfile::tempdir().unwrap(), pod_image };
        let config = kind.folder.path().join("kind.json");
        std::fs::write(&config, configuration().to_string()).unwrap();
        let kubeconfig = kind.kubeconfig();
        let create = ["create", "cluster", "--image", &image, "--wait", "300s", "--config", config.to_str().unwrap()];
        kind.call(&[&create[..], &["--kubeconfig", kubeconfig.to_str().unwrap()]].concat());
        Some(kind)
    }

    fn call(&self, args: &[&str]) {
        let output = Command::new("kind").args(args).args(["--name", &self.name]).output().unwrap();
        assert!(output.status.success(), "kind {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The names of the two workers.
    pub(super) fn workers(&self) -> [String; 2] {
        ["worker", "worker2"].map(|worker| format!("{}-{worker}", self.name))
    }

    pub(super) fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(&self.kubeconfig(), args)
    }

    pub(super) fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[args, &["-o", "json"]].concat())).unwrap()
    }

    pub(super) fn names(&self, args: &[&str]) -> Vec<String> {
        self.kubectl(&[args, &["-o", "name"]].concat()).lines().map(str::to_owned).collect()
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        let deleted = Command::new("kind").args(["delete", "cluster", "--name", &self.name]).output();
        if !deleted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("the cluster {} may be left: {deleted:?}", self.name);
        }
    }
}

/// The configuration that is given, or an empty one, with a control plane and two workers.
fn configuration() -> Value {
    let given = std::env::var("LIFEBOAT_TEST_KIND_CONFIG").ok().filter(|path| Path::new(path).is_file());
    let mut configuration = match given {
        Some(path) => serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
        None => json!({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4"}),
    };
    let mut nodes = match &configuration["nodes"] {
        Value::Array(nodes) => nodes.iter().filter(|node| node["role"] != "worker").take(1).cloned().collect(),
        _ => vec![json!({"role": "control-plane"})],
    };
    nodes.extend([json!({"role": "worker"}), json!({"role": "worker"})]);
    configuration["nodes"] = nodes.into();
    configuration
}
