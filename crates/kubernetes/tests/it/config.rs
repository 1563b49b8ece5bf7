//! Kubeconfigs that are wrong, and credentials that cannot be had.

use std::error::Error as _;

use lifeboat_kubernetes::{Cluster, ConnectOptions, Error};
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "hunter2hunter2";

async fn connect(text: &str, context: Option<&str>) -> Result<Cluster, Error> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    let context = context.map(str::to_owned);
    Cluster::connect(ConnectOptions { kubeconfig: Some(path), context, ..ConnectOptions::default() }).await
}

fn kubeconfig(user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    })
}

/// The whole chain of an error, as it would be printed or logged.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    format!("{error}: {causes:?}: {error:?}")
}

#[tokio::test]
async fn a_wrong_kubeconfig_is_a_configuration_error_that_quotes_no_secret() {
    let valid = kubeconfig(&json!({"token": SECRET}));
    assert!(connect(&valid.to_string(), None).await.is_ok());
    let text = format!("{valid:#}");
    let mut mistyped = valid.clone();
    mistyped["users"] = json!(SECRET);
    let texts = ["{".to_owned(), text.replace(SECRET, &format!("{SECRET}\"")), mistyped.to_string(), String::new()];
    for text in texts {
        let error = connect(&text, None).await.unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{text}: {error:?}");
        assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
    }
    let error = connect(&text, Some("no-such")).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)) && chain(&error).contains("no-such"), "{error:?}");
    let options = ConnectOptions { kubeconfig: Some("/no/such/file".into()), ..ConnectOptions::default() };
    let error = Cluster::connect(options).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)) && chain(&error).contains("/no/such/file"), "{error:?}");
}

#[tokio::test]
async fn a_credential_command_that_fails_is_reported_without_its_output() {
    for script in [format!("echo {SECRET}; echo log in first >&2; exit 3"), format!("echo '{{\"token\": \"{SECRET}'")] {
        let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": "sh", "args": ["-c", script]}});
        let error = connect(&kubeconfig(&exec).to_string(), None).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
        assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
        assert_eq!(chain(&error).contains("exit status: 3: log in first"), script.contains("exit 3"), "{error:?}");
    }
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let cluster = connect(&kubeconfig(&json!({})).to_string(), None).await.unwrap();
    assert_eq!(cluster.url(), "http://127.0.0.1:1/");
    let error = cluster.version().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}
