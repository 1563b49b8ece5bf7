//! JSON of any other tool: the normal form itself, or a mapping of CEL into it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, Reader};
use super::{AlertError, Base, MAX_EVENTS, object, shape, too_many};
use crate::expression::{Expression, Scope, Type, Variables, give};
use crate::{Event, event};

const TOOL: &str = "the normal form";
/// How many rounds all loops of a mapping may make over one body, together.
const MAX_ROUNDS: u32 = 100_000;

/// How JSON of a tool becomes events: CEL over `body`; with `items`, over each `item` instead. What an expression cannot be
/// evaluated for is left empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MappingSpec {
    /// A list of what becomes one event each, which is `item` in the other expressions. Without it, the body is one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    /// Whether an item is an event at all. Without it, it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What tells repetitions. Without it, each body is new unless its bytes are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The rule that found it.
    pub rule: String,
    /// When it happened, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How bad it is: a number from 0 to 7, or a name such as `warning`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A list of tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// What it is about: expressions by the names of the target's members, such as `namespace`, `pod` or `containerId`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub target: std::collections::BTreeMap<TargetField, String>,
}

/// A member of an event's target that a mapping can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TargetField {
    /// Namespace.
    Namespace,
    /// Name of the pod.
    Pod,
    /// Name of the container.
    Container,
    /// Id of the container.
    ContainerId,
    /// Name of the node.
    Node,
    /// Reference of the image.
    Image,
    /// Digest of the image.
    Digest,
    /// Who did it.
    User,
    /// Kind of the object.
    Kind,
    /// Name of the object.
    Name,
}

impl TargetField {
    fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::ContainerId => "containerId",
            Self::Node => "node",
            Self::Image => "image",
            Self::Digest => "digest",
            Self::User => "user",
            Self::Kind => "kind",
            Self::Name => "name",
        }
    }
}

/// A mapping with its expressions compiled.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// What the others read: `body` or `item`.
    variable: &'static str,
    items: Option<Expression>,
    when: Option<Expression>,
    fields: Vec<(&'static str, Expression)>,
    target: Vec<(TargetField, Expression)>,
}

impl Mapping {
    /// Compiles a mapping.
    ///
    /// # Errors
    /// With the field whose expression is no CEL, or reads another variable than `body` and `item`.
    pub fn compile(spec: &MappingSpec) -> Result<Self, AlertError> {
        let variable = if spec.items.is_some() { "item" } else { "body" };
        let items = spec.items.as_ref().map(|text| compile("items", text, "body")).transpose()?;
        let when = spec.when.as_ref().map(|text| compile("when", text, variable)).transpose()?;
        let mut fields = vec![("rule", compile("rule", &spec.rule, variable)?)];
        for (field, text) in [
            ("id", &spec.id),
            ("time", &spec.time),
            ("severity", &spec.severity),
            ("text", &spec.text),
            ("tags", &spec.tags),
        ] {
            if let Some(text) = text {
                fields.push((field, compile(field, text, variable)?));
            }
        }
        let target = spec.target.iter().map(|(field, text)| Ok((*field, compile(field.name(), text, variable)?)));
        Ok(Self { variable, items, when, fields, target: target.collect::<Result<_, AlertError>>()? })
    }
}

fn compile(field: &'static str, text: &str, variable: &'static str) -> Result<Expression, AlertError> {
    let wrong = |reason| AlertError::Mapping { field, reason };
    let expression = Expression::compile(text).map_err(wrong)?;
    let variables = Variables::new([(variable, &Type::Any)]);
    expression.infer(&variables).map_err(|faults| wrong(faults.join("; ")))?;
    Ok(expression)
}

pub(super) fn events(base: &Base, body: Value, mapping: Option<&Mapping>) -> Result<Vec<Event>, AlertError> {
    match mapping {
        Some(mapping) => mapped(base, body, mapping),
        None => Ok(vec![normal(base, object(TOOL, body)?)?]),
    }
}

fn mapped(base: &Base, body: Value, mapping: &Mapping) -> Result<Vec<Event>, AlertError> {
    let rounds = Arc::new(AtomicU32::new(MAX_ROUNDS));
    let items = match &mapping.items {
        None => vec![body],
        Some(items) => match give(items, &Scope::from_iter([("body".to_owned(), body)]), &rounds) {
            Ok(Value::Array(items)) => items,
            Ok(_) => return Err(AlertError::Mapping { field: "items", reason: "its value is no list".to_owned() }),
            Err(reason) => return Err(AlertError::Mapping { field: "items", reason }),
        },
    };
    if items.len() > MAX_EVENTS {
        return Err(too_many(items.len()));
    }
    let mut events = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        let scope = Scope::from_iter([(mapping.variable.to_owned(), item)]);
        if let Some(reader) = mapping.read(&scope, &rounds)? {
            let raw = match scope.into_iter().next() {
                Some((_, Value::Object(members))) => members,
                other => other.into_iter().collect(),
            };
            events.push(base.event(place, reader, raw));
        }
    }
    Ok(events)
}

impl Mapping {
    /// One event, unless the item is none.
    fn read(&self, scope: &Scope, rounds: &Arc<AtomicU32>) -> Result<Option<Reader>, AlertError> {
        let wrong = |reason| AlertError::Mapping { field: "when", reason };
        match self.when.as_ref().map(|when| give(when, scope, rounds)) {
            None | Some(Ok(Value::Bool(true))) => {}
            Some(Ok(Value::Bool(false))) => return Ok(None),
            Some(Ok(_)) => return Err(wrong("its value is neither true nor false".to_owned())),
            Some(Err(reason)) => return Err(wrong(reason)),
        }
        let mut reader = Reader::default();
        let mut values = |expressions: &mut dyn Iterator<Item = (&'static str, &Expression)>| {
            let mut found = Map::new();
            for (name, expression) in expressions {
                match give(expression, scope, rounds) {
                    Ok(value) => drop(found.insert(name.to_owned(), value)),
                    Err(reason) => reader.doubt(format!("{name}: {reason}")),
                }
            }
            found
        };
        let fields = values(&mut self.fields.iter().map(|(name, expression)| (*name, expression)));
        let target = values(&mut self.target.iter().map(|(field, expression)| (field.name(), expression)));
        read(&mut reader, Fields::of(&fields), Fields::of(&target));
        Ok(Some(reader))
    }
}

/// What the normal form has. Others are refused: a misspelled one would be silently empty.
const MEMBERS: [&str; 8] = ["id", "rule", "time", "severity", "text", "tags", "target", "raw"];
const TARGET: [&str; 10] =
    ["namespace", "pod", "container", "containerId", "node", "image", "digest", "user", "kind", "name"];

fn normal(base: &Base, mut body: Map<String, Value>) -> Result<Event, AlertError> {
    known(&body, &MEMBERS)?;
    if let Some(target) = body.get("target").filter(|target| !target.is_null()) {
        let target = target.as_object().ok_or_else(|| shape(TOOL, "'target' is no object"))?;
        known(target, &TARGET)?;
    }
    if Fields::of(&body).get("rule").is_none() {
        return Err(shape(TOOL, "it has no 'rule'"));
    }
    let raw = match body.remove("raw") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(raw)) => raw,
        Some(_) => return Err(shape(TOOL, "'raw' is no object")),
    };
    let mut reader = Reader::default();
    read(&mut reader, Fields::of(&body), Fields::of(&body).within("target"));
    Ok(base.event(0, reader, raw))
}

fn known(members: &Map<String, Value>, names: &[&str]) -> Result<(), AlertError> {
    let Some(unknown) = members.keys().find(|key| !names.contains(&key.as_str())) else { return Ok(()) };
    let nearest = lifeboat_model::nearest(unknown, names.iter().copied());
    let hint = nearest.map(|nearest| format!(", did you mean '{nearest}'?")).unwrap_or_default();
    let unknown: String = crate::text::clean(unknown).chars().take(80).collect();
    Err(shape(TOOL, format!("there is no member '{unknown}'{hint}")))
}

fn read(reader: &mut Reader, fields: Fields<'_>, target: Fields<'_>) {
    reader.id = reader.id_of(fields, &["id"]);
    reader.rule = reader.name(fields, &["rule"]);
    reader.time(fields, &["time"]);
    match fields.get("severity") {
        Some(Value::Number(number)) => match number.as_u64().and_then(|number| u8::try_from(number).ok()) {
            Some(severity) if event::is_severity(severity) => reader.severity = severity,
            _ => reader.doubt("severity: no number from 0 to 7"),
        },
        other => reader.severity("severity", other, &[("info", "informational")]),
    }
    reader.text = Reader::shown(fields.text("text"));
    reader.tags("tags", fields.get("tags"));
    reader.target.namespace = reader.name(target, &["namespace"]);
    reader.target.pod = reader.name(target, &["pod"]);
    reader.target.container = reader.name(target, &["container"]);
    reader.target.container_id = reader.name(target, &["containerId"]);
    reader.target.node = reader.name(target, &["node"]);
    reader.target.image = reader.name(target, &["image"]);
    reader.target.digest = reader.name(target, &["digest"]);
    reader.target.user = reader.name(target, &["user"]);
    reader.target.object.kind = reader.name(target, &["kind"]);
    reader.target.object.name = reader.name(target, &["name"]);
}
