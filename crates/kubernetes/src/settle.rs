//! Whether a write whose answer was lost was done, from the object as it is afterwards.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{Deletion, Error, ObjectPath, Written};

/// How far the clocks that date objects may be apart, and the part of a second that they leave out.
const TOLERANCE: Duration = Duration::from_secs(2);

/// What is known of an object that was read to find out whether a write was done.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) bytes: Vec<u8>,
    /// When it was read, by the API server's clock.
    pub(crate) at: Timestamp,
    /// How long before that the write was first tried.
    pub(crate) elapsed: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    managed_fields: Vec<ManagedFields>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ManagedFields {
    manager: String,
    operation: String,
    subresource: String,
    time: Option<Timestamp>,
}

impl Document {
    fn read(evidence: &Evidence) -> Result<Metadata, Error> {
        let document: Self = parse(&evidence.bytes)?;
        Ok(document.metadata)
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::decode("an object that was read", source))
}

/// What is to be known of an object that is sent.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) resource_version: String,
}

impl Sent {
    pub(crate) fn parse(body: &[u8], path: ObjectPath<'_>) -> Result<Self, Error> {
        let document: Document = serde_json::from_slice(body).map_err(|error| {
            // The parser's own words may quote what is secret.
            let message = format!("not an object: line {}, column {}", error.line(), error.column());
            Error::Invalid { object: path.to_string(), message, causes: Vec::new() }
        })?;
        let Metadata { name, resource_version, .. } = document.metadata;
        Ok(Self { name, resource_version })
    }
}

/// The part of an object that a write replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but its status.
    Main,
    /// Its status.
    Status,
}

impl Part {
    /// What the path of it ends with.
    pub(crate) fn suffix(self) -> &'static str {
        self.choose("", "/status")
    }

    /// What `managedFields` call it.
    fn subresource(self) -> &'static str {
        self.choose("", "status")
    }

    fn choose(self, main: &'static str, status: &'static str) -> &'static str {
        match self {
            Self::Main => main,
            Self::Status => status,
        }
    }
}

/// What a replacement was to bring about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) part: Part,
    /// The version that it was to replace.
    pub(crate) replaced: &'a str,
    pub(crate) manager: &'a str,
}

/// Whether an object was created: it is younger than our first attempt, and our field manager wrote it.
pub(crate) fn create(evidence: Option<&Evidence>, manager: &str) -> Result<Option<Written>, Error> {
    let Some(evidence) = evidence else { return Ok(None) };
    let found = Document::read(evidence)?;
    let young = found.creation_timestamp.is_some_and(|created| created >= evidence.earliest());
    if young && found.wrote(manager, Part::Main, evidence.earliest()) {
        return Ok(Some(evidence.into()));
    }
    // The attempt that follows is refused in the API server's own words.
    Ok(None)
}

/// Whether an object was replaced.
pub(crate) fn replace(evidence: Option<&Evidence>, wanted: Wanted<'_>) -> Result<Option<Written>, Error> {
    // What is not there, or at another version, the attempt that follows is refused for.
    let Some(evidence) = evidence else { return Ok(None) };
    let found = Document::read(evidence)?;
    if found.resource_version == wanted.replaced || !found.wrote(wanted.manager, wanted.part, evidence.earliest()) {
        return Ok(None);
    }
    let has_all = holds(&parse(&evidence.bytes)?, &parse(wanted.body)?, wanted.part);
    Ok(if has_all { Some(evidence.into()) } else { None })
}

/// Whether an object was deleted.
pub(crate) fn delete(evidence: Option<&Evidence>, uid: &str) -> Result<Option<Deletion>, Error> {
    let Some(evidence) = evidence else { return Ok(Some(Deletion::Gone)) };
    let found = Document::read(evidence)?;
    Ok(if found.uid != uid {
        Some(Deletion::Gone)
    } else if found.deletion_timestamp.is_some() {
        Some(Deletion::Pending)
    } else {
        None
    })
}

/// What the answer to a deletion says: a `Status`, or the object, as it was in the end or as it is until its
/// finalizers have run.
pub(crate) fn deletion(body: &[u8]) -> Deletion {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return Deletion::Pending };
    let has = |pointer| answer.pointer(pointer).and_then(Value::as_array).is_some_and(|items| !items.is_empty());
    let is_status = answer.get("kind").and_then(Value::as_str) == Some("Status");
    let marked = answer.pointer("/metadata/deletionTimestamp").is_some();
    let at_once = answer.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64) == Some(0);
    let finalizers = has("/metadata/finalizers") || has("/spec/finalizers");
    if is_status || !marked || (at_once && !finalizers) { Deletion::Gone } else { Deletion::Pending }
}

impl Evidence {
    /// The API server's time before which our first attempt cannot have been done.
    fn earliest(&self) -> Timestamp {
        let span = self.elapsed.saturating_add(TOLERANCE);
        self.at.checked_sub(span).unwrap_or(Timestamp::MIN)
    }
}

impl From<&Evidence> for Written {
    fn from(evidence: &Evidence) -> Self {
        Self { object: evidence.bytes.clone(), warnings: Vec::new() }
    }
}

impl Metadata {
    /// Whether a manager has written a part since then.
    fn wrote(&self, manager: &str, part: Part, since: Timestamp) -> bool {
        self.managed_fields.iter().any(|entry| {
            let it = (entry.manager.as_str(), entry.operation.as_str(), entry.subresource.as_str());
            it == (manager, "Update", part.subresource()) && entry.time.is_some_and(|time| time >= since)
        })
    }
}

/// Whether an object has all that was sent, so far as the write was to change it.
fn holds(found: &Value, sent: &Value, part: Part) -> bool {
    let Value::Object(fields) = sent else { return false };
    let of = |object: &Value, pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    if part == Part::Status {
        return contains(&of(found, "/status"), &of(sent, "/status"));
    }
    let metadata = ["/metadata/labels", "/metadata/annotations", "/metadata/finalizers", "/metadata/ownerReferences"];
    let mut rest =
        fields.iter().filter(|(name, _)| !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()));
    metadata.iter().all(|pointer| contains(&of(found, pointer), &of(sent, pointer)))
        && rest.all(|(name, value)| contains(found.get(name).unwrap_or(&Value::Null), value))
}

/// Whether a value has everything that another has; what is null there may be missing here.
fn contains(found: &Value, sent: &Value) -> bool {
    match (found, sent) {
        (_, Value::Null) => true,
        (Value::Object(found), Value::Object(sent)) => {
            sent.iter().all(|(name, sent)| contains(found.get(name).unwrap_or(&Value::Null), sent))
        }
        (Value::Array(found), Value::Array(sent)) => {
            found.len() == sent.len() && found.iter().zip(sent).all(|(found, sent)| contains(found, sent))
        }
        // Empty maps and lists are not kept.
        (Value::Null, Value::Object(sent)) => sent.is_empty(),
        (Value::Null, Value::Array(sent)) => sent.is_empty(),
        (found, sent) => found == sent,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_holds_what_was_sent_whatever_was_added() {
        let found = json!({"metadata": {"uid": "u", "labels": {"a": "b", "added": "x"}},
            "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "defaulted": 1}, "status": {"phase": "Bound"}});
        let sent = |pointer: &str, value: Value| {
            let mut sent = json!({"apiVersion": "v1", "metadata": {"resourceVersion": "1", "labels": {"a": "b"}},
                "spec": {"ports": [{"port": 80}], "none": null, "empty": {}, "void": []}, "status": {"phase": "Lost"}});
            if let Some(place) = sent.pointer_mut(pointer) {
                *place = value;
            }
            sent
        };
        assert!(holds(&found, &sent("/none", Value::Null), Part::Main));
        assert!(!holds(&found, &sent("/none", Value::Null), Part::Status));
        assert!(holds(&found, &sent("/status/phase", json!("Bound")), Part::Status));
        for (pointer, other) in [
            ("/metadata/labels/a", json!("c")),
            ("/metadata/labels", json!({"c": "d"})),
            ("/spec/ports", json!([])),
            ("/spec/ports/0/port", json!(81)),
            ("/spec/empty", json!({"a": 1})),
            ("/spec/void", json!([1])),
        ] {
            assert!(!holds(&found, &sent(pointer, other), Part::Main), "{pointer}");
        }
        assert!(!holds(&found, &json!([]), Part::Main));
    }
}
