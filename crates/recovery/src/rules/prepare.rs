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
    /// Cluster IPs stay, whoever chose them, of Services whose namespace is not mapped.
    pub keep_cluster_ips: bool,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::{changes, names, samples, touches};
    use super::*;

    fn pairs(wanted: bool, from: &str, to: &str) -> BTreeMap<String, String> {
        wanted.then(|| (from.to_owned(), to.to_owned())).into_iter().collect()
    }

    fn transforms() -> impl Strategy<Value = Transforms> {
        (any::<[bool; 6]>()).prop_map(|[namespaces, classes, ports, addresses, volumes, mark]| Transforms {
            namespaces: pairs(namespaces, "shop", "copy"),
            storage_classes: pairs(classes, "fast", "slow"),
            patches: Vec::new(),
            keep_node_ports: ports,
            keep_cluster_ips: addresses,
            volumes: volumes.then(BTreeSet::new),
            restored_from: mark.then(|| "20261121T044500Z-k3f9qz".parse().unwrap()),
        })
    }

    /// Members that no rule names, put at every level of an object.
    fn disturb(value: &mut Value, noise: &Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(|member| disturb(member, noise));
                members.insert("zzNoise".to_owned(), noise.clone());
            }
            Value::Array(items) => items.iter_mut().for_each(|item| disturb(item, noise)),
            _ => {}
        }
    }

    fn noise() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!(null)),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", ".{0,4}", 0..3).prop_map(|map| json!(map)),
            proptest::collection::vec(any::<bool>(), 0..3).prop_map(Value::from),
        ]
    }

    proptest! {
        // Each case goes through all samples.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_second_time_changes_nothing(transforms in transforms(), noise in noise()) {
            for (resource, mut object) in samples() {
                disturb(&mut object, &noise);
                prepare(&mut object, &resource, &transforms).unwrap();
                let once = object.clone();
                let again = prepare(&mut object, &resource, &transforms).unwrap();
                prop_assert_eq!(&once, &object);
                prop_assert_eq!(again, vec![], "{}", once);
            }
        }

        #[test]
        fn nothing_changes_but_what_a_rule_names(transforms in transforms(), noise in noise()) {
            for (resource, mut object) in samples() {
                disturb(&mut object, &noise);
                let before = object.clone();
                let applied = prepare(&mut object, &resource, &transforms).unwrap();
                for path in changes(&before, &object) {
                    let rule = applied.iter().find(|applied| names(&applied.field, &path));
                    prop_assert!(rule.is_some(), "{path:?} of {before} was changed, and {applied:?} do not name it");
                }
                for applied in &applied {
                    let at_work = changes(&before, &object).iter().any(|path| touches(&applied.field, path));
                    prop_assert!(at_work, "{applied:?} of {before}");
                }
            }
        }

        #[test]
        fn shapes_that_no_server_sends_do_no_harm(
            transforms in transforms(), noise in noise(), victim in 0_usize..200,
        ) {
            for (resource, object) in samples() {
                let mut object = object;
                let mut left = victim;
                spoil(&mut object, &noise, &mut left);
                prepare(&mut object, &resource, &transforms).unwrap();
            }
        }
    }

    /// Puts something else in the place of one value.
    fn spoil(value: &mut Value, noise: &Value, left: &mut usize) {
        if *left == 0 {
            *value = noise.clone();
        }
        *left = left.wrapping_sub(1);
        match value {
            Value::Object(members) => members.values_mut().for_each(|member| spoil(member, noise, left)),
            Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, noise, left)),
            _ => {}
        }
    }
}
