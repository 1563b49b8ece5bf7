//! Makes shapes on a real API server, by plain requests.

use std::collections::BTreeMap;

use http::{Method, Request};
use kube::client::Body;
use lifeboat_kubernetes::{Cluster as Client, ConnectOptions};
use lifeboat_tests::cluster::Cluster;
use serde_json::{Value, json};

use super::shape::{Act, Shape, Stage, merge};
use crate::support::until;

/// A client of a cluster.
pub(super) async fn connect(cluster: &Cluster) -> Client {
    let options = ConnectOptions { kubeconfig: Some(cluster.kubeconfig()), ..ConnectOptions::default() };
    Client::connect(options).await.unwrap()
}

/// Makes all of the shapes, and what is done to them.
pub(super) async fn load(client: &Client, shapes: &[Shape]) {
    let mut loader = Loader { client, uids: BTreeMap::new(), late: Vec::new() };
    let stages = [Stage::Definitions, Stage::Namespaces, Stage::First, Stage::Objects, Stage::Limits, Stage::Admission];
    for stage in stages {
        let mut waiting: Vec<&Shape> = shapes.iter().filter(|shape| shape.stage == stage).collect();
        // Each round makes what names only uids that are known.
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut next = Vec::new();
            for shape in waiting {
                if !loader.make(shape).await {
                    next.push(shape);
                }
            }
            assert!(
                next.len() < before,
                "each waits for another: {:?}",
                next.iter().map(|shape| shape.key()).collect::<Vec<_>>()
            );
            waiting = next;
        }
        if stage == Stage::Definitions {
            loader.established(shapes).await;
        }
        if stage == Stage::Objects {
            loader.link().await;
        }
    }
}

struct Loader<'a> {
    client: &'a Client,
    uids: BTreeMap<String, String>,
    /// Objects whose owners came later: their path and references.
    late: Vec<(String, Value)>,
}

/// The path of an object's collection.
fn collection(shape: &Shape) -> String {
    let root = if shape.group_version.contains('/') { "apis" } else { "api" };
    let namespace = shape.namespace.as_ref().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("/{root}/{}{namespace}/{}", shape.group_version, shape.resource)
}

impl Loader<'_> {
    /// Makes an object, unless it names uids that are not known yet.
    async fn make(&mut self, shape: &Shape) -> bool {
        let path = format!("{}/{}", collection(shape), shape.name);
        let mut object = shape.object.clone();
        let references = object["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        if !self.fill(&mut object) {
            return false;
        }
        if let Some(mut references) = references {
            if self.fill(&mut references) {
                object["metadata"]["ownerReferences"] = references;
            } else {
                self.late.push((path.clone(), references));
            }
        }
        let made = self.request(Method::POST, &collection(shape), &object).await;
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        self.uids.insert(shape.key(), uid);
        for act in &shape.acts {
            self.act(&path, act, &made).await;
        }
        true
    }

    async fn act(&self, path: &str, act: &Act, made: &Value) {
        match act {
            Act::Status(wanted) => {
                let mut object = made.clone();
                merge(&mut object, json!({"status": wanted}));
                self.request(Method::PUT, &format!("{path}/status"), &object).await;
            }
            Act::Subresource { name, method, body } => {
                self.request(method.parse().unwrap(), &format!("{path}/{name}"), body).await;
            }
            Act::Patch(change) => {
                self.request(Method::PATCH, path, change).await;
            }
            Act::Delete => {
                self.request(Method::DELETE, path, &json!({})).await;
            }
            Act::Settle => {
                until(path, async || {
                    let object = self.request(Method::GET, path, &Value::Null).await;
                    let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
                    (seen && object["status"]["replicas"] == object["spec"]["replicas"]).then_some(())
                })
                .await;
            }
        }
    }

    /// Puts uids in the place of what stands for them; false, if one is not known.
    fn fill(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match text.strip_prefix("@uid:").map(|key| self.uids.get(key)) {
                None => true,
                Some(None) => false,
                Some(Some(uid)) => {
                    uid.clone_into(text);
                    true
                }
            },
            Value::Array(items) => items.iter_mut().all(|item| self.fill(item)),
            Value::Object(members) => members.values_mut().all(|member| self.fill(member)),
            _ => true,
        }
    }

    /// Sets the references to owners that came later.
    async fn link(&mut self) {
        for (path, mut references) in std::mem::take(&mut self.late) {
            assert!(self.fill(&mut references), "{path}: {references}");
            let patch = json!({"metadata": {"ownerReferences": references}});
            self.request(Method::PATCH, &path, &patch).await;
        }
    }

    async fn established(&self, shapes: &[Shape]) {
        for shape in shapes.iter().filter(|shape| shape.stage == Stage::Definitions) {
            let path = format!("{}/{}", collection(shape), shape.name);
            let resources = shape.object["spec"]["names"]["plural"].as_str().unwrap();
            let versions = shape.object["spec"]["versions"].as_array().unwrap();
            let served = versions.iter().filter(|version| version["served"] == true);
            for version in served {
                let group = shape.object["spec"]["group"].as_str().unwrap();
                let list = format!("/apis/{group}/{}/{resources}", version["name"].as_str().unwrap());
                until(&path, async || self.ask(Method::GET, &list, &Value::Null).await.ok()).await;
            }
        }
    }

    async fn request(&self, method: Method, path: &str, body: &Value) -> Value {
        let what = format!("{method} {path}");
        self.ask(method, path, body).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let kind = match (&method, path.ends_with("/ephemeralcontainers")) {
            (&Method::PATCH, true) => "application/strategic-merge-patch+json",
            (&Method::PATCH, false) => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request =
            Request::builder().method(method).uri(path).header("Content-Type", kind).body(Body::from(body)).unwrap();
        let response = self.client.client().send(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let bytes = response.into_body().collect_bytes().await.map_err(|error| error.to_string())?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        }
        Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)))
    }
}
