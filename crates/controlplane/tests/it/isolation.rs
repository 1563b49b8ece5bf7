//! A copy of a cluster must not call what the cluster calls.

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lifeboat_controlplane::ControlPlane;
use lifeboat_tests::cluster::{binaries, kubectl};
use tempfile::TempDir;

use crate::support::eventually;

/// Counts the connections to a port.
fn count_connections(listener: TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    count
}

/// The connections so far, with one of our own: it is closed when it was counted, after all that came before it.
fn counted(connections: &AtomicUsize, port: u16) -> usize {
    let mut own = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // A reset says that it was closed as well.
    let _ = own.read(&mut [0]);
    connections.load(Ordering::SeqCst)
}

/// A webhook that must answer, and an aggregated API server, both at that port.
fn callers(port: u16) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
          {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "elsewhere", "namespace": "default"}},
            "spec": {{"type": "ExternalName", "externalName": "localhost"}}}},
          {{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {{"name": "v1.far.dev"}},
            "spec": {{"group": "far.dev", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10,
              "insecureSkipTLSVerify": true,
              "service": {{"name": "elsewhere", "namespace": "default", "port": {port}}}}}}},
          {{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {{"name": "gate"}}, "webhooks": [{{"name": "gate.far.dev", "failurePolicy": "Fail",
              "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
              "clientConfig": {{"url": "https://127.0.0.1:{port}/"}},
              "rules": [{{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}}]}}]}}
        ]}}"#
    )
}

#[tokio::test]
async fn an_isolated_api_server_calls_nobody() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = count_connections(listener);
    let dir = TempDir::new().unwrap();
    let plane = ControlPlane::builder(binaries(), dir.path()).start().await.unwrap();
    let file = dir.path().join("callers.json");
    fs::write(&file, callers(port)).unwrap();
    kubectl(&plane.kubeconfig(), &["apply", "-f", file.to_str().unwrap()]).unwrap();
    // Not isolated, it calls both: this shows that the listener would see it.
    eventually("the webhook refuses", || {
        kubectl(&plane.kubeconfig(), &["create", "configmap", "a"]).is_err_and(|e| e.contains("gate.far.dev"))
    });
    let by_webhook = connections.load(Ordering::SeqCst);
    eventually("the aggregator calls", || connections.load(Ordering::SeqCst) > by_webhook);
    plane.stop().await;

    let before = counted(&connections, port);
    let plane = ControlPlane::builder(binaries(), dir.path()).isolated().start().await.unwrap();
    kubectl(&plane.kubeconfig(), &["create", "configmap", "b"]).unwrap();
    eventually("the aggregated API is tried, and out of reach", || {
        let condition = "jsonpath={.status.conditions[?(@.type=='Available')].message}";
        let message = kubectl(&plane.kubeconfig(), &["get", "apiservice", "v1.far.dev", "-o", condition]).unwrap();
        message.contains("there-is-no-proxy.sock")
    });
    assert_eq!(counted(&connections, port), before + 1);
}
