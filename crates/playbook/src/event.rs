//! Events that start playbooks, in their one normal form.

use jiff::Timestamp;
use lifeboat_model::Digest;
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::expression::{Scope, Type};
use crate::playbook::Tree;
use crate::{EventSource, Playbook};

/// Something that happened, as every source is brought into it. Each of its fields is chosen by whoever caused it:
/// it is matched as data, and is never a name to act on before a step has looked it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Where it comes from.
    pub source: EventSource,
    /// The source's id of it, for telling repetitions: the same thing that happened has the same one, however often it is
    /// sent.
    pub id: String,
    /// When it happened, as the source says.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// How bad it is: from 0 (debug) to 7 (emergency), as `severity.warning`.
    #[schemars(range(max = 7))]
    pub severity: u8,
    /// The rule or alert that found it.
    pub rule: String,
    /// What the source says of it, for people: one line, and not at any length.
    pub text: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What it is about, as far as the source says.
    pub target: EventTarget,
    /// What of it was left empty, and why: values of wrong types, with control characters, or too long to be a name.
    pub doubts: Vec<String>,
    /// SHA-256 of the bytes that it came in.
    pub digest: Digest,
    /// Everything that the source said.
    pub raw: Map<String, Value>,
}

/// What an event is about. What the source does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventTarget {
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Id of the container.
    pub container_id: String,
    /// Name of the node.
    pub node: String,
    /// Reference of the image.
    pub image: String,
    /// Digest of the image, `sha256:...`.
    pub digest: String,
    /// Who did it, where the source knows a user of the cluster. (A user within a container, such as `root`, is none.)
    pub user: String,
    /// The object of the API, where the source names one.
    pub object: EventObject,
}

/// An object that an event is about. Its namespace is that of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventObject {
    /// Group of its API; empty for the core.
    pub group: String,
    /// Its kind, where the source says that: `Deployment`.
    pub kind: String,
    /// Its resource, where the source says that: `deployments`.
    pub resource: String,
    /// The part of it: `exec`.
    pub subresource: String,
    /// Its name.
    pub name: String,
}

/// The names of severities, least first.
pub const SEVERITIES: [&str; 8] =
    ["debug", "informational", "notice", "warning", "error", "critical", "alert", "emergency"];

/// The number of a severity, by the name that triggers use.
pub(crate) fn severity(name: &str) -> Option<u8> {
    let place = SEVERITIES.iter().position(|known| *known == name)?;
    u8::try_from(place).ok()
}

/// Whether a number is that of a severity.
pub(crate) fn is_severity(number: u8) -> bool {
    usize::from(number) < SEVERITIES.len()
}

/// The variable `severity`.
pub(crate) fn severities() -> Value {
    SEVERITIES
        .iter()
        .enumerate()
        .map(|(number, name)| ((*name).to_owned(), json!(number)))
        .collect::<Map<_, _>>()
        .into()
}

impl Event {
    pub(crate) fn schema_type() -> Type {
        let schema = schema_for!(Self).to_value();
        Type::of_schema(&schema, &schema)
    }
}

/// A trigger that an event fits, with the inputs that it gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Triggered {
    /// The trigger's name.
    pub trigger: String,
    /// The playbook's inputs.
    pub inputs: Map<String, Value>,
}

/// A trigger for an event's source, and whether the event fits it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// The trigger's name.
    pub trigger: String,
    /// Whether it fits.
    pub fit: Fit,
}

/// Whether an event fits a trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// It does, and these are the playbook's inputs.
    Yes(Map<String, Value>),
    /// It does not.
    No,
    /// Whether it does cannot be said, and so it does not.
    Unknown(String),
    /// It does, and the inputs cannot be had from it: nothing is begun.
    Inputs(String),
}

impl Playbook {
    /// The first trigger that an event fits. An expression that cannot be evaluated does not fit.
    ///
    /// # Errors
    /// When a trigger fits whose inputs cannot be had from the event, or are not of the playbook's types: nothing is
    /// begun then.
    pub async fn triggered(&self, event: &Event) -> Result<Option<Triggered>, String> {
        for Tried { trigger, fit } in self.tried(event).await {
            match fit {
                Fit::Yes(inputs) => return Ok(Some(Triggered { trigger, inputs })),
                Fit::No => {}
                Fit::Unknown(reason) => tracing::warn!(trigger, reason, "a trigger cannot be evaluated"),
                Fit::Inputs(reason) => return Err(reason),
            }
        }
        Ok(None)
    }

    /// Every trigger for the event's source, in order, up to the one that decides.
    pub async fn tried(&self, event: &Event) -> Vec<Tried> {
        let value = serde_json::to_value(event).unwrap_or_default();
        let scope = Scope::from_iter([("event".to_owned(), value), ("severity".to_owned(), severities())]);
        let mut tried = Vec::new();
        for trigger in self.triggers.iter().filter(|trigger| trigger.source == event.source) {
            let fit = match trigger.when.holds(&scope).await {
                Ok(false) => Fit::No,
                Err(reason) => Fit::Unknown(reason),
                Ok(true) => match self.inputs_of(&trigger.inputs, &scope).await {
                    Ok(inputs) => Fit::Yes(inputs),
                    Err(reason) => Fit::Inputs(reason),
                },
            };
            let decides = matches!(fit, Fit::Yes(_) | Fit::Inputs(_));
            tried.push(Tried { trigger: trigger.name.clone(), fit });
            if decides {
                break;
            }
        }
        tried
    }

    async fn inputs_of(&self, inputs: &Tree, scope: &Scope) -> Result<Map<String, Value>, String> {
        let inputs = match inputs.evaluate(scope).await? {
            Value::Object(inputs) => inputs,
            _ => Map::new(),
        };
        self.inputs(&inputs).map_err(|faults| faults.join("; "))?;
        Ok(inputs)
    }
}
