//! Taking single fields out of what somebody else wrote.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::text::clean;
use crate::{EventTarget, event};

/// The longest name, id or rule, in bytes.
const MAX_NAME: usize = 1024;
/// The longest text for people, in characters.
const MAX_TEXT: usize = 4096;
/// The most tags.
const MAX_TAGS: usize = 100;
/// The most doubts that are noted.
const MAX_DOUBTS: usize = 50;

/// Where values are looked for, with the place of it for doubts.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    members: Option<&'a Map<String, Value>>,
    place: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(members: &'a Map<String, Value>) -> Self {
        Self { members: Some(members), place: "" }
    }

    /// The object under a key, or nothing where there is none.
    pub(crate) fn within(self, key: &'static str) -> Self {
        Self { members: self.get(key).and_then(Value::as_object), place: key }
    }

    /// The same of a key that is data itself.
    pub(crate) fn within_any(self, key: &str) -> Self {
        Self { members: self.get(key).and_then(Value::as_object), place: "" }
    }

    /// What is there and is not null.
    pub(crate) fn get(self, key: &str) -> Option<&'a Value> {
        self.members?.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(self, key: &str) -> &'a str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// An event while it is read.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) id: String,
    pub(crate) time: Option<Timestamp>,
    pub(crate) severity: u8,
    pub(crate) rule: String,
    pub(crate) text: String,
    pub(crate) tags: Vec<String>,
    pub(crate) target: EventTarget,
    pub(crate) doubts: Vec<String>,
}

impl Reader {
    pub(crate) fn doubt(&mut self, doubt: impl Into<String>) {
        if self.doubts.len() < MAX_DOUBTS {
            self.doubts.push(doubt.into());
        }
    }

    /// The first of these keys that holds anything, as a name. What is no name is empty, and a doubt.
    pub(crate) fn name(&mut self, fields: Fields<'_>, keys: &[&str]) -> String {
        for key in keys {
            let Some(value) = fields.get(key).filter(|value| !is_absent(value)) else { continue };
            let place = if fields.place.is_empty() { (*key).to_owned() } else { format!("{}.{key}", fields.place) };
            return self.name_of(&place, value);
        }
        String::new()
    }

    /// A value as a name.
    pub(crate) fn name_of(&mut self, place: &str, value: &Value) -> String {
        let reason = match value {
            Value::String(text) => match fault(text) {
                None => return text.clone(),
                Some(reason) => reason,
            },
            Value::Null => return String::new(),
            _ => "no text",
        };
        self.doubt(format!("{place}: {reason}"));
        String::new()
    }

    /// The same of an id, which may be a whole number.
    pub(crate) fn id_of(&mut self, fields: Fields<'_>, keys: &[&str]) -> String {
        match keys.iter().find_map(|key| fields.get(key)) {
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            _ => self.name(fields, keys),
        }
    }

    /// Text for people: on one line, without what controls a terminal, and not at any length.
    pub(crate) fn shown(text: &str) -> String {
        let mut shown: String = clean(text).chars().take(MAX_TEXT).collect();
        if text.chars().nth(MAX_TEXT).is_some() {
            shown.push_str("...");
        }
        shown
    }

    /// A time as RFC 3339 has it.
    pub(crate) fn time(&mut self, fields: Fields<'_>, keys: &[&str]) {
        let Some((key, value)) = keys.iter().find_map(|key| Some((*key, fields.get(key)?))) else { return };
        match value.as_str().and_then(|text| text.parse().ok()) {
            Some(time) => self.time = Some(time),
            None => self.doubt(format!("{key}: no time")),
        }
    }

    /// A time as a count since 1970, in a part of a second.
    pub(crate) fn time_since(&mut self, fields: Fields<'_>, key: &str, nanoseconds: i128) {
        let Some(value) = fields.get(key) else { return };
        let time = value.as_i64().and_then(|count| i128::from(count).checked_mul(nanoseconds));
        match time.and_then(|time| Timestamp::from_nanosecond(time).ok()) {
            Some(time) => self.time = Some(time),
            None => self.doubt(format!("{key}: no time")),
        }
    }

    /// A severity by its name in any case. What is not known is the least: no trigger that asks for more fits it.
    pub(crate) fn severity(&mut self, place: &str, value: Option<&Value>, names: &[(&str, &str)]) {
        let Some(value) = value else { return };
        let name = value.as_str().unwrap_or_default().to_ascii_lowercase();
        let own = names.iter().find(|(theirs, _)| *theirs == name).map_or(name.as_str(), |(_, own)| own);
        match event::severity(own) {
            Some(severity) => self.severity = severity,
            None => self.doubt(format!("{place}: no severity that is known")),
        }
    }

    /// A list of tags.
    pub(crate) fn tags(&mut self, place: &str, value: Option<&Value>) {
        let items = match value {
            None | Some(Value::Null) => return,
            Some(Value::Array(items)) => items,
            Some(_) => return self.doubt(format!("{place}: no list")),
        };
        if items.len() > MAX_TAGS {
            self.doubt(format!("{place}: more than {MAX_TAGS}"));
        }
        for item in items.iter().take(MAX_TAGS) {
            let tag = self.name_of(place, item);
            if !tag.is_empty() {
                self.tags.push(tag);
            }
        }
    }
}

/// What tools write where they know nothing.
fn is_absent(value: &Value) -> bool {
    matches!(value.as_str(), Some("" | "<NA>" | "N/A"))
}

/// Why a text is no name.
fn fault(text: &str) -> Option<&'static str> {
    if text.len() > MAX_NAME {
        return Some("longer than 1024 bytes");
    }
    (clean(text) != text).then_some("control characters")
}

/// The reference of an image of its parts.
pub(crate) fn image(repository: &str, tag: &str) -> String {
    match (repository, tag) {
        (repository, "") => repository.to_owned(),
        ("", _) => String::new(),
        (repository, tag) => format!("{repository}:{tag}"),
    }
}
