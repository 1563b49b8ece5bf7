//! The manifests by which a drill runs in a cluster: a real API server takes them as they are, and what it makes of them is
//! within the strictest Pod Security Standard.

use std::path::PathBuf;
use std::process::Command;

use lifeboat_tests::cluster::{Cluster, testbed_bin};
use serde_json::Value;

use crate::house::root;
use crate::support::{turn, until};

const NAMESPACE: &str = "lifeboat-drill";

fn manifest(name: &str) -> String {
    root().join("deploy/drill").join(name).to_str().unwrap().to_owned()
}

/// Applies a manifest; what the API server warns of goes to stderr, and has to be nothing.
fn applies(cluster: &Cluster, file: &str, more: &[&str]) {
    let mut command = Command::new(testbed_bin().join("kubectl"));
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["apply", "--validate=strict", "-f", file]).args(more);
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The one pod of a Job, once there is one.
async fn pod(cluster: &Cluster, job: &str) -> Value {
    let label = format!("batch.kubernetes.io/job-name={job}");
    until("pod of the Job", async || {
        let listed = cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", &label, "-o", "json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed["items"].as_array().unwrap().first().cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_takes_the_jobs_and_runs_them_without_any_right() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(lifeboat_controlplane::Builder::with_controller_manager).await;
    applies(&cluster, &manifest("namespace.yaml"), &[]);
    cluster.kubectl(&["wait", "--for=create", "serviceaccount/default", "-n", NAMESPACE, "--timeout=180s"]);
    // The standard is in force: a pod that says nothing of itself is refused.
    let careless = ["run", "careless", "--image=example.com/x:1", "-n", NAMESPACE];
    let refused = lifeboat_tests::cluster::kubectl(&cluster.kubeconfig(), &careless).unwrap_err();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");

    for (file, job, programs) in [
        ("job.yaml", "lifeboat-drill", &["/images/etcd/usr/local/bin", "/images/kube-apiserver/usr/local/bin"][..]),
        ("job-init.yaml", "lifeboat-drill", &["/bin-dir"]),
        ("job-blind.yaml", "lifeboat-drill-blind", &[]),
    ] {
        let path = manifest(file);
        applies(&cluster, &path, &["--dry-run=server"]);
        applies(&cluster, &path, &[]);
        let pod = pod(&cluster, job).await;
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "{file}");
        let volumes = spec["volumes"].as_array().unwrap();
        let secrets: Vec<&str> = volumes.iter().filter_map(|volume| volume["secret"]["secretName"].as_str()).collect();
        let images = volumes.iter().filter(|volume| volume["image"]["reference"].is_string()).count();
        let is_blind = file == "job-blind.yaml";
        let wanted: &[&str] = if is_blind { &[] } else { &["lifeboat-drill-keys", "lifeboat-drill-identity"] };
        assert_eq!((secrets.as_slice(), images), (wanted, if file == "job.yaml" { 2 } else { 0 }), "{file}");

        // What the container is told is what the program understands, and where it looks for programs they are mounted.
        let container = &spec["containers"][0];
        let arguments: Vec<&str> =
            container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect();
        let folders: Vec<&str> =
            arguments.windows(2).filter(|pair| pair[0] == "--bin-dir").map(|pair| pair[1]).collect();
        assert_eq!(folders, programs, "{file}");
        let mounts: Vec<PathBuf> = container["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mount| PathBuf::from(mount["mountPath"].as_str().unwrap()))
            .collect();
        let files = arguments.iter().filter(|argument| argument.starts_with('/'));
        for file in files.chain(["/etc/lifeboat/lifeboat.yaml"].iter()) {
            assert!(mounts.iter().any(|mount| PathBuf::from(file).starts_with(mount)), "{file} in {mounts:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let config = cluster.kubectl(&[
            "get",
            "cm",
            "lifeboat-drill",
            "-n",
            NAMESPACE,
            "-o",
            r"jsonpath={.data.lifeboat\.yaml}",
        ]);
        std::fs::write(folder.path().join("lifeboat.yaml"), config).unwrap();
        let mut program = crate::program::lifeboat();
        let run = program
            .current_dir(folder.path())
            .args(&arguments)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&run.stderr);
        // As far as the keys and the store, which are not there.
        assert!(!run.status.success() && !complaint.contains("unexpected argument"), "{file}: {complaint}");
        assert!(!complaint.contains("lifeboat.yaml"), "{file}: {complaint}");
        cluster.kubectl(&["delete", "job", job, "-n", NAMESPACE, "--cascade=foreground", "--timeout=60s"]);
    }
}

/// `run` with a cluster whose pods end at once, as kwok has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_recovery_identity_is_in_the_cluster_for_one_drill_alone() {
    let _turn = turn().await;
    let cluster =
        Cluster::start_with(|builder| builder.with_controller_manager().with_scheduler().with_kwok_nodes(1)).await;
    applies(&cluster, &manifest("namespace.yaml"), &[]);
    std::fs::write(cluster.temp().join("recovery.key"), "AGE-SECRET-KEY-1").unwrap();
    let path = std::env::join_paths([testbed_bin(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
    let run = || {
        let mut command = Command::new(manifest("run"));
        command.arg(cluster.temp().join("recovery.key")).env_clear().env("KUBECONFIG", cluster.kubeconfig());
        command.env("PATH", &path).env("HOME", cluster.temp()).env("DEADLINE", "300").output().unwrap()
    };
    let left = || cluster.kubectl(&["get", "jobs,secrets", "-n", NAMESPACE, "-o", "name"]);
    let done = run();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(left(), "");
    // Where one is there already, nothing of it is touched.
    cluster.kubectl(&["create", "secret", "generic", "lifeboat-drill-identity", "-n", NAMESPACE]);
    let refused = run();
    assert!(!refused.status.success() && left().contains("lifeboat-drill-identity"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("under way"), "{refused:?}");
}
