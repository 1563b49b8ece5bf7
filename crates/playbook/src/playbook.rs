//! A playbook that was loaded: checked, with its expressions compiled and its graph known.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::expression::{Expression, Path, Scope, Template};
use crate::{InputSpec, InputType, Period, PlaybookDocument, PlaybookSpec, Sources, StepSpec};

/// A playbook that was loaded without a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    pub(crate) document: PlaybookDocument,
    pub(crate) sources: Sources,
    pub(crate) steps: Vec<Step>,
    pub(crate) finally: Vec<Step>,
    pub(crate) concurrency: Option<Template>,
    pub(crate) approval: Option<Expression>,
    pub(crate) triggers: Vec<Trigger>,
}

/// A step of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) spec: StepSpec,
    /// Places of the steps that it needs.
    pub(crate) needs: Vec<usize>,
    pub(crate) condition: Option<Expression>,
    pub(crate) for_each: Option<Template>,
    pub(crate) until: Option<Expression>,
    pub(crate) with: Tree,
    /// The playbook that it calls.
    pub(crate) calls: Option<Arc<Playbook>>,
}

/// A trigger of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) source: crate::EventSource,
    pub(crate) when: Expression,
    pub(crate) inputs: Tree,
}

/// A value with expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    /// Without any.
    Value(Value),
    Template(Template),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// The step that calls another playbook.
pub(crate) const CALL: &str = "playbook";

impl Playbook {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.document.metadata.name
    }

    /// The document.
    pub fn document(&self) -> &PlaybookDocument {
        &self.document
    }

    /// The texts that it was loaded from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The names of the actions that it uses, those of playbooks that it calls included.
    pub fn actions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for step in self.steps.iter().chain(&self.finally) {
            match &step.calls {
                Some(called) => names.extend(called.actions()),
                None => names.push(&step.spec.uses),
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How many steps it has, those of playbooks that it calls included.
    pub(crate) fn size(&self) -> usize {
        let of = |step: &Step| 1_usize.saturating_add(step.calls.as_ref().map_or(0, |called| called.size()));
        self.steps.iter().chain(&self.finally).fold(0, |sum, step| sum.saturating_add(of(step)))
    }

    pub(crate) fn spec(&self) -> &PlaybookSpec {
        &self.document.spec
    }

    /// The inputs with defaults filled in, or everything that is wrong with them.
    ///
    /// # Errors
    /// With a sentence for each fault.
    pub fn inputs(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
        let specs = &self.spec().inputs;
        let mut faults: Vec<String> = Vec::new();
        for name in given.keys().filter(|name| !specs.contains_key(*name)) {
            let nearest = lifeboat_model::nearest(name, specs.keys().map(String::as_str));
            let hint = nearest.map(|nearest| format!(", did you mean '{nearest}'?")).unwrap_or_default();
            faults.push(format!("there is no input '{}'{hint}", name.chars().take(80).collect::<String>()));
        }
        let mut inputs = Map::new();
        for (name, spec) in specs {
            match given.get(name).filter(|value| !value.is_null()).or(spec.default.as_ref()) {
                Some(value) => {
                    faults.extend(input_fault(spec, value).map(|fault| format!("the input '{name}': {fault}")));
                    inputs.insert(name.clone(), value.clone());
                }
                None if spec.required => faults.push(format!("the input '{name}' is missing")),
                None => drop(inputs.insert(name.clone(), Value::Null)),
            }
        }
        if faults.is_empty() { Ok(inputs) } else { Err(faults) }
    }

    /// Reads inputs given as texts, as on a command line, by their types.
    ///
    /// # Errors
    /// With a sentence for each fault.
    pub fn inputs_of_texts<'a>(
        &self,
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Map<String, Value>, Vec<String>> {
        let mut values = Map::new();
        let mut faults = Vec::new();
        for (name, text) in given {
            let value = match self.spec().inputs.get(name).map(|spec| spec.r#type) {
                Some(InputType::Boolean) => text.parse::<bool>().map(Value::from).ok(),
                Some(InputType::Integer) => text.parse::<i64>().map(Value::from).ok(),
                Some(InputType::List) => {
                    Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect())
                }
                Some(InputType::String | InputType::Duration) | None => Some(Value::from(text)),
            };
            match value {
                Some(value) => drop(values.insert(name.to_owned(), value)),
                None => faults.push(format!("the input '{name}': '{text}' is of another type")),
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(faults) }
    }
}

/// The longest text of an input, in bytes.
const MAX_INPUT: usize = 64 << 10;

/// What is wrong with the value of an input.
pub(crate) fn input_fault(spec: &InputSpec, value: &Value) -> Option<String> {
    let fits = match (spec.r#type, value) {
        (InputType::String, Value::String(text)) => text.len() <= MAX_INPUT,
        (InputType::Boolean, Value::Bool(_)) => true,
        (InputType::Integer, Value::Number(number)) => !number.is_f64(),
        (InputType::Duration, Value::String(text)) => text.parse::<Period>().is_ok(),
        (InputType::List, Value::Array(items)) => {
            items.len() <= 10_000 && items.iter().all(|item| item.as_str().is_some_and(|text| text.len() <= MAX_INPUT))
        }
        _ => false,
    };
    let shown: String = value.to_string().chars().take(80).collect();
    if !fits {
        let expected = match spec.r#type {
            InputType::String => "text",
            InputType::Boolean => "true or false",
            InputType::Integer => "a whole number",
            InputType::Duration => "a length of time such as 10m",
            InputType::List => "a list of texts",
        };
        return Some(format!("expected {expected}, found {shown}"));
    }
    if spec.r#enum.is_empty() || spec.r#enum.contains(value) {
        return None;
    }
    let allowed: Vec<String> = spec.r#enum.iter().map(Value::to_string).collect();
    Some(format!("expected one of {}, found {shown}", allowed.join(", ")))
}

impl Tree {
    /// Compiles the expressions of a value.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let tree = match value {
            Value::String(text) => match Template::parse(text)? {
                Template::Plain(_) => Self::Value(value.clone()),
                template => Self::Template(template),
            },
            Value::Array(items) => Self::List(items.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let members = members.iter().map(|(key, value)| Ok((key.clone(), Self::parse(value)?)));
                Self::Map(members.collect::<Result<_, String>>()?)
            }
            other => Self::Value(other.clone()),
        };
        Ok(if tree.is_constant() { Self::Value(value.clone()) } else { tree })
    }

    fn is_constant(&self) -> bool {
        match self {
            Self::Value(_) => true,
            Self::Template(_) => false,
            Self::List(items) => items.iter().all(Self::is_constant),
            Self::Map(members) => members.iter().all(|(_, value)| value.is_constant()),
        }
    }

    /// The paths that it reads.
    pub(crate) fn references(&self) -> Vec<&Path> {
        match self {
            Self::Value(_) => Vec::new(),
            Self::Template(template) => template.references(),
            Self::List(items) => items.iter().flat_map(Self::references).collect(),
            Self::Map(members) => members.iter().flat_map(|(_, value)| value.references()).collect(),
        }
    }

    /// Its value.
    pub(crate) fn evaluate<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Value, String>> {
        async move {
            match self {
                Self::Value(value) => Ok(value.clone()),
                Self::Template(template) => template.evaluate(scope).await,
                Self::List(items) => {
                    let mut values = Vec::with_capacity(items.len());
                    for item in items {
                        values.push(item.evaluate(scope).await?);
                    }
                    Ok(Value::Array(values))
                }
                Self::Map(members) => {
                    let mut values = Map::new();
                    for (key, value) in members {
                        values.insert(key.clone(), value.evaluate(scope).await?);
                    }
                    Ok(Value::Object(values))
                }
            }
        }
        .boxed()
    }
}
