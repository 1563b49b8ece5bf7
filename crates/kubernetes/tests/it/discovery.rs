//! Discovery in its older form, and its failures.

use lifeboat_kubernetes::Error;
use lifeboat_model::ResourceType;

use crate::fake::{BRIEF, Fake, Reply};

fn names(types: &[ResourceType]) -> Vec<String> {
    types.iter().map(|kind| format!("{}/{}", kind.api_version(), kind.resource)).collect()
}

/// A server before 1.26, one of whose aggregated APIs does not answer.
fn old_server(path: &str) -> Reply {
    match path {
        "/api" => Reply::ok(r#"{"kind":"APIVersions","versions":["v1"]}"#),
        "/api/v1" => Reply::ok(
            r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[
            {"name":"pods","singularName":"","namespaced":true,"kind":"Pod","verbs":["get","list"],"shortNames":["po"]},
            {"name":"pods/log","singularName":"","namespaced":true,"kind":"Pod","verbs":["get"]},
            {"name":"bindings","singularName":"","namespaced":true,"kind":"Binding","verbs":["create"]}]}"#,
        ),
        "/apis" => Reply::ok(
            r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[
            {"name":"batch","versions":[{"groupVersion":"batch/v1beta1","version":"v1beta1"},{"groupVersion":"batch/v1","version":"v1"}],
             "preferredVersion":{"groupVersion":"batch/v1","version":"v1"}},
            {"name":"metrics.k8s.io","versions":[{"groupVersion":"metrics.k8s.io/v1beta1","version":"v1beta1"}],
             "preferredVersion":{"groupVersion":"metrics.k8s.io/v1beta1","version":"v1beta1"}}]}"#,
        ),
        "/apis/batch/v1" => Reply::ok(
            r#"{"kind":"APIResourceList","groupVersion":"batch/v1","resources":[
            {"name":"jobs","singularName":"job","namespaced":true,"kind":"Job","verbs":["list"]}]}"#,
        ),
        "/apis/batch/v1beta1" => Reply::ok(
            r#"{"kind":"APIResourceList","groupVersion":"batch/v1beta1","resources":[
            {"name":"jobs","singularName":"job","namespaced":true,"kind":"Job","verbs":["list"]},
            {"name":"cronjobs","singularName":"cronjob","namespaced":true,"kind":"CronJob","verbs":["list"]}]}"#,
        ),
        _ => Reply::Full(503, "", "service unavailable".to_owned()),
    }
}

#[tokio::test]
async fn the_older_form_is_understood_and_a_silent_api_is_a_failure() {
    let fake = Fake::start_with(BRIEF, old_server).await;
    let found = fake.cluster.discover().await.unwrap();
    assert_eq!(names(&found.types), ["v1/pods", "batch/v1/jobs", "batch/v1beta1/cronjobs"]);
    let pods = &found.types[0];
    assert_eq!(
        (pods.kind.as_str(), pods.short_names.as_slice(), pods.namespaced),
        ("Pod", &["po".to_owned()][..], true)
    );
    let [failure] = found.failures.as_slice() else { panic!("{:?}", found.failures) };
    assert_eq!(failure.group_version, "metrics.k8s.io/v1beta1");
    assert!(failure.message.contains("503") && failure.message.contains("service unavailable"), "{}", failure.message);
}

#[tokio::test]
async fn the_beta_form_is_understood() {
    let fake = Fake::start(|path| match path {
        "/api" => Reply::ok(r#"{"kind":"APIVersions","versions":[]}"#),
        _ => Reply::ok(
            r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2beta1","metadata":{},"items":[
            {"metadata":{"name":"apps"},"versions":[{"version":"v1","freshness":"Current","resources":[
              {"resource":"deployments","responseKind":{"group":"","version":"","kind":"Deployment"},"scope":"Namespaced",
               "singularResource":"deployment","verbs":["list"],"shortNames":["deploy"],
               "subresources":[{"subresource":"scale","verbs":["get"]}]}]}]},
            {"metadata":{"name":"gone.io"},"versions":[{"version":"v1","freshness":"Stale","resources":null}]}]}"#,
        ),
    });
    let found = fake.await.cluster.discover().await.unwrap();
    assert_eq!(names(&found.types), ["apps/v1/deployments"]);
    assert_eq!(found.failures[0].group_version, "gone.io/v1");
}

#[tokio::test]
async fn a_passing_fault_is_survived_and_a_lasting_one_is_an_error() {
    let mut count = 0;
    let fake = Fake::start_with(BRIEF, move |path| {
        count += 1;
        if count % 2 == 1 { Reply::status(503, "ServiceUnavailable", "starting") } else { old_server(path) }
    });
    assert!(!fake.await.cluster.discover().await.unwrap().types.is_empty());

    let fake = Fake::start(|_| Reply::status(401, "Unauthorized", "who?")).await;
    assert!(matches!(fake.cluster.discover().await, Err(Error::Unauthorized { .. })));
    let fake = Fake::start_with(BRIEF, |_| Reply::HangUp).await;
    assert!(matches!(fake.cluster.discover().await, Err(Error::Unreachable { .. })));
    let fake = Fake::start(|_| Reply::ok("<html>")).await;
    assert!(matches!(fake.cluster.discover().await, Err(Error::Decode { .. })));
}
