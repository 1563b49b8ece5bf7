//! The difference of two trees of JSON, field by field.

use std::fmt;

use serde_json::{Map, Value};

/// Where a value lies in a tree. Shown as a person writes it: `spec.ports[0].name`, and
/// `metadata.annotations['a.b/c']` where a key is no plain word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Key(String),
    Index(usize),
}

/// A field that is not the same in both trees: one side may lack it.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange<'a> {
    /// Which.
    pub path: FieldPath,
    /// Its value in the first tree.
    pub before: Option<&'a Value>,
    /// Its value in the second.
    pub after: Option<&'a Value>,
}

impl FieldPath {
    /// The path as a JSON Pointer (RFC 6901).
    pub fn pointer(&self) -> String {
        let segments = self.0.iter().map(|segment| match segment {
            Segment::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Index(index) => format!("/{index}"),
        });
        segments.collect()
    }

    fn at(&self, segment: Segment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain =
            |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if !plain(key) => {
                    write!(f, "['{}']", key.replace('\\', "\\\\").replace('\'', "\\'"))?;
                }
                Segment::Key(key) if place == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// The fields that differ, in the order of their keys. Objects are compared member by member, and lists of the same
/// length element by element; a list that became longer or shorter differs as a whole, since nobody knows which of its
/// elements stand for each other.
pub fn differences<'a>(before: &'a Value, after: &'a Value) -> Vec<FieldChange<'a>> {
    let mut found = Vec::new();
    compare(&FieldPath::default(), before, after, &mut found);
    found
}

fn compare<'a>(path: &FieldPath, before: &'a Value, after: &'a Value, found: &mut Vec<FieldChange<'a>>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => compare_members(path, before, after, found),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(&path.at(Segment::Index(index)), before, after, found);
            }
        }
        // By their text, as the canonical form has it: 0.0 and -0.0 are equal as numbers.
        (Value::Number(a), Value::Number(b)) if a.to_string() == b.to_string() => {}
        (Value::Number(_), Value::Number(_)) => {
            found.push(FieldChange { path: path.clone(), before: Some(before), after: Some(after) });
        }
        _ if before == after => {}
        _ => found.push(FieldChange { path: path.clone(), before: Some(before), after: Some(after) }),
    }
}

fn compare_members<'a>(
    path: &FieldPath,
    before: &'a Map<String, Value>,
    after: &'a Map<String, Value>,
    found: &mut Vec<FieldChange<'a>>,
) {
    let mut keys: Vec<&String> = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))).collect();
    keys.sort_unstable();
    for key in keys {
        let path = path.at(Segment::Key(key.clone()));
        match (before.get(key), after.get(key)) {
            (Some(before), Some(after)) => compare(&path, before, after, found),
            (before, after) => found.push(FieldChange { path, before, after }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_as_people_write_them() {
        let before = json!({
            "metadata": {"annotations": {"a.b/c~d": "1", "it's": "x"}}, "spec": {"ports": [{"port": 1}, {"port": 2}], "gone": {}, "args": ["a"]},
        });
        let after = json!({
            "metadata": {"annotations": {"a.b/c~d": "2", "it's": "y"}}, "spec": {"ports": [{"port": 1}, {"port": 3}], "new": null, "args": ["a", "b"]},
        });
        let changes = differences(&before, &after);
        let shown: Vec<String> =
            changes.iter().map(|change| format!("{} {}", change.path, change.path.pointer())).collect();
        assert_eq!(
            shown,
            [
                r"metadata.annotations['a.b/c~d'] /metadata/annotations/a.b~1c~0d",
                r"metadata.annotations['it\'s'] /metadata/annotations/it's",
                "spec.args /spec/args",
                "spec.gone /spec/gone",
                "spec.new /spec/new",
                "spec.ports[1].port /spec/ports/1/port",
            ]
        );
        assert_eq!((changes[3].before, changes[3].after), (Some(&json!({})), None));
        assert_eq!((changes[4].before, changes[4].after), (None, Some(&Value::Null)));
    }

    #[test]
    fn numbers_differ_as_their_texts_do() {
        assert_eq!(differences(&json!([0.0, 1]), &json!([-0.0, 1.0])).len(), 2);
        assert_eq!(differences(&json!([1.5, u64::MAX]), &json!([1.5, u64::MAX])), []);
    }

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_u8).prop_map(Value::from),
            Just(json!(-0.0)),
            Just(json!(0.0)),
            "[a-c/~']{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c/~']{0,2}", inner, 0..4)
                    .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    /// Does what a change says, by its pointer alone.
    fn apply(tree: &mut Value, pointer: &str, after: Option<&Value>) {
        if pointer.is_empty() {
            *tree = after.cloned().unwrap();
            return;
        }
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/").replace("~0", "~");
        match (tree.pointer_mut(parent).unwrap(), after) {
            (Value::Object(members), Some(after)) => drop(members.insert(last, after.clone())),
            (Value::Object(members), None) => drop(members.remove(&last).unwrap()),
            (Value::Array(items), after) => items[last.parse::<usize>().unwrap()] = after.cloned().unwrap(),
            (other, _) => panic!("{other} has nothing in it"),
        }
    }

    proptest! {
        #[test]
        fn a_tree_does_not_differ_from_itself(tree in trees()) {
            let same = tree.clone();
            prop_assert_eq!(differences(&tree, &same), []);
        }

        #[test]
        fn what_differs_makes_one_of_the_other(before in trees(), after in trees()) {
            let changes = differences(&before, &after);
            let texts = (before.to_string(), after.to_string());
            prop_assert_eq!(changes.is_empty(), texts.0 == texts.1);
            let mut made = before.clone();
            for change in &changes {
                prop_assert_eq!(change.before, before.pointer(&change.path.pointer()));
                apply(&mut made, &change.path.pointer(), change.after);
            }
            prop_assert_eq!(made.to_string(), after.to_string());
        }

        #[test]
        fn backwards_it_is_the_same_with_the_sides_exchanged(before in trees(), after in trees()) {
            let there = differences(&before, &after);
            let back = differences(&after, &before).into_iter();
            let back: Vec<_> = back.map(|change| FieldChange { before: change.after, after: change.before, ..change }).collect();
            prop_assert_eq!(there, back);
        }
    }
}
