//! Tier 3: into another cluster, where workloads come up.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_tests::cluster::Cluster;
use serde_json::Value;

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
    let wanted = [named("three of them"), named("none at all"), named("a command that fails")];
    let result = finds(&site, &id, &[&into[..], &["--occupied"]].concat(), 1, &wanted);
    assert!(result["findings"].to_string().contains("web -n zwieback-quarters"), "{result:#}");

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
    ] {
        std::fs::write(site.path("checks.yaml"), text).unwrap();
        let refused = site.expect(2, &[&["drill", "run", &id, "-i", "recovery.key", "--occupied"], &into[..]].concat());
        assert!(refused.stderr.contains(problem), "{refused:?}");
    }
    site.expect(2, &["drill", "run", &id, "-i", "recovery.key", "--tier", "3"]);
    site.expect(2, &["drill", "run", &id, "-i", "recovery.key", "--tier", "2", "--target", "context:lifeboat"]);
}

/// A program that takes kind's arguments, notes them, and hands out a cluster that is there.
fn stand_in(site: &Site, create: &str) {
    let folder = site.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "#!/bin/bash\necho \"$*\" >> '{}'\nverb=$1\n\
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
    let cluster = crate::support::boot(|_| ()).await;
    let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "real"}});
    crate::support::apply(&cluster, "namespace", &namespace);
    let deployment = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "real"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": pod_image, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "while :; do sleep 3600; done"]}]}}}});
    crate::support::apply(&cluster, "deployment", &deployment);
    let mut site = Site::directory(&cluster);
    let id = site.create();
    for name in ["PATH", "DOCKER_HOST", "KIND_EXPERIMENTAL_PROVIDER"] {
        if let Ok(value) = std::env::var(name) {
            site.set(name, value);
        }
    }
    let checks = "apiVersion: lifeboat.dev/v1alpha1\nkind: DrillChecks\nchecks:\n\
        - name: pods run\n  objects:\n    resource: pods\n    namespace: real\n    expression: object.status.phase == 'Running'\n";
    std::fs::write(site.path("checks.yaml"), checks).unwrap();
    let work = site.path("");
    let mut arguments = vec!["--target", "kind", "--kind-image", &image, "--checks", "checks.yaml"];
    arguments.extend(["--work-dir", work.to_str().unwrap()]);
    let config = std::env::var("LIFEBOAT_TEST_KIND_CONFIG").unwrap_or_default();
    if Path::new(&config).is_file() {
        arguments.extend(["--kind-config", &config]);
    }
    let result = passes(&site, &id, &arguments);
    eprintln!("a drill in kind: {}", result["phases"]);
    let names = site.command(&[]).get_envs().map(|(n, v)| (n.to_owned(), v.unwrap().to_owned())).collect::<Vec<_>>();
    let left = Command::new("kind").args(["get", "clusters"]).env_clear().envs(names).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("lifeboat-drill-"), "{left:?}");
    assert_eq!(left_behind(&site), Vec::<String>::new());
}
