//! A container that is added to a pod which runs.

use http::Method;
use serde_json::{Value, json};

use crate::attempt::Write;
use crate::{Cluster, Error, ObjectPath, WriteOptions, Written};

impl Cluster {
    /// Adds an ephemeral container to the pod with this UID. One of its name that is there already stays as it is if it
    /// is the same, and is otherwise refused. None can be taken out again.
    ///
    /// Source: <https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/>
    pub async fn add_container(
        &self,
        pod: ObjectPath<'_>,
        uid: &str,
        container: &Value,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        let body = json!({"metadata": {"uid": uid}, "spec": {"ephemeralContainers": [container]}}).to_string();
        let write = Write {
            method: Method::PATCH,
            url: pod.item()? + "/ephemeralcontainers" + &options.query(),
            // The list is merged by its names, so that what others add meanwhile stays.
            content_type: "application/strategic-merge-patch+json",
            body: body.into_bytes().into(),
            path: pod,
            verb: "add a container to",
        };
        self.repeat(&write, options.dry_run).await.map(Written::from)
    }
}
