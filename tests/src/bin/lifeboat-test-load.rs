//! Loads a cluster with objects as real clusters have them, for benchmarks: per namespace 150 `ConfigMaps` of 2 KiB,
//! 100 `Secrets` of 1 KiB, 100 `Deployments` without replicas, 50 `ServiceAccounts`, `Roles` and `RoleBindings`, which
//! are 500 objects; and, to fill etcd, `ConfigMaps` of 64 KiB of text that compresses as such objects do.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

// kube needs a version of the API to be chosen, by a feature of this crate.
use k8s_openapi as _;

/// Loads a cluster with objects for benchmarks.
#[derive(Parser)]
struct Args {
    /// The first namespace to make.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// How many namespaces of 500 objects to make.
    #[arg(long, default_value_t = 0)]
    namespaces: usize,
    /// How many `ConfigMaps` of 64 KiB to add.
    #[arg(long, default_value_t = 0)]
    large: usize,
    /// Requests at a time.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let client = Client::try_default().await?;
    let started = Instant::now();
    let namespaces = (args.first..args.first + args.namespaces).map(namespace);
    let large = (args.large > 0).then(|| large_namespace().to_owned());
    let all: Vec<(String, Value)> = namespaces
        .chain(large)
        .map(|name| ("/api/v1/namespaces".to_owned(), named("v1", "Namespace", &name)))
        .collect();
    let mut made = create(&client, args.concurrency, all.into_iter()).await?;
    let objects = (args.first..args.first + args.namespaces).flat_map(objects);
    made += create(&client, args.concurrency, objects).await?;
    made += create(&client, args.concurrency, (0..args.large).map(large_object)).await?;
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::print_stdout, reason = "this is what the program is asked for")]
    {
        println!("{made} objects in {seconds:.1} s");
    }
    Ok(())
}

/// Creates objects, each a path and a body; one that is there already counts.
async fn create(
    client: &Client,
    concurrency: usize,
    objects: impl Iterator<Item = (String, Value)>,
) -> Result<usize, Box<dyn Error>> {
    stream::iter(objects)
        .map(|(path, object)| {
            let client = client.clone();
            async move {
                let request = http::Request::post(path)
                    .header(http::header::CONTENT_TYPE, "application/json")
                    .body(Body::from(serde_json::to_vec(&object)?))?;
                let response = client.send(request).await?;
                let status = response.status();
                // The connection is free for the next request only when the answer was read.
                response.into_body().collect_bytes().await?;
                if status.is_success() || status == http::StatusCode::CONFLICT {
                    return Ok::<_, Box<dyn Error>>(());
                }
                Err(format!("the API server answered {status}").into())
            }
        })
        .buffer_unordered(concurrency)
        .try_fold(0, |made, ()| async move { Ok(made + 1) })
        .await
}

fn namespace(number: usize) -> String {
    format!("load-{number:04}")
}

fn large_namespace() -> &'static str {
    "load-large"
}

fn named(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {
        "name": name,
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "load", "team": "payments"},
    }})
}

/// The 500 objects of a namespace.
fn objects(number: usize) -> impl Iterator<Item = (String, Value)> {
    let namespace = namespace(number);
    let counts = [
        ("api/v1", "configmaps", 150_u64),
        ("api/v1", "secrets", 100),
        ("apis/apps/v1", "deployments", 100),
        ("api/v1", "serviceaccounts", 50),
        ("apis/rbac.authorization.k8s.io/v1", "roles", 50),
        ("apis/rbac.authorization.k8s.io/v1", "rolebindings", 50),
    ];
    counts.into_iter().flat_map(move |(root, resource, count)| {
        let path = format!("/{root}/namespaces/{namespace}/{resource}");
        (0..count).map(move |item| {
            let mut random = fastrand::Rng::with_seed(((number as u64) << 32) | item);
            (path.clone(), object(resource, &format!("{resource}-{item:03}"), &mut random))
        })
    })
}

fn object(resource: &str, name: &str, random: &mut fastrand::Rng) -> Value {
    match resource {
        "configmaps" => with(named("v1", "ConfigMap", name), "data", json!({"application.yaml": text(random, 2048)})),
        "secrets" => {
            let token: String = (0..1024).map(|_| random.alphanumeric()).collect();
            with(named("v1", "Secret", name), "stringData", json!({"token": token}))
        }
        "deployments" => with(named("apps/v1", "Deployment", name), "spec", deployment(name)),
        "serviceaccounts" => named("v1", "ServiceAccount", name),
        "roles" => with(
            named("rbac.authorization.k8s.io/v1", "Role", name),
            "rules",
            json!([{"apiGroups": ["", "apps"], "resources": ["pods", "configmaps", "deployments"], "verbs": ["get", "list", "watch"]}]),
        ),
        _ => {
            let binding = named("rbac.authorization.k8s.io/v1", "RoleBinding", name);
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "roles-000"});
            let subjects = json!([{"kind": "ServiceAccount", "name": "serviceaccounts-000"}]);
            with(with(binding, "roleRef", role), "subjects", subjects)
        }
    }
}

fn deployment(name: &str) -> Value {
    json!({
        "replicas": 0,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{
            "name": "main",
            "image": format!("registry.example.com/payments/{name}:1.27.3"),
            "ports": [{"containerPort": 8080, "name": "http"}],
            "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "SERVICE", "value": name}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
        }]}},
    })
}

fn large_object(number: usize) -> (String, Value) {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let object = named("v1", "ConfigMap", &format!("large-{number:06}"));
    let path = format!("/api/v1/namespaces/{}/configmaps", large_namespace());
    (path, with(object, "data", json!({"dashboard.yaml": text(&mut random, 64 * 1024)})))
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
    object
}

/// Text of a configuration file, which zstd packs to about a seventh.
fn text(random: &mut fastrand::Rng, length: usize) -> String {
    const WORDS: [&str; 24] = [
        "server",
        "endpoint",
        "timeout",
        "database",
        "cache",
        "replica",
        "queue",
        "consumer",
        "enabled",
        "interval",
        "retries",
        "backoff",
        "metrics",
        "tracing",
        "sampling",
        "threshold",
        "region",
        "tenant",
        "feature",
        "window",
        "limit",
        "address",
        "listener",
        "cluster",
    ];
    let mut text = String::with_capacity(length + 64);
    while text.len() < length {
        let word = |random: &mut fastrand::Rng| random.choice(WORDS).unwrap_or_default();
        let (a, b, c) = (word(random), word(random), word(random));
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {a}.{b}-{c}: {}", random.u32(..100_000));
    }
    text.truncate(length);
    text
}
