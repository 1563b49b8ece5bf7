//! What one side cannot know is neither removed nor added.

use lifeboat_tests::cluster::{Cluster, kubectl};
use serde_json::{Value, json};

use super::{NAMESPACE, diff, lines, reload, site, uncompared};
use crate::support::{apply, boot, shop, turn, until};

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

    // Nor what a backup did not include.
    let narrow = ["backup", "create", "--set", "resources.include=configmaps,namespaces"];
    let narrow = site.json(0, &narrow)["id"].as_str().unwrap().to_owned();
    for against in ["--live", &whole] {
        let told = diff(&site, 3, &[&narrow, against, "-n", NAMESPACE]);
        assert_eq!(lines(&told), Vec::<String>::new(), "{told}");
        assert!(uncompared(&told).iter().any(|line| line.starts_with("deployments.apps ")), "{told}");
    }
    diff(&site, 0, &[&narrow, "--live", "-n", NAMESPACE, "--kind", "configmaps"]);
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
    reload(&cluster);
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
