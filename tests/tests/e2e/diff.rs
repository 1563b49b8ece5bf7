//! `backup diff`: a backup against another one, and against the cluster as it is.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat_kubernetes::{Cluster as Client, ConnectOptions, Retry};
use lifeboat_model::ResourcesConfig;
use lifeboat_recovery::diff::{Against, Detail, Options, Secrets, compare};
use lifeboat_recovery::{BackupRef, Catalog, OpenBackup, Progress, backup};
use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Gate, Keys, Run, Site, apply, boot, context, etcdctl, memory, request, shop, turn, until};

const NAMESPACE: &str = "zwieback-quarters";

/// A site that can open its backups.
fn site(cluster: &Cluster) -> Site {
    let mut site = Site::directory(cluster);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    site
}

fn diff(site: &Site, code: i32, arguments: &[&str]) -> Value {
    let told = site.json(code, &[&["backup", "diff"], arguments].concat());
    assert_eq!(told["same"] == true, code == 0, "{told}");
    told
}

/// Each difference on a line, without what every run has anew.
fn lines(told: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |change: &Value| {
        let fields = change["fields"].as_array().unwrap().iter().map(|field| text(&field["path"]));
        let fields: Vec<String> = fields.collect();
        let words = ["change", "resource", "namespace", "name"].map(|member| text(&change[member]));
        format!("{} {}", words.join(" "), fields.join(" ")).trim_end().to_owned()
    };
    told["changes"].as_array().unwrap().iter().map(line).collect()
}

fn uncompared(told: &Value) -> Vec<String> {
    let lines = told["uncompared"].as_array().unwrap().iter();
    lines.map(|line| format!("{} {}", line["resource"].as_str().unwrap(), line["objects"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_did_is_told_and_nothing_else() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let first = site.create();
    let same = diff(&site, 0, &[&first, "--live"]);
    assert_eq!((lines(&same), uncompared(&same)), (vec![], vec![]), "{same}");
    assert_eq!((&same["against"], &same["otherCluster"]), (&json!("live"), &Value::Null));
    let objects = site.json(0, &["backup", "objects", &first])["count"].clone();
    assert_eq!(same["unchanged"], objects, "every object was compared");

    // Besides what shows: things that are no matter of anybody's.
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);
    cluster.kubectl(&["scale", "deployment/web", "--replicas=5", "-n", NAMESPACE]);
    cluster.kubectl(&["label", "configmap/item-07", "shelf=upper", "-n", NAMESPACE]);
    cluster.kubectl(&["create", "configmap", "a-new-one", "--from-literal=x=1", "-n", NAMESPACE]);
    cluster.kubectl(&[
        "patch",
        "boats.shop.example.com/flying-dutchman",
        "--type=merge",
        "-n",
        NAMESPACE,
        "-p",
        r#"{"cargo":[3]}"#,
    ]);
    cluster.kubectl(&["annotate", "configmap/item-08", "lifeboat.dev/restored-from=x", "-n", NAMESPACE]);
    let expected = [
        "added configmaps zwieback-quarters a-new-one",
        "changed configmaps zwieback-quarters item-07 /metadata/labels/shelf",
        "removed secrets zwieback-quarters kielholen-secret",
        "changed deployments zwieback-quarters web /spec/replicas",
        "changed boats zwieback-quarters flying-dutchman /cargo",
    ];
    let live = diff(&site, 3, &[&first, "--live"]);
    assert_eq!(lines(&live), expected, "{live}");
    let counts = ["added", "removed", "changed", "unchanged"].map(|count| live[count].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 3, objects.as_u64().unwrap() - 4], "{live}");
    let replicas = &live["changes"][3]["fields"][0];
    assert_eq!(replicas, &json!({"path": "/spec/replicas", "before": 2, "after": 5}));

    // Another backup tells the same, and the way back is the other way round.
    let second = site.create();
    diff(&site, 0, &[&second, "--live"]);
    let backups = diff(&site, 3, &[&first, &second]);
    assert_eq!((lines(&backups), &backups["against"]), (expected.map(str::to_owned).to_vec(), &json!(second)));
    let back = diff(&site, 3, &[&second, &first]);
    assert_eq!((&back["added"], &back["removed"], &back["changed"]), (&json!(1), &json!(1), &json!(3)), "{back}");
    diff(&site, 0, &[&second, &second]);
    selections(&site, &first);
    forms(&site, &first, &second);
}

fn selections(site: &Site, first: &str) {
    let selected = |code, arguments: &[&str]| lines(&diff(site, code, &[&[first, "--live"], arguments].concat()));
    assert_eq!(selected(3, &["--kind", "deploy"]), ["changed deployments zwieback-quarters web /spec/replicas"]);
    assert_eq!(
        selected(3, &["-n", NAMESPACE, "--kind", "secrets"]),
        ["removed secrets zwieback-quarters kielholen-secret"]
    );
    assert_eq!(selected(0, &["-n", "default"]), Vec::<String>::new());
    assert_eq!(selected(3, &["-n", NAMESPACE]).len(), 5);
    // By the labels that it had, and by those that it has.
    assert_eq!(selected(3, &["-l", "shelf"]), ["changed configmaps zwieback-quarters item-07 /metadata/labels/shelf"]);
    assert_eq!(selected(3, &["-l", "app=web,!shelf"]).len(), 4);
    assert_eq!(selected(0, &["-l", "app=nothing"]), Vec::<String>::new());
    let unknown = site.json(6, &["backup", "diff", first, "--live", "--kind", "secret.apps"]);
    assert!(
        unknown["error"]["message"].as_str().unwrap().contains("neither side has a resource 'secret.apps'"),
        "{unknown}"
    );
    let left_out = site.json(6, &["backup", "diff", first, "--live", "--kind", "events"]);
    assert!(left_out["error"]["message"].as_str().unwrap().contains("left out"), "{left_out}");
    site.expect(2, &["backup", "diff", first]);
    site.expect(2, &["backup", "diff", first, first, "--live"]);
}

fn forms(site: &Site, first: &str, second: &str) {
    let steady = |run: Run| run.stdout.replace(first, "[first]").replace(second, "[second]");
    let table = steady(site.expect(3, &["backup", "diff", first, second, "-n", NAMESPACE]));
    let diff = steady(site.expect(3, &["backup", "diff", first, second, "-n", NAMESPACE, "-o", "yaml"]));
    let live = steady(site.expect(3, &["backup", "diff", first, "--live", "-n", NAMESPACE, "-o", "yaml"]));
    assert_eq!(live, diff.replace("[second]", "live"));
    insta::assert_snapshot!("diff-table", table);
    insta::assert_snapshot!("diff-yaml", diff);
    let same = steady(site.expect(0, &["backup", "diff", second, second]));
    assert!(same.starts_with("0 added, 0 removed, 0 changed, "), "{same}");
    assert_eq!(steady(site.expect(0, &["backup", "diff", second, second, "-o", "yaml"])), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_in_every_form_unless_they_are_asked_for() {
    let _turn = turn().await;
    let secret = |name: &str, password: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default",
            "annotations": {"kapp.k14s.io/original": format!("{{\"stringData\":{{\"password\":\"{password}\"}}}}")}},
            "stringData": {"password": password, "same": "unaltered-marker"}})
    };
    let list = |items: &[Value]| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let cluster = Cluster::start().await;
    let file = cluster.temp().join("secrets.json");
    let put = |items: &[Value]| {
        std::fs::write(&file, list(items)).unwrap();
        // This is what leaves the whole object in an annotation.
        cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    };
    put(&[secret("changed", "first-marker"), secret("removed", "removed-marker")]);
    let site = site(&cluster);
    let first = site.create();
    put(&[secret("changed", "second-marker-of-another-length"), secret("added", "added-marker")]);
    cluster.kubectl(&["delete", "secret", "removed"]);
    let second = site.create();
    let words = ["first-marker", "second-marker", "removed-marker", "added-marker", "unaltered-marker"];
    for against in ["--live", &second] {
        for form in ["table", "json", "yaml"] {
            let arguments = ["backup", "diff", &first, against, "-o", form, "-vv"];
            let masked = site.expect(3, &arguments);
            let said = format!("{}{}", masked.stdout, masked.stderr);
            for word in words {
                let encoded = base64(word);
                assert!(!said.contains(word) && !said.contains(&encoded), "{word} in {form}: {said}");
            }
            assert!(masked.stdout.contains("password") || form == "table", "which value differs is told: {masked:?}");
        }
        let told = diff(&site, 3, &[&first, against]);
        let fields = told["changes"].as_array().unwrap().iter().find(|change| change["name"] == "changed").unwrap();
        let fields = fields["fields"].as_array().unwrap();
        let password = fields.iter().find(|field| field["path"] == "/data/password").unwrap();
        assert_eq!((&password["before"], &password["after"]), (&json!("*** (before)"), &json!("*** (after)")));
        assert_eq!(fields.len(), 3, "the password and two annotations: {fields:?}");

        let shown = site.expect(3, &["backup", "diff", &first, against, "-o", "yaml", "--show-secrets"]).stdout;
        for word in ["first-marker", "second-marker-of-another-length", "removed-marker", "added-marker"] {
            assert!(shown.contains(&base64(word)), "{word} in {shown}");
        }
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The kubeconfig of a service account with these rules, in all namespaces or in one.
fn account(cluster: &Cluster, name: &str, rules: &Value, namespace: Option<&str>) -> String {
    let api = "rbac.authorization.k8s.io/v1";
    let (role, binding) =
        if namespace.is_some() { ("Role", "RoleBinding") } else { ("ClusterRole", "ClusterRoleBinding") };
    let metadata = json!({"name": name, "namespace": namespace});
    let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": "default"});
    let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name});
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}},
        {"apiVersion": api, "kind": role, "metadata": metadata, "rules": rules},
        {"apiVersion": api, "kind": binding, "metadata": metadata, "subjects": [subject], "roleRef": reference},
    ]);
    apply(cluster, name, &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let token = cluster.kubectl(&["create", "token", name, "-n", "default"]);
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    let path = cluster.temp().join(format!("{name}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_listed_is_neither_removed_nor_added() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let mut site = site(&cluster);
    let listable = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    let rule = |name: &str| {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "list"]})
    };
    let rules: Value = listable.lines().filter(|name| *name != "secrets").map(rule).collect();
    let limited = account(&cluster, "limited", &rules, None);
    let one = account(
        &cluster,
        "one",
        &json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]),
        Some(NAMESPACE),
    );
    let ready = |path: &str, arguments: [&'static str; 4]| {
        let path = std::path::PathBuf::from(path);
        async move { until("permission", async || kubectl(&path, &arguments).ok()).await }
    };
    ready(&limited, ["get", "nodes", "-o", "name"]).await;
    ready(&one, ["get", "secrets", "-n", NAMESPACE]).await;
    let whole = site.create();

    // Whoever may not see secrets is not told that they are gone.
    site.set("KUBECONFIG", limited.clone());
    let told = diff(&site, 3, &[&whole, "--live"]);
    assert_eq!((lines(&told), uncompared(&told)), (vec![], vec!["secrets 1".to_owned()]), "{told}");
    assert!(told["uncompared"][0]["reason"].as_str().unwrap().contains("limited"), "{told}");
    let table = site.expect(3, &["backup", "diff", &whole, "--live"]).stdout;
    assert!(
        table.contains("not compared: secrets: the cluster did not list all: not allowed to list secrets"),
        "{table}"
    );
    let yaml = site.expect(3, &["backup", "diff", &whole, "--live", "-o", "yaml"]).stdout;
    assert!(yaml.starts_with("# not compared: secrets: "), "{yaml}");
    diff(&site, 0, &[&whole, "--live", "--kind", "configmaps"]);

    // A backup without them does not say that they are new, whatever they are compared with.
    let partial = site.json(3, &["backup", "create"])["id"].as_str().unwrap().to_owned();
    site.reach(&cluster);
    for against in ["--live", &whole] {
        let told = diff(&site, 3, &[&partial, against]);
        assert_eq!((lines(&told), uncompared(&told)), (vec![], vec!["secrets 1".to_owned()]), "{told}");
    }
    let told = diff(&site, 3, &[&whole, &partial]);
    assert_eq!((lines(&told), uncompared(&told)), (vec![], vec!["secrets 1".to_owned()]), "{told}");

    // One namespace can be compared by whoever sees only that.
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);
    site.set("KUBECONFIG", one);
    let told = diff(&site, 3, &[&whole, "--live", "-n", NAMESPACE]);
    let account = ["added roles zwieback-quarters one", "added rolebindings zwieback-quarters one"];
    assert!(
        lines(&told).iter().all(
            |line| line == "removed secrets zwieback-quarters kielholen-secret" || account.contains(&line.as_str())
        ),
        "{told}"
    );
    assert_eq!((&told["removed"], uncompared(&told)), (&json!(1), vec![]), "{told}");

    // What the configuration leaves out on one side only cannot be compared.
    site.reach(&cluster);
    let exclude = "resources.exclude=secrets,events,leases.coordination.k8s.io";
    let told = diff(&site, 3, &[&whole, "--live", "-n", NAMESPACE, "--set", exclude]);
    assert_eq!((&told["removed"], uncompared(&told)), (&json!(0), vec!["secrets 0".to_owned()]), "{told}");
    let told =
        diff(&site, 3, &[&whole, "--live", "--kind", "componentstatuses", "--kind", "secrets", "--set", exclude]);
    assert_eq!(
        (lines(&told), uncompared(&told)),
        (vec![], vec!["componentstatuses 0".to_owned(), "secrets 0".to_owned()]),
        "{told}"
    );
}

fn boats(versions: &[(&str, bool, bool)]) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let versions: Vec<Value> = versions
        .iter()
        .map(|(name, served, storage)| json!({"name": name, "served": served, "storage": storage, "schema": schema}))
        .collect();
    json!({"spec": {"versions": versions}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_whose_version_changed_is_asked_for_in_that_of_the_backup() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let boats_only = ["--kind", "boats"];
    let change = |versions: &[(&str, bool, bool)]| {
        let patch = boats(versions).to_string();
        cluster.kubectl(&["patch", "crd", "boats.shop.example.com", "--type=merge", "-p", &patch]);
    };
    let preferred = |wanted: &'static str| {
        let cluster = &cluster;
        async move {
            until("version", async || {
                let group: Value =
                    serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/apis/shop.example.com"])).ok()?;
                (group["preferredVersion"]["version"] == wanted).then_some(())
            })
            .await;
        }
    };
    let first = site.create();
    change(&[("v1", true, false), ("v2", true, true)]);
    preferred("v2").await;
    let second = site.create();
    diff(&site, 0, &[&[first.as_str(), "--live"], &boats_only[..]].concat());
    diff(&site, 0, &[&[second.as_str(), "--live"], &boats_only[..]].concat());
    cluster.kubectl(&[
        "patch",
        "boats.shop.example.com/flying-dutchman",
        "--type=merge",
        "-n",
        NAMESPACE,
        "-p",
        r#"{"cargo":[3]}"#,
    ]);
    let told = diff(&site, 3, &[&[first.as_str(), "--live"], &boats_only[..]].concat());
    assert_eq!(lines(&told), ["changed boats zwieback-quarters flying-dutchman /cargo"], "{told}");
    assert_eq!(told["changes"][0]["version"], "v1");

    // Two backups cannot be asked: what is there is told, and that the contents were not compared.
    let told = diff(&site, 3, &[&[first.as_str(), &second], &boats_only[..]].concat());
    assert_eq!((lines(&told), uncompared(&told)), (vec![], vec!["boats.shop.example.com 1".to_owned()]), "{told}");

    // Nor can a cluster that does not serve that version any more.
    change(&[("v1", false, false), ("v2", true, true)]);
    until("end of v1", async || {
        kubectl(&cluster.kubeconfig(), &["get", "--raw", "/apis/shop.example.com/v1/boats"]).is_err().then_some(())
    })
    .await;
    cluster.kubectl(&["delete", "boats.shop.example.com/flying-dutchman", "-n", NAMESPACE]);
    let new = json!({"apiVersion": "shop.example.com/v2", "kind": "Boat", "metadata": {"name": "new", "namespace": NAMESPACE}});
    apply(&cluster, "boat", &new);
    let told = diff(&site, 3, &[&[first.as_str(), "--live"], &boats_only[..]].concat());
    let expected = ["removed boats zwieback-quarters flying-dutchman", "added boats zwieback-quarters new"];
    assert_eq!(
        (lines(&told), uncompared(&told)),
        (expected.map(str::to_owned).to_vec(), vec!["boats.shop.example.com 0".to_owned()]),
        "{told}"
    );
    assert!(told["uncompared"][0]["reason"].as_str().unwrap().contains("by name only"), "{told}");
    site.expect(3, &["backup", "diff", &first, "--live", "--kind", "boats", "-o", "yaml"]);

    // Without the resource its objects are gone.
    cluster.kubectl(&["delete", "crd", "boats.shop.example.com"]);
    until("end of boats", async || {
        let groups = kubectl(&cluster.kubeconfig(), &["get", "--raw", "/apis"]).ok()?;
        (!groups.contains("shop.example.com")).then_some(())
    })
    .await;
    let told = diff(&site, 3, &[&[first.as_str(), "--live"], &boats_only[..]].concat());
    assert_eq!((lines(&told), uncompared(&told)), (vec![expected[0].to_owned()], vec![]), "{told}");
}

/// `ConfigMaps` of a kilobyte.
fn many(cluster: &Cluster, prefix: &str, count: usize) {
    let item = |number| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "a text ".repeat(150)},
            "metadata": {"name": format!("{prefix}-{number:04}"), "namespace": "default"}})
    };
    let items: Vec<Value> = (0..count).map(item).collect();
    apply(cluster, prefix, &json!({"apiVersion": "v1", "kind": "List", "items": items}));
}

/// The kubeconfig of a cluster behind a gate.
async fn behind_a_gate(cluster: &Cluster, bytes: u64) -> (Gate, String) {
    let gate = Gate::before(cluster.url().rsplit(':').next().unwrap().parse().unwrap(), bytes).await;
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["clusters"][0]["cluster"]["server"] = gate.address().into();
    let path = cluster.temp().join("gate.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    (gate, path.to_str().unwrap().to_owned())
}

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

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_compared_and_named() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let mut site = site(&cluster);
    let id = site.create();
    let other = Cluster::start().await;
    site.reach(&other);
    let run = site.expect(3, &["backup", "diff", &id, "--live", "-n", NAMESPACE, "-o", "json"]);
    let uid = other.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]);
    assert_eq!(run.json()["otherCluster"], uid);
    assert!(run.stderr.contains(&uid), "{run:?}");
    assert_eq!((&run.json()["removed"], &run.json()["unchanged"]), (&json!(46), &json!(0)), "{run:?}");

    // Without objects there is nothing to compare.
    site.reach(&cluster);
    let etcd = site.json(0, &["backup", "create", "--no-resources"])["id"].as_str().unwrap().to_owned();
    let refused = site.json(6, &["backup", "diff", &etcd, "--live"]);
    assert!(refused["error"]["message"].as_str().unwrap().contains("has no objects"), "{refused}");
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
