//! Objects that are not restored quite as they were: elsewhere, patched, with other addresses, at another version.

use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use super::{NAMESPACE, get, is_there, planned, restore, site};
use crate::support::{apply, boot, shop, turn, until};

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
    let given = of("automatic")["spec"]["clusterIP"].clone();
    let delete = || cluster.kubectl(&["delete", "service", "fixed", "by-hand", "automatic", "-n", NAMESPACE]);
    let services = [&*id, "-n", NAMESPACE, "--kind", "svc"];

    delete();
    let done = restore(&site, 0, &[&services[..], &["--include-status", "--keep-node-ports"]].concat());
    assert_eq!((&done["created"], &done["failed"], &done["differing"]), (&json!(3), &json!([]), &json!([])), "{done}");
    assert_eq!(of("fixed")["spec"]["clusterIP"], fixed);
    assert_eq!(of("fixed")["status"]["conditions"][0]["reason"], "Storm");
    assert_eq!(of("by-hand")["spec"]["ports"][0]["nodePort"], 31234);
    assert_eq!(of("automatic")["spec"]["ports"][0]["nodePort"], automatic);
    assert_eq!(of("automatic")["spec"]["clusterIP"], given, "clients may know it");

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
    assert_eq!(of("automatic")["spec"]["clusterIP"], given);

    // So is the one that was given, and a copy in another namespace does not ask for it.
    delete();
    apply(&cluster, "taker", &service("taker", json!({"clusterIP": given, "ports": [{"port": 80}]})));
    let done = restore(&site, 0, &[&services[..], &["--name", "automatic"]].concat());
    let note = &done["differing"][0];
    assert_eq!((&done["created"], &note["object"]), (&json!(1), &json!(format!("services/automatic -n {NAMESPACE}"))));
    assert!(note["message"].as_str().unwrap().contains("clusterIP"), "{done}");
    assert_ne!(of("automatic")["spec"]["clusterIP"], given);
    let map = format!("{NAMESPACE}=copy");
    let done = restore(&site, 0, &[&services[..], &["--name", "automatic", "--map-namespace", &map]].concat());
    assert_eq!((&done["created"], &done["differing"]), (&json!(2), &json!([])), "{done}");
}

/// A definition of boats with these versions: their names, whether they are served, and their schemas.
fn boats(versions: &[(&str, bool, &Value)]) -> Value {
    let last = versions.len() - 1;
    let versions = versions.iter().enumerate().map(|(number, (name, served, schema))| {
        json!({"name": name, "served": served, "storage": number == last, "schema": {"openAPIV3Schema": schema}})
    });
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.shop.example.com"},
        "spec": {"group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "Fleet"},
            "versions": versions.collect::<Vec<_>>()}})
}

/// Waits until the target says that it serves just these versions of boats, the first one preferred.
async fn served(cluster: &Cluster, wanted: &[&str]) {
    until("versions", async || {
        let group = kubectl(&cluster.kubeconfig(), &["get", "--raw", "/apis/shop.example.com"]).ok()?;
        let group: Value = serde_json::from_str(&group).ok()?;
        let known: Vec<&str> =
            group["versions"].as_array()?.iter().filter_map(|version| version["version"].as_str()).collect();
        let answers = |version: &&str| {
            let path = format!("/apis/shop.example.com/{version}/boats");
            kubectl(&cluster.kubeconfig(), &["get", "--raw", &path]).is_ok()
        };
        (known == wanted && wanted.iter().all(answers)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn into_a_cluster_with_other_versions_and_storage_classes() {
    let _turn = turn().await;
    let (source, target) = tokio::join!(boot(shop), Cluster::start());
    let claim = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}}});
    let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    let template = json!({"metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [{"name": "db", "image": "example.com/db:1"}]}});
    let items = json!([
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data"), "spec": claim},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta("db"), "spec": {"replicas": 1,
            "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}},
    ]);
    apply(&source, "claims", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let mut site = site(&source);
    let id = site.create();
    site.reach(&target);
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    apply(&target, "crd", &boats(&[("v1", true, &open), ("v2", true, &open)]));
    served(&target, &["v2", "v1"]).await;
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "slow"},
        "provisioner": "example.com/slow"});
    apply(&target, "class", &class);

    // The class has another name there; without being told, the plan says that it is missing.
    let chosen = [&*id, "-n", NAMESPACE];
    let codes = |plan: &Value| -> Vec<String> {
        let findings = plan["findings"].as_array().unwrap().iter();
        findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    };
    assert!(codes(&planned(&site, &chosen)).contains(&"storageClass".to_owned()));
    let mapped = [&chosen[..], &["--map-storage-class", "fast=slow"]].concat();
    let plan = planned(&site, &mapped);
    assert_eq!(codes(&plan), ["otherCluster"], "the version of the backup is served: {plan}");
    let done = restore(&site, 0, &mapped);
    assert_eq!((&done["failed"], &done["blocked"]), (&json!([]), &json!([])), "{done}");
    let claim = get(&target, &["pvc", "data", "-n", NAMESPACE]);
    assert_eq!(claim["spec"]["storageClassName"], "slow");
    let set = get(&target, &["statefulset", "db", "-n", NAMESPACE]);
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"], "slow");
    let boat = get(&target, &["boats.v2.shop.example.com", "flying-dutchman", "-n", NAMESPACE]);
    assert_eq!((&boat["apiVersion"], &boat["cargo"][0]), (&json!("shop.example.com/v2"), &json!(2)), "converted");

    // The version of the backup is not served any more: the object is given at the one that is.
    let change = |versions: &[(&str, bool, &Value)]| {
        let patch = json!({"spec": {"versions": boats(versions)["spec"]["versions"]}});
        target.kubectl(&["patch", "crd", "boats.shop.example.com", "--type=merge", "-p", &patch.to_string()]);
    };
    let sink = || target.kubectl(&["delete", "boats.v2.shop.example.com", "flying-dutchman", "-n", NAMESPACE]);
    sink();
    change(&[("v1", false, &open), ("v2", true, &open)]);
    served(&target, &["v2"]).await;
    let one = [&chosen[..], &["--kind", "boats"]].concat();
    let plan = planned(&site, &one);
    assert_eq!(codes(&plan), ["otherCluster", "otherVersion"], "{plan}");
    let done = restore(&site, 0, &one);
    assert_eq!((&done["created"], &done["failed"]), (&json!(1), &json!([])), "{done}");
    let boat = get(&target, &["boats", "flying-dutchman", "-n", NAMESPACE]);
    assert_eq!((&boat["apiVersion"], &boat["cargo"][0]), (&json!("shop.example.com/v2"), &json!(2)));

    // Fields that it does not have are not dropped in silence.
    sink();
    let strict = json!({"type": "object", "properties": {"sails": {"type": "integer"}}});
    change(&[("v1", false, &open), ("v2", true, &strict)]);
    until("the new schema", async || (planned(&site, &one)["objections"] == 1).then_some(())).await;
    let failed = restore(&site, 3, &one);
    let message = failed["failed"][0]["message"].as_str().unwrap();
    assert!(message.contains("unknown field") && message.contains("cargo"), "{failed}");
    assert!(!is_there(&target, &["boats", "flying-dutchman", "-n", NAMESPACE]));
}
