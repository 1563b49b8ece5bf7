//! Asking a pod to go, where its disruption budgets allow it.

use http::Method;
use serde_json::json;

use crate::object::OBJECT;
use crate::refusal::Subject;
use crate::request::Request;
use crate::{Cluster, Error, ObjectPath};

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// The pod goes.
    Accepted,
    /// It stays for now, by a disruption budget or because the API server is busy: ask again.
    Blocked {
        /// The API server's words.
        message: String,
    },
    /// It is not there any more.
    Gone,
}

impl Cluster {
    /// Asks once to evict a pod, and no later one of the same name. To ask again does no harm.
    ///
    /// Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>
    pub async fn evict(&self, pod: ObjectPath<'_>, uid: &str, dry_run: bool) -> Result<Eviction, Error> {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": uid}, "dryRun": dry_run.then_some(["All"])},
        });
        let (url, what) = (pod.item()? + "/eviction", pod.to_string());
        let body = body.to_string().into_bytes();
        let subject = Subject { path: pod, verb: "evict", bytes: body.len() };
        let request = Request { method: Method::POST, body: body.into(), ..Request::get(&url, &what, "evict") };
        match self.exchange(&request, OBJECT).await?.map_err(|refused| refused.of_object(subject)) {
            Ok(_) => Ok(Eviction::Accepted),
            Err(Error::Throttled { message, .. }) => Ok(Eviction::Blocked { message }),
            // One of the same name with another UID is not the pod that was meant.
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => Ok(Eviction::Gone),
            Err(error) => Err(error),
        }
    }
}
