//! Tier 3: into another cluster, where workloads come up.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use super::{finds, left_behind, passes, verified};
use crate::support::{Site, small, turn, until};

/// An empty cluster whose pods run, as far as kwok goes.
async fn empty() -> Cluster {
    Cluster::start_with(|builder| builder.with_controller_manager().with_scheduler().with_kwok_nodes(1)).await
}

const CHECKS: &str = "
apiVersion: lifeboat.dev/v1alpha1
kind: DrillChecks
checks:
  - name: the shop has its boat
    objects:
      resource: boats.shop.example.com
      namespace: zwieback-quarters
      expression: object.metadata.name == 'flying-dutchman' && size(object.cargo) == 4
  - name: the secret is there
    command: [kubectl, get, secret, kielholen-secret, -n, zwieback-quarters]
";

const NOT_TRUE: &str = "
apiVersion: lifeboat.dev/v1alpha1
kind: DrillChecks
checks:
  - name: three of them
    deadlineSeconds: 1
    objects: {resource: deployments.apps, expression: object.spec.replicas == 3}
  - name: none at all
    deadlineSeconds: 1
    objects: {resource: deployments.apps, namespace: default, expression: 'true'}
  - name: a command that fails
    deadlineSeconds: 1
    command: [kubectl, get, secret, there-is-none]
  - name: a command that does not end
    deadlineSeconds: 1
    command: [tail, -f, /dev/null]
  - name: a service without a server
    deadlineSeconds: 2
    service: {namespace: zwieback-quarters, name: web, port: 80, path: /healthz}
  - name: a service that is not there
    deadlineSeconds: 1
    service: {namespace: zwieback-quarters, name: missing, port: http}
";

#[tokio::test(flavor = "multi_thread")]
async fn into_a_context_that_is_empty_and_not_the_clusters_own() {
    let _turn = turn().await;
    let mut site = Site::directory(small().await);
    let id = site.create();
    let own = ["drill", "run", &id, "-i", "recovery.key", "--target", "context:lifeboat"];
    let refused = site.expect(5, &own);
    assert!(refused.stderr.contains("the very cluster that was backed up"), "{refused:?}");
    let refused = site.expect(5, &[&own[..], &["--occupied"]].concat());
    assert!(refused.stderr.contains("must not touch it"), "{refused:?}");

    let target = empty().await;
    site.set("KUBECONFIG", target.kubeconfig().to_str().unwrap());
    std::fs::write(site.path("checks.yaml"), CHECKS).unwrap();
    let into = ["--target", "context:lifeboat", "--checks", "checks.yaml"];
    let result = passes(&site, &id, &[&into[..], &["--rto", "5m"]].concat());
    assert_eq!((&result["tier"], &result["target"]), (&3.into(), &"context".into()));
    let phases: Vec<&Value> = result["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(phases, ["fetch", "open", "boot", "rebuild", "compare", "check"]);
    assert!(!verified(&site, &id), "that etcd comes back was not seen");
    assert!(target.kubectl(&["get", "boats", "-A", "-o", "name"]).contains("flying-dutchman"));

    let refused = site.expect(5, &["drill", "run", &id, "-i", "recovery.key", "--target", "context:lifeboat"]);
    assert!(refused.stderr.contains("is not empty") && refused.stderr.contains("zwieback-quarters"), "{refused:?}");
    passes(&site, &id, &[&into[..], &["--occupied"]].concat());
    std::fs::write(site.path("checks.yaml"), NOT_TRUE).unwrap();
    let named = |name| ("check-failed", Some(name));
    let wanted = [
        ("three of them", "web -n zwieback-quarters"),
        ("none at all", "there are no deployments.apps"),
        ("a command that fails", "there-is-none"),
        ("a command that does not end", "not true within 1 s"),
        ("a service without a server", "not true within 2 s"),
        ("a service that is not there", "services \"missing\" not found"),
    ];
    let codes = wanted.map(|(name, _)| named(name));
    let result = finds(&site, &id, &[&into[..], &["--occupied"]].concat(), 1, &codes);
    for (name, reason) in wanted {
        let findings = result["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["object"] == name).unwrap();
        assert!(found["message"].as_str().unwrap().contains(reason), "{found}");
    }

    // A target where nothing may be scheduled: the objects are restored, and their pods do not come up.
    target.kubectl(&["cordon", "kwok-0"]);
    target.kubectl(&["delete", "namespace", "zwieback-quarters"]);
    let bare = ["--target", "context:lifeboat", "--ready-within", "1s"];
    let result = finds(&site, &id, &bare, 1, &[("check-failed", Some("workloads"))]);
    assert!(result["findings"][0]["message"].as_str().unwrap().contains("deployments.apps/web"), "{result:#}");

    // Objects alone can be proved by this tier, and by no other.
    target.kubectl(&["uncordon", "kwok-0"]);
    target.kubectl(&["delete", "namespace", "zwieback-quarters"]);
    site.reach(small().await);
    let alone = site.json(0, &["backup", "create", "--no-etcd"])["id"].as_str().unwrap().to_owned();
    site.set("KUBECONFIG", target.kubeconfig().to_str().unwrap());
    passes(&site, &alone, &["--target", "context:lifeboat"]);
    assert!(verified(&site, &alone));

    for (text, problem) in [
        (
            CHECKS.replace("object.metadata.name == 'flying-dutchman' && size(object.cargo) == 4", "subject.x == 1"),
            "'subject'",
        ),
        (CHECKS.replace("    command:", "    cmd:"), "cmd"),
        (
            CHECKS.replace("    command: [kubectl, get, secret, kielholen-secret, -n, zwieback-quarters]\n", ""),
            "needs one of",
        ),
        (
            CHECKS.replace("    command:", "    service: {namespace: a, name: b, port: 80}\n    command:"),
            "needs one of",
        ),
    ] {
        std::fs::write(site.path("checks.yaml"), text).unwrap();
        let refused = site.expect(2, &[&["drill", "run", &id, "-i", "recovery.key", "--occupied"], &into[..]].concat());
        assert!(refused.stderr.contains(problem), "{refused:?}");
    }
    site.expect(2, &["drill", "run", &id, "-i", "recovery.key", "--tier", "3"]);
    site.expect(2, &["drill", "run", &id, "-i", "recovery.key", "--tier", "2", "--target", "context:lifeboat"]);
    let refused =
        site.expect(2, &["drill", "run", &id, "-i", "recovery.key", "--by", "etcd", "--target", "context:lifeboat"]);
    assert!(refused.stderr.contains("--target kind"), "{refused:?}");
}

/// A program that takes kind's arguments, notes them, and hands out a cluster that is there.
fn stand_in(site: &Site, create: &str) {
    let folder = site.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "#!/bin/bash\n[[ $1 == get ]] && {{ echo \"$4-control-plane\"; exit 0; }}\n\
         echo \"$* provider=$KIND_EXPERIMENTAL_PROVIDER\" >> '{}'\nverb=$1\n\
         while (($#)); do [[ $1 == --kubeconfig ]] && file=$2; shift; done\n\
         [[ $verb == delete ]] && {{ mkdir -p \"$(dirname \"$file\")\"; exit 0; }}\n{create}\n",
        site.path("kind.log").display()
    );
    let path = folder.join("kind");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What kind was told: `create` and `delete`, each with the name of its cluster.
fn told(site: &Site) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(site.path("kind.log")).unwrap_or_default();
    let calls = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words.iter().position(|word| *word == "--name").map(|place| words[place + 1].to_owned());
        (words[0].to_owned(), name.unwrap())
    });
    calls.collect()
}

/// The last drill made one cluster of its own, and deleted just that.
fn assert_deleted(site: &Site) {
    let calls = told(site);
    let [.., (create, made), (delete, deleted)] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((create.as_str(), delete.as_str(), made), ("create", "delete", deleted));
    assert!(made.starts_with("lifeboat-drill-"), "{made}");
    assert_eq!(left_behind(site), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_kind_is_always_deleted() {
    let _turn = turn().await;
    let mut site = Site::directory(small().await);
    let id = site.create();
    let work = site.path("");
    let kind = ["--target", "kind", "--work-dir", work.to_str().unwrap()];
    let refused = site.expect(2, &[&["drill", "run", &id, "-i", "recovery.key"], &kind[..]].concat());
    assert!(refused.stderr.contains("no program 'kind'") && refused.stderr.contains("kind.sigs.k8s.io"), "{refused:?}");

    let target = empty().await;
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = site.path("bin");
    site.set("PATH", format!("{}:{}:{path}", bin.display(), lifeboat_tests::cluster::testbed_bin().display()));
    stand_in(&site, &format!("cp '{}' \"$file\"", target.kubeconfig().display()));
    let result = passes(&site, &id, &[&kind[..], &["--kind-image", "an/image:1"]].concat());
    assert_eq!(result["target"], "kind");
    assert_deleted(&site);
    assert!(std::fs::read_to_string(site.path("kind.log")).unwrap().contains("--image an/image:1"));
    target.kubectl(&["delete", "namespace", "zwieback-quarters"]);

    // It does not come up, is half made, or the drill is interrupted: gone all the same.
    stand_in(&site, "echo 'no engine' >&2; exit 1");
    let result = finds(&site, &id, &kind, 1, &[("cluster-not-created", Some("kind"))]);
    assert!(result["findings"][0]["message"].as_str().unwrap().contains("no engine"), "{result}");
    assert_deleted(&site);
    stand_in(&site, "touch begun; exec tail -f /dev/null");
    let arguments = [&["drill", "run", &id, "-i", "recovery.key"], &kind[..]].concat();
    let mut child = site.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("cluster begun", async || site.path("begun").exists().then_some(())).await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap();
    assert_deleted(&site);
    assert_eq!(left_behind(&site), Vec::<String>::new());
}

/// Podman as far as it is asked: which program is called with what, by etcd as well. None is needed for that, and none was
/// tried.
#[tokio::test(flavor = "multi_thread")]
async fn podman_is_called_where_kind_is_told_to_use_it() {
    let _turn = turn().await;
    let mut site = Site::directory(small().await);
    let id = site.create();
    let work = site.path("");
    let kind = ["--target", "kind", "--work-dir", work.to_str().unwrap()];
    let target = empty().await;
    // What the stand-in needs and no more: this machine may have a real podman.
    let (bin, few) = (site.path("bin"), site.path("few"));
    std::fs::create_dir(&few).unwrap();
    for name in ["cp", "dirname", "mkdir"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(name), few.join(name)).unwrap();
    }
    let testbed = lifeboat_tests::cluster::testbed_bin();
    site.set("PATH", format!("{}:{}:{}", bin.display(), testbed.display(), few.display()));
    site.set("KIND_EXPERIMENTAL_PROVIDER", "podman");
    stand_in(&site, &format!("cp '{}' \"$file\"", target.kubeconfig().display()));
    passes(&site, &id, &kind);
    assert_deleted(&site);
    let log = std::fs::read_to_string(site.path("kind.log")).unwrap();
    assert!(log.lines().count() == 2 && log.lines().all(|line| line.ends_with(" provider=podman")), "{log}");
    target.kubectl(&["delete", "namespace", "zwieback-quarters"]);

    let by_etcd = [&kind[..], &["--by", "etcd"]].concat();
    let result = finds(&site, &id, &by_etcd, 1, &[("cluster-not-created", Some("node"))]);
    assert!(result["findings"][0]["message"].as_str().unwrap().contains("no program podman"), "{result:#}");
    assert_deleted(&site);
    let script = format!(
        "#!/bin/bash\necho \"$@\" >> '{}'\ncase \"$*\" in *etcd.yaml*)\necho '    - --name=n'\n\
         echo '    - --initial-advertise-peer-urls=https://10.0.0.1:2380'\necho '    - --data-dir=/var/lib/etcd' ;;\n\
         *) echo 'no such container' >&2; exit 125 ;; esac\n",
        site.path("podman.log").display()
    );
    let path = bin.join("podman");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let result = finds(&site, &id, &by_etcd, 1, &[("etcd-not-booted", Some("swap"))]);
    let message = result["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains("podman ended with exit status: 125: no such container"), "{message}");
    assert_deleted(&site);
    let called = std::fs::read_to_string(site.path("podman.log")).unwrap();
    let node = format!("{}-control-plane", told(&site).pop().unwrap().1);
    let first = called.lines().next().unwrap();
    assert_eq!(first, format!("exec -i {node} sh -euc cat \"$1\" sh /etc/kubernetes/manifests/etcd.yaml"), "{called}");
    assert!(called.contains("systemctl stop kubelet"), "{called}");
}

/// What runs in the real kind: a web server of two pods behind a Service, a pod that no controller makes anew, and what
/// must not come along: a workload of the system's.
fn real(cluster: &Cluster, image: &str) {
    let apply = |name: &str, object: Value| crate::support::apply(cluster, name, &object);
    let serve = "mkdir /tmp/w; echo ahoi > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w";
    let pod = |label: &str| {
        json!({"metadata": {"labels": {"app": label}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", serve]}]}})
    };
    let workload = |kind: &str, namespace: &str, name: &str, spec: Value| json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    apply("namespace", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "real"}}));
    // Without it no pod is let in.
    cluster.kubectl(&["wait", "--for=create", "serviceaccount/default", "-n", "real", "--timeout=180s"]);
    let selector = |label: &str| json!({"matchLabels": {"app": label}});
    apply(
        "web",
        workload(
            "Deployment",
            "real",
            "web",
            json!({"replicas": 2, "selector": selector("web"), "template": pod("web")}),
        ),
    );
    apply(
        "agent",
        workload("DaemonSet", "kube-system", "agent", json!({"selector": selector("agent"), "template": pod("agent")})),
    );
    apply(
        "secret",
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "real"},
        "stringData": {"password": "plaintext-marker-8f3a91c4"}}),
    );
    apply(
        "service",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "real"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}),
    );
    let mut lonely = pod("lonely");
    lonely["metadata"] = json!({"name": "lonely", "namespace": "real", "labels": {"app": "lonely"}});
    (lonely["apiVersion"], lonely["kind"]) = ("v1".into(), "Pod".into());
    apply("lonely", lonely);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "-n", "real", "--timeout=180s"]);
    cluster.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "-n", "real", "--timeout=180s"]);
}

const REAL_CHECKS: &str = "
apiVersion: lifeboat.dev/v1alpha1
kind: DrillChecks
checks:
  - name: pods run on the node of kind
    objects:
      resource: pods
      namespace: real
      expression: object.status.phase == 'Running' && object.spec.nodeName.startsWith('lifeboat-drill-')
  - name: the web server answers
    service: {namespace: real, name: web, port: http, path: /index.html, contains: ahoi}
";

const BY_ETCD: &str = "
  - name: the agent of the system is not there
    command: [sh, -c, '! kubectl get daemonset agent -n kube-system -o name | grep agent']
  - name: one of each
    objects:
      resource: nodes
      expression: object.metadata.name.startsWith('lifeboat-drill-')
  - name: secrets can be read
    objects:
      resource: secrets
      namespace: real
      expression: size(object.data.password) > 0
";

/// A real engine and node image: `LIFEBOAT_TEST_KIND_IMAGE` names the image, `LIFEBOAT_TEST_KIND_CONFIG` a configuration
/// where one is needed; kind is in `PATH`, and the engine is found by its own variables.
#[tokio::test(flavor = "multi_thread")]
async fn real_pods_run_in_a_real_kind() {
    let Some(image) = std::env::var("LIFEBOAT_TEST_KIND_IMAGE").ok() else {
        eprintln!("SKIPPED: no container engine is given: set LIFEBOAT_TEST_KIND_IMAGE to a node image of kind");
        return;
    };
    let pod_image = std::env::var("LIFEBOAT_TEST_KIND_POD_IMAGE").unwrap_or_else(|_| "busybox:local".to_owned());
    let _turn = turn().await;
    let keys = tempfile::tempdir().unwrap();
    let encryption = super::sabotage::encryption(keys.path(), "right", &["one"]);
    let cluster = Cluster::start_with(|builder| {
        builder.with_controller_manager().with_scheduler().with_kwok_nodes(2).encryption_config(&encryption)
    })
    .await;
    real(&cluster, &pod_image);
    let mut site = Site::directory(&cluster);
    let id = site.create();
    // Those of the testbed besides kind's: the checks call kubectl.
    let path = std::env::var("PATH").unwrap_or_default();
    site.set("PATH", format!("{path}:{}", lifeboat_tests::cluster::testbed_bin().display()));
    for name in ["DOCKER_HOST", "KIND_EXPERIMENTAL_PROVIDER"] {
        if let Ok(value) = std::env::var(name) {
            site.set(name, value);
        }
    }
    std::fs::write(site.path("checks.yaml"), REAL_CHECKS).unwrap();
    std::fs::write(site.path("etcd.yaml"), format!("{}{}", REAL_CHECKS.trim_end(), BY_ETCD)).unwrap();
    let work = site.path("");
    let mut kind = vec!["--target", "kind", "--kind-image", &image, "--work-dir", work.to_str().unwrap()];
    let config = std::env::var("LIFEBOAT_TEST_KIND_CONFIG").unwrap_or_default();
    if Path::new(&config).is_file() {
        kind.extend(["--kind-config", &config]);
    }
    let result = passes(&site, &id, &[&kind[..], &["--checks", "checks.yaml"]].concat());
    eprintln!("a drill in kind by objects: {}", result["phases"]);
    assert_nothing_is_left(&site);

    let by_etcd = [&kind[..], &["--by", "etcd", "--checks", "etcd.yaml"]].concat();
    finds(&site, &id, &by_etcd, 1, &[("encryption-config-missing", None)]);
    let result = passes(&site, &id, &[&by_etcd[..], &["--encryption-config", encryption.to_str().unwrap()]].concat());
    eprintln!("a drill in kind by etcd: {}\n{:#}", result["phases"], result["checks"]);
    assert_eq!(result["target"], "kind-etcd");
    let phases: Vec<&Value> = result["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(phases, ["fetch", "open", "boot", "rebuild", "compare", "check"]);
    let settled = result["checks"].as_array().unwrap().iter().find(|check| check["name"] == "settle").unwrap();
    let settled = settled["detail"].as_str().unwrap();
    assert!(settled.starts_with("2 nodes and ") && settled.contains(" 1 of these made anew"), "{settled}");
    assert_nothing_is_left(&site);
}

/// No cluster of kind, and no folder.
fn assert_nothing_is_left(site: &Site) {
    let names = site.command(&[]).get_envs().map(|(n, v)| (n.to_owned(), v.unwrap().to_owned())).collect::<Vec<_>>();
    let left = Command::new("kind").args(["get", "clusters"]).env_clear().envs(names).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("lifeboat-drill-"), "{left:?}");
    assert_eq!(left_behind(site), Vec::<String>::new());
}
