//! JSON patch, RFC 6902, on JSON pointers, RFC 6901.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One operation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum Operation {
    Add(Pointer, Value),
    Remove(Pointer),
    Replace(Pointer, Value),
    Move { from: Pointer, to: Pointer },
    Copy { from: Pointer, to: Pointer },
    Test(Pointer, Value),
}

/// A JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    tokens: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    op: Name,
    path: String,
    from: Option<String>,
    #[serde(default, deserialize_with = "there")]
    value: Option<Value>,
}

/// A value that is there, be it null.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl TryFrom<Written> for Operation {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let path = Pointer::parse(written.path)?;
        let from = |name| {
            let from = written.from.ok_or_else(|| format!("'{name}' needs from"))?;
            Pointer::parse(from)
        };
        let value = |name| written.value.ok_or_else(|| format!("'{name}' needs a value"));
        Ok(match written.op {
            Name::Add => Self::Add(path, value("add")?),
            Name::Remove => Self::Remove(path),
            Name::Replace => Self::Replace(path, value("replace")?),
            Name::Move => Self::Move { from: from("move")?, to: path },
            Name::Copy => Self::Copy { from: from("copy")?, to: path },
            Name::Test => Self::Test(path, value("test")?),
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path) = match self {
            Self::Add(path, _) => ("add", path),
            Self::Remove(path) => ("remove", path),
            Self::Replace(path, _) => ("replace", path),
            Self::Move { to, .. } => ("move", to),
            Self::Copy { to, .. } => ("copy", to),
            Self::Test(path, _) => ("test", path),
        };
        write!(f, "{name} {}", path.text)
    }
}

impl Operation {
    /// Carries it out, or says what is wrong. Values do not show in what it says: they may be secrets.
    pub(super) fn apply(&self, document: &mut Value) -> Result<(), String> {
        match self {
            Self::Add(path, value) => path.add(document, value.clone()),
            Self::Remove(path) => path.remove(document).map(drop),
            Self::Replace(path, value) => path.find_mut(document).map(|place| *place = value.clone()),
            Self::Move { from, to } if to.is_inside(from) => {
                Err(format!("'{}' cannot be moved into itself", from.text))
            }
            Self::Move { from, to } => {
                let value = from.remove(document)?;
                to.add(document, value)
            }
            Self::Copy { from, to } => {
                let value = from.find_mut(document)?.clone();
                to.add(document, value)
            }
            Self::Test(path, value) if path.find_mut(document)? == value => Ok(()),
            Self::Test(path, _) => Err(format!("'{}' has another value", path.text)),
        }
    }
}

impl Pointer {
    fn parse(text: String) -> Result<Self, String> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(format!("'{text}' is not a JSON pointer: it has to begin with '/'"));
        }
        let unescape = |token: &str| {
            let valid = token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            valid.then(|| token.replace("~1", "/").replace("~0", "~"))
        };
        let tokens = text.split('/').skip(1).map(unescape).collect::<Option<_>>();
        let tokens = tokens.ok_or_else(|| format!("'{text}' is not a JSON pointer: '~' is written as '~0'"))?;
        Ok(Self { text, tokens })
    }

    fn is_inside(&self, other: &Self) -> bool {
        self.tokens.len() > other.tokens.len() && self.tokens.starts_with(&other.tokens)
    }

    /// The text of the first tokens.
    fn start(&self, count: usize) -> String {
        let escaped = self.tokens.iter().take(count).map(|token| token.replace('~', "~0").replace('/', "~1"));
        escaped.fold(String::new(), |text, token| format!("{text}/{token}"))
    }

    fn missing(&self, at: usize) -> String {
        let token = self.tokens.get(at).map(String::as_str).unwrap_or_default();
        let parent = if at == 0 { "the object".to_owned() } else { format!("'{}'", self.start(at)) };
        format!("there is no '{token}' in {parent}")
    }

    /// The value that the first tokens lead to.
    fn walk<'v>(&self, document: &'v mut Value, count: usize) -> Result<&'v mut Value, String> {
        let mut place = document;
        for (at, token) in self.tokens.iter().take(count).enumerate() {
            let next = match place {
                Value::Object(members) => members.get_mut(token),
                Value::Array(items) => index(token).and_then(|index| items.get_mut(index)),
                _ => None,
            };
            place = next.ok_or_else(|| self.missing(at))?;
        }
        Ok(place)
    }

    fn find_mut<'v>(&self, document: &'v mut Value) -> Result<&'v mut Value, String> {
        self.walk(document, self.tokens.len())
    }

    fn add(&self, document: &mut Value, value: Value) -> Result<(), String> {
        let Some((last, parents)) = self.tokens.split_last() else {
            *document = value;
            return Ok(());
        };
        match self.walk(document, parents.len())? {
            Value::Object(members) => {
                members.insert(last.clone(), value);
                Ok(())
            }
            Value::Array(items) => {
                let place = if last == "-" { Some(items.len()) } else { index(last) };
                let place = place.filter(|place| *place <= items.len());
                items.insert(place.ok_or_else(|| self.missing(parents.len()))?, value);
                Ok(())
            }
            _ => Err(format!("'{}' is neither an object nor a list", self.start(parents.len()))),
        }
    }

    fn remove(&self, document: &mut Value) -> Result<Value, String> {
        let Some((last, parents)) = self.tokens.split_last() else {
            return Ok(document.take());
        };
        let removed = match self.walk(document, parents.len())? {
            Value::Object(members) => members.remove(last),
            Value::Array(items) => index(last).filter(|place| *place < items.len()).map(|place| items.remove(place)),
            _ => None,
        };
        removed.ok_or_else(|| self.missing(parents.len()))
    }
}

/// A position in a list: digits, without a leading zero.
fn index(token: &str) -> Option<usize> {
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (token == "0" || !token.starts_with('0'))).then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn run(document: &Value, patch: Value) -> Result<Value, String> {
        let operations: Vec<Operation> = serde_json::from_value(patch).map_err(|error| error.to_string())?;
        let mut document = document.clone();
        operations.iter().try_for_each(|operation| operation.apply(&mut document))?;
        Ok(document)
    }

    /// Those of the RFC's appendix A, by their numbers there.
    #[test]
    fn the_examples_of_the_rfc() {
        for (number, document, patch, result) in [
            (
                1,
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/baz", "value": "qux"}]),
                json!({"baz": "qux", "foo": "bar"}),
            ),
            (
                2,
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                json!({"foo": ["bar", "qux", "baz"]}),
            ),
            (3, json!({"baz": "qux", "foo": "bar"}), json!([{"op": "remove", "path": "/baz"}]), json!({"foo": "bar"})),
            (
                4,
                json!({"foo": ["bar", "qux", "baz"]}),
                json!([{"op": "remove", "path": "/foo/1"}]),
                json!({"foo": ["bar", "baz"]}),
            ),
            (
                5,
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
                json!({"baz": "boo", "foo": "bar"}),
            ),
            (
                6,
                json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
                json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
                json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
            ),
            (
                7,
                json!({"foo": ["all", "grass", "cows", "eat"]}),
                json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
                json!({"foo": ["all", "cows", "eat", "grass"]}),
            ),
            (
                8,
                json!({"baz": "qux", "foo": ["a", 2, "c"]}),
                json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
                json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            ),
            (
                10,
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
                json!({"foo": "bar", "child": {"grandchild": {}}}),
            ),
            (
                14,
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}]),
                json!({"/": 9, "~1": 10}),
            ),
            (
                16,
                json!({"foo": ["bar"]}),
                json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
                json!({"foo": ["bar", ["abc", "def"]]}),
            ),
        ] {
            assert_eq!(run(&document, patch), Ok(result), "A.{number}");
        }
        for (number, document, patch) in [
            (9, json!({"baz": "qux"}), json!([{"op": "test", "path": "/baz", "value": "bar"}])),
            (12, json!({"foo": "bar"}), json!([{"op": "add", "path": "/baz/bat", "value": "qux"}])),
            (15, json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": "10"}])),
        ] {
            assert!(run(&document, patch).is_err(), "A.{number}");
        }
    }

    #[test]
    fn null_is_a_value_and_indices_have_one_spelling() {
        let document = json!({"a": [1, 2], "n": null});
        assert!(run(&document, json!([{"op": "test", "path": "/n", "value": null}])).is_ok());
        assert_eq!(run(&document, json!([{"op": "replace", "path": "", "value": null}])), Ok(Value::Null));
        for path in ["/a/01", "/a/-1", "/a/+1", "/a/3", "/a/x", "/a/", "/a/99999999999999999999"] {
            for operation in ["add", "remove", "replace"] {
                let patch = json!([{"op": operation, "path": path, "value": 1}]);
                assert!(run(&document, patch).is_err(), "{operation} {path}");
            }
        }
        for bad in [json!([{"op": "add", "path": "/~2", "value": 1}]), json!([{"op": "add", "path": "/a", "vale": 1}])]
        {
            assert!(run(&document, bad).is_err());
        }
        let into_itself = run(&json!({"a": {"b": {}}}), json!([{"op": "move", "from": "/a", "path": "/a/b"}]));
        assert_eq!(into_itself, Err("'/a' cannot be moved into itself".to_owned()));
    }

    #[test]
    fn a_missing_place_is_named() {
        let document = json!({"spec": {"a/b": {}, "list": [{}]}});
        let cases = [
            ("/spec/a~1b/x/y", "there is no 'x' in '/spec/a~1b'"),
            ("/x/y", "there is no 'x' in the object"),
            ("/spec/list/4/y", "there is no '4' in '/spec/list'"),
        ];
        for (path, expected) in cases {
            assert_eq!(run(&document, json!([{"op": "replace", "path": path, "value": 1}])), Err(expected.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_was_added_is_found(
            path in "(/[a-c~01-]{0,2}){0,4}",
            from in "(/[a-c01]{0,2}){0,3}",
            operation in prop_oneof![Just("add"), Just("remove"), Just("replace"), Just("move"), Just("copy")],
        ) {
            let document = json!({"a": [1, {"b": 2}], "b": {"a": {"c": [3]}}, "": 0});
            let patch = json!([{"op": operation, "path": path, "from": from, "value": "new"}]);
            if let Ok(found) = run(&document, patch)
                && matches!(operation, "add" | "replace")
                && !path.ends_with('-')
            {
                let test = json!([{"op": "test", "path": path, "value": "new"}]);
                prop_assert!(run(&found, test).is_ok(), "{path}: {found}");
            }
        }
    }
}
