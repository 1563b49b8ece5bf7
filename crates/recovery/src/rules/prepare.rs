//! Makes an object of a backup one that can be created.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{BackupId, ResourceType};
use serde_json::Value;

use super::field::{Applied, Fields};
use super::mapping::MAPPING_RULES;
use super::patch::{PatchError, PatchFile};
use super::strip::STRIP_RULES;

/// The annotation that restored objects carry: the id of the backup. Rule 9 of the canonical form leaves it out.
pub const RESTORED_FROM: &str = "lifeboat.dev/restored-from";

/// What somebody asked to be changed.
#[derive(Debug, Clone, Default)]
pub struct Transforms {
    /// Namespaces of the backup and what they are called on the target.
    pub namespaces: BTreeMap<String, String>,
    /// Storage classes of the backup and what they are called on the target.
    pub storage_classes: BTreeMap<String, String>,
    /// Patches, in order, applied after everything else. What they are for is chosen by the names of the backup.
    pub patches: Vec<PatchFile>,
    /// Node ports and health check ports stay, whoever chose them.
    pub keep_node_ports: bool,
    /// The volumes that there will be: a claim bound to another is provisioned anew. Without it, every claim stays
    /// with its volume.
    pub volumes: Option<BTreeSet<String>>,
    /// Each object is marked with this backup.
    pub restored_from: Option<BackupId>,
}

/// Changes an object, and says which fields.
pub type Rewrite = fn(&mut Value, &Transforms) -> Fields;

/// Makes an object of a backup one that can be created: strips and rewrites what belongs to the server it came from,
/// maps, patches and marks it. Owner references stay as they are: see [`super::relink`].
///
/// # Errors
/// When a patch does not apply. The object is then of no use.
pub fn prepare(
    object: &mut Value,
    resource: &ResourceType,
    transforms: &Transforms,
) -> Result<Vec<Applied>, PatchError> {
    let patches = transforms.patches.iter().flat_map(|file| file.meant_for(object, resource)).collect::<Vec<_>>();
    let mut applied = Vec::new();
    for rule in STRIP_RULES.iter().chain(MAPPING_RULES).filter(|rule| rule.concerns(resource)) {
        applied.extend(rule.applied((rule.act)(object, transforms)));
    }
    for patch in patches {
        applied.push(patch.apply(object)?);
    }
    Ok(applied)
}
