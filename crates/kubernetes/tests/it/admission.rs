//! Objects that are well-formed and refused all the same, by whom, and what an identity may do.

use std::time::{Duration, Instant};

use lifeboat_kubernetes::{Access, Cluster, Error};
use lifeboat_model::ResourceType;
use lifeboat_tests::cluster::Cluster as TestCluster;
use serde_json::{Value, json};

use crate::objects::{
    WRITE, bytes, config_map, config_maps, create, create_config_map, delete_options, get_config_map, parse, path,
};
use crate::webhook::{Webhook, configuration};
use crate::{connect, resource_type};

fn cluster_wide(group: &str, resource: &str, kind: &str) -> ResourceType {
    ResourceType { namespaced: false, ..resource_type(group, "v1", resource, kind) }
}

fn asking(name: &str, webhook: &str) -> Value {
    let mut object = config_map(name, "x");
    object["metadata"]["labels"] = json!({"ask": webhook});
    object
}

/// Creates an object until it is refused as expected: the API server takes up new rules of admission, new quotas and new
/// service accounts a moment later.
async fn refused(
    cluster: &Cluster,
    resource: &ResourceType,
    namespace: &str,
    object: &Value,
    expected: impl Fn(&Error) -> bool,
) -> Error {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match create(cluster, resource, namespace, object).await {
            Ok(written) => {
                let uid = parse(&written.object)["metadata"]["uid"].as_str().unwrap().to_owned();
                let name = object["metadata"]["name"].as_str().unwrap();
                cluster.delete(path(resource, namespace, name), delete_options(&uid)).await.unwrap();
            }
            Err(error) if expected(&error) => return error,
            Err(error) => assert!(Instant::now() < end, "{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_an_object_is_named() {
    let server = TestCluster::start().await;
    let cluster = connect(&server.kubeconfig()).await;

    let webhooks = cluster_wide(
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
    );
    let webhook = Webhook::start().await;
    create(&cluster, &webhooks, "", &webhook.configuration("strict")).await.unwrap();
    let strict =
        |error: &Error| matches!(error, Error::Denied { webhook: Some(name), .. } if name == "strict.example.com");
    let error = refused(&cluster, &config_maps(), "default", &asking("a", "strict"), strict).await;
    assert!(error.to_string().ends_with("denied the request: not today"), "{error}");

    let nobody = configuration("absent", "https://localhost:1/", "");
    let mut nobody = nobody;
    nobody["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    create(&cluster, &webhooks, "", &nobody).await.unwrap();
    let failed =
        |error: &Error| matches!(error, Error::WebhookFailed { webhook, .. } if webhook == "absent.example.com");
    refused(&cluster, &config_maps(), "default", &asking("b", "absent"), failed).await;
    assert_eq!(get_config_map(&cluster, "b").await, None);

    conversion(&cluster).await;
    policy(&cluster).await;
    quota_and_pod_security(&cluster).await;
}

/// A definition with two versions, and nobody who could convert one into the other.
async fn conversion(cluster: &Cluster) {
    let definitions = cluster_wide("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition");
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.shop.example.com"}, "spec": {"group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "kind": "Boat"}, "versions": [version("v1", true), version("v2", false)],
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://localhost:1/"}}}}});
    create(cluster, &definitions, "", &definition).await.unwrap();
    let within = Duration::from_mins(1);
    let at = path(&definitions, "", "boats.shop.example.com");
    cluster.wait_until(at, within, |found| found.is_some_and(lifeboat_kubernetes::is_established)).await.unwrap();
    let boats = resource_type("shop.example.com", "v2", "boats", "Boat");
    cluster.wait_served(&boats, within).await.unwrap();
    let ark = json!({"apiVersion": "shop.example.com/v2", "kind": "Boat", "metadata": {"name": "ark"}});
    let error = create(cluster, &boats, "default", &ark).await.unwrap_err();
    let what = "conversion of shop.example.com/v2, Kind=Boat";
    assert!(matches!(&error, Error::WebhookFailed { webhook, .. } if webhook == what), "{error:?}");
    let stored = resource_type("shop.example.com", "v1", "boats", "Boat");
    assert_eq!(cluster.get(path(&stored, "default", "ark")).await.unwrap(), None, "nothing was stored");
}

async fn policy(cluster: &Cluster) {
    let group = "admissionregistration.k8s.io";
    let policies = cluster_wide(group, "validatingadmissionpolicies", "ValidatingAdmissionPolicy");
    let bindings = cluster_wide(group, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding");
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "short"}, "spec": {"failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["configmaps"]}]},
            "validations": [{"expression": "!object.metadata.name.startsWith('long')", "message": "too long"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "short"}, "spec": {"policyName": "short", "validationActions": ["Deny"]}});
    create(cluster, &policies, "", &policy).await.unwrap();
    create(cluster, &bindings, "", &binding).await.unwrap();
    refused(cluster, &config_maps(), "default", &config_map("long-one", "x"), |error| denied(error, "too long")).await;
}

/// Refused by the API server itself.
fn denied(error: &Error, words: &str) -> bool {
    matches!(error, Error::Denied { webhook: None, message, .. } if message.contains(words))
}

async fn quota_and_pod_security(cluster: &Cluster) {
    let namespaces = cluster_wide("", "namespaces", "Namespace");
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
        {"name": "narrow", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    create(cluster, &namespaces, "", &space).await.unwrap();
    let quotas = resource_type("", "v1", "resourcequotas", "ResourceQuota");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"count/configmaps": "0"}}, "status": {"hard": {"count/configmaps": "0"}}});
    let mut read = parse(&create(cluster, &quotas, "narrow", &quota).await.unwrap().object);
    // Its controller does not run here.
    read["status"] = json!({"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}});
    cluster.replace_status(path(&quotas, "narrow", "none"), bytes(&read), WRITE).await.unwrap();
    let expected = |error: &Error| denied(error, "exceeded quota: none");
    refused(cluster, &config_maps(), "narrow", &config_map("a", "x"), expected).await;

    let accounts = resource_type("", "v1", "serviceaccounts", "ServiceAccount");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    create(cluster, &accounts, "narrow", &account).await.unwrap();
    let pods = resource_type("", "v1", "pods", "Pod");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "a"}]}});
    let expected = |error: &Error| denied(error, "violates PodSecurity \"restricted:latest\"");
    refused(cluster, &pods, "narrow", &pod, expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_learns_what_it_may_do_and_is_refused_the_rest() {
    let server = TestCluster::start().await;
    let admin = connect(&server.kubeconfig()).await;
    let group = "rbac.authorization.k8s.io";
    let roles = resource_type(group, "v1", "roles", "Role");
    let bindings = resource_type(group, "v1", "rolebindings", "RoleBinding");
    let writer = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "writer"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]},
            {"apiGroups": ["apps"], "resources": ["deployments/status"], "resourceNames": ["web"], "verbs": ["update"]},
            {"apiGroups": [group], "resources": ["roles"], "verbs": ["create"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "ann"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "writer"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "ann"}]});
    create(&admin, &roles, "default", &writer).await.unwrap();
    create(&admin, &bindings, "default", &binding).await.unwrap();

    let ann = connect(&server.kubeconfig_for("ann", &[]).unwrap()).await;
    let access = |verb, group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Access {
        verb,
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let questions = [
        (access("create", "", "configmaps", "", "default", ""), true),
        (access("create", "", "configmaps", "", "kube-system", ""), false),
        (access("create", "", "configmaps", "", "", ""), false),
        (access("delete", "", "configmaps", "", "default", "a"), false),
        (access("update", "apps", "deployments", "status", "default", "web"), true),
        (access("update", "apps", "deployments", "status", "default", "other"), false),
        (access("update", "apps", "deployments", "", "default", "web"), false),
    ];
    let asked: Vec<_> = questions.iter().map(|(question, _)| question.clone()).collect();
    // What the API server's authorizer knows of a new role comes a moment later.
    let decisions = loop {
        let decisions = ann.may(&asked).await.unwrap();
        if decisions[0].allowed {
            break decisions;
        }
    };
    assert_eq!(decisions.len(), questions.len());
    for (decision, (question, allowed)) in decisions.iter().zip(&questions) {
        assert_eq!(decision.allowed, *allowed, "{question:?} {decision:?}");
    }
    assert!(decisions[0].reason.contains("RoleBinding \"ann/default\""), "{decisions:?}");
    assert!(admin.may(&asked).await.unwrap().iter().all(|decision| decision.allowed));
    assert_eq!(ann.may(&[]).await.unwrap(), []);

    create_config_map(&ann, "mine", "x").await.unwrap();
    let error = create(&ann, &config_maps(), "kube-system", &config_map("theirs", "x")).await.unwrap_err();
    let Error::Forbidden { resource, verb, message } = &error else { panic!("{error:?}") };
    assert_eq!((resource.as_str(), *verb), ("configmaps kube-system/theirs", "create"));
    assert!(message.contains("\"ann\""), "{message}");

    // To give rights that one does not have is no matter of a permission that could be granted.
    let mut mighty = writer.clone();
    mighty["metadata"]["name"] = json!("mighty");
    mighty["rules"][0]["verbs"] = json!(["*"]);
    let error = create(&ann, &roles, "default", &mighty).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { message, .. } if message.contains("attempting to grant")), "{error:?}");
}
