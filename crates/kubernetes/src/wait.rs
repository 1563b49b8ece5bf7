//! Waiting for an object to become something, by watching it.

use std::time::Duration;

use lifeboat_model::ResourceType;
use serde_json::Value;

use crate::{Cluster, Error, ObjectPath};

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
        let _ = (path, within, reached);
        Err(Error::Interrupted { resource: String::new() })
    }

    /// Waits until the API server serves a resource, which it does a moment after its definition is established.
    pub async fn wait_served(&self, resource: &ResourceType, within: Duration) -> Result<(), Error> {
        let _ = (resource, within);
        Err(Error::Interrupted { resource: String::new() })
    }
}

/// Whether a `CustomResourceDefinition` is established: its resources can be written.
pub fn is_established(definition: &Value) -> bool {
    has_condition(definition, "Established")
}

/// Whether a namespace takes objects.
pub fn is_active(namespace: &Value) -> bool {
    namespace.pointer("/status/phase").and_then(Value::as_str) == Some("Active")
        && namespace.pointer("/metadata/deletionTimestamp").is_none()
}

/// Whether a condition of an object's status is true.
fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let text = |condition: &Value, field| condition.get(field).and_then(Value::as_str).map(str::to_owned);
    conditions.into_iter().flatten().any(|condition| {
        text(condition, "type").as_deref() == Some(kind) && text(condition, "status").as_deref() == Some("True")
    })
}
