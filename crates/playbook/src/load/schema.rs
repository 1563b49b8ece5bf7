//! Holds a document to a JSON Schema, and tells of everything that does not fit.
//!
//! Only what schemars writes for the types of playbooks and actions is understood; [`unknown_keyword`] finds the rest, so
//! that nothing is passed over silently.

use lifeboat_model::{YamlKind, YamlMember, YamlNode, YamlPlace};
use serde_json::{Map, Number, Value};

use super::faults::Faults;
use crate::expression::{Template, Type, Variables, not_null, resolved, type_names};

/// What [`Check`] understands, and what says nothing about values.
const KEYWORDS: [&str; 25] = [
    "$defs",
    "$ref",
    "$schema",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "examples",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "properties",
    "required",
    "title",
    "type",
];

/// A keyword of a schema that is not understood.
pub(crate) fn unknown_keyword(schema: &Value) -> Option<String> {
    let Value::Object(members) = schema else { return None };
    if let Some(unknown) = members.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Some(unknown.clone());
    }
    let named = ["$defs", "properties"].iter().filter_map(|key| members.get(*key)?.as_object());
    let listed = ["anyOf", "oneOf"].iter().filter_map(|key| members.get(*key)?.as_array());
    let single = ["items", "additionalProperties"].iter().filter_map(|key| members.get(*key));
    named.flat_map(|map| map.values()).chain(listed.flatten()).chain(single).find_map(unknown_keyword)
}

/// Holds values to a schema.
pub(crate) struct Check<'a> {
    pub(crate) root: &'a Value,
    /// The variables of `${{ }}`; absent where it is text like any other.
    pub(crate) variables: Option<&'a Variables<'a>>,
    pub(crate) faults: &'a mut Faults,
}

impl Check<'_> {
    /// The value, without what cannot be accepted; nothing where it is of no use then.
    pub(crate) fn check(&mut self, schema: &Value, node: &YamlNode) -> Option<Value> {
        let schema = resolved(self.root, schema);
        if let (Some(variables), Some(text)) = (self.variables, node.text().filter(|text| text.contains("${{"))) {
            return self.expression(schema, node, text, variables);
        }
        if let Some(one) = not_null(schema) {
            return if is_null(node) { Some(Value::Null) } else { self.check(one, node) };
        }
        if schema.get("oneOf").or_else(|| schema.get("anyOf")).is_some() {
            return self.choice(schema, node);
        }
        if let Some(allowed) = constants(self.root, schema) {
            return self.constant(&allowed, node);
        }
        let (names, nullable) = type_names(schema);
        match (&node.kind, names.as_slice()) {
            (_, []) => Some(node.to_json()),
            (YamlKind::Scalar(Value::Null), _) if nullable => Some(Value::Null),
            (YamlKind::Scalar(value), [name]) => self.scalar(schema, name, value, node.place),
            (YamlKind::List(items), ["array"]) => self.list(schema, items, node.place),
            (YamlKind::Map(members), ["object"]) => self.map(schema, members, node.place),
            (_, [name, ..]) => {
                self.faults.add(node.place, format!("expected {}, found {}", words(name), found(node)));
                None
            }
        }
    }

    fn expression(&mut self, schema: &Value, node: &YamlNode, text: &str, variables: &Variables<'_>) -> Option<Value> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(reason) => {
                self.faults.add(node.place, reason);
                return None;
            }
        };
        let wanted = Type::of_schema(self.root, schema);
        let mut good = true;
        for expression in template.expressions() {
            match expression.infer(variables) {
                Ok(of) if matches!(template, Template::Whole(_)) && !of.fits(&wanted) => {
                    self.faults.add(node.place, format!("expected {wanted}, and '{}' is {of}", expression.source()));
                    good = false;
                }
                Ok(_) => {}
                Err(reasons) => {
                    reasons.into_iter().for_each(|reason| self.faults.add(node.place, reason));
                    good = false;
                }
            }
        }
        if matches!(template, Template::Text(_)) && !Type::Text.fits(&wanted) {
            self.faults.add(node.place, format!("expected {wanted}, and text with expressions in it is text"));
            good = false;
        }
        good.then(|| Value::from(text))
    }

    fn choice(&mut self, schema: &Value, node: &YamlNode) -> Option<Value> {
        if let Some(allowed) = constants(self.root, schema)
            && matches!(node.kind, YamlKind::Scalar(_))
        {
            return self.constant(&allowed, node);
        }
        let choices = ["oneOf", "anyOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
        let choices: Vec<&Value> = choices.map(|choice| resolved(self.root, choice)).collect();
        // An enum with data: a mapping of one member, by whose name the choice is known.
        let by_name = choices.iter().find(|choice| {
            let required = choice.get("required").and_then(Value::as_array).into_iter().flatten();
            let names: Vec<&str> = required.filter_map(Value::as_str).collect();
            !names.is_empty() && names.iter().all(|name| node.get(name).is_some())
        });
        if let Some(choice) = by_name {
            return self.check(choice, node);
        }
        let silent = |choice: &&&Value| {
            let mut faults = Faults::new("");
            Check { root: self.root, variables: self.variables, faults: &mut faults }.check(choice, node);
            faults.is_empty()
        };
        let fitting = choices.iter().find(silent).copied();
        let Some(choice) = fitting else {
            self.faults.add(node.place, format!("{} fits none of the forms there are", found(node)));
            return None;
        };
        self.check(choice, node)
    }

    fn constant(&mut self, allowed: &[&Value], node: &YamlNode) -> Option<Value> {
        let value = node.to_json();
        if allowed.contains(&&value) {
            return Some(value);
        }
        let shown: Vec<String> =
            allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.faults.unknown(node.place, "value", &text, shown.iter().map(String::as_str));
        None
    }

    fn scalar(&mut self, schema: &Value, name: &str, value: &Value, place: YamlPlace) -> Option<Value> {
        let fits = match (name, value) {
            ("string", Value::String(_)) | ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => true,
            ("integer", Value::Number(number)) => !number.is_f64(),
            _ => false,
        };
        if !fits {
            let quote = if name == "string" { " (in quotes it is text)" } else { "" };
            let quote = if value.is_null() || value.is_string() { "" } else { quote };
            self.faults.add(place, format!("expected {}, found {}{quote}", words(name), shown(value)));
            return None;
        }
        let fault = match value {
            Value::Number(number) => out_of_bounds(schema, number),
            Value::String(text) => wrong_length(schema, "Length", text.chars().count(), "characters"),
            _ => None,
        };
        match fault {
            Some(fault) => {
                self.faults.add(place, fault);
                None
            }
            None => Some(value.clone()),
        }
    }

    fn list(&mut self, schema: &Value, items: &[YamlNode], place: YamlPlace) -> Option<Value> {
        if let Some(fault) = wrong_length(schema, "Items", items.len(), "items") {
            self.faults.add(place, fault);
            return None;
        }
        let of = schema.get("items").unwrap_or(&Value::Bool(true));
        Some(items.iter().filter_map(|item| self.check(of, item)).collect())
    }

    fn map(&mut self, schema: &Value, members: &[YamlMember], place: YamlPlace) -> Option<Value> {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let rest = schema.get("additionalProperties");
        let mut value = Map::new();
        let mut good = true;
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        for member in members {
            let of = match (properties.get(&member.key), rest) {
                (Some(of), _) => of,
                (None, Some(Value::Bool(false))) => {
                    self.faults.unknown(member.place, "key", &member.key, properties.keys().map(String::as_str));
                    continue;
                }
                (None, rest) => rest.unwrap_or(&Value::Bool(true)),
            };
            match self.check(of, &member.value) {
                Some(found) => drop(value.insert(member.key.clone(), found)),
                None => good &= !required.contains(&member.key.as_str()),
            }
        }
        for missing in required.iter().filter(|name| !members.iter().any(|member| member.key == **name)) {
            self.faults.add(place, format!("the key '{missing}' is missing"));
            good = false;
        }
        good.then_some(Value::Object(value))
    }
}

fn is_null(node: &YamlNode) -> bool {
    matches!(node.kind, YamlKind::Scalar(Value::Null))
}

/// The values that a schema allows, where it lists them.
fn constants<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<&'a Value>> {
    let schema = resolved(root, schema);
    if let Some(one) = schema.get("const") {
        return Some(vec![one]);
    }
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().collect());
    }
    let choices = schema.get("oneOf").and_then(Value::as_array)?;
    let found: Vec<&Value> = choices.iter().filter_map(|choice| constants(root, choice)).flatten().collect();
    (!found.is_empty()).then_some(found)
}

fn words(name: &str) -> &'static str {
    match name {
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    }
}

fn found(node: &YamlNode) -> String {
    match &node.kind {
        YamlKind::Scalar(value) => shown(value),
        YamlKind::List(_) => "a list".to_owned(),
        YamlKind::Map(_) => "a mapping".to_owned(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => format!("'{}'", text.chars().take(80).collect::<String>()),
        other => format!("'{other}'"),
    }
}

fn out_of_bounds(schema: &Value, number: &Number) -> Option<String> {
    let found = number.as_f64()?;
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let below = bound("minimum").filter(|least| found < *least).map(|least| format!("at least {least}"));
    let zero = bound("exclusiveMinimum").filter(|least| found <= *least).map(|least| format!("more than {least}"));
    let above = bound("maximum").filter(|most| found > *most).map(|most| format!("at most {most}"));
    below.or(zero).or(above).map(|expected| format!("expected {expected}, found {number}"))
}

fn wrong_length(schema: &Value, of: &str, found: usize, unit: &str) -> Option<String> {
    let bound = |key: &str| schema.get(format!("{key}{of}")).and_then(Value::as_u64);
    let found = found as u64;
    let below = bound("min").filter(|least| found < *least).map(|least| format!("at least {least}"));
    let above = bound("max").filter(|most| found > *most).map(|most| format!("at most {most}"));
    below.or(above).map(|expected| format!("expected {expected} {unit}, found {found}"))
}
