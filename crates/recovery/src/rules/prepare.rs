//! What of an object changes on the way: fields that belong to the server it came from, and what somebody asked for.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{BackupId, ResourceType};
use serde_json::Value;

use super::field::FieldRule;
use super::patch::{PatchError, PatchFile};

/// The annotation that restored objects carry: the id of the backup. Rule 9 of the canonical form leaves it out.
pub const RESTORED_FROM: &str = "lifeboat.dev/restored-from";

/// What somebody asked to be changed.
#[derive(Debug, Clone, Default)]
pub struct Transforms {
    /// Namespaces of the backup and what they are called on the target.
    pub namespaces: BTreeMap<String, String>,
    /// Storage classes of the backup and what they are called on the target.
    pub storage_classes: BTreeMap<String, String>,
    /// Patches, in order, applied after everything else.
    pub patches: Vec<PatchFile>,
    /// Node ports and health check ports stay, whoever chose them.
    pub keep_node_ports: bool,
    /// The volumes that there will be: a claim bound to another is provisioned anew. Without it, every claim stays
    /// with its volume.
    pub volumes: Option<BTreeSet<String>>,
    /// Each object is marked with this backup.
    pub restored_from: Option<BackupId>,
}

/// A rule that changed an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// The rule's number.
    pub rule: u32,
    /// The field, or the patch.
    pub field: String,
}

/// Fields of the server that an object came from.
pub const STRIP_RULES: &[FieldRule] = &[];

/// Changes that somebody asked for.
pub const MAPPING_RULES: &[FieldRule] = &[];

/// Makes an object of a backup one that can be created: strips and rewrites what belongs to the server it came from,
/// maps, patches and marks it. Owner references stay as they are: see [`super::relink`].
///
/// # Errors
/// When a patch does not apply. The object is then of no use.
pub fn prepare(
    _object: &mut Value,
    _resource: &ResourceType,
    _transforms: &Transforms,
) -> Result<Vec<Applied>, PatchError> {
    Ok(Vec::new())
}

/// Whether a prepared object asks for addresses or ports that the server would otherwise give to others: such objects
/// are to be created before the rest of their wave.
pub fn asks_for_addresses(_resource: &ResourceType, _object: &Value) -> bool {
    false
}

/// Takes out of a prepared object the addresses and ports that it asks for, for a server that refused them.
pub fn release_addresses(_object: &mut Value, _resource: &ResourceType) -> Vec<Applied> {
    Vec::new()
}
