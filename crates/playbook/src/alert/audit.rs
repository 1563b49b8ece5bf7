//! The audit webhook of Kubernetes: one event for each entry.
//! <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>

use lifeboat_model::Digest;
use serde_json::{Map, Value};

use super::fields::{Fields, Reader};
use super::{AlertError, Base, object, objects, shape};
use crate::{Event, event};

const TOOL: &str = "the audit webhook";

pub(super) fn events(base: &Base, body: Value) -> Result<Vec<Event>, AlertError> {
    let mut body = object(TOOL, body)?;
    let is = |key: &str, wanted: &str| body.get(key).and_then(Value::as_str) == Some(wanted);
    if !is("kind", "EventList") || !is("apiVersion", "audit.k8s.io/v1") {
        return Err(shape(TOOL, "it is no EventList of audit.k8s.io/v1"));
    }
    let items = objects(TOOL, &mut body, "items")?;
    Ok(items.into_iter().enumerate().map(|(place, item)| event(base, place, item)).collect())
}

fn event(base: &Base, place: usize, item: Map<String, Value>) -> Event {
    let fields = Fields::of(&item);
    let mut reader = Reader::default();
    let (audit, stage) = (reader.name(fields, &["auditID"]), reader.name(fields, &["stage"]));
    if !audit.is_empty() {
        // A client may choose the audit id of its request (`Audit-ID`), and would have what it does next dropped as a
        // repetition: so the entry itself is a part of its id.
        let entry = Digest::of(serde_json::to_string(&item).unwrap_or_default().as_bytes());
        reader.id = format!("{audit}/{stage}/{entry}");
    }
    reader.time(fields, &["stageTimestamp", "requestReceivedTimestamp"]);
    reader.severity = event::severity("informational").unwrap_or_default();
    let reference = fields.within("objectRef");
    reader.target.namespace = reader.name(reference, &["namespace"]);
    reader.target.object.group = reader.name(reference, &["apiGroup"]);
    reader.target.object.resource = reader.name(reference, &["resource"]);
    reader.target.object.subresource = reader.name(reference, &["subresource"]);
    reader.target.object.name = reader.name(reference, &["name"]);
    if reader.target.object.name.is_empty() {
        // Where the API server chose the name, only its answer has it.
        let made = fields.within("responseObject").within("metadata");
        reader.target.object.name = reader.name(made, &["name"]);
    }
    let object = reader.target.object.clone();
    match (object.group.as_str(), object.resource.as_str()) {
        ("", "pods") => reader.target.pod.clone_from(&object.name),
        ("", "nodes") => reader.target.node.clone_from(&object.name),
        _ => {}
    }
    reader.target.user = reader.name(fields.within("user"), &["username"]);
    let verb = reader.name(fields, &["verb"]);
    reader.rule = match (object.resource.as_str(), object.subresource.as_str()) {
        ("", _) => verb,
        (resource, "") => format!("{verb} {resource}"),
        (resource, subresource) => format!("{verb} {resource}/{subresource}"),
    };
    let whose = if reader.target.namespace.is_empty() { "" } else { "/" };
    let text = format!("{}: {} {}{whose}{}", reader.target.user, reader.rule, reader.target.namespace, object.name);
    reader.text = Reader::shown(text.trim_end());
    base.event(place, reader, item)
}
