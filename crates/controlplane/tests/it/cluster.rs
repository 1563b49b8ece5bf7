use std::fs;
use std::iter;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lifeboat_controlplane::{Binaries, ControlPlane, Error, free_port, free_ports};
use lifeboat_tests::cluster::{Cluster, binaries, kubectl, testbed_bin};
use tempfile::TempDir;

use crate::support::{POLL, etcdctl, etcdctl_as, eventually, exists};

const CRD: &str = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "boats.example.dev"},
  "spec": {"group": "example.dev", "scope": "Namespaced", "names": {"kind": "Boat", "plural": "boats"},
    "versions": [{"name": "v1", "served": true, "storage": true,
      "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}"#;

fn write(cluster: &Cluster, name: &str, content: &str) -> String {
    let path = cluster.temp().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ready_control_plane_does_what_a_clusters_does() {
    let start = Instant::now();
    let cluster = Cluster::start().await;
    println!("etcd and kube-apiserver were ready after {:?}", start.elapsed());
    let namespaces = cluster.kubectl(&["get", "ns", "-o", "name"]);
    assert!(namespaces.contains("namespace/default"), "{namespaces}");

    // ServiceAccount tokens are signed, and recognised.
    cluster.kubectl(&["create", "sa", "deckhand"]);
    let token = cluster.kubectl(&["create", "token", "deckhand"]);
    let ca = cluster.pki().ca();
    let args = ["--server", &cluster.url(), "--certificate-authority", ca.to_str().unwrap(), "--token", token.trim()];
    let who =
        kubectl(Path::new(&write(&cluster, "nobody", "")), &[&args[..], &["auth", "whoami", "-o", "json"]].concat())
            .unwrap();
    assert!(who.contains("system:serviceaccount:default:deckhand"), "{who}");

    // Custom resources.
    cluster.kubectl(&["apply", "-f", &write(&cluster, "crd.json", CRD)]);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/boats.example.dev", "--timeout=180s"]);
    let boat = r#"{"apiVersion": "example.dev/v1", "kind": "Boat", "metadata": {"name": "dinghy"}, "oars": 2}"#;
    let boat = write(&cluster, "boat.json", boat);
    // Discovery learns of a new kind a moment after it is established.
    eventually("a custom resource", || kubectl(&cluster.kubeconfig(), &["apply", "-f", &boat]).is_ok());
    assert_eq!(cluster.kubectl(&["get", "boat", "dinghy", "-o", "jsonpath={.oars}"]), "2");

    // Policies.
    let policy = r#"{"apiVersion": "v1", "kind": "List", "items": [
      {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
       "metadata": {"name": "no-rum"}, "spec": {"failurePolicy": "Fail",
         "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
           "operations": ["CREATE"], "resources": ["configmaps"]}]},
         "validations": [{"expression": "object.metadata.name != 'rum'", "message": "no rum on board"}]}},
      {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
       "metadata": {"name": "no-rum"}, "spec": {"policyName": "no-rum", "validationActions": ["Deny"]}}]}"#;
    cluster.kubectl(&["apply", "-f", &write(&cluster, "policy.json", policy)]);
    eventually("the policy is in force", || {
        let create = ["create", "configmap", "rum", "--dry-run=server"];
        kubectl(&cluster.kubeconfig(), &create).is_err_and(|e| e.contains("no rum on board"))
    });

    let pids = [cluster.etcd_pids()[0].unwrap(), cluster.api_server_pid().unwrap()];
    for (name, pid) in ["etcd", "kube-apiserver"].into_iter().zip(pids) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        println!("{name}: {}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
    }
    let start = Instant::now();
    drop(cluster);
    println!("dropped in {:?}", start.elapsed());
    assert!(pids.into_iter().all(|pid| !exists(pid)));
}

#[tokio::test]
async fn users_have_their_groups_and_only_their_rights() {
    let cluster = Cluster::start().await;
    let config = cluster.kubeconfig_for("system:alice", &["crew", "night-watch"]).unwrap();
    let who = kubectl(&config, &["auth", "whoami", "-o", "json"]).unwrap();
    for part in ["\"system:alice\"", "\"crew\"", "\"night-watch\"", "\"system:authenticated\""] {
        assert!(who.contains(part), "{part} is missing in {who}");
    }
    assert!(!who.contains("system:masters"), "{who}");
    let forbidden = kubectl(&config, &["get", "configmaps"]).unwrap_err();
    assert!(forbidden.contains("Forbidden"), "{forbidden}");
    cluster.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=configmaps"]);
    cluster.kubectl(&["create", "rolebinding", "watch", "--role=reader", "--group=night-watch"]);
    eventually("the group's right", || kubectl(&config, &["get", "configmaps"]).is_ok());
    let error = cluster.kubeconfig_for("bob", &["a", "b", "c"]).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let cluster = Cluster::start_etcd(1).await;
    let mut folders = vec![cluster.dir().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        for entry in folder.read_dir().unwrap().map(|entry| entry.unwrap()) {
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            if meta.is_dir() && !cluster.etcd_data_dirs().contains(&path) {
                folders.push(path);
            } else if meta.is_file() {
                files += 1;
                assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{}", path.display());
            }
        }
    }
    assert!(files > 10, "{files}");
}

#[tokio::test]
async fn etcd_talks_only_to_clients_with_a_certificate() {
    let cluster = Cluster::start_etcd(1).await;
    let access = cluster.etcd();
    assert!(etcdctl_as(&access, &["endpoint", "health"]).contains("is healthy"));
    let endpoint = access.endpoints[0].as_str();
    let ca = access.ca_file.to_str().unwrap();
    let plain = endpoint.replace("https:", "http:");
    for args in [vec!["--endpoints", &plain], vec!["--endpoints", endpoint, "--cacert", ca]] {
        let output = etcdctl(&[&args[..], &["--command-timeout=3s", "get", "/", "--prefix"]].concat());
        assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
async fn three_members_outlive_one() {
    let mut cluster = Cluster::start_etcd(3).await;
    let access = cluster.etcd();
    assert_eq!(access.endpoints.len(), 3);
    etcdctl_as(&access, &["put", "/boat", "afloat"]);
    let healthy = |access| etcdctl_as(access, &["endpoint", "health"]).matches("is healthy").count();
    assert_eq!(healthy(&access), 3);

    let killed = cluster.etcd_pids()[1].unwrap();
    cluster.kill_member(1).await.unwrap();
    assert!(!exists(killed));
    assert_eq!(cluster.etcd_pids().iter().filter(|pid| pid.is_some()).count(), 2);
    let mut others = access.clone();
    others.endpoints.remove(1);
    // If it was the leader, another must be elected first; a client waits for that.
    assert!(etcdctl_as(&others, &["get", "/boat"]).contains("afloat"));

    cluster.start_etcd().await.unwrap();
    assert_eq!(healthy(&access), 3);
    assert_eq!(cluster.etcd(), access);
    assert!(cluster.kill_member(3).await.is_err());
}

#[tokio::test]
async fn deployments_run_on_kwok_nodes() {
    let start = Instant::now();
    let cluster =
        Cluster::start_with(|builder| builder.with_controller_manager().with_scheduler().with_kwok_nodes(2)).await;
    println!("with controllers and two nodes ready after {:?}", start.elapsed());
    cluster.kubectl(&["create", "deployment", "shop", "--image=shop", "--replicas=2"]);
    cluster.kubectl(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    println!("two pods running after {:?}", start.elapsed());
    let phases = cluster.kubectl(&["get", "pods", "-l", "app=shop", "-o", "jsonpath={.items[*].status.phase}"]);
    assert_eq!(phases, "Running Running");
}

#[tokio::test]
async fn started_again_in_its_folder_it_is_the_same_cluster() {
    let dir = TempDir::new().unwrap();
    let [api_port, etcd_port] = free_ports().unwrap();
    let start = || ControlPlane::builder(binaries(), dir.path()).api_port(api_port).etcd_port(etcd_port).start();
    let plane = start().await.unwrap();
    let copy = dir.path().join("copy-of-kubeconfig");
    fs::copy(plane.kubeconfig(), &copy).unwrap();
    kubectl(&copy, &["create", "configmap", "kept"]).unwrap();
    let begun = Instant::now();
    plane.stop().await;
    println!("stopped in {:?}", begun.elapsed());
    assert!(kubectl(&copy, &["get", "configmap", "kept"]).is_err(), "it is stopped");
    let _plane = start().await.unwrap();
    kubectl(&copy, &["get", "configmap", "kept"]).unwrap();
}

#[tokio::test]
async fn it_boots_from_a_restored_etcd_after_the_disaster() {
    let mut cluster = Cluster::start().await;
    cluster.kubectl(&["create", "configmap", "saved"]);
    let snapshot = cluster.temp().join("snapshot.db");
    etcdctl_as(&cluster.etcd(), &["snapshot", "save", snapshot.to_str().unwrap()]);
    cluster.kubectl(&["create", "configmap", "lost"]);

    let own = cluster.etcd_data_dirs().remove(0);
    assert!(cluster.use_etcd_data_dir(&own).is_err(), "etcd still runs");
    cluster.destroy_etcd_data().await.unwrap();
    assert!(!cluster.etcd_data_dirs()[0].exists());
    assert_eq!(cluster.etcd_pids(), [None]);
    assert_eq!(cluster.api_server_pid(), None);

    // Neither the name nor the peer URL that `etcdutl` writes unless told are those of the control plane.
    let restored = cluster.temp().join("restored");
    let mut etcdutl = Command::new(testbed_bin().join("etcdutl"));
    etcdutl.args(["snapshot", "restore", "--bump-revision=1000000", "--mark-compacted", "--data-dir"]);
    assert!(etcdutl.arg(&restored).arg(&snapshot).output().unwrap().status.success());

    cluster.use_etcd_data_dir(&restored).unwrap();
    cluster.start_etcd().await.unwrap();
    cluster.start_api_server().await.unwrap();
    let names = cluster.kubectl(&["get", "configmaps", "-o", "name"]);
    assert!(names.contains("configmap/saved") && !names.contains("configmap/lost"), "{names}");
    cluster.kubectl(&["create", "configmap", "new"]);
}

#[tokio::test]
async fn the_api_server_alone_can_be_stopped_and_started() {
    let mut cluster = Cluster::start().await;
    let (etcd, first) = (cluster.etcd_pids(), cluster.api_server_pid().unwrap());
    cluster.stop_api_server().await;
    assert!(!exists(first));
    assert_eq!(cluster.etcd_pids(), etcd);
    cluster.start_api_server().await.unwrap();
    assert_ne!(cluster.api_server_pid(), Some(first));
    cluster.kubectl(&["get", "ns"]);
}

#[tokio::test]
async fn secrets_are_encrypted_at_rest_where_asked() {
    let config = r#"{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
      "resources": [{"resources": ["secrets"], "providers": [
        {"aescbc": {"keys": [{"name": "key1", "secret": "c2l4dGVlbiBieXRlcyEhIQ=="}]}}, {"identity": {}}]}]}"#;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("encryption.json");
    fs::write(&path, config).unwrap();
    let cluster = Cluster::start_with(|builder| builder.encryption_config(&path)).await;
    cluster.kubectl(&["create", "secret", "generic", "treasure", "--from-literal=map=island"]);
    let stored = etcdctl_as(&cluster.etcd(), &["get", "/registry/secrets/default/treasure"]);
    assert!(stored.contains("k8s:enc:aescbc:v1:key1") && !stored.contains("island"), "{stored}");
    let read = cluster.kubectl(&["get", "secret", "treasure", "-o", "jsonpath={.data.map}"]);
    assert_eq!(read, "aXNsYW5k");
}

#[tokio::test]
async fn a_port_that_becomes_free_is_waited_for() {
    let port = free_port().unwrap();
    let busy = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("logs/etcd-0.log");
    let start = ControlPlane::builder(binaries(), dir.path()).etcd_only().etcd_port(port).start();
    let release = async {
        while !fs::read_to_string(&log).unwrap_or_default().contains("address already in use") {
            tokio::time::sleep(POLL).await;
        }
        drop(busy);
    };
    let (plane, ()) = tokio::join!(start, release);
    assert_eq!(plane.unwrap().etcd().endpoints, [format!("https://127.0.0.1:{port}")]);
}

#[tokio::test]
async fn the_port_after_a_fixed_one_may_be_taken() {
    let dir = TempDir::new().unwrap();
    let (port, _busy) = iter::repeat_with(|| free_port().unwrap())
        .find_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port + 1)).ok()?)))
        .unwrap();
    let plane = ControlPlane::builder(binaries(), dir.path()).etcd_only().etcd_port(port).start().await.unwrap();
    assert_eq!(plane.etcd().endpoints, [format!("https://127.0.0.1:{port}")]);
}

#[tokio::test]
async fn several_members_can_have_fixed_ports() {
    let in_a_row = |ports: &[u16; 6]| ports.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let [first, ..] = iter::repeat_with(|| free_ports::<6>().unwrap()).find(in_a_row).unwrap();
    let cluster = Cluster::start_with(|builder| builder.etcd_only().etcd_members(3).etcd_port(first)).await;
    assert_eq!(cluster.etcd().endpoints, [0, 1, 2].map(|i| format!("https://127.0.0.1:{}", first + i)));
}

#[tokio::test]
async fn a_port_that_stays_taken_is_an_error_with_the_log() {
    let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let dir = TempDir::new().unwrap();
    let port = busy.local_addr().unwrap().port();
    let error = ControlPlane::builder(binaries(), dir.path()).etcd_only().etcd_port(port).start().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Exited { .. }), "{text}");
    assert!(text.contains("etcd-0 ended early") && text.contains("address already in use"), "{text}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_starts() {
    let dir = TempDir::new().unwrap();
    let plane = dir.path().join("plane");
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("member")).unwrap();
    let builder = || ControlPlane::builder(binaries(), &plane);
    for wrong in [
        builder().etcd_members(0),
        builder().etcd_members(3).etcd_data_dir(&data),
        // etcd would make an empty one.
        builder().etcd_data_dir(dir.path()),
        builder().etcd_only().with_scheduler(),
        builder().etcd_members(2).etcd_port(u16::MAX - 2),
    ] {
        let error = wrong.start().await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    // A folder with etcd alone lacks the API server.
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(testbed_bin().join("etcd"), bin.join("etcd")).unwrap();
    let other = dir.path().join("other");
    let error = ControlPlane::builder(Binaries::new([&bin]), &other).start().await.unwrap_err();
    assert!(matches!(&error, Error::MissingBinary { name, .. } if name == "kube-apiserver"), "{error}");
    assert!(error.to_string().contains(bin.to_str().unwrap()), "{error}");
    assert!(!other.exists());
}

#[tokio::test]
async fn a_server_that_refuses_its_arguments_shows_its_log() {
    let dir = TempDir::new().unwrap();
    let start = Instant::now();
    let builder = ControlPlane::builder(binaries(), dir.path()).api_server_arg("--no-such-flag");
    let text = builder.start().await.unwrap_err().to_string();
    assert!(text.contains("kube-apiserver ended early") && text.contains("unknown flag: --no-such-flag"), "{text}");
    assert!(start.elapsed() < Duration::from_mins(1));
}

#[tokio::test]
async fn programs_tell_their_versions() {
    let binaries = binaries();
    for name in ["etcd", "etcdutl", "etcdctl", "kube-apiserver", "kube-scheduler", "kubectl", "kwok"] {
        let version = binaries.version(name).await.unwrap();
        println!("{name} {version}");
        assert!(version.major > 0 || version.minor > 0);
    }
    let dir = TempDir::new().unwrap();
    let mute = dir.path().join("etcd");
    fs::write(&mute, "#!/bin/sh\nexit 4\n").unwrap();
    fs::set_permissions(&mute, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Binaries::new([dir.path()]).version("etcd").await.unwrap_err();
    assert!(matches!(&error, Error::Version { reason, .. } if reason.contains('4')), "{error}");
}
