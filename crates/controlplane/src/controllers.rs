//! The parts that make objects live: controller manager, scheduler, and kwok, which plays the nodes.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::builder::Options;
use crate::client::Client;
use crate::files::at;
use crate::pki::Pki;
use crate::{Process, Result};

pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The Stage files that a kwok node and its pods need, below `kwok-stages` beside the program.
const STAGES: [&str; 3] = ["node/fast", "node/heartbeat", "pod/fast"];

/// The controllers of Kubernetes itself, in the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Manager,
    Scheduler,
}

impl Controller {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Manager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }

    /// Starts the controller's process; it tells its health on `port`.
    pub(crate) fn spawn(self, options: &Options, pki: &Pki, port: u16, kubeconfig: &Path) -> Result<Process> {
        let spec = options
            .process(self.name(), self.name())?
            .flag("kubeconfig", kubeconfig)
            .flag("authentication-kubeconfig", kubeconfig)
            .flag("authorization-kubeconfig", kubeconfig)
            .arg("--leader-elect=false")
            .arg("--bind-address=127.0.0.1")
            .flag("secure-port", port.to_string())
            .flag("tls-cert-file", pki.certificate("server"))
            .flag("tls-private-key-file", pki.key("server"));
        let spec = match self {
            Self::Manager => spec
                .arg("--use-service-account-credentials=true")
                .flag("root-ca-file", pki.ca())
                .flag("service-account-private-key-file", pki.key("service-account"))
                .flag("cluster-signing-cert-file", pki.ca())
                .flag("cluster-signing-key-file", pki.key("ca")),
            Self::Scheduler => spec,
        };
        Process::spawn(&spec)
    }
}

/// Waits until a controller manager or scheduler says that it is healthy.
pub(crate) async fn wait_healthy(process: &Process, client: &Client, deadline: Duration) -> Result<()> {
    let healthy = || async {
        let answer = client.get("/healthz").await?;
        match (answer.status, answer.body.as_str()) {
            (200, "ok") => Ok(()),
            (status, body) => Err(client.error("/healthz", format!("status {status}: {body}"))),
        }
    };
    process.wait_ready(deadline, healthy).await
}

/// Starts kwok, which plays every node that carries its annotation.
pub(crate) fn spawn_kwok(options: &Options, kubeconfig: &Path) -> Result<Process> {
    let program = options.binaries.find("kwok")?;
    let stages = program.with_file_name("kwok-stages");
    let mut spec = options
        .process("kwok", "kwok")?
        .flag("kubeconfig", kubeconfig)
        .arg("--manage-all-nodes=false")
        .arg("--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake");
    for stage in STAGES {
        let folder = stages.join(stage);
        let mut files = folder
            .read_dir()
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(at("reading kwok's stages in", &folder))?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
            .collect::<Vec<_>>();
        files.sort();
        spec = files.iter().fold(spec, |spec, file| spec.flag("config", file));
    }
    Process::spawn(&spec)
}

/// Makes the nodes that kwok plays and waits until they are ready.
pub(crate) async fn provide_nodes(process: &Process, client: &Client, count: u32, deadline: Duration) -> Result<()> {
    const NODES: &str = "/api/v1/nodes";
    for index in 0..count {
        let answer = client.post(NODES, &node(index).to_string()).await?;
        // 409: the node is there already, from an earlier start on the same data.
        if !matches!(answer.status, 201 | 409) {
            return Err(client.error(NODES, format!("status {}: {}", answer.status, answer.body)));
        }
    }
    let ready = || async {
        let answer = client.get(&format!("{NODES}?labelSelector=type%3Dkwok&resourceVersion=0")).await?;
        let list: Value = serde_json::from_str(&answer.body).map_err(|e| client.error(NODES, e.to_string()))?;
        let ready = list
            .pointer("/items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|node| is_ready(node))
            .count();
        if ready >= count as usize {
            return Ok(());
        }
        Err(client.error(NODES, format!("{ready} of {count} nodes are ready")))
    };
    process.wait_ready(deadline, ready).await
}

fn is_ready(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn node(index: u32) -> Value {
    let name = format!("kwok-{index}");
    let resources = json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
            },
        },
        "status": {"allocatable": resources, "capacity": resources},
    })
}
