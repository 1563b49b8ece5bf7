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
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use permissions::{PERMISSIONS, Permission};

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

/// The definitions, as they are to be applied to a cluster.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [Backup::crd(), Drill::crd(), Restore::crd(), Schedule::crd()].into_iter().map(plain).collect()
}

/// Without formats of numbers that the API server does not know, of which it would warn whoever applies them.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#openapi>
fn plain(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&definition) else { return definition };
    drop_formats(&mut value);
    serde_json::from_value(value).unwrap_or(definition)
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
