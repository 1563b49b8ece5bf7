//! YAML as a tree that knows where each of its values stands, for documents of which all faults are told at once.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::{YamlError, parse_yaml};

/// Where something stands in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct YamlPlace {
    /// Line, from 1; 0 where it is not known.
    pub line: u64,
    /// Column, from 1; 0 where it is not known.
    pub column: u64,
}

/// A value of a YAML document, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct YamlNode {
    /// Where.
    pub place: YamlPlace,
    /// What.
    pub kind: YamlKind,
}

/// What a value of a YAML document is.
#[derive(Debug, Clone, PartialEq)]
pub enum YamlKind {
    /// Anything that holds no others.
    Scalar(Value),
    /// A list.
    List(Vec<YamlNode>),
    /// A mapping, in the order of the document; no key is there twice.
    Map(Vec<YamlMember>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct YamlMember {
    /// Where the key stands.
    pub place: YamlPlace,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: YamlNode,
}

/// Parses one YAML document of any form. Depth, size and aliases are bounded.
///
/// # Errors
/// With file, line and column, when it is no YAML or has a key twice.
pub fn parse_yaml_tree(source_name: &str, text: &str) -> Result<YamlNode, YamlError> {
    parse_yaml::<Node>(source_name, text).map(Into::into)
}

impl YamlNode {
    /// The value without its places.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            YamlKind::Scalar(value) => value.clone(),
            YamlKind::List(items) => items.iter().map(Self::to_json).collect(),
            YamlKind::Map(members) => {
                let members = members.iter().map(|member| (member.key.clone(), member.value.to_json()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// A member of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            YamlKind::Map(members) => members.iter().find(|member| member.key == key).map(|member| &member.value),
            YamlKind::Scalar(_) | YamlKind::List(_) => None,
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            YamlKind::List(items) => items,
            YamlKind::Scalar(_) | YamlKind::Map(_) => &[],
        }
    }

    /// The members of a mapping; none of anything else.
    pub fn members(&self) -> &[YamlMember] {
        match &self.kind {
            YamlKind::Map(members) => members,
            YamlKind::Scalar(_) | YamlKind::List(_) => &[],
        }
    }

    /// The text of a scalar that is one.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            YamlKind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Node(Spanned<Kind>);

enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl From<Node> for YamlNode {
    fn from(Node(node): Node) -> Self {
        let kind = match node.value {
            Kind::Scalar(value) => YamlKind::Scalar(value),
            Kind::List(items) => YamlKind::List(items.into_iter().map(Into::into).collect()),
            Kind::Map(members) => {
                let members = members.into_iter().map(|(key, value)| YamlMember {
                    place: place(key.referenced),
                    key: key.value,
                    value: value.into(),
                });
                YamlKind::Map(members.collect())
            }
        };
        Self { place: place(node.referenced), kind }
    }
}

fn place(location: serde_saphyr::Location) -> YamlPlace {
    YamlPlace { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that is none"))?;
        Ok(Kind::Scalar(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Kind::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_knows_its_place() {
        let text = "a: 1\nb:\n  - x: {y: true, z: ~}\n  - \"2\"\nc: 1.5\n";
        let tree = parse_yaml_tree("f", text).unwrap();
        assert_eq!(tree.to_json(), json!({"a": 1, "b": [{"x": {"y": true, "z": null}}, "2"], "c": 1.5}));
        let first = &tree.get("b").unwrap().items()[0];
        let inner = first.get("x").unwrap();
        assert_eq!(inner.place, YamlPlace { line: 3, column: 8 });
        assert_eq!(inner.members()[1].place, YamlPlace { line: 3, column: 18 });
        assert_eq!(inner.get("y").unwrap().place, YamlPlace { line: 3, column: 12 });
        assert_eq!(tree.get("b").unwrap().items()[1].text(), Some("2"));
    }

    #[test]
    fn keys_given_twice_and_bombs_are_refused() {
        assert_eq!(parse_yaml_tree("f", "a: 1\na: 2\n").unwrap_err().line, 2);
        assert!(parse_yaml_tree("f", &format!("{}1{}", "[".repeat(500), "]".repeat(500))).is_err());
        let bomb: String = (1..30).fold("a0: &a0 [x,x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{0},*a{0},*a{0},*a{0}]\n", n - 1)
        });
        assert!(parse_yaml_tree("f", &bomb).is_err());
    }
}
