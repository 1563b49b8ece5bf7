//! `restore objects`: what was deleted comes back, as planned, and nothing else happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_controlplane::Builder;
use lifeboat_kubernetes::{Cluster as Client, ConnectOptions, Retry};
use lifeboat_recovery::restore_objects::{Concurrency, Options, Request, Unfinished, perform, plan, resume};
use lifeboat_recovery::{BackupRef, Catalog, Error, OpenBackup, Progress, Track, backup};
use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use super::faults::{behind_a_gate, kill_api_server, many};
use crate::support::{Keys, Site, apply, boot, context, memory, request, shop, turn, until};

const NAMESPACE: &str = "zwieback-quarters";

/// A site that can open its backups.
fn site(cluster: &Cluster) -> Site {
    let mut site = Site::directory(cluster);
    site.set("LIFEBOAT_IDENTITY", "recovery.key");
    site
}

/// Restores without being asked.
fn restore(site: &Site, code: i32, arguments: &[&str]) -> Value {
    site.json(code, &[&["restore", "objects", "--yes"], arguments].concat())
}

/// What a restore would do.
fn planned(site: &Site, arguments: &[&str]) -> Value {
    site.json(0, &[&["restore", "objects", "--dry-run", "--details"], arguments].concat())
}

/// What a refused restore says.
fn refused(site: &Site, code: i32, arguments: &[&str]) -> String {
    let run = site.expect(code, &[&["restore", "objects", "--yes"], arguments].concat());
    assert_eq!(run.stdout, "", "{run:?}");
    run.stderr
}

fn get(cluster: &Cluster, arguments: &[&str]) -> Value {
    serde_json::from_str(&cluster.kubectl(&[&["get", "-o", "json"], arguments].concat())).unwrap()
}

fn is_there(cluster: &Cluster, arguments: &[&str]) -> bool {
    !cluster.kubectl(&[&["get", "--ignore-not-found", "-o", "name"], arguments].concat()).is_empty()
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// The verdict on an object of a plan.
fn verdict<'a>(plan: &'a Value, object: &str) -> &'a Value {
    let found = plan["objects"].as_array().unwrap().iter().find(|entry| entry["object"] == object);
    found.map_or(&Value::Null, |entry| &entry["verdict"])
}

fn secret(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"password": value}})
}

fn replace(cluster: &Cluster, name: &str, document: &Value) {
    let file = cluster.temp().join(format!("{name}.json"));
    std::fs::write(&file, document.to_string()).unwrap();
    cluster.kubectl(&["replace", "-f", file.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_and_a_secret_come_back() {
    let _turn = turn().await;
    let cluster = Cluster::start_with(Builder::with_controller_manager).await;
    shop(&cluster);
    cluster.kubectl(&["create", "secret", "generic", "lost", "--from-literal=a=b"]);
    until("pods", async || (get(&cluster, &["pods", "-n", NAMESPACE])["items"].as_array()?.len() == 2).then_some(()))
        .await;
    let site = site(&cluster);
    let id = site.create();
    let before = get(&cluster, &["deployment", "web", "-n", NAMESPACE]);

    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"]);
    cluster.kubectl(&["delete", "secret", "lost"]);
    let plan = planned(&site, &[&id, "-n", NAMESPACE]);
    assert_eq!((&plan["blocked"], &plan["apply"], &plan["prune"]), (&json!(0), &json!(0), &json!(0)), "{plan}");
    assert_eq!(verdict(&plan, &format!("namespaces/{NAMESPACE}")), "create", "{plan}");
    assert_eq!(verdict(&plan, &format!("secrets/kielholen-secret -n {NAMESPACE}")), "create");
    assert!(!is_there(&cluster, &["namespace", NAMESPACE]), "a dry run writes nothing");

    let done = restore(&site, 0, &[&id, "-n", NAMESPACE]);
    assert_eq!((&done["failed"], &done["blocked"], &done["differing"]), (&json!([]), &json!([]), &json!([])), "{done}");
    assert_eq!(done["plan"], plan["plan"], "what was shown is what was done");
    // The controllers were quicker with the account that every namespace has.
    let count = |member: &str| done[member].as_u64().unwrap();
    assert_eq!(Some(count("created") + count("applied") + count("unchanged")), plan["create"].as_u64(), "{done}");
    let after = get(&cluster, &["deployment", "web", "-n", NAMESPACE]);
    assert_ne!(uid(&before), uid(&after));
    let annotations = after["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations["lifeboat.dev/restored-from"], json!(id));
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"], "no labels of ours");
    // The controllers take over what belongs to the Deployment, and make no second set of pods.
    let settled = async || {
        let pods = get(&cluster, &["pods", "-n", NAMESPACE]);
        let sets = get(&cluster, &["replicasets", "-n", NAMESPACE]);
        let owned = |list: &Value, count: usize| {
            let items = list["items"].as_array().unwrap();
            items.len() == count && items.iter().all(|item| item["metadata"]["ownerReferences"][0]["uid"].is_string())
        };
        let keeper = &sets["items"][0]["metadata"]["ownerReferences"][0]["uid"];
        (owned(&pods, 2) && owned(&sets, 1) && *keeper == *uid(&after)).then_some(())
    };
    until("two pods of one ReplicaSet", settled).await;

    // One Secret out of another namespace, which is there.
    let done = restore(&site, 0, &[&id, "-n", "default", "--kind", "secret", "--name", "lost"]);
    assert_eq!((&done["created"], &done["failed"]), (&json!(1), &json!([])), "{done}");
    assert_eq!(get(&cluster, &["secret", "lost"])["data"]["a"], "Yg==");
    // Nothing is left to be done.
    let again = restore(&site, 0, &[&id, "-n", NAMESPACE, "--mode", "apply"]);
    assert_eq!((&again["created"], &again["applied"], &again["failed"]), (&json!(0), &json!(0), &json!([])), "{again}");
    assert!(!is_there(&cluster, &["lease", "lifeboat-restore", "-n", "kube-system"]), "the lock is gone");
    let journals = site.path(".local/state/lifeboat/restores");
    assert_eq!(std::fs::read_dir(journals).unwrap().count(), 0, "no journal stays behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_left_or_made_equal_or_made_anew() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let id = site.create();
    let secret_of = || get(&cluster, &["secret", "kielholen-secret", "-n", NAMESPACE]);
    let original = secret_of();
    let change = || {
        replace(&cluster, "changed", &secret("kielholen-secret", "changed"));
        cluster.kubectl(&["create", "configmap", "foreign", "-n", NAMESPACE, "--from-literal=a=b"]);
    };
    change();
    let name = format!("secrets/kielholen-secret -n {NAMESPACE}");

    let left = restore(&site, 0, &[&id, "-n", NAMESPACE]);
    assert_eq!((&left["left"], &left["created"]), (&json!([name]), &json!(0)), "{left}");
    assert_ne!(secret_of()["data"], original["data"]);

    let plan = planned(&site, &[&id, "-n", NAMESPACE, "--mode", "apply"]);
    assert_eq!((verdict(&plan, &name), &plan["apply"]), (&json!("apply"), &json!(1)), "{plan}");
    let applied = restore(&site, 0, &[&id, "-n", NAMESPACE, "--mode", "apply"]);
    assert_eq!((&applied["applied"], &applied["pruned"]), (&json!(1), &json!(0)), "{applied}");
    let equal = secret_of();
    assert_eq!((&equal["data"], uid(&equal)), (&original["data"], uid(&original)));
    assert_eq!(equal["metadata"]["labels"], original["metadata"]["labels"], "labels that were lost are back");

    replace(&cluster, "changed", &secret("kielholen-secret", "changed"));
    let anew = restore(&site, 0, &[&id, "-n", NAMESPACE, "--mode", "recreate", "--kind", "secrets"]);
    assert_eq!((&anew["recreated"], &anew["failed"]), (&json!(1), &json!([])), "{anew}");
    assert_eq!(secret_of()["data"], original["data"]);
    assert_ne!(uid(&secret_of()), uid(&original));

    // Exact: shown, confirmed by name, and only what is in the selection.
    let exact = [&*id, "-n", NAMESPACE, "--mode", "exact", "--kind", "configmaps"];
    let plan = planned(&site, &exact);
    assert_eq!(plan["prune"], 1, "{plan}");
    assert_eq!(verdict(&plan, &format!("configmaps/foreign -n {NAMESPACE}")), "prune");
    let asked = refused(&site, 5, &exact);
    assert!(asked.contains("foreign"), "{asked}");
    refused(&site, 5, &[&exact[..], &["--confirm", "other"]].concat());
    assert!(is_there(&cluster, &["configmap", "foreign", "-n", NAMESPACE]));
    let done = restore(&site, 0, &[&exact[..], &["--confirm", NAMESPACE]].concat());
    assert_eq!((&done["pruned"], &done["failed"]), (&json!(1), &json!([])), "{done}");
    assert!(!is_there(&cluster, &["configmap", "foreign", "-n", NAMESPACE]));
    assert!(is_there(&cluster, &["configmap", "kombuese-config", "-n", NAMESPACE]));
    let same = site.json(0, &["backup", "diff", &id, "--live", "-n", NAMESPACE]);
    assert_eq!(same["same"], true, "{same}");
}

/// A definition and objects of it, owners that come after what they own, owners in a cycle, an owner that is gone, and
/// a webhook that nobody answers.
fn entangled(cluster: &Cluster) {
    shop(cluster);
    let config = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}});
    let items: Vec<Value> = ["late", "cycle-a", "cycle-b", "orphan"].map(config).to_vec();
    apply(cluster, "owned", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let owned = |name: &str, api: &str, kind: &str, owner: &str, uid: &str| {
        let patch =
            json!({"metadata": {"ownerReferences": [{"apiVersion": api, "kind": kind, "name": owner, "uid": uid}]}});
        cluster.kubectl(&["patch", "configmap", name, "-n", NAMESPACE, "--type=merge", "-p", &patch.to_string()]);
    };
    let boat = get(cluster, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    owned("late", "shop.example.com/v1", "Boat", "flying-dutchman", uid(&boat));
    let [a, b] = ["cycle-a", "cycle-b"].map(|name| get(cluster, &["configmap", name, "-n", NAMESPACE]));
    owned("cycle-a", "v1", "ConfigMap", "cycle-b", uid(&b));
    owned("cycle-b", "v1", "ConfigMap", "cycle-a", uid(&a));
    owned("orphan", "v1", "ConfigMap", "nobody", "00000000-0000-4000-8000-000000000000");
    let rule = json!({"apiGroups": [""], "apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE"]});
    let service = json!({"namespace": NAMESPACE, "name": "web"});
    apply(
        cluster,
        "webhook",
        &json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "nobody"},
        "webhooks": [{"name": "nobody.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 1, "rules": [rule], "clientConfig": {"service": service}}]}),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_gets_everything_in_order() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(entangled), Cluster::start());
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    let plan = planned(&site, &[&id]);
    let codes: Vec<&str> =
        plan["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["otherCluster"], "{plan}");
    let done = restore(&site, 0, &[&id]);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    let differing = done["differing"].as_array().unwrap();
    assert_eq!(differing.len(), 1, "{done}");
    assert_eq!(differing[0]["object"], format!("configmaps/orphan -n {NAMESPACE}"));

    let boat = get(&target, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    let original = get(&source, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    assert_eq!(boat["cargo"], original["cargo"]);
    let owner = |name: &str| get(&target, &["configmap", name, "-n", NAMESPACE])["metadata"]["ownerReferences"].clone();
    let there = |name: &str| uid(&get(&target, &["configmap", name, "-n", NAMESPACE])).to_owned();
    assert_eq!(owner("late")[0]["uid"], *uid(&boat));
    assert_eq!(owner("cycle-a")[0]["uid"], there("cycle-b"));
    assert_eq!(owner("cycle-b")[0]["uid"], there("cycle-a"));
    assert_eq!(owner("orphan"), Value::Null, "a reference to nobody would have it deleted");
    assert!(is_there(&target, &["validatingwebhookconfiguration", "nobody"]), "last, and all the same");

    // The webhook is named before it blocks; what it refuses fails with the server's words, and nothing else does.
    target.kubectl(&["delete", "configmap", "kombuese-config", "-n", NAMESPACE]);
    let one = [&*id, "-n", NAMESPACE, "--kind", "cm", "--name", "kombuese-config"];
    let plan = planned(&site, &one);
    let findings = plan["findings"].to_string();
    assert!(findings.contains("nobody.example.com") && findings.contains("no endpoints"), "{plan}");
    assert_eq!(plan["objections"], 1, "{plan}");
    let failed = restore(&site, 3, &one);
    let message = failed["failed"][0]["message"].as_str().unwrap();
    assert!(message.contains("nobody.example.com"), "{failed}");
    // The journal stays: once the cause is away, the same restore goes on.
    target.kubectl(&["delete", "validatingwebhookconfiguration", "nobody"]);
    let done = site.json(0, &["restore", "objects", &id, "--resume"]);
    assert_eq!((&done["created"], &done["failed"]), (&json!(1), &json!([])), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn into_another_namespace_chosen_and_changed() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let site = site(&cluster);
    let id = site.create();
    let patch = "patches:\n- target: {kind: ConfigMap, name: item-07}\n  mergePatch: {data: {number: seven}}\n";
    std::fs::write(site.path("patch.yaml"), patch).unwrap();
    let map = format!("{NAMESPACE}=copy");
    let chosen = "object.metadata.name.startsWith('item-0')";
    let done = restore(
        &site,
        0,
        &[&id, "-n", NAMESPACE, "--kind", "cm", "--where", chosen, "--map-namespace", &map, "--patch", "patch.yaml"],
    );
    // Ten and their namespace.
    assert_eq!((&done["created"], &done["failed"]), (&json!(11), &json!([])), "{done}");
    let copies = get(&cluster, &["configmaps", "-n", "copy"]);
    let names: Vec<&str> =
        copies["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(get(&cluster, &["cm", "item-07", "-n", "copy"])["data"]["number"], "seven");
    assert_eq!(get(&cluster, &["cm", "item-07", "-n", NAMESPACE])["data"]["number"], "7");
    let labelled = planned(&site, &[&id, "-n", NAMESPACE, "-l", "app=nothing"]);
    assert_eq!((&labelled["create"], &labelled["unchanged"]), (&json!(0), &json!(0)), "{labelled}");
}

/// The kubeconfig of a service account that may read everything and hold the lock.
fn reader(cluster: &Cluster) -> PathBuf {
    let metadata = json!({"name": "reader"});
    let account = json!({"kind": "ServiceAccount", "name": "reader", "namespace": "default"});
    let api = "rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}]);
    let items = json!([
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "default"}},
        {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {"apiVersion": api, "kind": "ClusterRoleBinding", "metadata": metadata, "subjects": [account],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}},
    ]);
    apply(cluster, "reader", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let token = cluster.kubectl(&["create", "token", "reader"]);
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    let path = cluster.temp().join("reader.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_before_anything_happens() {
    let _turn = turn().await;
    let cluster = Cluster::start().await;
    shop(&cluster);
    let mut site = site(&cluster);
    let id = site.create();
    cluster.kubectl(&["delete", "secret", "kielholen-secret", "-n", NAMESPACE]);

    let says = |code: i32, arguments: &[&str], words: &[&str]| {
        let told = refused(&site, code, &[&[&*id], arguments].concat());
        assert!(words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    };
    says(6, &["--kind", "deploymnts"], &["deploymnts", "did you mean 'deployments'"]);
    says(6, &["-n", "zwieback-quaters"], &["did you mean 'zwieback-quarters'"]);
    says(6, &["-n", NAMESPACE, "--name", "nothing-of-that-name"], &["no object of that selection"]);
    says(2, &["--where", "object.spec."], &["--where", "1:"]);
    says(2, &["--where", "size(object.metadata.name)"], &["true or false"]);
    says(5, &["-n", NAMESPACE, "--map-namespace", "zwieback-quarters=kube-system"], &["Kubernetes' own"]);
    says(2, &["-n", NAMESPACE, "--mode", "exact", "--map-namespace", "a"], &["FROM=TO"]);
    says(2, &["--mode", "exact"], &["give -n"]);
    says(2, &["--map-namespace", "default=zwieback-quarters"], &["two objects"]);
    says(2, &["--patch", "missing.yaml", "--concurrency", "0"], &["1 to 256"]);
    std::fs::write(site.path("bad.yaml"), "patches:\n- target: {kind: Secret}\n  nonsense: 1\n").unwrap();
    says(2, &["-n", NAMESPACE, "--patch", "bad.yaml"], &["bad.yaml", "nonsense"]);
    let test = "patches:\n- target: {kind: Secret}\n  jsonPatch: [{op: test, path: /data/password, value: x}]\n";
    std::fs::write(site.path("test.yaml"), test).unwrap();
    says(2, &["-n", NAMESPACE, "--patch", "test.yaml"], &["test.yaml", "kielholen-secret"]);
    cluster.kubectl(&["create", "namespace", "going"]);
    cluster.kubectl(&["create", "configmap", "keeps", "-n", "going"]);
    cluster.kubectl(&["delete", "namespace", "going", "--wait=false"]);
    says(5, &["-n", NAMESPACE, "--map-namespace", "zwieback-quarters=going"], &["going", "being deleted"]);
    assert!(!is_there(&cluster, &["secret", "kielholen-secret", "-n", NAMESPACE]), "nothing was written");

    // Who may not write is told so before.
    let weak = reader(&cluster);
    site.set("KUBECONFIG", weak.to_str().unwrap());
    let told = refused(&site, 5, &[&id, "-n", NAMESPACE]);
    assert!(told.contains("not allowed to create secrets"), "{told}");
}

/// A backup of that cluster, opened, in memory.
async fn opened(cluster: &Cluster) -> OpenBackup {
    let keys = Keys::generate();
    let context = context(Arc::new(memory(&[].into()).await), &keys);
    let taken = backup::create(&context, request(cluster, &keys), Progress::default()).await.unwrap();
    let catalog = Catalog::open(context).await.unwrap();
    let found = catalog.get(&BackupRef::Id(taken.manifest.id.to_string())).await.unwrap();
    OpenBackup::open(found, keys.identities).await.unwrap()
}

async fn client(kubeconfig: impl Into<PathBuf>, patience: Duration) -> Client {
    let kubeconfig = Some(kubeconfig.into());
    let retry = Retry { budget: patience, ..Retry::default() };
    Client::connect(ConnectOptions { kubeconfig, retry, ..ConnectOptions::default() }).await.unwrap()
}

fn options(journal: &Path, holder: &str) -> Options {
    let concurrency = Concurrency::new(4).unwrap();
    Options { journal: journal.to_owned(), concurrency, holder: holder.to_owned() }
}

/// Lines of a journal that are whole.
fn noted(journal: &Path) -> usize {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"step\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_goes_on_and_does_nothing_twice() {
    let _turn = turn().await;
    let source = boot(|cluster| many(cluster, "many", 300)).await;
    let target = Cluster::start().await;
    let mut site = site(&source);
    let id = site.create();
    let (gate, kubeconfig) = behind_a_gate(&target, 1_200_000).await;
    site.set("KUBECONFIG", &kubeconfig);
    let journal = site.path("journal");
    let journal_name = journal.to_str().unwrap();
    let command =
        ["restore", "objects", &id, "--yes", "-n", "default", "--concurrency", "4", "--journal", journal_name];
    let mut child = site.command(&command).spawn().unwrap();
    gate.reached().await;
    let some = until("notes", async || Some(noted(&journal)).filter(|count| *count > 20)).await;
    // Another one at the same time is refused.
    site.set("KUBECONFIG", target.kubeconfig().to_str().unwrap());
    let other = refused(&site, 5, &[&id, "-n", "default"]);
    assert!(other.contains("kube-system") && other.contains("held by"), "{other}");
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();

    // What people do meanwhile to objects that are done stays done.
    target.kubectl(&["delete", "configmap", "many-0000"]);
    target.kubectl(&["patch", "configmap", "many-0001", "--type=merge", "-p", r#"{"data":{"text":"mine"}}"#]);
    let there = get(&target, &["configmaps"])["items"].as_array().unwrap().len();
    assert!(there > 20 && there < 299, "{there} of 300, {some} notes");
    let done = site.json(0, &["restore", "objects", &id, "--resume", "--journal", journal_name]);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    let names = |cluster: &Cluster| -> Vec<String> {
        let list = get(cluster, &["configmaps"]);
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].to_string()).collect()
    };
    let mut wanted = names(&source);
    assert_eq!(done["created"].as_u64().unwrap(), wanted.len() as u64, "{done}");
    wanted.retain(|name| name != "\"many-0000\"");
    assert_eq!(names(&target), wanted);
    assert_eq!(get(&target, &["configmap", "many-0001"])["data"]["text"], "mine");
    assert!(!journal.exists(), "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_away_half_way_can_be_gone_on_with() {
    let _turn = turn().await;
    let source = boot(|cluster| many(cluster, "many", 300)).await;
    let mut target = Cluster::start().await;
    let open = opened(&source).await;
    let journal = source.temp().join("journal");
    let (gate, kubeconfig) = behind_a_gate(&target, 1_200_000).await;
    let through = client(&kubeconfig, Duration::from_millis(500)).await;
    let mut wanted = Request::default();
    wanted.selection.namespaces = vec!["default".to_owned()];
    let track = Track::default();
    let planned = plan(&open, through.clone(), &wanted, Concurrency::default(), &track).await.unwrap();
    let first = options(&journal, "first");
    let performing = perform(&open, through.clone(), &planned, &first, &track);
    let (performed, ()) = tokio::join!(performing, async {
        gate.reached().await;
        kill_api_server(&target).await;
        gate.open();
    });
    let Err(Error::Stopped { done, of, source: why, .. }) = performed else { panic!("{performed:?}") };
    assert!(done > 20 && done < of, "{done} of {of}");
    assert!(matches!(*why, Error::Kubernetes(_)), "{why:?}");

    target.stop_api_server().await;
    target.start_api_server().await.unwrap();
    let direct = client(target.kubeconfig(), Duration::from_secs(10)).await;
    let unfinished = Unfinished::read(&journal).unwrap();
    assert!(unfinished.done() as u64 >= done);
    let report = resume(&open, direct, &unfinished, &options(&journal, "second"), &track).await.unwrap();
    assert!(report.ok(), "{:?}", report.failed.named(&planned).collect::<Vec<_>>());
    assert_eq!(report.created, of);
    assert_eq!(get(&target, &["configmaps"])["items"].as_array().unwrap().len(), 300);
}

/// A webhook that has to agree to objects of these resources, and that nobody answers.
fn blocking_webhook(cluster: &Cluster, name: &str, group: &str, resources: &[&str]) {
    let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "resources": resources, "operations": ["CREATE"]});
    let service = json!({"namespace": "default", "name": "nobody"});
    let hook = json!({"name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail", "timeoutSeconds": 1, "rules": [rule], "clientConfig": {"service": service}});
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [hook]});
    apply(cluster, name, &configuration);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_something_that_failed_is_not_tried() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(shop), Cluster::start());
    source.kubectl(&["create", "namespace", "fine"]);
    source.kubectl(&["create", "configmap", "fine", "-n", "fine"]);
    source.kubectl(&["create", "clusterrole", "fine", "--verb=get", "--resource=pods"]);
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    // A namespace is refused by its label, a definition by a webhook.
    blocking_webhook(&target, "definitions", "apiextensions.k8s.io", &["customresourcedefinitions"]);
    let expression = "object.metadata.name != 'zwieback-quarters'";
    let validation = json!([{"expression": expression, "message": "no biscuits here"}]);
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]}]);
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-biscuits"},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": validation}});
    apply(&target, "policy", &policy);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-biscuits"}, "spec": {"policyName": "no-biscuits", "validationActions": ["Deny"]}});
    apply(&target, "binding", &binding);
    until("policy", async || (planned(&site, &[&id])["objections"] == 2).then_some(())).await;

    let done = restore(&site, 3, &[&id]);
    let messages = |member: &str| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        done[member].as_array().unwrap().iter().map(|note| (text(&note["object"]), text(&note["message"]))).collect()
    };
    let failed = messages("failed");
    assert_eq!(failed.len(), 2, "{done}");
    assert!(failed[0].0.starts_with("customresourcedefinitions") && failed[0].1.contains("definitions.example.com"));
    assert!(failed[1].0 == format!("namespaces/{NAMESPACE}") && failed[1].1.contains("no biscuits here"), "{failed:?}");
    let blocked = messages("blocked");
    assert!(blocked.len() > 40, "{blocked:?}");
    assert!(blocked.iter().all(|(name, _)| name.contains(NAMESPACE)), "{blocked:?}");
    let boat = blocked.iter().find(|(name, _)| name.starts_with("boats")).unwrap();
    assert!(boat.1.contains("definition"), "{boat:?}");
    // The others are restored.
    assert!(is_there(&target, &["configmap", "fine", "-n", "fine"]) && is_there(&target, &["clusterrole", "fine"]));

    // Once the causes are away the same restore comes to its end.
    target.kubectl(&["delete", "validatingwebhookconfiguration", "definitions"]);
    target.kubectl(&["delete", "validatingadmissionpolicybinding", "no-biscuits"]);
    until("end of the policy", async || {
        kubectl(&target.kubeconfig(), &["create", "namespace", NAMESPACE, "--dry-run=server"]).ok()
    })
    .await;
    let done = site.json(0, &["restore", "objects", &id, "--resume"]);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    assert!(is_there(&target, &["boats", "flying-dutchman", "-n", NAMESPACE]));
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_names_what_is_in_the_way() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(shop), Cluster::start());
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "front", "namespace": NAMESPACE}, "spec": {"ingressClassName": "front",
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}});
    apply(&source, "needs", &json!({"apiVersion": "v1", "kind": "List", "items": [claim, ingress]}));
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    apply(
        &target,
        "namespace",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}),
    );
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"hard": {"count/configmaps": "3"}}});
    apply(&target, "quota", &quota);
    let status = r#"{"status":{"hard":{"count/configmaps":"3"},"used":{"count/configmaps":"1"}}}"#;
    target.kubectl(&["patch", "quota", "small", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", status]);
    let plan = planned(&site, &[&id, "-n", NAMESPACE]);
    let findings: Vec<(String, String)> = plan["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap().to_owned(), finding["message"].as_str().unwrap().to_owned()))
        .collect();
    let says = |code: &str, words: &[&str]| {
        let found = findings.iter().any(|(known, text)| known == code && words.iter().all(|word| text.contains(word)));
        assert!(found, "{code} {words:?}: {findings:?}");
    };
    says("otherCluster", &["is another one"]);
    says("podSecurity", &[NAMESPACE, "restricted"]);
    says("quota", &["small", "there are 1", "41 would come"]);
    says("storageClass", &["'fast'", "persistentvolumeclaims/data"]);
    says("ingressClass", &["'front'", "ingresses.networking.k8s.io/front"]);
    says("notServed", &["boats.shop.example.com", "1 objects"]);
    assert_eq!(verdict(&plan, &format!("boats.shop.example.com/flying-dutchman -n {NAMESPACE}")), "blocked");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_statuses_and_ports() {
    let _turn = turn().await;
    let cluster = boot(shop).await;
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
    let port = json!([{"port": 80, "nodePort": 31234}]);
    let items = json!([
        service("fixed", json!({"clusterIP": "10.0.0.77", "ports": [{"port": 80}]})),
        service("by-hand", json!({"type": "NodePort", "ports": port})),
        service("automatic", json!({"type": "NodePort", "ports": [{"port": 80}]})),
    ]);
    let range = cluster.kubectl(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]);
    let fixed = range.rsplit_once('.').unwrap().0.to_owned() + ".77";
    let items = items.to_string().replace("10.0.0.77", &fixed);
    let items: Value = serde_json::from_str(&items).unwrap();
    apply(&cluster, "services", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let status = r#"{"status":{"conditions":[{"type":"Sunk","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"Storm","message":"m"}]}}"#;
    cluster.kubectl(&[
        "patch",
        "service",
        "fixed",
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    let site = site(&cluster);
    let id = site.create();
    let of = |name: &str| get(&cluster, &["service", name, "-n", NAMESPACE]);
    let automatic = of("automatic")["spec"]["ports"][0]["nodePort"].clone();
    let delete = || cluster.kubectl(&["delete", "service", "fixed", "by-hand", "automatic", "-n", NAMESPACE]);
    let services = [&*id, "-n", NAMESPACE, "--kind", "svc"];

    delete();
    let done = restore(&site, 0, &[&services[..], &["--include-status", "--keep-node-ports"]].concat());
    assert_eq!((&done["created"], &done["failed"], &done["differing"]), (&json!(3), &json!([]), &json!([])), "{done}");
    assert_eq!(of("fixed")["spec"]["clusterIP"], fixed);
    assert_eq!(of("fixed")["status"]["conditions"][0]["reason"], "Storm");
    assert_eq!(of("by-hand")["spec"]["ports"][0]["nodePort"], 31234);
    assert_eq!(of("automatic")["spec"]["ports"][0]["nodePort"], automatic);

    // The address and the port are somebody else's by now.
    delete();
    let squatter = service("squatter", json!({"type": "NodePort", "clusterIP": fixed, "ports": port}));
    apply(&cluster, "squatter", &squatter);
    let done = restore(&site, 0, &services);
    assert_eq!((&done["created"], &done["failed"]), (&json!(3), &json!([])), "{done}");
    let differing = done["differing"].as_array().unwrap();
    let told = |name: &str| differing.iter().any(|note| note["object"] == format!("services/{name} -n {NAMESPACE}"));
    assert!(told("fixed") && told("by-hand") && !told("automatic"), "{done}");
    assert_ne!(of("fixed")["spec"]["clusterIP"], fixed);
    assert_eq!(of("fixed")["status"].get("conditions"), None, "only if asked for");
}
