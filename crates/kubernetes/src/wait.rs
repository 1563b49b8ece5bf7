//! Waiting for an object to become something, by watching it.

use std::time::Duration;

use lifeboat_model::ResourceType;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::object::OBJECT;
use crate::refusal::Subject;
use crate::request::{DOCUMENT, Request};
use crate::retry::{Attempts, Retry};
use crate::watch::{Event, Watch};
use crate::{Cluster, Error, ObjectPath};

/// How long the API server may keep one watch open. A connection that died without a word is noticed a little later.
const ONE_WATCH: Duration = Duration::from_secs(30);
/// A watch that ends sooner was broken off.
const BROKEN_OFF: Duration = Duration::from_secs(1);

/// A list of the objects with one name.
#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
}

impl Cluster {
    /// Waits until `reached` says yes to the object, or to its absence (`None`), and gives what it said yes to. It
    /// is asked for each state that the API server reports. [`Error::NotReached`] when `within` is over.
    ///
    /// The identity has to be allowed to list and watch the object.
    pub async fn wait_until(
        &self,
        path: ObjectPath<'_>,
        within: Duration,
        reached: impl FnMut(Option<&Value>) -> bool,
    ) -> Result<Option<Value>, Error> {
        let until = Instant::now() + within;
        let mut wait = Wait { cluster: self, path, reached, attempts: self.patience(within) };
        let waited = timeout_at(until, wait.run()).await;
        waited.unwrap_or_else(|_| Err(Error::NotReached { object: path.to_string(), within }))
    }

    /// Waits until the API server serves a resource, which it does a moment after its definition is established.
    pub async fn wait_served(&self, resource: &ResourceType, within: Duration) -> Result<(), Error> {
        let root = if resource.group.is_empty() { "/api" } else { "/apis" };
        let path = format!("{root}/{}", resource.api_version());
        let mut attempts = self.patience(within);
        loop {
            let began = Instant::now();
            match self.serves(resource, &path).await {
                Ok(true) => return Ok(()),
                Ok(false) => attempts
                    .wait(began, Duration::ZERO)
                    .await
                    .map_err(|()| Error::NotReached { object: path.clone(), within })?,
                Err(error) => attempts.pause(error, began).await?,
            }
        }
    }

    /// Whether a resource is in the API server's documents.
    async fn serves(&self, resource: &ResourceType, path: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Resources {
            resources: Vec<Resource>,
        }
        #[derive(Deserialize)]
        struct Resource {
            name: String,
        }
        let answer = match self.send(Request::get(path, path, "get"), DOCUMENT).await {
            Err(Error::NotFound { .. }) => return Ok(false),
            answer => answer?,
        };
        let found: Resources = serde_json::from_slice(&answer.body).map_err(|source| Error::decode(path, source))?;
        Ok(found.resources.iter().any(|found| found.name == resource.resource))
    }

    fn patience(&self, budget: Duration) -> Attempts {
        Attempts::new(Retry { budget, ..self.retry })
    }
}

struct Wait<'a, F> {
    cluster: &'a Cluster,
    path: ObjectPath<'a>,
    reached: F,
    attempts: Attempts,
}

impl<'a, F: FnMut(Option<&Value>) -> bool> Wait<'a, F> {
    async fn run(&mut self) -> Result<Option<Value>, Error> {
        loop {
            let began = Instant::now();
            match self.once().await {
                Ok(Some(object)) => return Ok(object),
                Ok(None) if began.elapsed() > BROKEN_OFF => self.attempts.succeeded(),
                Ok(None) => {
                    let source = "the watch was broken off".into();
                    let error = Error::Unreachable { url: self.cluster.url.clone(), source, sent: true };
                    self.attempts.pause(error, began).await?;
                }
                Err(error) => self.attempts.pause(error, began).await?,
            }
        }
    }

    /// Reads the object, and watches it from there until the watch ends; `None` when what is waited for did not come.
    async fn once(&mut self) -> Result<Option<Option<Value>>, Error> {
        let (version, object) = self.read().await?;
        if (self.reached)(object.as_ref()) {
            return Ok(Some(object));
        }
        let query = format!(
            "&watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
            utf8_percent_encode(&version, NON_ALPHANUMERIC),
            ONE_WATCH.as_secs()
        );
        let url = self.selection()? + &query;
        let mut watch = Watch::open(self.cluster, &url, self.subject("watch"), 2 * ONE_WATCH).await?;
        while let Some(event) = watch.next().await? {
            let object = match event {
                Event::Is(object) => Some(object),
                Event::Gone => None,
            };
            if (self.reached)(object.as_ref()) {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }

    /// The object, and the version from which to watch: a list has one even when the object is not there.
    async fn read(&self) -> Result<(String, Option<Value>), Error> {
        let (url, resource) = (self.selection()?, self.path.to_string());
        let answer = self.cluster.exchange(&Request::get(&url, &resource, "list"), OBJECT).await?;
        let answer = answer.map_err(|refused| refused.of_object(self.subject("list")))?;
        let list: List = serde_json::from_slice(&answer.body).map_err(|source| Error::decode(&resource, source))?;
        let is_it = |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str) == Some(self.path.name);
        Ok((list.metadata.resource_version, list.items.into_iter().find(is_it)))
    }

    /// The collection, with the one object selected.
    fn selection(&self) -> Result<String, Error> {
        let name = utf8_percent_encode(self.path.name, NON_ALPHANUMERIC);
        Ok(format!("{}?fieldSelector=metadata.name%3D{name}", self.path.collection()?))
    }

    fn subject(&self, verb: &'static str) -> Subject<'a> {
        Subject { path: self.path, verb, bytes: 0 }
    }
}

/// Whether a `CustomResourceDefinition` is established: its resources can be written.
pub fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let is = |field, text: &str| condition.get(field).and_then(Value::as_str) == Some(text);
        is("type", "Established") && is("status", "True")
    })
}

/// Whether a namespace takes objects.
pub fn is_active(namespace: &Value) -> bool {
    namespace.pointer("/status/phase").and_then(Value::as_str) == Some("Active")
        && namespace.pointer("/metadata/deletionTimestamp").is_none()
}
