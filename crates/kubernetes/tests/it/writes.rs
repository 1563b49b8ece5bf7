//! Writes against real API servers.

use std::time::Duration;

use lifeboat_kubernetes::{Deletion, Error, FieldValidation, Propagation, WriteOptions};
use lifeboat_tests::cluster::Cluster as TestCluster;
use serde_json::{Value, json};

use crate::objects::{
    WRITE, bytes, config_map, config_maps, create, create_config_map, delete_config_map, delete_options,
    get_config_map, namespaces, parse, path, replace_config_map,
};
use crate::{connect, resource_type};

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_replaced_patched_and_deleted() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;
    let maps = config_maps();
    let at = path(&maps, "default", "settings");

    // In a dry run the answer is of what would be, and nothing is.
    let dry = WriteOptions { dry_run: true, ..WRITE };
    let object = config_map("settings", "one");
    let written = cluster.create(at, bytes(&object), dry).await.unwrap();
    assert_eq!(parse(&written.object)["metadata"]["namespace"], "default");
    assert_eq!(cluster.get(at).await.unwrap(), None);

    let written = cluster.create(at, bytes(&object), WRITE).await.unwrap();
    assert_eq!(cluster.get(at).await.unwrap().as_ref(), Some(&written.object), "the API server's own bytes");
    assert_eq!(written.warnings, [""; 0]);
    let first = parse(&written.object);
    assert_eq!(first["metadata"]["managedFields"][0]["manager"], WRITE.field_manager);
    let error = cluster.create(at, bytes(&object), WRITE).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { terminating: false, .. }), "{error:?}");
    assert_eq!(error.to_string(), "configmaps default/settings exists already");

    let second = parse(&replace_config_map(&cluster, &first, "two").await.unwrap().object);
    assert_eq!(second["data"]["text"], "two");
    let error = replace_config_map(&cluster, &first, "three").await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");

    let patch =
        json!({"metadata": {"annotations": {"a": "b"}, "uid": first["metadata"]["uid"]}, "data": {"text": null}});
    let third = parse(&cluster.merge_patch(at, bytes(&patch), WRITE).await.unwrap().object);
    assert_eq!((&third["metadata"]["annotations"]["a"], third.get("data")), (&json!("b"), None));
    let foreign = json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "data": {"text": "x"}});
    let error = cluster.merge_patch(at, bytes(&foreign), WRITE).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");

    // The object that is meant, at the version that is meant, and only if it is asked for in earnest.
    let uid = first["metadata"]["uid"].as_str().unwrap();
    let another = delete_options("00000000-0000-0000-0000-000000000000");
    assert!(matches!(cluster.delete(at, another).await, Err(Error::Conflict { .. })));
    let mut old = delete_options(uid);
    old.resource_version = first["metadata"]["resourceVersion"].as_str();
    assert!(matches!(cluster.delete(at, old).await, Err(Error::Conflict { .. })));
    let mut dry = delete_options(uid);
    dry.dry_run = true;
    assert_eq!(cluster.delete(at, dry).await.unwrap(), Deletion::Gone);
    assert!(cluster.get(at).await.unwrap().is_some());
    assert_eq!(cluster.delete(at, delete_options(uid)).await.unwrap(), Deletion::Gone);
    assert_eq!(cluster.get(at).await.unwrap(), None);
    assert!(matches!(cluster.delete(at, delete_options(uid)).await, Err(Error::NotFound { .. })));
    assert!(matches!(replace_config_map(&cluster, &first, "x").await, Err(Error::NotFound { .. })));

    status_and_finalizers(&cluster).await;
    unknown_fields(&cluster).await;
}

async fn status_and_finalizers(cluster: &lifeboat_kubernetes::Cluster) {
    let claims = resource_type("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let mut read = parse(&create(cluster, &claims, "default", &claim).await.unwrap().object);
    read["status"] = json!({"phase": "Lost"});
    read["spec"]["volumeName"] = json!("another");
    let at = path(&claims, "default", "disk");
    let written = parse(&cluster.replace_status(at, bytes(&read), WRITE).await.unwrap().object);
    assert_eq!((&written["status"]["phase"], written["spec"].get("volumeName")), (&json!("Lost"), None));
    let uid = read["metadata"]["uid"].as_str().unwrap();
    let mut options = delete_options(uid);
    options.propagation = Some(Propagation::Background);
    assert_eq!(cluster.delete(at, options).await.unwrap(), Deletion::Pending, "protected by a finalizer");
    let error = create(cluster, &claims, "default", &claim).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { terminating: true, .. }), "{error:?}");

    // Deleted at once, though the answer is the object and not a status.
    let accounts = resource_type("", "v1", "serviceaccounts", "ServiceAccount");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}});
    let read = parse(&create(cluster, &accounts, "default", &account).await.unwrap().object);
    let at = path(&accounts, "default", "worker");
    let deleted = cluster.delete(at, delete_options(read["metadata"]["uid"].as_str().unwrap())).await;
    assert_eq!(deleted.unwrap(), Deletion::Gone);
    assert_eq!(cluster.get(at).await.unwrap(), None);
}

async fn unknown_fields(cluster: &lifeboat_kubernetes::Cluster) {
    let maps = config_maps();
    let at = path(&maps, "default", "odd");
    let mut odd = config_map("odd", "x");
    odd["flavour"] = json!("none \"at\" all");
    let error = cluster.create(at, bytes(&odd), WRITE).await.unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { message, .. } if message.contains("unknown field \"flavour\"")),
        "{error:?}"
    );
    let warn = WriteOptions { field_validation: FieldValidation::Warn, dry_run: true, ..WRITE };
    assert_eq!(cluster.create(at, bytes(&odd), warn).await.unwrap().warnings, ["unknown field \"flavour\""]);
    let ignore = WriteOptions { field_validation: FieldValidation::Ignore, dry_run: true, ..WRITE };
    assert_eq!(cluster.create(at, bytes(&odd), ignore).await.unwrap().warnings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;

    let services = resource_type("", "v1", "services", "Service");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"ports": [{"port": 80}, {"port": 70000, "name": "b"}]}});
    let error = create(&cluster, &services, "default", &service).await.unwrap_err();
    let Error::Invalid { causes, .. } = &error else { panic!("{error:?}") };
    let fields: Vec<_> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert!(fields.contains(&"spec.ports[1].port") && fields.contains(&"spec.ports[0].name"), "{error:?}");
    assert!(
        causes.iter().all(|cause| cause.reason.starts_with("FieldValue") && !cause.message.is_empty()),
        "{error:?}"
    );

    let error = create(&cluster, &config_maps(), "nowhere", &config_map("a", "b")).await.unwrap_err();
    assert!(matches!(&error, Error::NoNamespace { namespace, .. } if namespace == "nowhere"), "{error:?}");
    assert_eq!(error.to_string(), "there is no namespace 'nowhere' for configmaps nowhere/a");
    assert_eq!(cluster.get(path(&config_maps(), "nowhere", "a")).await.unwrap(), None);

    for missing in [
        resource_type("", "v1", "boats", "Boat"),
        resource_type("apps", "v1", "boats", "Boat"),
        resource_type("apps", "v1beta1", "deployments", "Deployment"),
        resource_type("shop.example.com", "v1", "boats", "Boat"),
    ] {
        let object = json!({"apiVersion": missing.api_version(), "kind": missing.kind, "metadata": {"name": "ark"}});
        let error = create(&cluster, &missing, "default", &object).await.unwrap_err();
        let name = format!("{} at {}", missing.group_resource(), missing.version);
        assert!(matches!(&error, Error::NotServed { resource, .. } if *resource == name), "{error:?}");
        let error = cluster.get(path(&missing, "default", "ark")).await.unwrap_err();
        assert!(matches!(error, Error::NotServed { .. }), "{error:?}");
    }

    // Without a controller manager a namespace stays as it is now.
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "doomed"}});
    let read = parse(&create(&cluster, &namespaces(), "", &space).await.unwrap().object);
    let uid = read["metadata"]["uid"].as_str().unwrap();
    let deleted = cluster.delete(path(&namespaces(), "", "doomed"), delete_options(uid)).await;
    assert_eq!(deleted.unwrap(), Deletion::Pending);
    let error = create(&cluster, &config_maps(), "doomed", &config_map("a", "b")).await.unwrap_err();
    assert!(matches!(&error, Error::NamespaceTerminating { namespace, .. } if namespace == "doomed"), "{error:?}");

    sizes(&cluster).await;
    bodies(&cluster).await;
}

/// The limits on an object's size: of etcd, of its client in the API server, and of the API server.
async fn sizes(cluster: &lifeboat_kubernetes::Cluster) {
    let text = |bytes: usize| "0123456789abcde\n".repeat(bytes / 16);
    let large = text(1_000_000);
    create_config_map(cluster, "large", &large).await.unwrap();
    assert_eq!(get_config_map(cluster, "large").await.unwrap()["data"]["text"], json!(large));
    let error = create_config_map(cluster, "larger", &text(1_100_000)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "beyond 1 MiB a config map is not valid: {error:?}");

    // Other kinds have no bound of their own.
    let roles = resource_type("rbac.authorization.k8s.io", "v1", "roles", "Role");
    for size in [1_600_000, 2_500_000, 4_000_000] {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "big"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": [text(size)]}]});
        let error = create(cluster, &roles, "default", &role).await.unwrap_err();
        let sent = role.to_string().len();
        assert!(matches!(error, Error::ObjectTooLarge { bytes, .. } if bytes == sent), "{size}: {error:?}");
    }
}

/// Bodies that are not what they should be never reach the API server, and are not quoted.
async fn bodies(cluster: &lifeboat_kubernetes::Cluster) {
    let maps = config_maps();
    let at = path(&maps, "default", "mine");
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "mine-"}});
    for body in ["", "[]", "{\"metadata\":{\"name\":[\"secret\"]}}", &generated.to_string()] {
        let error = cluster.create(at, body.to_owned().into(), WRITE).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let all = cluster.get(path(&maps, "default", "")).await.unwrap_err();
    assert!(matches!(all, Error::Invalid { .. }), "{all:?}");
    let listed = cluster.get(path(&maps, "default", "mine")).await.unwrap();
    assert_eq!(listed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_for_is_seen_when_it_comes() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;
    let maps = config_maps();
    let within = Duration::from_mins(1);
    let at = path(&maps, "default", "awaited");
    let text = |object: Option<&Value>| object.map(|object| object["data"]["text"].clone());

    // Another object, that comes and goes meanwhile, is no matter.
    let appear = cluster.wait_until(at, within, |object| text(object) == Some(json!("three")));
    let write = async {
        create_config_map(&cluster, "other", "three").await.unwrap();
        let mut object = parse(&create_config_map(&cluster, "awaited", "one").await.unwrap().object);
        for step in ["two", "three"] {
            object = parse(&replace_config_map(&cluster, &object, step).await.unwrap().object);
        }
        object
    };
    let (seen, object) = tokio::join!(appear, write);
    assert_eq!(seen.unwrap().unwrap()["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);

    let vanish = cluster.wait_until(at, within, |object| object.is_none());
    let (seen, deleted) = tokio::join!(vanish, delete_config_map(&cluster, &object));
    assert_eq!((seen.unwrap(), deleted.unwrap()), (None, Deletion::Gone));

    // What is so already needs no watch.
    let spaces = namespaces();
    let is_active = |namespace: Option<&Value>| namespace.is_some_and(lifeboat_kubernetes::is_active);
    let active = cluster.wait_until(path(&spaces, "", "default"), within, is_active).await.unwrap();
    assert_eq!(active.unwrap()["metadata"]["name"], "default");

    let never = cluster.wait_until(at, Duration::from_millis(300), |_| false).await.unwrap_err();
    assert_eq!(never.to_string(), "configmaps default/awaited did not become as expected within 0 s");
    let boats = resource_type("shop.example.com", "v1", "boats", "Boat");
    let error = cluster.wait_until(path(&boats, "default", "ark"), within, |_| true).await.unwrap_err();
    assert!(matches!(error, Error::NotServed { .. }), "{error:?}");

    definitions(&cluster, within).await;
}

/// A definition that is established can be used at once.
async fn definitions(cluster: &lifeboat_kubernetes::Cluster, within: Duration) {
    let boats = resource_type("shop.example.com", "v1", "boats", "Boat");
    let error = cluster.wait_served(&boats, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, Error::NotReached { .. }), "{error:?}");
    let kinds = lifeboat_model::ResourceType {
        namespaced: false,
        ..resource_type("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
    };
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.shop.example.com"},
        "spec": {"group": "shop.example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let written = parse(&create(cluster, &kinds, "", &definition).await.unwrap().object);
    assert!(!lifeboat_kubernetes::is_established(&written));
    let at = path(&kinds, "", "boats.shop.example.com");
    let established = cluster.wait_until(at, within, |found| found.is_some_and(lifeboat_kubernetes::is_established));
    assert!(established.await.unwrap().is_some());
    cluster.wait_served(&boats, within).await.unwrap();
    let ark =
        json!({"apiVersion": "shop.example.com/v1", "kind": "Boat", "metadata": {"name": "ark"}, "cargo": [2, 2]});
    create(cluster, &boats, "default", &ark).await.unwrap();
    let found = cluster.wait_until(path(&boats, "default", "ark"), within, |boat| boat.is_some()).await.unwrap();
    assert_eq!(found.unwrap()["cargo"], json!([2, 2]));
}
