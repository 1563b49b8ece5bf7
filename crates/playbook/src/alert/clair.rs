//! Clair v4: the webhook, which says only that there is something to fetch, and what is fetched, one event for each
//! notification. <https://quay.github.io/clair/concepts/notifications.html>

use serde_json::{Map, Value};

use super::fields::{Fields, Reader};
use super::{AlertError, Base, object, objects, shape};
use crate::{Event, event};

const TOOL: &str = "Clair";
/// Clair's severities with our names of them.
pub(crate) const SEVERITIES: [(&str, &str); 6] = [
    ("unknown", "debug"),
    ("negligible", "informational"),
    ("low", "notice"),
    ("medium", "warning"),
    ("high", "error"),
    ("critical", "critical"),
];
/// The rule of the webhook's event.
const WEBHOOK: &str = "notification";

pub(super) fn events(base: &Base, body: Value) -> Result<Vec<Event>, AlertError> {
    let mut body = object(TOOL, body)?;
    if body.contains_key("notifications") {
        let found = objects(TOOL, &mut body, "notifications")?;
        return Ok(found.into_iter().enumerate().map(|(place, one)| notification(base, place, one)).collect());
    }
    let fields = Fields::of(&body);
    if fields.get("notification_id").is_none() || fields.get("callback").is_none() {
        return Err(shape(TOOL, "it has neither 'notifications' nor 'notification_id' and 'callback'"));
    }
    let mut reader = Reader::default();
    reader.id = reader.name(fields, &["notification_id"]);
    WEBHOOK.clone_into(&mut reader.rule);
    reader.severity = event::severity("informational").unwrap_or_default();
    Ok(vec![base.event(0, reader, body)])
}

fn notification(base: &Base, place: usize, one: Map<String, Value>) -> Event {
    let fields = Fields::of(&one);
    let vulnerability = fields.within("vulnerability");
    let mut reader = Reader::default();
    reader.id = reader.name(fields, &["id"]);
    reader.rule = reader.name(vulnerability, &["name"]);
    let severity = vulnerability.get("normalized_severity");
    reader.severity("vulnerability.normalized_severity", severity, &SEVERITIES);
    reader.target.digest = reader.name(fields, &["manifest"]);
    let reason = reader.name(fields, &["reason"]);
    let package = vulnerability.within("package").text("name");
    let text = format!("{reason}: {} in {package}: {}", reader.rule, vulnerability.text("description"));
    reader.text = Reader::shown(&text);
    reader.tags.extend(Some(reason).filter(|reason| !reason.is_empty()));
    base.event(place, reader, one)
}
