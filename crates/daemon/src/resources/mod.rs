//! The custom resources: the documents of `lifeboat-model` as the API server knows them.
//!
//! Each definition is generated from the type of its document, which a configuration file uses too. What the API server
//! holds an object to before it stores it is in the document's schema; the rules that look at metadata are here.
#![expect(clippy::duplicated_attributes, reason = "columns of the same type are several columns")]

mod permissions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use lifeboat_model::{BackupSpec, BackupStatus, DrillSpec, DrillStatus, RestoreSpec, RestoreStatus};
use lifeboat_model::{ScheduleSpec, ScheduleStatus};
use lifeboat_playbook::{
    PlaybookApprovalSpec, PlaybookApprovalStatus, PlaybookJournalSpec, PlaybookRunSpec, PlaybookRunStatus,
    PlaybookSpec, PlaybookStatus,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use permissions::{PERMISSIONS, Permission, RESPONDER_PERMISSIONS};

/// A schedule, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "Schedule",
    namespaced,
    shortname = "lbs",
    category = "lifeboat",
    status = "ScheduleStatus",
    doc = "When backups are taken, and of what.",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone", priority = 1),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Healthy", type_ = "string", json_path = r#".status.conditions[?(@.type=="Healthy")].status"#),
    printcolumn(name = "Last-Success", type_ = "date", json_path = ".status.lastSuccess"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ScheduleDocument(pub ScheduleSpec);

/// A backup, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "Backup",
    namespaced,
    shortname = "lbb",
    category = "lifeboat",
    status = "BackupStatus",
    doc = "A backup: create one to take one. Those that the store has are shown by objects of their own; deleting one of \
           these deletes no backup.",
    validation = Rule::new("!has(self.spec.id) || self.metadata.name == self.spec.id.lowerAscii()")
        .message("an object that shows a backup bears its id in lower case as its name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".status.schedule"),
    printcolumn(name = "Verified", type_ = "boolean", json_path = ".status.verified"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.storedBytes"),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.started"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Failed")].message"#,
        priority = 1
    )
)]
pub struct BackupDocument(pub BackupSpec);

/// A restore, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "Restore",
    namespaced,
    shortname = "lbr",
    category = "lifeboat",
    status = "RestoreStatus",
    doc = "A restore of objects into this cluster: planned when it is created, performed when its plan is approved.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.plan.backup"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Create", type_ = "integer", json_path = ".status.plan.counts.create"),
    printcolumn(name = "Created", type_ = "integer", json_path = ".status.report.created"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.report.failed"),
    printcolumn(name = "Plan", type_ = "string", json_path = ".status.plan.hash", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct RestoreDocument(pub RestoreSpec);

/// A drill, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "Drill",
    namespaced,
    shortname = "lbd",
    category = "lifeboat",
    status = "DrillStatus",
    doc = "A restore drill: create one to run one.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Tier", type_ = "integer", json_path = ".spec.tier"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backup"),
    printcolumn(name = "Report", type_ = "string", json_path = ".status.report"),
    printcolumn(name = "RTO", type_ = "integer", json_path = ".status.rtoSeconds"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct DrillDocument(pub DrillSpec);

/// A playbook, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "Playbook",
    namespaced,
    shortname = "lbp",
    category = "lifeboat",
    status = "PlaybookStatus",
    doc = "A playbook: what is done in an incident, step by step. A PlaybookRun runs it.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a playbook has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Steps", type_ = "integer", json_path = ".status.steps"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct PlaybookResource(pub PlaybookSpec);

/// A run of a playbook, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "PlaybookRun",
    namespaced,
    shortname = "lbpr",
    category = "lifeboat",
    status = "PlaybookRunStatus",
    doc = "A run of a playbook: planned when it is created, done when others have agreed to its plan.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Playbook", type_ = "string", json_path = ".spec.playbook"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.requester"),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.run", priority = 1),
    printcolumn(name = "Asked", type_ = "string", json_path = ".status.waiting.hash", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct PlaybookRunResource(pub PlaybookRunSpec);

/// What one person says to a plan, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "PlaybookApproval",
    namespaced,
    shortname = "lbpa",
    category = "lifeboat",
    status = "PlaybookApprovalStatus",
    doc = "What one person says to the plan of a PlaybookRun, quoting its hash.",
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.run"),
    printcolumn(name = "Approver", type_ = "string", json_path = ".spec.approver"),
    printcolumn(name = "Approve", type_ = "boolean", json_path = ".spec.approve"),
    printcolumn(name = "Counted", type_ = "string", json_path = r#".status.conditions[?(@.type=="Counted")].status"#),
    printcolumn(name = "Why", type_ = "string", json_path = r#".status.conditions[?(@.type=="Counted")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct PlaybookApprovalResource(pub PlaybookApprovalSpec);

/// A piece of the journal of a run, as an object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(transparent)]
#[kube(
    group = "lifeboat.dev",
    version = "v1alpha1",
    kind = "PlaybookJournal",
    namespaced,
    shortname = "lbpj",
    doc = "A piece of the journal of a PlaybookRun. It has what undoes the run; it goes with the run.",
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.run"),
    printcolumn(name = "Number", type_ = "integer", json_path = ".spec.number"),
    printcolumn(name = "Closed", type_ = "boolean", json_path = ".spec.closed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct PlaybookJournalResource(pub PlaybookJournalSpec);

/// The definitions, as they are to be applied to a cluster, in the order of their names.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let all = [
        Backup::crd(),
        Drill::crd(),
        PlaybookApproval::crd(),
        PlaybookJournal::crd(),
        PlaybookRun::crd(),
        Playbook::crd(),
        Restore::crd(),
        Schedule::crd(),
    ];
    all.into_iter().map(plain).collect()
}

/// As the API server wants it. Formats of numbers that it does not know, and of which it would warn whoever applies them, go;
/// values of any form are said to be so in its own words, or it would drop what is in them.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#openapi>
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#controlling-pruning>
fn plain(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&definition) else { return definition };
    drop_formats(&mut value);
    let versions = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        version.pointer_mut("/schema/openAPIV3Schema").into_iter().for_each(keep_unknown);
    }
    serde_json::from_value(value).unwrap_or(definition)
}

/// Says of each schema that takes anything that what is in it is kept.
fn keep_unknown(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    let free = members.get("additionalProperties") == Some(&Value::Bool(true));
    let says = |key: &str| members.contains_key(key);
    if free || !["type", "x-kubernetes-int-or-string", "enum", "anyOf", "oneOf", "allOf"].into_iter().any(says) {
        members.remove("additionalProperties");
        members.insert("x-kubernetes-preserve-unknown-fields".to_owned(), Value::Bool(true));
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(keep_unknown);
    }
    for key in ["items", "additionalProperties"] {
        members.get_mut(key).into_iter().for_each(keep_unknown);
    }
}

fn drop_formats(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let unsigned = |format: &Value| format.as_str().is_some_and(|format| format.starts_with("uint"));
            // A schema's format is a text; a property of that name would be a schema.
            if members.get("format").is_some_and(unsigned) {
                members.remove("format");
            }
            members.values_mut().for_each(drop_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_formats),
        _ => {}
    }
}
