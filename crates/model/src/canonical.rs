//! The canonical form of an object: what drills and diffs compare.
//!
//! Two objects are the same if their canonical forms are: members sorted by key, no white space, strings and numbers
//! written in one way, and the fields left out that a server changes by itself. The rules are numbered; a change to
//! them is a new [`CANONICAL_VERSION`], which every manifest records.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::Digest;

/// Version of the rules below.
pub const CANONICAL_VERSION: u32 = 1;

/// The annotation that restored objects carry.
const RESTORED_FROM: &str = "lifeboat.dev/restored-from";

/// A rule of the canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its number, quoted in reports.
    pub number: u32,
    /// What is left out.
    pub field: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// What is left out of the canonical form.
pub const RULES: &[Rule] = &[
    Rule { number: 1, field: "metadata.uid", reason: "given anew to every created object" },
    Rule { number: 2, field: "metadata.resourceVersion", reason: "changes with every write" },
    Rule { number: 3, field: "metadata.generation", reason: "counted by the server" },
    Rule { number: 4, field: "metadata.creationTimestamp", reason: "set by the server" },
    Rule { number: 5, field: "metadata.managedFields", reason: "records who wrote, not what" },
    Rule { number: 6, field: "metadata.selfLink", reason: "derived, and gone since Kubernetes 1.24" },
    Rule { number: 7, field: "metadata.ownerReferences[*].uid", reason: "follows the owner's uid" },
    Rule { number: 8, field: "status", reason: "observed by controllers, not wanted by people" },
    Rule { number: 9, field: "metadata.annotations['lifeboat.dev/restored-from']", reason: "set by a restore" },
    Rule {
        number: 10,
        field: "members whose value is null",
        reason: "the same as absent, and written by some versions only",
    },
    Rule { number: 11, field: "empty metadata.labels and metadata.annotations", reason: "the same as absent" },
];

/// An object whose canonical form cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Not a JSON object, or nested deeper than 127 levels.
    #[error("not an object that can be compared")]
    Json(#[from] serde_json::Error),
    /// A key given twice.
    #[error("the key '{0}' is given twice")]
    DuplicateKey(String),
    /// `metadata.name` is missing.
    #[error("the object has no metadata.name")]
    Unnamed,
}

/// A parsed object.
#[derive(Debug)]
pub struct Object<'a>(Members<'a>);

/// What identifies an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectMeta<'a> {
    /// `apiVersion`, which the API server leaves out of the items of built-in lists.
    pub api_version: Option<&'a str>,
    /// `kind`, likewise.
    pub kind: Option<&'a str>,
    /// `metadata.namespace`.
    pub namespace: Option<&'a str>,
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.resourceVersion`.
    pub resource_version: &'a str,
}

type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

#[derive(Debug)]
enum Node<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Members<'a>),
}

impl<'a> Object<'a> {
    /// Parses the JSON of one object. Items of built-in lists, which lack `apiVersion` and `kind`, are accepted.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn parse(json: &'a [u8]) -> Result<Self, CanonicalError> {
        match serde_json::from_slice(json)? {
            Node::Map(members) => Ok(Self(members)),
            _ => Err(de::Error::custom("expected an object")),
        }
        .map_err(CanonicalError::Json)
    }

    /// What identifies the object.
    ///
    /// # Errors
    /// When it has no name.
    pub fn meta(&self) -> Result<ObjectMeta<'_>, CanonicalError> {
        let metadata: &[_] = match member(&self.0, "metadata") {
            Some(Node::Map(metadata)) => metadata,
            _ => &[],
        };
        Ok(ObjectMeta {
            api_version: text(&self.0, "apiVersion"),
            kind: text(&self.0, "kind"),
            namespace: text(metadata, "namespace").filter(|namespace| !namespace.is_empty()),
            name: text(metadata, "name").filter(|name| !name.is_empty()).ok_or(CanonicalError::Unnamed)?,
            uid: text(metadata, "uid").unwrap_or_default(),
            resource_version: text(metadata, "resourceVersion").unwrap_or_default(),
        })
    }

    /// Digest of the canonical form, as an object of that `apiVersion` and `kind`.
    ///
    /// # Errors
    /// When a key is given twice.
    pub fn digest(self, api_version: &'a str, kind: &'a str) -> Result<Digest, CanonicalError> {
        Ok(Digest::of(&self.canonical(api_version, kind)?))
    }

    /// The canonical form, as an object of that `apiVersion` and `kind`.
    ///
    /// # Errors
    /// When a key is given twice.
    pub fn canonical(mut self, api_version: &'a str, kind: &'a str) -> Result<Vec<u8>, CanonicalError> {
        self.0.retain(|(key, _)| !matches!(key.as_ref(), "status" | "apiVersion" | "kind"));
        self.0.push((Cow::Borrowed("apiVersion"), Node::Text(Cow::Borrowed(api_version))));
        self.0.push((Cow::Borrowed("kind"), Node::Text(Cow::Borrowed(kind))));
        if let Some(Node::Map(metadata)) = member_mut(&mut self.0, "metadata") {
            strip_metadata(metadata);
        }
        let mut out = Vec::with_capacity(2048);
        write_map(&mut self.0, &mut out)?;
        Ok(out)
    }

    /// The canonical form as a tree, for looking at what differs.
    ///
    /// # Errors
    /// When a key is given twice.
    pub fn tree(self, api_version: &'a str, kind: &'a str) -> Result<serde_json::Value, CanonicalError> {
        Ok(serde_json::from_slice(&self.canonical(api_version, kind)?)?)
    }
}

fn member<'m, 'a>(members: &'m [(Cow<'a, str>, Node<'a>)], key: &str) -> Option<&'m Node<'a>> {
    members.iter().find(|(candidate, _)| candidate == key).map(|(_, node)| node)
}

fn member_mut<'m, 'a>(members: &'m mut [(Cow<'a, str>, Node<'a>)], key: &str) -> Option<&'m mut Node<'a>> {
    members.iter_mut().find(|(candidate, _)| candidate == key).map(|(_, node)| node)
}

fn text<'m>(members: &'m [(Cow<'_, str>, Node<'_>)], key: &str) -> Option<&'m str> {
    match member(members, key) {
        Some(Node::Text(text)) => Some(text),
        _ => None,
    }
}

/// Rules 1 to 7, 9 and 11.
fn strip_metadata(metadata: &mut Members<'_>) {
    metadata.retain(|(key, _)| {
        !matches!(
            key.as_ref(),
            "uid" | "resourceVersion" | "generation" | "creationTimestamp" | "managedFields" | "selfLink"
        )
    });
    if let Some(Node::Map(annotations)) = member_mut(metadata, "annotations") {
        annotations.retain(|(key, _)| key != RESTORED_FROM);
    }
    if let Some(Node::List(owners)) = member_mut(metadata, "ownerReferences") {
        for owner in owners {
            if let Node::Map(owner) = owner {
                owner.retain(|(key, _)| key != "uid");
            }
        }
    }
    metadata.retain(|(key, node)| {
        !(matches!(key.as_ref(), "labels" | "annotations") && matches!(node, Node::Map(members) if members.is_empty()))
    });
}

fn write_node(node: &mut Node<'_>, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(value) => serde_json::to_writer(out, value)?,
        Node::Int(value) => serde_json::to_writer(out, value)?,
        Node::Uint(value) => serde_json::to_writer(out, value)?,
        Node::Float(value) => serde_json::to_writer(out, value)?,
        Node::Text(value) => serde_json::to_writer(out, value)?,
        Node::List(items) => {
            out.push(b'[');
            for (place, item) in items.iter_mut().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_node(item, out)?;
            }
            out.push(b']');
        }
        Node::Map(members) => write_map(members, out)?,
    }
    Ok(())
}

fn write_map(members: &mut Members<'_>, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if let Some([(key, _), _]) = members.array_windows().find(|[(a, _), (b, _)]| a == b) {
        return Err(CanonicalError::DuplicateKey(key.chars().take(80).collect()));
    }
    out.push(b'{');
    let mut first = true;
    for (key, node) in members.iter_mut().filter(|(_, node)| !matches!(node, Node::Null)) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, key)?;
        out.push(b':');
        write_node(node, out)?;
    }
    out.push(b'}');
    Ok(())
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Node::Uint(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Node::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value()?));
        }
        Ok(Node::Map(members))
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(NodeVisitor)? {
            Node::Text(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("expected a key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn canonical(value: &Value) -> String {
        let text = serde_json::to_vec(value).unwrap();
        String::from_utf8(Object::parse(&text).unwrap().canonical("v1", "ConfigMap").unwrap()).unwrap()
    }

    #[test]
    fn each_rule_leaves_its_field_out() {
        let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "ownerReferences": [{"name": "o"}]}});
        let full = json!({
            "metadata": {
                "name": "a", "uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": "t",
                "managedFields": [{}], "selfLink": "/x", "ownerReferences": [{"name": "o", "uid": "p"}], "labels": {},
                "annotations": {"lifeboat.dev/restored-from": "b"},
            },
            "status": {"phase": "Running"}, "data": null,
        });
        assert_eq!(canonical(&bare), canonical(&full));
        assert_eq!(
            canonical(&full),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","ownerReferences":[{"name":"o"}]}}"#
        );
    }

    #[test]
    fn what_people_wrote_stays() {
        let object = json!({
            "metadata": {"name": "a", "labels": {"uid": "x"}, "annotations": {"k": "v"}},
            "spec": {"status": 1, "uid": "u", "empty": {}, "list": [null, 1.5, -2], "generation": 1},
        });
        let text = canonical(&object);
        for kept in [
            r#""labels":{"uid":"x"}"#,
            r#""annotations":{"k":"v"}"#,
            r#""list":[null,1.5,-2]"#,
            r#""status":1"#,
            r#""uid":"u""#,
            r#""empty":{}"#,
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }

    #[test]
    fn a_key_given_twice_is_an_error() {
        let object = Object::parse(br#"{"metadata":{"name":"a"},"data":{"x":"1","\u0078":"2"}}"#).unwrap();
        assert!(matches!(object.digest("v1", "ConfigMap"), Err(CanonicalError::DuplicateKey(key)) if key == "x"));
    }

    #[test]
    fn the_vector_of_the_format_page() {
        let object =
            br#"{"metadata":{"name":"a","namespace":"n","uid":"1"},"data":{"b":"\u003c\"","a":"1"},"immutable":true}"#;
        let bytes = Object::parse(object).unwrap().canonical("v1", "ConfigMap").unwrap();
        let text = r#"{"apiVersion":"v1","data":{"a":"1","b":"<\""},"immutable":true,"kind":"ConfigMap","metadata":{"name":"a","namespace":"n"}}"#;
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        let digest = Object::parse(object).unwrap().digest("v1", "ConfigMap").unwrap();
        assert_eq!(digest.to_string(), "2bba1c2f74029fcf77545eacda468940f1175aa5f455330ff086107145d0a9ea");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map("[a-z\"é]{1,6}", inner, 0..5)
                    .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_order_and_spelling_of_the_source_do_not_matter(spec in values()) {
            let compact = json!({"metadata": {"name": "a"}, "spec": spec});
            let pretty = serde_json::to_vec_pretty(&json!({"spec": compact["spec"], "metadata": {"name": "a"}})).unwrap();
            let pretty = Object::parse(&pretty).unwrap().canonical("v1", "ConfigMap").unwrap();
            prop_assert_eq!(canonical(&compact).into_bytes(), pretty.clone());
            let back: Value = serde_json::from_slice(&pretty).unwrap();
            prop_assert_eq!(&back["spec"], &compact["spec"]);
        }
    }
}
