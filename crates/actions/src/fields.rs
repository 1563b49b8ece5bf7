//! Fields of objects.

use std::collections::BTreeMap;

use lifeboat_playbook::ObjectRef;
use serde_json::Value;

pub(crate) type Labels = BTreeMap<String, String>;

/// The text at a place, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn namespace(object: &Value) -> Option<&str> {
    Some(text(object, "/metadata/namespace")).filter(|namespace| !namespace.is_empty())
}

/// The items at a place; none where there is no list.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A map from text to text, such as labels.
pub(crate) fn texts(object: &Value, pointer: &str) -> Labels {
    let members = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

pub(crate) fn labels(object: &Value) -> Labels {
    texts(object, "/metadata/labels")
}

pub(crate) fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

/// An annotation, or nothing.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    let found = object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(key));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// A count that an annotation has; 0 where there is none.
pub(crate) fn counted(object: &Value, key: &str) -> u64 {
    annotation(object, key).parse().unwrap_or(0)
}

/// Whether a pod has ended and does nothing any more.
pub(crate) fn has_ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

/// Whether a pod shows a static one of its node, which the API server cannot change.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some()
}

/// How people name it.
pub(crate) fn reference(object: &Value) -> ObjectRef {
    let own = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ObjectRef {
        api_version: text(object, "/apiVersion").to_owned(),
        kind: text(object, "/kind").to_owned(),
        namespace: namespace(object).map(str::to_owned),
        name: name(object).to_owned(),
        uid: own(uid(object)),
    }
}

/// The owner that controls it.
pub(crate) fn controller(object: &Value) -> Option<ObjectRef> {
    let owner =
        items(object, "/metadata/ownerReferences").find(|owner| owner.get("controller") == Some(&true.into()))?;
    let own = |pointer| text(owner, pointer).to_owned();
    Some(ObjectRef {
        api_version: own("/apiVersion"),
        kind: own("/kind"),
        namespace: namespace(object).map(str::to_owned),
        name: own("/name"),
        uid: Some(own("/uid")),
    })
}

/// What the server writes by itself, and what changes by itself: no part of a plan.
pub(crate) fn settled(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
    }
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "managedFields", "generation", "uid", "creationTimestamp"] {
            metadata.remove(field);
        }
    }
    object
}

/// What a merge patch (RFC 7386) makes of a value.
pub(crate) fn merged(value: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut members = value.as_object().cloned().unwrap_or_default();
    for (key, change) in patch {
        if change.is_null() {
            members.remove(key);
        } else {
            let before = members.get(key).cloned().unwrap_or_default();
            members.insert(key.clone(), merged(&before, change));
        }
    }
    Value::Object(members)
}

/// The merge patch that makes `after` of `before`. `after` has no nulls: a merge patch cannot write one.
pub(crate) fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(wanted)) = (before, after) else { return after.clone() };
    let gone = before.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = wanted.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let nothing = Value::Null;
    let changed = changed.map(|(key, value)| (key.clone(), difference(before.get(key).unwrap_or(&nothing), value)));
    gone.chain(changed).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_difference_makes_one_of_the_other(before in tree(), after in tree()) {
            prop_assert_eq!(merged(&before, &difference(&before, &after)), after);
        }
    }

    #[test]
    fn a_merge_patch_is_that_of_the_rfc() {
        // The appendix of RFC 7386.
        for (value, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(&value, &patch), result);
        }
    }
}
