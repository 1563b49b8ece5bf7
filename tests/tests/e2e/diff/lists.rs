//! Lists that expire, break off, or come in an order of their own.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat_kubernetes::{Cluster as Client, ConnectOptions, Retry};
use lifeboat_model::ResourcesConfig;
use lifeboat_recovery::diff::{Against, Detail, Options, Secrets, compare};
use lifeboat_recovery::{BackupRef, Catalog, OpenBackup, Progress, backup};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{diff, lines, site, uncompared};
use crate::e2e::faults::{behind_a_gate, many};
use crate::support::{Gate, Keys, Run, Site, boot, context, etcdctl, memory, request, turn};

/// Lets a list expire once the gate is reached, and opens the gate.
async fn expire(cluster: &Cluster, gate: &Gate, name: &str) {
    gate.reached().await;
    many(cluster, name, 1);
    let status = etcdctl(cluster, &["endpoint", "status", "-w", "json"], Stdio::null());
    let status: Value = serde_json::from_str(&status).unwrap();
    etcdctl(cluster, &["compact", &status[0]["Status"]["header"]["revision"].to_string()], Stdio::null());
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_expired_are_compared_once() {
    let _turn = turn().await;
    // Without its cache the API server reads every page from etcd, as older ones do.
    let cluster = Cluster::start_with(|builder| builder.api_server_arg("--watch-cache=false")).await;
    many(&cluster, "many", 4000);
    let mut site = site(&cluster);
    let (gate, kubeconfig) = behind_a_gate(&cluster, 3_000_000).await;
    site.set("KUBECONFIG", kubeconfig);
    let child = site.command(&["backup", "create", "-o", "json"]).spawn().unwrap();
    expire(&cluster, &gate, "later").await;
    let created = Run::from(child.wait_with_output().unwrap());
    assert_eq!(created.code, Some(0), "{created:?}");
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let shown = site.json(0, &["backup", "objects", &id, "--kind", "configmaps"]);

    // What the first list had is in the backup's tar, and is void.
    site.reach(&cluster);
    let same = diff(&site, 0, &[&id, "--live"]);
    assert!(same["unchanged"].as_u64().unwrap() > 4000, "{same}");
    assert!(shown["count"].as_u64().unwrap() > 4000);

    // A list that expires while it is compared goes on behind what was compared.
    cluster.kubectl(&["delete", "configmap", "many-0001", "many-3999"]);
    let (gate, kubeconfig) = behind_a_gate(&cluster, 5_000_000).await;
    site.set("KUBECONFIG", kubeconfig);
    let child = site.command(&["backup", "diff", &id, "--live", "--kind", "cm", "-o", "json"]).spawn().unwrap();
    expire(&cluster, &gate, "zz-last").await;
    let told = Run::from(child.wait_with_output().unwrap());
    assert!(told.stderr.contains("expired"), "{told:?}");
    let told = told.json();
    let expected = [
        "removed configmaps default many-0001",
        "removed configmaps default many-3999",
        "added configmaps default zz-last-0000",
    ];
    assert_eq!((lines(&told), uncompared(&told)), (expected.map(str::to_owned).to_vec(), vec![]), "{told}");
    assert_eq!(told["unchanged"].as_u64().unwrap(), shown["count"].as_u64().unwrap() - 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_dies_within_a_list_removes_nothing() {
    let _turn = turn().await;
    let mut cluster = boot(|cluster| many(cluster, "many", 1000)).await;
    let keys = Keys::generate();
    let context = context(Arc::new(memory(&[].into()).await), &keys);
    let outcome = backup::create(&context, request(&cluster, &keys), Progress::default()).await.unwrap();
    let catalog = Catalog::open(context).await.unwrap();
    let id = BackupRef::Id(outcome.manifest.id.to_string());
    let open = OpenBackup::open(catalog.get(&id).await.unwrap(), Arc::clone(&keys.identities)).await.unwrap();

    let (gate, kubeconfig) = behind_a_gate(&cluster, 500_000).await;
    let retry = Retry { budget: Duration::from_millis(500), ..Retry::default() };
    let options = ConnectOptions { kubeconfig: Some(kubeconfig.into()), retry, ..ConnectOptions::default() };
    let client = Box::new(Client::connect(options).await.unwrap());
    let against = Against::Cluster { cluster: client, resources: ResourcesConfig::default() };
    let options = Options { detail: Detail::Whole, secrets: Secrets::Shown, ..Options::default() };
    let comparing = compare(&open, against, options, |difference| panic!("{difference:?}"));
    let (summary, ()) = tokio::join!(comparing, async {
        gate.reached().await;
        let pid = cluster.api_server_pid().unwrap().cast_signed();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        gate.open();
    });
    let summary = summary.unwrap();
    assert!(!summary.is_same() && summary.removed + summary.added + summary.changed == 0, "{summary:?}");
    let unknown: u64 = summary.uncompared.iter().map(|line| line.objects).sum();
    assert_eq!(unknown + summary.unchanged, outcome.coverage.objects(), "each object is accounted for: {summary:?}");
    let configmaps = summary.uncompared.iter().find(|line| line.resource == "configmaps").unwrap();
    assert!(configmaps.objects > 0 && configmaps.objects < 1000 + 20, "{summary:?}");
    cluster.stop_api_server().await;
}

/// Answers by path, with `#` before a continue token: all that the fake API server has. Others are 404.
type Answers = Arc<Mutex<BTreeMap<&'static str, Value>>>;

/// An API server that lists as it pleases, as aggregated ones do.
async fn fake(answers: Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let mut received = Vec::new();
                while stream.read_buf(&mut received).await.unwrap_or_default() > 0 {
                    while let Some(end) = memchr::memmem::find(&received, b"\r\n\r\n") {
                        let head = String::from_utf8(received.drain(..end + 4).collect()).unwrap();
                        let path = head.split(' ').nth(1).unwrap();
                        let (path, query) = path.split_once('?').unwrap_or((path, ""));
                        let token = query.split("continue=").nth(1).map_or(String::new(), |token| format!("#{token}"));
                        let found = answers.lock().unwrap().get(format!("{path}{token}").as_str()).cloned();
                        let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
                        let body = found.unwrap_or_else(|| json!({"kind": "Status", "code": 404})).to_string();
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    port
}

fn resources(names: &[(&str, &str)]) -> Value {
    let resource = |(plural, kind): &(&str, &str)| json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list"]});
    json!({"kind": "APIResourceList", "resources": names.iter().map(resource).collect::<Vec<_>>()})
}

fn groups(names: &[(&str, &str)]) -> Value {
    let version =
        |group: &str, version: &str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let group = |(name, v): &(&str, &str)| json!({"name": name, "versions": [version(name, v)], "preferredVersion": version(name, v)});
    json!({"kind": "APIGroupList", "groups": names.iter().map(group).collect::<Vec<_>>()})
}

/// A list of objects `namespace/name`, each with a value of that length.
fn list(objects: &[String], bytes: usize) -> Value {
    let item = |object: &String| {
        let (namespace, name) = object.split_once('/').unwrap();
        json!({"metadata": {"name": name, "namespace": namespace}, "value": "x".repeat(bytes)})
    };
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": objects.iter().map(item).collect::<Vec<_>>()})
}

fn named(objects: &[&str]) -> Vec<String> {
    objects.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_any_order_other_groups_and_odd_objects() {
    let answers = Answers::default();
    let set = |path: &'static str, answer: Value| drop(answers.lock().unwrap().insert(path, answer));
    let (measures, ingresses) = ("/apis/measure.io/v1/measures", "/apis/extensions/v1beta1/ingresses");
    set("/version", json!({"gitVersion": "v1.21.0"}));
    set("/api", json!({"kind": "APIVersions", "versions": ["v1"]}));
    set("/api/v1", resources(&[]));
    set("/api/v1/namespaces/kube-system", json!({"metadata": {"uid": "the-cluster"}}));
    set("/apis", groups(&[("measure.io", "v1"), ("extensions", "v1beta1")]));
    set("/apis/measure.io/v1", resources(&[("measures", "Measure")]));
    set("/apis/extensions/v1beta1", resources(&[("ingresses", "Ingress")]));
    set(measures, list(&named(&["b/x", "a/y", "a-b/z", "a/x"]), 10));
    set(ingresses, list(&named(&["a/front"]), 10));

    let port = fake(Arc::clone(&answers)).await;
    let cluster = json!({"server": format!("http://127.0.0.1:{port}")});
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": cluster}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    let empty = tempfile::tempdir().unwrap();
    let mut site = Site::copy_of(empty.path());
    std::fs::write(site.path("kubeconfig"), kubeconfig.to_string()).unwrap();
    let path = site.path("kubeconfig").to_str().unwrap().to_owned();
    site.set("KUBECONFIG", path);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    site.expect(0, &["init", "--cluster", "prod", "--store", "./store"]);
    let id = site.create();

    // In whatever order, what is the same is the same, and what is not is told once.
    set(measures, list(&named(&["a/x", "a-b/z", "b/x", "a/y"]), 10));
    diff(&site, 0, &[&id, "--live"]);
    set(measures, list(&named(&["b/y", "a/x", "b/x", "a-b/z"]), 10));
    let told = diff(&site, 3, &[&id, "--live"]);
    let expected = ["removed measures a y", "added measures b y"];
    assert_eq!((lines(&told), uncompared(&told)), (expected.map(str::to_owned).to_vec(), vec![]), "{told}");
    let second = site.create();
    assert_eq!(lines(&diff(&site, 3, &[&id, &second])), expected);

    // More than can be put in order is said to be so.
    let many: Vec<String> = (0..600).map(|number| format!("b/many-{number:03}")).collect();
    let mut first = list(&many, 10_000);
    first["metadata"]["continue"] = "two".into();
    set(measures, first);
    set("/apis/measure.io/v1/measures#two", list(&named(&["b/x", "a/y", "a-b/z", "a/x"]), 10));
    let told = diff(&site, 3, &[&id, "--live"]);
    let reason = &told["uncompared"][0]["reason"];
    assert!(reason.as_str().is_some_and(|reason| reason.contains("in no order")), "{}", told["uncompared"]);

    // Objects that are none do not hide the others, and one without a name could be any.
    let mut odd = list(&named(&["a/x", "a-b/z", "b/x"]), 10);
    odd["items"].as_array_mut().unwrap().push(json!({"metadata": {}}));
    set(measures, odd);
    let told = diff(&site, 3, &[&id, "--live"]);
    assert_eq!((lines(&told), uncompared(&told)), (vec![], vec!["measures.measure.io 1".to_owned()]), "{told}");

    // The same objects under the name of another group, and later under that name alone.
    set(measures, list(&named(&["a/x", "a-b/z", "b/x", "a/y"]), 10));
    set("/apis", groups(&[("measure.io", "v1"), ("extensions", "v1beta1"), ("networking.k8s.io", "v1")]));
    set("/apis/networking.k8s.io/v1", resources(&[("ingresses", "Ingress")]));
    set("/apis/networking.k8s.io/v1/ingresses", list(&named(&["a/front", "a/new"]), 20));
    diff(&site, 0, &[&id, "--live"]);
    answers.lock().unwrap().remove(ingresses);
    set("/apis", groups(&[("measure.io", "v1"), ("networking.k8s.io", "v1")]));
    let told = diff(&site, 3, &[&id, "--live"]);
    let ingresses = ["ingresses.extensions 1".to_owned()].to_vec();
    assert_eq!((lines(&told), uncompared(&told)), (vec!["added ingresses a new".to_owned()], ingresses), "{told}");
    assert_eq!(told["changes"][0]["group"], "networking.k8s.io");
    let third = site.create();
    let told = diff(&site, 3, &[&id, &third]);
    assert_eq!(
        (lines(&told), told["uncompared"][0]["objects"].as_u64()),
        (vec!["added ingresses a new".to_owned()], Some(1)),
        "{told}"
    );

    // An API that does not answer takes nothing away.
    answers.lock().unwrap().remove("/apis/measure.io/v1");
    let told = diff(&site, 3, &[&id, "--live", "--kind", "measures"]);
    assert_eq!(
        (&told["removed"], &told["uncompared"][0]["resource"]),
        (&json!(0), &json!("measures.measure.io")),
        "{told}"
    );
}
