//! One test for each defect of other tools that users have reported, or that measuring them has shown, and that a
//! control plane without nodes can have. `velero#N` is an issue of Velero; the others were seen in its version 1.18.
//!
//! Those that other tests hold already: Secrets readable in the bucket (velero#434, 3218, 10246: `promises/sealed`),
//! forged and altered archives (velero#3875: `promises/authentic`), backups that nobody has tried (velero#1688, 9543:
//! `e2e/drill`), silent gaps (velero#6929, 2434, 3087, 3824: `promises/gaps_are_loud`), no dry run (velero#448, 8148, 3536:
//! `promises/a_plan_is_a_plan`), memory that grows with the cluster (velero#3851, 5753, 7902, 9169:
//! `promises/flat_memory`), buckets with Object Lock (velero#8686, 8690) and a last good backup that is removed
//! (velero#9061, 3520, 5317, 7804: `promises/the_last_good_one_stays`), no etcd (velero#1610, 2296: `e2e/etcd_restore`), a
//! restart that fails the job (velero#4503, 3852) and going back to an exact state (velero#6142, 6033:
//! `e2e/restore_objects`). How fast a restore is (velero#6845), and its own memory, are measured by `scripts/bench`.

use lifeboat_recovery::restore_objects::Settings;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::compare::{Objects, Taken, key};
use super::load::{connect, load};
use super::shape::{Act, Shape, Stage};
use super::{back_up, complaints, empty, objects, restore};
use crate::support::{Keys, turn};

/// A cluster before, and after a restore into an empty one.
struct Scene {
    before: Objects,
    after: Objects,
    complaints: Vec<String>,
}

impl Scene {
    fn of<'a>(objects: &'a Objects, group: &str, resource: &str, namespace: Option<&str>, name: &str) -> &'a Value {
        let key = key(group, resource, namespace, name);
        &objects.get(&key).unwrap_or_else(|| panic!("{key} is missing")).object
    }

    /// An object before and after.
    fn both(&self, group: &str, resource: &str, namespace: Option<&str>, name: &str) -> (&Value, &Value) {
        (
            Self::of(&self.before, group, resource, namespace, name),
            Self::of(&self.after, group, resource, namespace, name),
        )
    }
}

async fn made(settings: Settings) -> Scene {
    let keys = Keys::generate();
    let _turn = turn().await;
    let before = {
        let source = empty().await;
        load(&connect(&source).await, &shapes()).await;
        back_up(&source, &keys).await
    };
    let target = empty().await;
    let (plan, report) = restore(&before, &target, settings).await;
    let after = back_up(&target, &keys).await;
    Scene { before: objects(&before).await, after: objects(&after).await, complaints: complaints(&plan, &report) }
}

/// Restored as by default.
async fn plain() -> &'static Scene {
    static SCENE: OnceCell<Scene> = OnceCell::const_new();
    SCENE.get_or_init(|| made(Settings::default())).await
}

/// Restored with all that can be asked for.
async fn full() -> &'static Scene {
    static SCENE: OnceCell<Scene> = OnceCell::const_new();
    let settings = Settings { include_status: true, keep_node_ports: true, ..Settings::default() };
    SCENE.get_or_init(|| made(settings)).await
}

const CLUSTER: [(&str, &str, &str); 7] = [
    ("storage.k8s.io", "storageclasses", "gold"),
    ("", "persistentvolumes", "disk"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "gadgets.example.com"),
    ("example.com", "gadgets", "one"),
    ("rbac.authorization.k8s.io", "clusterroles", "reader"),
    ("scheduling.k8s.io", "priorityclasses", "urgent"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "refuse"),
];

fn gadgets(version: &str, spec: &Value) -> Shape {
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}});
    let versions =
        json!([{"name": version, "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}}]);
    let content = json!({"spec": {"group": "example.com", "scope": "Cluster", "versions": versions,
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"}}});
    let name = "gadgets.example.com";
    let definition = "CustomResourceDefinition";
    Shape::new("apiextensions.k8s.io/v1", "customresourcedefinitions", definition, None, name, content)
        .stage(Stage::Definitions)
}

fn shapes() -> Vec<Shape> {
    let in_shop = |group: &str, resource: &'static str, kind: &str, name: &str, content: Value| {
        Shape::new(group, resource, kind, Some("shop"), name, content)
    };
    let pod = json!({"containers": [{"name": "main", "image": "example.com/app:1"}]});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod});
    let workload = json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": template}});
    let deployment = in_shop("apps/v1", "deployments", "Deployment", "web", workload.clone());
    let set = in_shop("apps/v1", "replicasets", "ReplicaSet", "web-7c4d", workload).owned_by(&deployment, true);
    let gadget = Shape::new("example.com/v1", "gadgets", "Gadget", None, "one", json!({"spec": {"size": 3}}))
        .act(Act::Status(json!({"phase": "Ready"})));
    let everything = json!({"webhooks": [{"name": "all.example.com", "failurePolicy": "Fail", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:1/refuse"},
        "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]}]});
    let ports = json!({"ports": [{"port": 80}], "selector": {"app": "web"}});
    let service = |name: &str, spec: Value| {
        in_shop("v1", "services", "Service", name, json!({"spec": ports})).with(json!({"spec": spec}))
    };
    let limits = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"},
        "defaultRequest": {"cpu": "100m"}}]}});
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    vec![
        gadgets("v1", &json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        Shape::new("v1", "namespaces", "Namespace", None, "shop", json!({})).stage(Stage::Namespaces),
        in_shop("v1", "serviceaccounts", "ServiceAccount", "default", json!({})).stage(Stage::First),
        Shape::new(
            "storage.k8s.io/v1",
            "storageclasses",
            "StorageClass",
            None,
            "gold",
            json!({"provisioner": "disk.example.com"}),
        ),
        Shape::new(
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            None,
            "disk",
            json!({"spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "csi": {"driver": "disk.example.com", "volumeHandle": "h"}}}),
        ),
        Shape::new("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", None, "reader", json!({"rules": []})),
        Shape::new("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", None, "urgent", json!({"value": 9})),
        in_shop(
            "v1",
            "configmaps",
            "ConfigMap",
            "of-one",
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}),
        )
        .owned_by(&gadget, true),
        gadget,
        set,
        deployment,
        service("by-hand", json!({"clusterIP": "10.96.0.77"})),
        service("by-server", json!({"type": "NodePort"})),
        in_shop("v1", "pods", "Pod", "bare", json!({"spec": pod})).act(Act::Status(ready)),
        in_shop("v1", "limitranges", "LimitRange", "defaults", limits).stage(Stage::Limits),
        Shape::new(
            "admissionregistration.k8s.io/v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            None,
            "refuse",
            everything,
        )
        .stage(Stage::Admission),
    ]
}

/// A default backup of everything said `Completed` without a class, a volume, a definition and its objects, a role, a
/// priority or a webhook configuration.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_the_whole_cluster_are_in_a_backup_as_it_is_by_default() {
    let scene = plain().await;
    for (group, resource, name) in CLUSTER {
        scene.both(group, resource, None, name);
    }
}

/// velero#4707: owner references were dropped, so that owned objects were orphaned, or made twice.
#[tokio::test(flavor = "multi_thread")]
async fn owners_are_found_again() {
    let scene = plain().await;
    let of_set = Scene::of(&scene.after, "apps", "replicasets", Some("shop"), "web-7c4d");
    let deployment = Scene::of(&scene.after, "apps", "deployments", Some("shop"), "web");
    let of_map = Scene::of(&scene.after, "", "configmaps", Some("shop"), "of-one");
    let gadget = Scene::of(&scene.after, "example.com", "gadgets", None, "one");
    for (owned, owner) in [(of_set, deployment), (of_map, gadget)] {
        let references = owned["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!((references.len(), &references[0]["uid"]), (1, &owner["metadata"]["uid"]));
        assert_eq!(references[0]["controller"], true);
    }
    let before = Scene::of(&scene.before, "example.com", "gadgets", None, "one");
    assert_ne!(before["metadata"]["uid"], gadget["metadata"]["uid"], "another object than before");
}

/// An address that was chosen by hand was lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_chosen_by_hand_stays() {
    let (before, after) = plain().await.both("", "services", Some("shop"), "by-hand");
    assert_eq!(before["spec"]["clusterIP"], "10.96.0.77");
    assert_eq!(before["spec"], after["spec"]);
}

/// Node ports that the server had chosen were lost, whatever was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn node_ports_stay_when_that_is_asked_for() {
    let port = |object: &Value| object["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let (before, after) = full().await.both("", "services", Some("shop"), "by-server");
    assert_eq!(port(before), port(after));
}

/// Statuses were lost.
#[tokio::test(flavor = "multi_thread")]
async fn statuses_come_back_when_that_is_asked_for() {
    let scene = full().await;
    for (group, resource, namespace, name) in
        [("example.com", "gadgets", None, "one"), ("", "pods", Some("shop"), "bare")]
    {
        let (before, after) = scene.both(group, resource, namespace, name);
        assert!(before["status"]["phase"].is_string());
        assert_eq!(before["status"], after["status"], "{resource}");
    }
    let (_, without) = plain().await.both("example.com", "gadgets", None, "one");
    assert_eq!(without["status"], Value::Null);
}

/// Two labels were added to every object: selectors met them, and a diff showed all that was restored as changed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_added_to_objects_but_one_annotation() {
    let scene = plain().await;
    let restored = |taken: &&Taken| taken.object["metadata"]["annotations"]["lifeboat.dev/restored-from"].is_string();
    let objects: Vec<(&String, &Taken)> = scene.after.iter().filter(|(_, taken)| restored(taken)).collect();
    assert!(objects.len() >= shapes().len() - 1, "{} restored objects", objects.len());
    for (key, taken) in objects {
        let before = &scene.before[key].object["metadata"];
        let mut after = taken.object["metadata"].clone();
        let annotations = after["annotations"].as_object_mut().unwrap();
        annotations.remove("lifeboat.dev/restored-from");
        let none = json!({});
        let or_none = |value: &Value| if value.is_null() { none.clone() } else { value.clone() };
        assert_eq!(or_none(&before["labels"]), or_none(&after["labels"]), "{key}");
        assert_eq!(or_none(&before["annotations"]), after["annotations"], "{key}");
        assert_eq!(before["finalizers"], after["finalizers"], "{key}");
    }
}

/// A limit range was restored before the pods and wrote its defaults into them.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_range_does_not_alter_restored_pods() {
    let scene = plain().await;
    scene.both("", "limitranges", Some("shop"), "defaults");
    let (before, after) = scene.both("", "pods", Some("shop"), "bare");
    assert_eq!(before["spec"]["containers"][0]["resources"], json!({}));
    assert_eq!(before["spec"]["containers"], after["spec"]["containers"]);
}

/// velero#5068, 4847, 2443: webhooks that were restored early refused what came after them.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_do_not_block_what_is_restored_with_them() {
    let scene = plain().await;
    scene.both("admissionregistration.k8s.io", "validatingwebhookconfigurations", None, "refuse");
    assert_eq!(scene.complaints, Vec::<String>::new());
}

/// velero#2310, 3516: an object whose version the target does not serve was dropped or refused. And velero#4223, 6186,
/// 8339: what failed was not named, or not why.
#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_restored_at_the_version_that_is_served_and_what_fails_is_named() {
    let keys = Keys::generate();
    let _turn = turn().await;
    let gadget = |name: &str, size: u8| {
        Shape::new("example.com/v1", "gadgets", "Gadget", None, name, json!({"spec": {"size": size}}))
    };
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let before = {
        let source = empty().await;
        load(&connect(&source).await, &[gadgets("v1", &free), gadget("small", 3), gadget("large", 200)]).await;
        back_up(&source, &keys).await
    };
    let target = empty().await;
    let bounded = json!({"type": "object", "properties": {"size": {"type": "integer", "maximum": 100}}});
    load(&connect(&target).await, &[gadgets("v2", &bounded)]).await;
    let (plan, report) = restore(&before, &target, Settings::default()).await;
    let after = objects(&back_up(&target, &keys).await).await;
    let small = Scene::of(&after, "example.com", "gadgets", None, "small");
    assert_eq!((&small["apiVersion"], &small["spec"]["size"]), (&json!("example.com/v2"), &json!(3)));
    assert!(!after.contains_key(&key("example.com", "gadgets", None, "large")));
    let failed: Vec<(String, &str)> = report.failed.named(&plan).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].0.contains("gadgets.example.com/large"), "{failed:?}");
    assert!(failed[0].1.contains("spec.size") && failed[0].1.contains("100"), "the API server's own words: {failed:?}");
}
