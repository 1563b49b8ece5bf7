//! The document of a playbook: one type for the file, its schema and the custom resource.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Period;

/// A playbook: what is done in an incident, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Playbook")]
pub struct PlaybookDocument {
    /// `lifeboat.dev/v1alpha1`.
    pub api_version: PlaybookVersion,
    /// `Playbook`.
    pub kind: PlaybookKind,
    /// Its name.
    pub metadata: PlaybookMetadata,
    /// What it does.
    pub spec: PlaybookSpec,
}

/// Version of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlaybookVersion {
    /// The only one yet.
    #[serde(rename = "lifeboat.dev/v1alpha1")]
    V1Alpha1,
}

/// Kind of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlaybookKind {
    /// A playbook.
    Playbook,
}

/// What names a playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaybookMetadata {
    /// Lower-case letters, digits, `-` and `.`; at most 63.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What a playbook does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaybookSpec {
    /// One sentence.
    #[schemars(length(max = 1000))]
    pub description: String,
    /// Its manual: when to use it, what it cannot do. Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// Ids of MITRE ATT&CK that it answers to: `T1046`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attack: Vec<String>,
    /// What has to be given, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputSpec>,
    /// Events that start it. (Not `on`, which is the boolean true to YAML 1.1.)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerSpec>,
    /// What a run may not do.
    #[serde(default)]
    pub guards: GuardsSpec,
    /// Who has to agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// The steps. Without `needs`, each needs the one above it.
    #[schemars(length(min = 1, max = 10_000))]
    pub steps: Vec<StepSpec>,
    /// Steps that run at the end, one after the other, however the others ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub finally: Vec<StepSpec>,
}

/// A value that has to be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputSpec {
    /// Of what type it is.
    pub r#type: InputType,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether there is no run without it. An input that is not required and has no default is null.
    #[serde(default)]
    pub required: bool,
    /// Its value where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values that it may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "values")]
    pub r#enum: Vec<Value>,
}

/// A list of anything, in words that a definition of a custom resource has too: it knows no schema that is just `true`.
fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {}})
}

/// Type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InputType {
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A length of time, as `10m`.
    Duration,
    /// A list of texts.
    List,
}

/// An event that starts a playbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TriggerSpec {
    /// Its name.
    pub name: String,
    /// Where the event has to come from.
    pub source: EventSource,
    /// CEL over `event` and `severity`: whether this event starts the playbook.
    pub when: String,
    /// Values of the playbook's inputs. Everything in an event is chosen by whoever caused it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Value>,
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EventSource {
    /// Falco, or Falcosidekick.
    Falco,
    /// Prometheus' Alertmanager.
    Alertmanager,
    /// The audit webhook of Kubernetes.
    KubernetesAudit,
    /// kube-bench.
    KubeBench,
    /// Trivy, or trivy-operator.
    Trivy,
    /// Clair.
    Clair,
    /// Sysdig Secure.
    Sysdig,
    /// `CloudEvents` of any type.
    CloudEvents,
    /// Anything that sends the normal form itself, or JSON for which there is a mapping.
    Generic,
}

/// What a run may not do. A run that would is `denied`, and nothing of it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardsSpec {
    /// The most different objects that one run acts on. Without it, 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_targets: Option<u32>,
    /// Namespaces in which nothing is done, besides that of Lifeboat itself. Without it, `kube-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_namespaces: Option<Vec<String>>,
    /// How long after a run no other with the same `concurrency` begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Period>,
    /// More runs than this need an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSpec>,
    /// The key, mostly a UID, under which one run is under way at a time: `${{ steps.find.target.uid }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<String>,
    /// What becomes of a second run with the same key.
    #[serde(default)]
    pub on_conflict: ConflictPolicy,
    /// How much all runs of the playbook together may do in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastRadiusSpec>,
}

/// What becomes of a second run with the same key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConflictPolicy {
    /// It is not begun; who asked is told of the one that is under way.
    #[default]
    Join,
    /// It is `denied`.
    Refuse,
}

/// How many runs begin without an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitSpec {
    /// So many.
    #[schemars(range(min = 1, max = 10_000))]
    pub runs: u32,
    /// In so long.
    pub per: Period,
}

/// How much all runs of a playbook together may do in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlastRadiusSpec {
    /// The most different objects in one namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_namespace: Option<u32>,
    /// The most different objects in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_cluster: Option<u32>,
    /// In so long. Without it, `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
}

/// Who has to agree before a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalSpec {
    /// CEL over `inputs`, `trigger`, `plan` and `target`, asked for each target. Without it, always. What cannot be
    /// evaluated needs an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// How many people other than the requester. Without it, 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10))]
    pub quorum: u32,
    /// How long is waited. Without it, `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// What follows when the time is over.
    #[serde(default)]
    pub on_timeout: TimeoutPolicy,
}

fn one() -> u32 {
    1
}

/// What follows when nobody answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TimeoutPolicy {
    /// The run is denied.
    #[default]
    Deny,
    /// The run goes on.
    Approve,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// Its name in expressions: letters, digits and `_`, beginning with a letter; at most 63.
    #[schemars(length(min = 1, max = 63))]
    pub id: String,
    /// The action, as `lifeboat playbook actions` lists them; or `playbook`, to call another one with
    /// `with: {name, inputs}`.
    pub uses: String,
    /// The action's inputs. `${{ CEL }}` alone keeps its type, inside of a text it becomes text.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// CEL: whether the step is wanted. `always()` runs it whatever became of what it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#if: Option<String>,
    /// Steps that have to be `success` or `skipped` before. Without it, the step above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
    /// `${{ CEL }}` of a list: the step is done for each, which is `item`. Its outputs are then `items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<String>,
    /// How many of `forEach` at a time. Without it, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub parallel: Option<u32>,
    /// CEL over `outputs`: the step is repeated until it is true. Only for actions that may be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How long between two repetitions. Without it, `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
    /// How long the step may take, repetitions and retries included. Without it, `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Tries again what might work then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// What follows when the step fails.
    #[serde(default)]
    pub on_failure: FailurePolicy,
}

/// How a step is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetrySpec {
    /// How often it is tried in all.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// How long between the first two; twice as long after each. Without it, `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Period>,
}

/// What follows when a step is `failed` or `denied`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailurePolicy {
    /// No other step begins but those of `finally`.
    #[default]
    Abort,
    /// Steps that need this one run all the same, whatever became of it.
    Continue,
}
