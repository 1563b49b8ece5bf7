//! Static types: as much of a JSON Schema as an expression can be held to.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// How deep a schema is looked into; what refers to itself is anything below that.
const MAX_DEPTH: usize = 24;

/// What is known of a value before there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// Nothing.
    Any,
    Bool,
    Int,
    Double,
    Text,
    List(Box<Type>),
    Map {
        fields: BTreeMap<String, Type>,
        /// Of other members; none may be there where absent.
        rest: Option<Box<Type>>,
    },
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "anything",
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Double => "a number",
            Self::Text => "text",
            Self::List(_) => "a list",
            Self::Map { .. } => "a mapping",
        })
    }
}

impl Type {
    /// A mapping with exactly these members.
    pub(crate) fn map<K: Into<String>>(fields: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map { fields: fields.into_iter().map(|(key, of)| (key.into(), of)).collect(), rest: None }
    }

    /// Of a JSON Schema as schemars writes it. A value that may be null is of the type it has otherwise.
    pub(crate) fn of_schema(root: &Value, schema: &Value) -> Self {
        of_schema(root, schema, MAX_DEPTH)
    }

    /// Of a value that is there.
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Any,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::Double,
            Value::Number(_) => Self::Int,
            Value::String(_) => Self::Text,
            Value::Array(items) => Self::List(Box::new(common(items.iter().map(Self::of_value)))),
            Value::Object(members) => Self::map(members.iter().map(|(key, value)| (key, Self::of_value(value)))),
        }
    }

    /// Whether a value of this type may stand where `wanted` is asked for, as far as is known.
    pub(crate) fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) | (Self::Int, Self::Double) => true,
            (Self::List(own), Self::List(wanted)) => own.fits(wanted),
            (Self::Map { fields: own, .. }, Self::Map { fields: wanted, rest }) => {
                own.iter().all(|(key, of)| match (wanted.get(key), rest) {
                    (Some(wanted), _) => of.fits(wanted),
                    (None, Some(rest)) => of.fits(rest),
                    (None, None) => false,
                })
            }
            _ => self == wanted,
        }
    }
}

/// The type that all of these are of.
pub(crate) fn common(mut types: impl Iterator<Item = Type>) -> Type {
    let first = types.next().unwrap_or(Type::Any);
    if types.all(|other| other == first) { first } else { Type::Any }
}

/// A schema, with a reference followed.
pub(crate) fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The one choice of `anyOf` besides null, where there is one.
pub(crate) fn not_null(schema: &Value) -> Option<&Value> {
    let choices = schema.get("anyOf")?.as_array()?;
    match choices.iter().filter(|choice| !is_null(choice)).collect::<Vec<_>>().as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The names of a schema's types, null left out, and whether it is among them.
pub(crate) fn type_names(schema: &Value) -> (Vec<&str>, bool) {
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let null = names.contains(&"null");
    (names.into_iter().filter(|name| *name != "null").collect(), null)
}

fn of_schema(root: &Value, schema: &Value, depth: usize) -> Type {
    let schema = resolved(root, schema);
    let Some(depth) = depth.checked_sub(1) else { return Type::Any };
    if let Some(one) = not_null(schema) {
        return of_schema(root, one, depth);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        return common(choices.iter().map(|choice| of_schema(root, choice, depth)));
    }
    if let Some(constant) = schema.get("const") {
        return Type::of_value(constant);
    }
    match type_names(schema).0.as_slice() {
        ["boolean"] => Type::Bool,
        ["integer"] => Type::Int,
        ["number"] => Type::Double,
        ["string"] => Type::Text,
        ["array"] => {
            let items = schema.get("items").map_or(Type::Any, |items| of_schema(root, items, depth));
            Type::List(Box::new(items))
        }
        ["object"] => {
            let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let fields = fields.map(|(name, of)| (name.clone(), of_schema(root, of, depth))).collect();
            let rest = match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => None,
                Some(rest @ Value::Object(_)) => Some(Box::new(of_schema(root, rest, depth))),
                _ => Some(Box::new(Type::Any)),
            };
            Type::Map { fields, rest }
        }
        _ => Type::Any,
    }
}
