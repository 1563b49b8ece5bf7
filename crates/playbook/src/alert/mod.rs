//! Alerts of other tools, brought into the one normal form.
//!
//! Whoever causes an alert chooses most of what is in it. So a body is bounded before it is looked at, and what is no name
//! is no name: it is left empty and noted in [`Event::doubts`], and never made into another one by cutting or cleaning.

mod alertmanager;
mod audit;
mod clair;
mod cloudevents;
mod falco;
mod fields;
mod json;
mod mapping;
mod sysdig;
mod trivy;

use jiff::Timestamp;
use lifeboat_model::Digest;
use serde_json::{Map, Value};

use crate::{Event, EventSource};
pub(crate) use clair::SEVERITIES as CLAIR_SEVERITIES;
pub(crate) use fields::{Fields, Reader};
pub(crate) use json::parse;
pub use mapping::{Mapping, MappingSpec};

/// The largest body, in bytes. The audit webhook of Kubernetes sends up to 10 MiB at a time, unless it is told otherwise
/// (`--audit-webhook-truncate-max-batch-size`).
pub const MAX_ALERT_BYTES: usize = 10 << 20;
/// The most events of one body.
const MAX_EVENTS: usize = 2000;
/// How many values a body may have.
const MAX_VALUES: usize = 250_000;

/// A body that holds no events. Nothing of its content is named but keys and places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// Too long to be looked at.
    #[error("the body has {bytes} bytes, and at most {limit} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Not JSON; or JSON that is nested deeper than 64 levels, has too many values, or has a key twice.
    #[error("the body is no JSON that is accepted: {0}")]
    Json(String),
    /// JSON, but not what the source sends.
    #[error("the body is none of {tool}: {reason}")]
    Shape {
        /// The source.
        tool: &'static str,
        /// What is missing or otherwise.
        reason: String,
    },
    /// More events or findings than one body may have.
    #[error("the body has {count} of what is looked for, and at most {limit} are read")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A source that sends no alerts, but files.
    #[error("{0} sends no alerts")]
    NoAlerts(&'static str),
    /// The mapping cannot be evaluated over the body.
    #[error("the mapping's '{field}': {reason}")]
    Mapping {
        /// The field that it should give.
        field: &'static str,
        /// Why not.
        reason: String,
    },
}

/// What came.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The body, as its sender wrote it.
    pub body: &'a [u8],
    /// The request's headers, names in lower case; only those of `CloudEvents` are looked at.
    pub headers: &'a [(&'a str, &'a str)],
    /// When it came: the time of events that have none.
    pub at: Timestamp,
}

/// Brings what a source sent into events. None is a good answer: an alert that was resolved is no event.
///
/// # Errors
/// When the body is too large, no JSON, or not what the source sends. What is wrong with single fields is in the events.
pub fn normalise(
    source: EventSource,
    mapping: Option<&Mapping>,
    received: Received<'_>,
) -> Result<Vec<Event>, AlertError> {
    if received.body.len() > MAX_ALERT_BYTES {
        return Err(AlertError::TooLarge { bytes: received.body.len(), limit: MAX_ALERT_BYTES });
    }
    let base = Base { source, at: received.at, digest: Digest::of(received.body) };
    if source == EventSource::CloudEvents {
        return cloudevents::events(&base, received);
    }
    let body = parse(received.body, MAX_VALUES)?;
    match source {
        EventSource::Falco => falco::events(&base, body),
        EventSource::Alertmanager => alertmanager::events(&base, body),
        EventSource::KubernetesAudit => audit::events(&base, body),
        EventSource::Sysdig => sysdig::events(&base, body),
        EventSource::Trivy => trivy::events(&base, body),
        EventSource::Clair => clair::events(&base, body),
        EventSource::Generic => mapping::events(&base, body, mapping),
        EventSource::KubeBench => Err(AlertError::NoAlerts("kube-bench")),
        EventSource::CloudEvents => Err(AlertError::NoAlerts("nobody")),
    }
}

/// The source that a body looks as if it came from; a guess for people, who can say otherwise.
pub fn recognise(body: &[u8]) -> Option<EventSource> {
    let body = parse(body.get(..body.len().min(MAX_ALERT_BYTES))?, MAX_VALUES).ok()?;
    let first = match &body {
        Value::Array(items) => items.first()?,
        body => body,
    };
    let has = |keys: &[&str]| keys.iter().all(|key| first.get(key).is_some());
    let api = first.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    [
        (has(&["specversion", "type"]), EventSource::CloudEvents),
        (api.starts_with("audit.k8s.io/"), EventSource::KubernetesAudit),
        (has(&["operatorObject"]) || api.starts_with("aquasecurity.github.io/"), EventSource::Trivy),
        (has(&["alerts", "groupKey"]), EventSource::Alertmanager),
        (has(&["notification_id"]) || has(&["notifications", "page"]), EventSource::Clair),
        (has(&["entities", "alert"]) || has(&["originator", "content"]), EventSource::Sysdig),
        (has(&["rule", "priority", "output"]), EventSource::Falco),
        (has(&["rule"]), EventSource::Generic),
    ]
    .into_iter()
    .find_map(|(fits, source)| fits.then_some(source))
}

/// What all events of a body have in common.
struct Base {
    source: EventSource,
    at: Timestamp,
    digest: Digest,
}

impl Base {
    /// An event about which nothing is known but what was said of it. Without an id of its own it has that of its bytes
    /// and its place in them.
    fn event(&self, place: usize, mut reader: Reader, raw: Map<String, Value>) -> Event {
        let id = std::mem::take(&mut reader.id);
        Event {
            source: self.source,
            id: if id.is_empty() { format!("{}/{place}", self.digest) } else { id },
            time: reader.time.unwrap_or(self.at),
            severity: reader.severity,
            rule: reader.rule,
            text: reader.text,
            tags: reader.tags,
            target: reader.target,
            doubts: reader.doubts,
            digest: self.digest,
            raw,
        }
    }
}

fn too_many(count: usize) -> AlertError {
    AlertError::TooMany { count, limit: MAX_EVENTS }
}

fn shape(tool: &'static str, reason: impl Into<String>) -> AlertError {
    AlertError::Shape { tool, reason: reason.into() }
}

/// The object that a body has to be.
fn object(tool: &'static str, body: Value) -> Result<Map<String, Value>, AlertError> {
    match body {
        Value::Object(members) => Ok(members),
        _ => Err(shape(tool, "it is no JSON object")),
    }
}

/// The objects of a list that a body has to have, within bounds.
fn objects(
    tool: &'static str,
    body: &mut Map<String, Value>,
    key: &str,
) -> Result<Vec<Map<String, Value>>, AlertError> {
    match body.remove(key) {
        Some(Value::Array(items)) => all_objects(tool, items),
        // An empty list of Go is null as often as not.
        Some(Value::Null) => Ok(Vec::new()),
        Some(_) => Err(shape(tool, format!("'{key}' is no list"))),
        None => Err(shape(tool, format!("it has no '{key}'"))),
    }
}

fn all_objects(tool: &'static str, items: Vec<Value>) -> Result<Vec<Map<String, Value>>, AlertError> {
    if items.len() > MAX_EVENTS {
        return Err(too_many(items.len()));
    }
    items.into_iter().map(|item| object(tool, item)).collect()
}

#[cfg(test)]
pub(crate) use tests::put;

#[cfg(test)]
mod tests;
