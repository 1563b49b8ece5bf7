//! Which objects of a backup somebody means.

use std::convert::Infallible;
use std::str::FromStr;

use lifeboat_model::{IndexEntry, ResourceArg, ResourceType};
use serde_json::Value;

/// A label selector, as kubectl takes it: `app=web,tier!=db,env in (a, b),!legacy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        split_requirements(text)
            .into_iter()
            .map(|part| requirement(part.trim()).ok_or_else(|| format!("'{}' is not a label selector", part.trim())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Splits at commas outside of parentheses.
fn split_requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    let label = |text: &str| {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
    };
    let value = |text: &str| if text.trim().is_empty() { Some(String::new()) } else { label(text) };
    let values = |text: &str| -> Option<Vec<String>> {
        text.trim().strip_prefix('(')?.strip_suffix(')')?.split(',').map(value).collect()
    };
    if let Some((key, list)) = text.split_once(" notin ") {
        return Some(Requirement::NotIn(label(key)?, values(list)?));
    }
    if let Some((key, list)) = text.split_once(" in ") {
        return Some(Requirement::In(label(key)?, values(list)?));
    }
    if let Some((key, wanted)) = text.split_once("!=") {
        return Some(Requirement::NotIn(label(key)?, vec![value(wanted)?]));
    }
    if let Some((key, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(label(key)?, vec![value(wanted)?]));
    }
    match text.strip_prefix('!') {
        Some(key) => Some(Requirement::NotExists(label(key)?)),
        None => Some(Requirement::Exists(label(text)?)),
    }
}

impl LabelSelector {
    /// A selector as the API has it, with `matchLabels` and `matchExpressions`. What it does not say does not matter, and
    /// an empty one fits everything.
    pub(crate) fn of_json(selector: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let labels = labels.map(|(key, value)| Requirement::In(key.clone(), vec![text(value)]));
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        let expressions = expressions.filter_map(|expression| {
            let key = text(expression.get("key")?);
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten().map(text).collect();
            Some(match expression.get("operator")?.as_str()? {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::NotExists(key),
                _ => return None,
            })
        });
        Self(labels.chain(expressions).collect())
    }

    /// Whether an object's labels fit.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let get = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => get(key).is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Requirement::NotIn(key, values) => get(key).is_none_or(|value| values.iter().all(|other| other != value)),
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::NotExists(key) => get(key).is_none(),
        })
    }
}

/// Which objects: all that fit every member; an empty member fits all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of these resources.
    pub kinds: Vec<ResourceArg>,
    /// In these namespaces.
    pub namespaces: Vec<String>,
    /// Of these names.
    pub names: Vec<String>,
    /// With these labels.
    pub labels: Option<LabelSelector>,
}

impl Selection {
    pub(crate) fn wants_type(&self, candidate: &ResourceType) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.matches(candidate));
        kind && (candidate.namespaced || self.namespaces.is_empty())
    }

    pub(crate) fn wants_entry(&self, entry: &IndexEntry) -> bool {
        self.wants_key(entry.namespace.as_deref(), &entry.name)
    }

    /// Whether an object of that name is wanted, if its type is.
    pub(crate) fn wants_key(&self, namespace: Option<&str>, name: &str) -> bool {
        let is_in = |wanted: &[String], found: &str| wanted.iter().any(|wanted| wanted == found);
        let fits = self.namespaces.is_empty() || namespace.is_some_and(|found| is_in(&self.namespaces, found));
        fits && (self.names.is_empty() || is_in(&self.names, name))
    }
}

/// One object, as a person names it: `deployments.apps/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectArg {
    /// Its resource.
    pub resource: ResourceArg,
    /// Its name.
    pub name: String,
}

impl FromStr for ObjectArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((resource, name)) if !resource.is_empty() && !name.is_empty() && !name.contains('/') => {
                let Ok::<_, Infallible>(resource) = resource.parse();
                Ok(Self { resource, name: name.to_owned() })
            }
            _ => Err(format!("'{text}' does not name an object: expected TYPE/NAME, as in deployments.apps/web")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_as_kubectl_takes_them() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front", "x.io/y": ""}}});
        let cases = [
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=web,tier=db", false),
            ("app!=db", true),
            ("missing!=db", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db,cache),tier", true),
            ("missing notin (a)", true),
            ("!legacy", true),
            ("!app", false),
            ("x.io/y", true),
            ("x.io/y=", true),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<LabelSelector>().unwrap().matches(&object), expected, "{text}");
        }
        assert!(!"app=web".parse::<LabelSelector>().unwrap().matches(&json!({})));
        for text in ["", "=", "a=b=c", "app in db", "a b", "app in (x", ",", "a,,b"] {
            assert!(text.parse::<LabelSelector>().is_err(), "{text}");
        }
    }

    #[test]
    fn objects_as_kubectl_names_them() {
        let object: ObjectArg = "deployments.apps/web".parse().unwrap();
        assert_eq!((object.resource.as_str(), object.name.as_str()), ("deployments.apps", "web"));
        for text in ["web", "/web", "deploy/", "a/b/c"] {
            assert!(text.parse::<ObjectArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn selectors_of_the_api() {
        let object = serde_json::json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (selector, expected) in [
            (serde_json::json!({}), true),
            (serde_json::json!({"matchLabels": {"app": "web"}}), true),
            (serde_json::json!({"matchLabels": {"app": "web", "tier": "back"}}), false),
            (
                serde_json::json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}),
                true,
            ),
            (serde_json::json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}), false),
            (serde_json::json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["web"]}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
        ] {
            assert_eq!(LabelSelector::of_json(&selector).matches(&object), expected, "{selector}");
        }
    }
}
