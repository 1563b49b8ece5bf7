//! `CloudEvents` 1.0: structured, as a batch, and in binary mode, where the attributes are headers.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

use serde_json::{Map, Value};

use super::fields::{Fields, Reader};
use super::{AlertError, Base, MAX_VALUES, Received, all_objects, json, object, shape};
use crate::Event;

const TOOL: &str = "CloudEvents";
/// What the headers of binary mode begin with.
const PREFIX: &str = "ce-";
/// Every event has these.
const NEEDED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The most headers that are attributes.
const MAX_ATTRIBUTES: usize = 100;

pub(super) fn events(base: &Base, received: Received<'_>) -> Result<Vec<Event>, AlertError> {
    let attributes: Vec<(&str, &str)> =
        received.headers.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, *value))).collect();
    let found = if attributes.iter().any(|(name, _)| *name == "specversion") {
        vec![binary(&attributes, received.body)?]
    } else {
        match json::parse(received.body, MAX_VALUES)? {
            Value::Array(items) => all_objects(TOOL, items)?,
            body => vec![object(TOOL, body)?],
        }
    };
    for key in NEEDED {
        if found.iter().any(|one| Fields::of(one).text(key).is_empty()) {
            return Err(shape(TOOL, format!("it has no '{key}'")));
        }
    }
    if found.iter().any(|one| Fields::of(one).text("specversion") != "1.0") {
        return Err(shape(TOOL, "its 'specversion' is not \"1.0\""));
    }
    Ok(found.into_iter().enumerate().map(|(place, one)| event(base, place, one)).collect())
}

/// What binary mode would be in structured mode.
fn binary(attributes: &[(&str, &str)], body: &[u8]) -> Result<Map<String, Value>, AlertError> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(shape(TOOL, format!("it has more than {MAX_ATTRIBUTES} attributes")));
    }
    let mut event = Map::new();
    for (name, value) in attributes {
        if event.insert((*name).to_owned(), (*value).into()).is_some() {
            return Err(shape(TOOL, "an attribute is given twice"));
        }
    }
    if !body.is_empty() {
        event.insert("data".to_owned(), json::parse(body, MAX_VALUES)?);
    }
    Ok(event)
}

fn event(base: &Base, place: usize, one: Map<String, Value>) -> Event {
    let fields = Fields::of(&one);
    let mut reader = Reader::default();
    // By the specification, id and source together are unique.
    let (source, id) = (reader.name(fields, &["source"]), reader.name(fields, &["id"]));
    if !source.is_empty() && !id.is_empty() {
        reader.id = format!("{source} {id}");
    }
    reader.rule = reader.name(fields, &["type"]);
    reader.time(fields, &["time"]);
    reader.severity("severity", fields.get("severity"), &[("info", "informational")]);
    reader.text = Reader::shown(fields.text("subject"));
    base.event(place, reader, one)
}
