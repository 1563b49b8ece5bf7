//! Events that start playbooks, in their one normal form.

use jiff::Timestamp;
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::expression::{Scope, Type};
use crate::{EventSource, Playbook};

/// Something that happened, as every source is brought into it. Each of its fields is chosen by whoever caused it:
/// it is matched as data, and is never a name to act on before a step has looked it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Where it comes from.
    pub source: EventSource,
    /// The source's id of it, for telling repetitions.
    pub id: String,
    /// When it happened, as the source says.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// How bad it is: from 0 (debug) to 7 (emergency), as `severity.warning`.
    #[schemars(range(max = 7))]
    pub severity: u8,
    /// The rule or alert that found it.
    pub rule: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What it is about, as far as the source says.
    pub target: EventTarget,
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
    /// Who did it, where the source knows a user.
    pub user: String,
}

/// The names of severities, least first.
const SEVERITIES: [&str; 8] =
    ["debug", "informational", "notice", "warning", "error", "critical", "alert", "emergency"];

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

impl Playbook {
    /// The first trigger that an event fits. An expression that cannot be evaluated does not fit.
    ///
    /// # Errors
    /// When a trigger fits whose inputs cannot be had from the event, or are not of the playbook's types: nothing is
    /// begun then.
    pub async fn triggered(&self, event: &Event) -> Result<Option<Triggered>, String> {
        let value = serde_json::to_value(event).map_err(|error| error.to_string())?;
        let scope = Scope::from_iter([("event".to_owned(), value), ("severity".to_owned(), severities())]);
        for trigger in self.triggers.iter().filter(|trigger| trigger.source == event.source) {
            match trigger.when.holds(&scope).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(reason) => {
                    tracing::warn!(trigger = trigger.name, reason, "a trigger cannot be evaluated");
                    continue;
                }
            }
            let inputs = match trigger.inputs.evaluate(&scope).await? {
                Value::Object(inputs) => inputs,
                _ => Map::new(),
            };
            self.inputs(&inputs).map_err(|faults| faults.join("; "))?;
            return Ok(Some(Triggered { trigger: trigger.name.clone(), inputs }));
        }
        Ok(None)
    }
}
