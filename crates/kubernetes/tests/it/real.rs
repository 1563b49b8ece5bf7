//! Against real API servers.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use lifeboat_kubernetes::{Cluster, ConnectOptions, Error, ListOptions};
use lifeboat_model::ResourceType;
use lifeboat_tests::cluster::Cluster as TestCluster;

use crate::{Outcome, connect, list_all, list_one, resource_type, take};

fn config_maps() -> ResourceType {
    resource_type("", "v1", "configmaps", "ConfigMap")
}

async fn create_config_maps(cluster: &Cluster, names: impl Iterator<Item = String>, bytes: usize) {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client().clone(), "default");
    let create = async |name: String| {
        let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
        let data = Some([("text".to_owned(), "a\"\\{}[]\u{fc}\u{1f6f6}".repeat(bytes / 16))].into());
        let object = ConfigMap { metadata, data, ..ConfigMap::default() };
        api.create(&PostParams::default(), &object).await.unwrap();
    };
    futures::stream::iter(names).for_each_concurrent(8, create).await;
}

/// Names of the objects, in the order of the list.
fn names(outcome: &Outcome) -> Vec<String> {
    let name = |object: &Vec<u8>| -> serde_json::Value { serde_json::from_slice(object).unwrap() };
    outcome.objects.iter().map(|object| name(object)["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

const CUSTOM_RESOURCES: &str = "
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: boats.shop.example.com},
 spec: {group: shop.example.com, scope: Namespaced, names: {plural: boats, singular: boat, kind: Boat, listKind: Fleet, shortNames: [bt]},
  versions: [
   {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}},
   {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}
";

const NOWHERE: &str = "
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.nowhere.example.com},
 spec: {group: nowhere.example.com, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true,
  service: {name: nowhere, namespace: default}}}
";

fn apply(cluster: &TestCluster, name: &str, text: &str) {
    let file = cluster.temp().join(name);
    std::fs::write(&file, text).unwrap();
    cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_served_is_listed_once_and_byte_for_byte() {
    let server = TestCluster::start().await;
    apply(&server, "crd.yaml", CUSTOM_RESOURCES);
    server.kubectl(&["wait", "--for=condition=Established", "crd/boats.shop.example.com", "--timeout=30s"]);
    apply(
        &server,
        "boat.yaml",
        "{apiVersion: shop.example.com/v1, kind: Boat, metadata: {name: ark, namespace: default}, cargo: [2, 2]}",
    );
    apply(&server, "nowhere.yaml", NOWHERE);
    let cluster = connect(&server.kubeconfig()).await;

    let identity = server.kubectl(&["get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}"]);
    assert_eq!(cluster.cluster_id().await.unwrap(), identity);
    assert!(cluster.version().await.unwrap().starts_with("v1."));
    let skew = Timestamp::now().duration_since(cluster.server_time().await.unwrap());
    assert!(skew.abs() <= SignedDuration::from_secs(2), "{skew}");

    // Discovery of a new API service is not immediate.
    let found = loop {
        let found = cluster.discover().await.unwrap();
        let custom = found.types.iter().any(|kind| kind.resource == "boats");
        if custom && !found.failures.is_empty() {
            break found;
        }
        tokio::task::yield_now().await;
    };
    let failed: Vec<_> = found.failures.iter().map(|failure| failure.group_version.as_str()).collect();
    assert_eq!(failed, ["nowhere.example.com/v1beta1"]);
    assert_eq!(found.twins.iter().map(|twin| twin.left_out.to_string()).collect::<Vec<_>>(), ["events.events.k8s.io"]);
    assert!(found.types.is_sorted() && found.types[0].group.is_empty());
    let listable = server.kubectl(&["api-resources", "--verbs=list", "--cached=false", "-o", "name"]);
    let mut listable: Vec<_> = listable.lines().filter(|name| *name != "events.events.k8s.io").collect();
    listable.sort_unstable();
    let mut types: Vec<_> = found.types.iter().map(|kind| kind.group_resource().to_string()).collect();
    types.sort();
    assert_eq!(types, listable, "what kubectl finds");
    let boats = found.types.iter().find(|kind| kind.resource == "boats").unwrap();
    assert_eq!((boats.api_version().as_str(), boats.kind.as_str()), ("shop.example.com/v1", "Boat"));

    // These change all the time, and component statuses are made up anew for each list.
    let volatile = ["componentstatuses", "events", "leases"];
    let mut types = found.types;
    types.retain(|kind| !volatile.contains(&kind.resource.as_str()));
    let outcomes = list_all(&cluster, &types, ListOptions::default()).await;
    assert_eq!(outcomes.len(), types.len());
    let mut objects = 0;
    for (outcome, kind) in outcomes.iter().zip(&types) {
        assert!(outcome.error.is_none(), "{kind:?}: {outcome:?}");
        assert!(!outcome.resource_version.is_empty());
        let root = if kind.group.is_empty() { "/api" } else { "/apis" };
        let raw = server.kubectl(&["get", "--raw", &format!("{root}/{}/{}", kind.api_version(), kind.resource)]);
        let items: Vec<_> = outcome.objects.iter().map(|object| std::str::from_utf8(object).unwrap()).collect();
        assert!(
            raw.contains(&format!("\"items\":[{}]", items.join(","))),
            "{} differ from what kubectl gets: {raw}",
            kind.group_resource()
        );
        objects += items.len();
    }
    assert!(objects > 100, "{objects} objects");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_may_list_little_is_told_what_it_may_not() {
    let server = TestCluster::start().await;
    let admin = connect(&server.kubeconfig()).await;
    let types = admin.discover().await.unwrap().types;
    assert!(admin.access_review(&types).await.unwrap().iter().all(|(_, allowed)| *allowed));

    server.kubectl(&["create", "clusterrole", "reader", "--verb=list", "--resource=configmaps,deployments.apps"]);
    server.kubectl(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=ann"]);
    let ann = connect(&server.kubeconfig_for("ann", &[]).unwrap()).await;
    let allowed = ["configmaps", "deployments.apps"];
    let granted = async {
        while !ann.access_review(&types).await.unwrap().iter().any(|(_, allowed)| *allowed) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), granted).await.unwrap();
    let review = ann.access_review(&types).await.unwrap();
    let outcomes = list_all(&ann, &types, ListOptions::default()).await;
    for ((kind, may), outcome) in review.iter().zip(&outcomes) {
        let name = kind.group_resource().to_string();
        assert_eq!(*may, allowed.contains(&name.as_str()), "{name}");
        assert_eq!(*may, outcome.error.is_none(), "{name}: {outcome:?}");
        if let Some(error) = &outcome.error {
            let Error::Forbidden { resource, verb, message } = error else { panic!("{error:?}") };
            assert_eq!((resource, *verb), (&name, "list"));
            assert!(message.contains("ann"), "{message}");
        }
    }
    assert!(matches!(ann.cluster_id().await, Err(Error::Forbidden { verb: "get", .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_objects_come_in_pages_and_large_ones_in_small_pages() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;
    create_config_maps(&cluster, (0..3000).map(|i| format!("many-{i:05}")), 500).await;
    let outcome = list_one(&cluster, config_maps(), ListOptions::default()).await;
    let many: Vec<_> = names(&outcome).into_iter().filter(|name| name.starts_with("many-")).collect();
    assert_eq!(many, (0..3000).map(|i| format!("many-{i:05}")).collect::<Vec<_>>());
    assert_eq!(outcome.expected, Some(outcome.objects.len() as u64));
    let largest = outcome.pages.iter().map(|(_, items)| *items).max();
    assert_eq!(largest, Some(500), "{outcome:?}");
    assert!(outcome.pages.len() <= 10, "{outcome:?}");

    create_config_maps(&cluster, (0..24).map(|i| format!("large-{i:02}")), 900_000).await;
    let outcome = list_one(&cluster, config_maps(), ListOptions::default()).await;
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(names(&outcome).into_iter().filter(|name| name.starts_with("large-")).count(), 24);
    let wanted = ListOptions::default().page_bytes;
    let largest = outcome.pages.iter().map(|(bytes, _)| *bytes).max().unwrap();
    assert!(largest <= 4 * wanted, "{outcome:?}");
    assert!(outcome.pages.iter().filter(|(bytes, _)| *bytes > wanted + wanted / 2).count() <= 1, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_snapshot_was_compacted_away_begins_again() {
    // Without its cache the API server reads every page from etcd, as older ones do.
    let server = TestCluster::start_with(|builder| builder.api_server_arg("--watch-cache=false")).await;
    let cluster = connect(&server.kubeconfig()).await;
    create_config_maps(&cluster, (0..300).map(|i| format!("many-{i:05}")), 100).await;
    let options = ListOptions { page_limit: 50, requests: 1, buffer_bytes: 0, ..ListOptions::default() };
    let mut listing = cluster.list_all(vec![config_maps()], options);
    let mut outcome = Outcome::default();
    take(&mut listing, &mut outcome).await;
    create_config_maps(&cluster, std::iter::once("later".to_owned()), 100).await;
    compact(&server, &cluster).await;

    while take(&mut listing, &mut outcome).await {}
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(outcome.restarts, 1);
    let names = names(&outcome);
    assert!(names.contains(&"later".to_owned()), "the list is of a later time");
    let many: Vec<_> = names.into_iter().filter(|name| name.starts_with("many-")).collect();
    assert_eq!(many, (0..300).map(|i| format!("many-{i:05}")).collect::<Vec<_>>());
}

/// Forgets all revisions of etcd before the present one.
async fn compact(server: &TestCluster, cluster: &Cluster) {
    let options = ListOptions { page_limit: 1, ..ListOptions::default() };
    let revision =
        list_one(cluster, resource_type("", "v1", "namespaces", "Namespace"), options).await.resource_version;
    let access = server.etcd();
    let output = std::process::Command::new(lifeboat_tests::cluster::testbed_bin().join("etcdctl"))
        .args(["compact", &revision, "--endpoints", &access.endpoints[0]])
        .arg("--cacert")
        .arg(&access.ca_file)
        .arg("--cert")
        .arg(&access.cert_file)
        .arg("--key")
        .arg(&access.key_file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_dies_and_comes_back_does_not_end_a_list() {
    let mut server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;
    create_config_maps(&cluster, (0..400).map(|i| format!("many-{i:05}")), 100).await;
    let options = ListOptions { page_limit: 50, requests: 1, buffer_bytes: 0, ..ListOptions::default() };
    let mut listing = cluster.list_all(vec![config_maps()], options);
    let mut outcome = Outcome::default();
    take(&mut listing, &mut outcome).await;
    server.stop_api_server().await;
    let version = cluster.version().await;
    assert!(
        matches!(&version, Err(Error::Unreachable { url, .. }) if *url == format!("{}/", server.url())),
        "{version:?}"
    );
    server.start_api_server().await.unwrap();
    while take(&mut listing, &mut outcome).await {}
    assert!(outcome.error.is_none(), "{outcome:?}");
    let many: Vec<_> = names(&outcome).into_iter().filter(|name| name.starts_with("many-")).collect();
    assert_eq!(many, (0..400).map(|i| format!("many-{i:05}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_and_a_wrong_authority_are_told_apart() {
    let server = TestCluster::start().await;
    let kubeconfig: serde_json::Value = serde_json::from_slice(&std::fs::read(server.kubeconfig()).unwrap()).unwrap();
    let with = async |name: &str, text: &str| {
        let path = server.temp().join(name);
        std::fs::write(&path, text).unwrap();
        Cluster::connect(ConnectOptions { kubeconfig: Some(path), ..ConnectOptions::default() }).await
    };

    let mut stranger = kubeconfig.clone();
    stranger["users"][0]["user"] = serde_json::json!({"token": "bogus"});
    let stranger = with("stranger", &stranger.to_string()).await.unwrap();
    assert!(matches!(stranger.version().await, Err(Error::Unauthorized { .. })));

    let other = TestCluster::start_etcd(1).await;
    let mut distrustful = kubeconfig.clone();
    let address = &kubeconfig["clusters"][0]["cluster"]["server"];
    distrustful["clusters"][0]["cluster"] =
        serde_json::json!({"server": address, "certificate-authority": other.pki().ca()});
    let distrustful = with("distrustful", &distrustful.to_string()).await.unwrap();
    let error = distrustful.version().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
}
