//! What a replacement keeps of the live object.

use lifeboat_model::ResourceType;
use serde_json::Value;

use super::field::FieldRule;
use super::prepare::Applied;

/// What a replacement keeps of the live object.
pub const CARRY_RULES: &[FieldRule] = &[];

/// Puts into a prepared object what the server and its controllers own in the live one, so that it can replace it: uid
/// and resource version, which make the server refuse if the live object changed, addresses, bindings, finalizers.
pub fn carry_over(_live: &Value, _wanted: &mut Value, _resource: &ResourceType) -> Vec<Applied> {
    Vec::new()
}

/// Merges a prepared object into a live one that the target makes by itself (the `default` ServiceAccount of each
/// namespace), where there is a rule for that: `wanted` becomes what replaces the live object, whatever the mode.
pub fn merge_into(_live: &Value, _wanted: &mut Value, _resource: &ResourceType) -> Option<Applied> {
    None
}
