//! Secrets without what is secret in them.

use lifeboat_model::ResourceType;
use serde_json::{Map, Value};

/// In the place of a value that is the same on both sides, or is on one only.
const SAME: &str = "***";
/// In the place of values that differ. `kubectl diff` writes the same.
const BEFORE: &str = "*** (before)";
const AFTER: &str = "*** (after)";

/// What of a Secret is told: its type and its metadata but for annotations, where tools keep copies of what they applied
/// (`kubectl.kubernetes.io/last-applied-configuration` and others, some of them packed).
const TOLD: [&str; 4] = ["apiVersion", "kind", "type", "immutable"];

/// Whether the objects of a resource are masked.
pub(super) fn is_secret(resource: &ResourceType) -> bool {
    resource.group.is_empty() && resource.resource == "secrets"
}

/// Masks a Secret, or both sides of one that differs: which of its values are there, and which differ, can be seen
/// afterwards, and nothing else of them, not even their length.
pub(super) fn mask(before: Option<&mut Value>, after: Option<&mut Value>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => mask_objects(Some(before), Some(after)),
        (Some(Value::Object(one)), None) | (None, Some(Value::Object(one))) => mask_objects(Some(one), None),
        (before, after) => mask_values(before, after),
    }
}

fn mask_objects(mut before: Option<&mut Map<String, Value>>, mut after: Option<&mut Map<String, Value>>) {
    for key in keys(before.as_deref(), after.as_deref()) {
        if TOLD.contains(&key.as_str()) {
            continue;
        }
        let sides = (member(&mut before, &key), member(&mut after, &key));
        if key == "metadata" { mask_annotations(sides) } else { mask_members(sides) }
    }
}

type Sides<'a> = (Option<&'a mut Value>, Option<&'a mut Value>);

fn mask_annotations((before, after): Sides<'_>) {
    mask_members((before.and_then(annotations), after.and_then(annotations)));
}

fn annotations(metadata: &mut Value) -> Option<&mut Value> {
    metadata.get_mut("annotations")
}

/// Masks each member of a map by itself, so that it shows which of them differ.
fn mask_members(sides: Sides<'_>) {
    match sides {
        (Some(Value::Object(before)), Some(Value::Object(after))) => mask_maps(Some(before), Some(after)),
        (Some(Value::Object(before)), None) => mask_maps(Some(before), None),
        (None, Some(Value::Object(after))) => mask_maps(None, Some(after)),
        (before, after) => mask_values(before, after),
    }
}

fn mask_maps(mut before: Option<&mut Map<String, Value>>, mut after: Option<&mut Map<String, Value>>) {
    for key in keys(before.as_deref(), after.as_deref()) {
        mask_values(member(&mut before, &key), member(&mut after, &key));
    }
}

fn mask_values(before: Option<&mut Value>, after: Option<&mut Value>) {
    match (before, after) {
        (Some(before), Some(after)) if before != after => {
            *before = BEFORE.into();
            *after = AFTER.into();
        }
        (before, after) => before.into_iter().chain(after).for_each(|value| *value = SAME.into()),
    }
}

fn keys(before: Option<&Map<String, Value>>, after: Option<&Map<String, Value>>) -> Vec<String> {
    let mut keys: Vec<String> = before.into_iter().chain(after).flat_map(|map| map.keys().cloned()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn member<'a>(map: &'a mut Option<&mut Map<String, Value>>, key: &str) -> Option<&'a mut Value> {
    map.as_mut().and_then(|map| map.get_mut(key))
}

#[cfg(test)]
mod tests {
    use lifeboat_model::differences;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_shows_and_what_it_is_does_not() {
        let mut before = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "labels": {"app": "db"}, "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"password\":\"aHVudGVyMg==\"}}", "same": "x"}},
            "data": {"password": "aHVudGVyMg==", "same": "c2FtZQ==", "gone": "Z29uZQ=="},
        });
        let mut after = before.clone();
        after["data"] = json!({"password": "aHVudGVyMw==", "same": "c2FtZQ==", "new": "bmV3"});
        after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}".into();
        mask(Some(&mut before), Some(&mut after));
        let masked = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "labels": {"app": "db"}, "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "*** (before)", "same": "***"}},
            "data": {"password": "*** (before)", "same": "***", "gone": "***"},
        });
        assert_eq!(before, masked);
        let shown: Vec<String> = differences(&before, &after).iter().map(|change| change.path.to_string()).collect();
        let annotation = "metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']";
        assert_eq!(shown, ["data.gone", "data.new", "data.password", annotation]);
    }

    #[test]
    fn a_secret_of_another_shape_is_masked_as_a_whole() {
        let mut odd = json!({"kind": "Secret", "data": "hunter2", "more": {"x": ["hunter2"]}, "metadata": {"annotations": "hunter2"}});
        mask(None, Some(&mut odd));
        assert_eq!(
            odd,
            json!({"kind": "Secret", "data": "***", "more": {"x": "***"}, "metadata": {"annotations": "***"}})
        );
        let mut text = json!("hunter2");
        mask(Some(&mut text), None);
        assert_eq!(text, json!("***"));
    }

    /// Values that no mask or key has in it.
    fn value() -> impl Strategy<Value = Value> {
        let text = "(S3CR3T|s\u{e9}cret)[A-Z0-9]{1,9}";
        prop_oneof![
            text.prop_map(Value::from),
            proptest::collection::vec(text, 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", text, 0..3).prop_map(|map| json!(map)),
        ]
    }

    fn members() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => proptest::collection::btree_map("[a-d]", value(), 0..4).prop_map(|map| json!(map)),
            1 => value(),
        ]
    }

    fn secret() -> impl Strategy<Value = Value> {
        (members(), proptest::option::of(members()), members(), proptest::option::of(members())).prop_map(
            |(data, string_data, annotations, other)| {
                let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
                    "metadata": {"name": "db", "annotations": annotations}});
                secret["stringData"] = json!(string_data);
                secret["other"] = json!(other);
                secret
            },
        )
    }

    proptest! {
        #[test]
        fn no_value_is_left_and_equal_stays_equal(before in secret(), after in proptest::option::of(secret())) {
            let (mut a, mut b) = (before.clone(), after.clone());
            mask(Some(&mut a), b.as_mut());
            for masked in [Some(&a), b.as_ref()].into_iter().flatten() {
                let text = masked.to_string();
                prop_assert!(!text.contains("S3CR3T") && !text.contains('\u{e9}'), "{}", text);
            }
            if let (Some(after), Some(b)) = (after, b) {
                prop_assert_eq!(differences(&a, &b).is_empty(), differences(&before, &after).is_empty());
            }
        }

        #[test]
        fn the_length_of_a_value_does_not_show(text in "[a-z]{1,40}", other in "[A-Z]{1,40}") {
            let secret = |text: &str| json!({"data": {"a": text}});
            let masked = |text: &str, other: &str| {
                let (mut a, mut b) = (secret(text), secret(other));
                mask(Some(&mut a), Some(&mut b));
                (a, b)
            };
            prop_assert_eq!(masked(&text, &other), masked("x", "Y"));
            prop_assert_eq!(masked(&text, &text), masked("x", "x"));
        }
    }
}
