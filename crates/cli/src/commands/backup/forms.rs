//! Forms that several results share.

use jiff::Timestamp;
use lifeboat_model::{Gap, Hold, IndexEntry, Part};
use lifeboat_recovery::Selection;
use serde::Serialize;

use crate::args::SelectionArgs;
use crate::output::bytes;

/// A part of a backup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartForm {
    pub(super) name: String,
    pub(super) plain_bytes: u64,
    pub(super) stored_bytes: u64,
}

impl From<&Part> for PartForm {
    fn from(part: &Part) -> Self {
        Self { name: part.name.to_string(), plain_bytes: part.plain_bytes, stored_bytes: part.stored_bytes }
    }
}

/// Something that was expected and not captured.
#[derive(Debug, Serialize)]
pub(super) struct GapForm {
    pub(super) resource: String,
    pub(super) reason: String,
}

impl From<&Gap> for GapForm {
    fn from(gap: &Gap) -> Self {
        Self { resource: gap.resource.clone(), reason: gap.reason.clone() }
    }
}

/// A hold of a backup.
#[derive(Debug, Serialize)]
pub(super) struct HoldForm {
    pub(super) since: Timestamp,
    pub(super) reason: Option<String>,
}

impl From<&Hold> for HoldForm {
    fn from(hold: &Hold) -> Self {
        Self { since: hold.since, reason: hold.reason.clone() }
    }
}

/// An object, as the index has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectForm {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) bytes: u64,
}

impl From<IndexEntry> for ObjectForm {
    fn from(entry: IndexEntry) -> Self {
        Self {
            group: entry.group,
            version: entry.version,
            resource: entry.resource,
            kind: entry.kind,
            namespace: entry.namespace,
            name: entry.name,
            uid: entry.uid,
            resource_version: entry.resource_version,
            bytes: entry.length,
        }
    }
}

impl ObjectForm {
    pub(super) const COLUMNS: [&'static str; 4] = ["NAMESPACE", "TYPE", "NAME", "SIZE"];

    /// What a table shows of it, in the order of the columns.
    pub(super) fn cells(&self) -> [String; 4] {
        let kind =
            if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) };
        [self.namespace.clone().unwrap_or_default(), kind, self.name.clone(), bytes(self.bytes)]
    }
}

/// The selection that the arguments describe.
pub(super) fn selection(arguments: &SelectionArgs) -> Selection {
    Selection {
        kinds: arguments.kind.clone(),
        namespaces: arguments.namespace.iter().cloned().collect(),
        names: arguments.name.clone(),
        labels: arguments.selector.clone(),
    }
}
