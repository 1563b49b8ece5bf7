//! Control planes, and what is in them.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat_tests::cluster::{Cluster, testbed_bin};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Tests with servers that run at a time: what two cores carry.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Words of the cluster that nobody may find in a store.
pub(crate) const MARKERS: [&str; 8] = [
    "zwieback-quarters",
    "kielholen-secret",
    "kombuese-config",
    "plaintext-marker-8f3a91c4",
    "annotated-marker-77d1",
    "labelled-marker-5e20",
    "boats.shop.example.com",
    "flying-dutchman",
];

/// Waits for this test's turn.
pub(crate) async fn turn() -> SemaphorePermit<'static> {
    TURNS.acquire().await.unwrap()
}

/// A small cluster that every test may back up, and none may change but by RBAC of its own.
pub(crate) async fn small() -> &'static Cluster {
    static CLUSTER: OnceCell<&'static Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(|| async { keep(boot(shop).await) }).await
}

/// A cluster whose etcd has 40 MB that do not compress, so that its snapshot takes many parts and some time.
pub(crate) async fn large() -> &'static Cluster {
    static CLUSTER: OnceCell<&'static Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(|| async { keep(boot(|cluster| ballast(cluster, 40)).await) }).await
}

/// A control plane with something in it.
pub(crate) async fn boot(fill: impl FnOnce(&Cluster)) -> Cluster {
    let cluster = Cluster::start().await;
    fill(&cluster);
    cluster
}

/// Keeps a cluster until the tests end; its processes then die with them, and its folder is removed by a shell that
/// waits for that.
fn keep(cluster: Cluster) -> &'static Cluster {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read -r _; until rm -rf \"$0\" 2>/dev/null; do sleep 0.1; done"]).arg(cluster.temp());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // The end of the pipe stays open as long as this process lives.
    std::mem::forget(command.spawn().unwrap());
    Box::leak(Box::new(cluster))
}

/// A shop with one of each: objects of the core and of a custom resource, some with names that are easy to find.
pub(crate) fn shop(cluster: &Cluster) {
    apply(cluster, "crd", &custom_resource());
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/boats.shop.example.com", "--timeout=60s"]);
    let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zwieback-quarters"}})];
    let mut add = |api: &str, kind: &str, name: &str, rest: Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {
            "name": name, "namespace": "zwieback-quarters",
            "labels": {"app": "web", "marked": "labelled-marker-5e20"},
            "annotations": {"note": "annotated-marker-77d1"},
        }});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        items.push(object);
    };
    add("v1", "Secret", "kielholen-secret", json!({"stringData": {"password": "plaintext-marker-8f3a91c4"}}));
    add("v1", "ConfigMap", "kombuese-config", json!({"data": {"text": "plaintext-marker-8f3a91c4"}}));
    add("v1", "ServiceAccount", "cook", json!({}));
    add("v1", "Service", "web", json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}));
    add("shop.example.com/v1", "Boat", "flying-dutchman", json!({"cargo": [2, 2.5, null, "ü\"\\"]}));
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    add("apps/v1", "Deployment", "web", json!({"spec": spec}));
    for number in 0..40 {
        let data = json!({"data": {"number": number.to_string(), "text": "schiffszwieback ".repeat(number)}});
        add("v1", "ConfigMap", &format!("item-{number:02}"), data);
    }
    apply(cluster, "shop", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
}

fn custom_resource() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.shop.example.com"},
        "spec": {"group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "Fleet"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}})
}

/// Creates what is in the document.
pub(crate) fn apply(cluster: &Cluster, name: &str, document: &Value) {
    let file = cluster.temp().join(format!("{name}.json"));
    std::fs::write(&file, document.to_string()).unwrap();
    cluster.kubectl(&["create", "-f", file.to_str().unwrap()]);
}

/// Puts so many MB that do not compress into etcd, beside Kubernetes' own keys.
pub(crate) fn ballast(cluster: &Cluster, megabytes: u64) {
    std::thread::scope(|scope| {
        for lane in 0..4 {
            scope.spawn(move || {
                for number in (lane..megabytes).step_by(4) {
                    let mut bytes = vec![0; 1_000_000];
                    fastrand::Rng::with_seed(number).fill(&mut bytes);
                    let file = cluster.temp().join(format!("ballast-{number}"));
                    std::fs::write(&file, bytes).unwrap();
                    let put = format!("/ballast/{number}");
                    etcdctl(cluster, &["put", &put], Stdio::from(std::fs::File::open(&file).unwrap()));
                    std::fs::remove_file(file).unwrap();
                }
            });
        }
    });
}

/// Runs `etcdctl` against the first member.
pub(crate) fn etcdctl(cluster: &Cluster, arguments: &[&str], input: Stdio) -> String {
    let access = cluster.etcd();
    let files = [("--cacert", &access.ca_file), ("--cert", &access.cert_file), ("--key", &access.key_file)];
    run(Command::new(testbed_bin().join("etcdctl"))
        .args(["--endpoints", &access.endpoints[0]])
        .args(files.iter().flat_map(|(flag, file)| [Path::new(flag), file.as_path()]))
        .args(arguments)
        .stdin(input))
}

/// Runs a command that must succeed, and gives its stdout.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until there is an answer, for at most a minute.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(3), asked).await.unwrap_or_else(|_| panic!("no {what} within 3 minutes"))
}
