//! Sysdig Secure: the webhook of a notification channel, one event for each policy event in it, and the event forwarder,
//! one event a body. <https://docs.sysdig.com/en/sysdig-secure/event-forwarding/>

use serde_json::{Map, Value};

use super::fields::{Fields, Reader, image};
use super::{AlertError, Base, MAX_EVENTS, object, objects, shape, too_many};
use crate::Event;

const TOOL: &str = "Sysdig Secure";
const MICROSECOND: i128 = 1000;

pub(super) fn events(base: &Base, body: Value) -> Result<Vec<Event>, AlertError> {
    let mut body = object(TOOL, body)?;
    if body.contains_key("entities") {
        return channel(base, &mut body);
    }
    if !body.contains_key("content") || !body.contains_key("id") {
        return Err(shape(TOOL, "it has neither 'entities' nor 'id' and 'content'"));
    }
    Ok(vec![forwarded(base, body)])
}

/// What a notification channel sends. What was resolved is no event.
fn channel(base: &Base, body: &mut Map<String, Value>) -> Result<Vec<Event>, AlertError> {
    let fields = Fields::of(body);
    let over = fields.get("resolved") == Some(&Value::Bool(true)) || fields.text("state") == "OK";
    let alert = fields.within("alert").get("severity").cloned();
    let entities = objects(TOOL, body, "entities")?;
    let mut found = Vec::new();
    for mut entity in entities {
        found.extend(objects(TOOL, &mut entity, "policyEvents")?);
        if found.len() > MAX_EVENTS {
            return Err(too_many(found.len()));
        }
    }
    let found = found.into_iter().enumerate().filter(|_| !over);
    Ok(found.map(|(place, event)| policy_event(base, place, event, alert.as_ref())).collect())
}

fn policy_event(base: &Base, place: usize, event: Map<String, Value>, alert: Option<&Value>) -> Event {
    let fields = Fields::of(&event);
    let mut reader = Reader::default();
    reader.id = reader.id_of(fields, &["id"]);
    severity(&mut reader, fields.get("severity").or(alert));
    reader.time_since(fields, "timestamp", MICROSECOND);
    reader.text = Reader::shown(fields.text("output"));
    let pairs = pairs(fields.get("fields"));
    let labels = pairs_or_members(fields.get("eventLabels"));
    let known = Fields::of(&pairs);
    reader.rule = reader.name(known, &["falco.rule"]);
    if reader.rule.is_empty() {
        reader.rule = reader.name(fields, &["name"]);
    }
    target(&mut reader, fields, known, Fields::of(&labels));
    base.event(place, reader, event)
}

fn forwarded(base: &Base, body: Map<String, Value>) -> Event {
    let fields = Fields::of(&body);
    let content = fields.within("content");
    let mut reader = Reader::default();
    reader.id = reader.id_of(fields, &["id"]);
    severity(&mut reader, fields.get("severity"));
    if fields.get("timestampRFC3339Nano").is_some() {
        reader.time(fields, &["timestampRFC3339Nano"]);
    } else {
        reader.time_since(fields, "timestamp", 1);
    }
    reader.rule = reader.name(content, &["ruleName"]);
    if reader.rule.is_empty() {
        reader.rule = reader.name(fields, &["name"]);
    }
    let text = content.text("output");
    reader.text = Reader::shown(if text.is_empty() { fields.text("description") } else { text });
    reader.tags("content.ruleTags", content.get("ruleTags"));
    target(&mut reader, fields, content.within("fields"), fields.within("labels"));
    base.event(0, reader, body)
}

/// From 0, the worst, to 7: the other way round.
fn severity(reader: &mut Reader, value: Option<&Value>) {
    let number = value.and_then(Value::as_u64).and_then(|number| u8::try_from(number).ok());
    match number.and_then(|number| 7_u8.checked_sub(number)) {
        Some(severity) => reader.severity = severity,
        None if value.is_none() => {}
        None => reader.doubt("severity: no number from 0 to 7"),
    }
}

fn target(reader: &mut Reader, event: Fields<'_>, known: Fields<'_>, labels: Fields<'_>) {
    let mut first = |label: &[&str], field: &[&str]| {
        let found = reader.name(labels, label);
        if found.is_empty() { reader.name(known, field) } else { found }
    };
    let namespace = first(&["kubernetes.namespace.name"], &["k8s.ns.name"]);
    let pod = first(&["kubernetes.pod.name"], &["k8s.pod.name"]);
    let node = first(&["kubernetes.node.name", "host.hostName"], &["k8s.node.name"]);
    let container = first(&["container.name"], &["container.name"]);
    let repository = first(&["container.image.repo"], &["container.image.repository"]);
    let tag = first(&["container.image.tag"], &["container.image.tag"]);
    let digest = first(&["container.image.digest"], &["container.image.digest"]);
    let user = first(&[], &["ka.user.name"]);
    reader.target.container_id = reader.name(event, &["containerId"]);
    let target = &mut reader.target;
    (target.namespace, target.pod, target.node, target.container) = (namespace, pod, node, container);
    (target.image, target.digest, target.user) = (image(&repository, &tag), digest, user);
}

/// `[{key, value}]` as a mapping; a key that is there twice is left out, since nobody can say which is meant.
fn pairs(list: Option<&Value>) -> Map<String, Value> {
    let items = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut pairs: Map<String, Value> = Map::new();
    let mut twice = Vec::new();
    for item in items {
        let (Some(key), Some(value)) = (item.get("key").and_then(Value::as_str), item.get("value")) else { continue };
        if pairs.insert(key.to_owned(), value.clone()).is_some() {
            twice.push(key);
        }
    }
    for key in twice {
        pairs.remove(key);
    }
    pairs
}

fn pairs_or_members(value: Option<&Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members.clone(),
        other => pairs(other),
    }
}
