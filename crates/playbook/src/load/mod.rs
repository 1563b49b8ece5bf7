//! Reading a playbook, and telling of everything that is wrong with it at once.

mod faults;
mod graph;
mod schema;
mod steps;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use lifeboat_model::{YamlNode, parse_yaml_tree};
use schemars::schema_for;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use faults::Faults;
pub use faults::LoadErrors;
pub(crate) use schema::{Check, unknown_keyword};

use crate::expression::{Expression, Template, Type, Variables};
use crate::playbook::{Tree, Trigger, input_fault};
use crate::{
    ApprovalSpec, Event, GuardsSpec, InputSpec, InputType, ObjectRef, Playbook, PlaybookDocument, PlaybookMetadata,
    Registry, Sources, TriggerSpec,
};

/// The longest playbook, in bytes.
pub const MAX_PLAYBOOK_BYTES: usize = 4 << 20;
/// The most steps, those of called playbooks included.
pub(crate) const MAX_STEPS: usize = 10_000;
/// How deep playbooks may call one another.
const MAX_CALLS: usize = 8;

/// JSON Schema of [`PlaybookDocument`].
static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema_for!(PlaybookDocument).to_value());

/// Where called playbooks come from, by their names.
pub trait Library {
    /// The text of a playbook.
    fn text(&self, name: &str) -> Option<String>;
    /// The names there are.
    fn names(&self) -> Vec<String>;
}

impl Library for BTreeMap<String, String> {
    fn text(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Reads a playbook, and checks everything that can be checked without a cluster: keys, types, ids, actions, every path
/// of every expression, cycles, guards, and the playbooks that it calls.
///
/// # Errors
/// With all faults of the file, each with its place and the nearest name there is.
pub fn load(source_name: &str, text: &str, registry: &Registry, library: &dyn Library) -> Result<Playbook, LoadErrors> {
    let mut loader = Loader { registry, library, stack: Vec::new(), known: BTreeMap::new() };
    let playbook = loader.load(source_name, text)?;
    Ok(Arc::unwrap_or_clone(playbook))
}

/// Reads again what a run was made of.
pub(crate) fn load_sources(sources: &Sources, registry: &Registry) -> Result<Playbook, LoadErrors> {
    load(&sources.name, &sources.text, registry, &sources.called)
}

/// Reads a playbook and those that it calls.
struct Loader<'a> {
    registry: &'a Registry,
    library: &'a dyn Library,
    /// The playbooks that are being read, outermost first.
    stack: Vec<String>,
    known: BTreeMap<String, Result<Arc<Playbook>, LoadErrors>>,
}

/// A playbook while it is checked.
struct Draft<'a> {
    tree: &'a YamlNode,
    faults: Faults,
    inputs: BTreeMap<String, InputSpec>,
    /// Types of `inputs`, `run`, `trigger`, for every expression.
    types: Types,
}

/// Types of the variables that do not depend on the step.
pub(crate) struct Types {
    inputs: Type,
    run: Type,
    run_in_finally: Type,
    trigger: Type,
}

impl Loader<'_> {
    fn load(&mut self, source_name: &str, text: &str) -> Result<Arc<Playbook>, LoadErrors> {
        let mut faults = Faults::new(source_name);
        if text.len() > MAX_PLAYBOOK_BYTES {
            faults.add(
                lifeboat_model::YamlPlace { line: 1, column: 1 },
                format!("the playbook is longer than {MAX_PLAYBOOK_BYTES} bytes"),
            );
            return Err(faults.into_errors());
        }
        let tree = match parse_yaml_tree(source_name, text) {
            Ok(tree) => tree,
            Err(fault) => {
                faults.push(fault);
                return Err(faults.into_errors());
            }
        };
        let whole = Check { root: &SCHEMA, variables: None, faults: &mut faults }.check(&SCHEMA, &tree);
        let name = metadata(&tree, &mut faults);
        let inputs = inputs(&tree, &mut faults);
        let types = Types::new(&inputs);
        let mut draft = Draft { tree: &tree, faults, inputs, types };
        self.stack.extend(name.clone());
        let (steps, finally, step_types) = self.steps(&mut draft);
        if name.is_some() {
            self.stack.pop();
        }
        let concurrency = draft.concurrency(&step_types);
        let approval = draft.approval();
        let triggers = draft.triggers();
        if let (true, Some(document)) = (draft.faults.is_empty(), whole) {
            match serde_json::from_value::<PlaybookDocument>(document) {
                Ok(document) => {
                    let sources = sources(source_name, text, &steps, &finally);
                    let playbook = Playbook { document, sources, steps, finally, concurrency, approval, triggers };
                    if playbook.size() <= MAX_STEPS {
                        return Ok(Arc::new(playbook));
                    }
                    let reason = format!("more than {MAX_STEPS} steps, those of called playbooks included");
                    draft.faults.add(tree.place, reason);
                }
                // Of the form that the schema asks for, and yet not of the type: a name or a time with a rule of its own.
                Err(error) => draft.faults.add(tree.place, error.to_string()),
            }
        }
        Err(draft.faults.into_errors())
    }
}

/// The texts that a playbook is made of.
fn sources(
    source_name: &str,
    text: &str,
    steps: &[crate::playbook::Step],
    finally: &[crate::playbook::Step],
) -> Sources {
    let mut called = BTreeMap::new();
    for playbook in steps.iter().chain(finally).filter_map(|step| step.calls.as_ref()) {
        called.insert(playbook.name().to_owned(), playbook.sources.text.clone());
        called.extend(playbook.sources.called.clone());
    }
    Sources { name: source_name.to_owned(), text: text.to_owned(), called }
}

/// A part of the document, where it is good enough to be looked at more closely.
fn part<T: DeserializeOwned>(definition: &str, node: &YamlNode) -> Option<T> {
    let schema = SCHEMA.get("$defs")?.get(definition)?;
    let mut silent = Faults::new("");
    let value = Check { root: &SCHEMA, variables: None, faults: &mut silent }.check(schema, node)?;
    serde_json::from_value(value).ok()
}

/// A part of the document; what its type refuses beyond the schema is told.
fn told<T: DeserializeOwned>(definition: &str, node: &YamlNode, faults: &mut Faults) -> Option<T> {
    let schema = SCHEMA.get("$defs")?.get(definition)?;
    let mut silent = Faults::new("");
    let value = Check { root: &SCHEMA, variables: None, faults: &mut silent }.check(schema, node)?;
    match serde_json::from_value(value) {
        Ok(part) => Some(part),
        Err(error) => {
            faults.add(node.place, error.to_string());
            None
        }
    }
}

fn metadata(tree: &YamlNode, faults: &mut Faults) -> Option<String> {
    let node = tree.get("metadata")?;
    let metadata: PlaybookMetadata = part("PlaybookMetadata", node)?;
    let name = metadata.name;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.');
    if !inner || !edge(name.chars().next()) || !edge(name.chars().last()) {
        let place = node.get("name").map_or(node.place, |name| name.place);
        faults.add(place, format!("'{name}' is no name: expected lower-case letters, digits, '-' and '.'"));
    }
    Some(name)
}

/// Whether a name can stand in an expression.
fn is_identifier(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    first && name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn inputs(tree: &YamlNode, faults: &mut Faults) -> BTreeMap<String, InputSpec> {
    let mut inputs = BTreeMap::new();
    let members = tree.get("spec").and_then(|spec| spec.get("inputs")).map_or(&[][..], YamlNode::members);
    for member in members {
        if !is_identifier(&member.key) {
            let reason = format!("'{}' is no name: expected letters, digits and '_', and a letter first", member.key);
            faults.add(member.place, reason);
        }
        // What is wrong with it was told; that it is there is known all the same.
        let any = InputSpec {
            r#type: InputType::String,
            description: None,
            required: false,
            default: None,
            r#enum: Vec::new(),
        };
        let spec: InputSpec = part("InputSpec", &member.value).unwrap_or(any);
        if spec.required && spec.default.is_some() {
            faults.add(member.place, format!("'{}' is required, and a default is of no use", member.key));
        }
        let bare = InputSpec { r#enum: Vec::new(), ..spec.clone() };
        let values = spec.r#enum.iter().filter_map(|value| input_fault(&bare, value));
        for fault in spec.default.iter().filter_map(|value| input_fault(&spec, value)).chain(values) {
            faults.add(member.place, fault);
        }
        inputs.insert(member.key.clone(), spec);
    }
    inputs
}

fn input_type(spec: &InputSpec) -> Type {
    match spec.r#type {
        InputType::String | InputType::Duration => Type::Text,
        InputType::Boolean => Type::Bool,
        InputType::Integer => Type::Int,
        InputType::List => Type::List(Box::new(Type::Text)),
    }
}

impl Types {
    fn new(inputs: &BTreeMap<String, InputSpec>) -> Self {
        let run = ["id", "playbook", "requester", "began", "hash"].map(|name| (name, Type::Text));
        let ended = ["outcome", "summary"].map(|name| (name, Type::Text));
        Self {
            inputs: Type::map(inputs.iter().map(|(name, spec)| (name, input_type(spec)))),
            run: Type::map(run.clone()),
            run_in_finally: Type::map(run.into_iter().chain(ended)),
            trigger: Type::map([("automatic", Type::Bool), ("name", Type::Text)]),
        }
    }

    /// The variables of every step; those of `finally` also know how the others ended.
    fn variables(&self, finally: bool) -> Variables<'_> {
        let run = if finally { &self.run_in_finally } else { &self.run };
        Variables::new([("inputs", &self.inputs), ("run", run), ("trigger", &self.trigger)])
    }
}

impl Draft<'_> {
    /// Compiles and checks an expression that stands alone, and wants a value of that type.
    fn expression(
        faults: &mut Faults,
        node: &YamlNode,
        variables: &Variables<'_>,
        wanted: &Type,
    ) -> Option<Expression> {
        let text = node.text()?;
        let bare = text.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or(text);
        let expression = Expression::compile(bare).map_err(|reason| faults.add(node.place, reason)).ok()?;
        match expression.infer(variables) {
            Ok(of) if of.fits(wanted) => return Some(expression),
            Ok(of) => faults.add(node.place, format!("expected {wanted}, and '{}' is {of}", expression.source())),
            Err(reasons) => reasons.into_iter().for_each(|reason| faults.add(node.place, reason)),
        }
        None
    }

    /// The same of a `${{ }}`.
    fn template(faults: &mut Faults, node: &YamlNode, variables: &Variables<'_>, wanted: &Type) -> Option<Template> {
        let template = Template::parse(node.text()?).map_err(|reason| faults.add(node.place, reason)).ok()?;
        if let Template::Plain(_) = template {
            faults.add(node.place, "expected an expression, '${{ ... }}'");
            return None;
        }
        let mut good = true;
        for expression in template.expressions() {
            match expression.infer(variables) {
                Ok(of) if matches!(template, Template::Whole(_)) && !of.fits(wanted) => {
                    faults.add(node.place, format!("expected {wanted}, and '{}' is {of}", expression.source()));
                    good = false;
                }
                Ok(_) => {}
                Err(reasons) => {
                    reasons.into_iter().for_each(|reason| faults.add(node.place, reason));
                    good = false;
                }
            }
        }
        good.then_some(template)
    }

    fn concurrency(&mut self, steps: &Type) -> Option<Template> {
        let node = self.tree.get("spec")?.get("guards")?;
        let _: Option<GuardsSpec> = told("GuardsSpec", node, &mut self.faults);
        let key = node.get("concurrency")?;
        let variables = self.types.variables(false).with("steps", steps);
        Self::template(&mut self.faults, key, &variables, &Type::Text)
    }

    fn approval(&mut self) -> Option<Expression> {
        let node = self.tree.get("spec")?.get("approval")?;
        let _: Option<ApprovalSpec> = told("ApprovalSpec", node, &mut self.faults);
        let target = schema_for!(ObjectRef).to_value();
        let target = Type::of_schema(&target, &target);
        let namespaces = Type::List(Box::new(Type::Text));
        let counts = ["changes", "targets", "irreversible"].map(|name| (name, Type::Int));
        let plan = Type::map(counts.into_iter().chain([("namespaces", namespaces)]));
        let variables = self.types.variables(false).with("target", &target).with("plan", &plan);
        Self::expression(&mut self.faults, node.get("when")?, &variables, &Type::Bool)
    }

    fn triggers(&mut self) -> Vec<Trigger> {
        let event = Event::schema_type();
        let severity = crate::event::severities();
        let severity = Type::of_value(&severity);
        let variables = Variables::new([("event", &event), ("severity", &severity)]);
        let tree = self.tree;
        let nodes = tree.get("spec").and_then(|spec| spec.get("triggers")).map_or(&[][..], YamlNode::items);
        let mut names: Vec<String> = Vec::new();
        let mut triggers = Vec::new();
        for node in nodes {
            let Some(spec) = part::<TriggerSpec>("TriggerSpec", node) else { continue };
            if names.contains(&spec.name) {
                self.faults.add(node.place, format!("there are two triggers '{}'", spec.name));
            }
            names.push(spec.name.clone());
            let when =
                node.get("when").and_then(|when| Self::expression(&mut self.faults, when, &variables, &Type::Bool));
            let given = node.get("inputs");
            let place = given.map_or(node.place, |given| given.place);
            for (name, input) in &self.inputs {
                if input.required && given.is_none_or(|given| given.get(name).is_none()) {
                    self.faults.add(place, format!("the input '{name}' is missing"));
                }
            }
            self.given_inputs(given, &variables);
            let inputs = Tree::parse(&Value::Object(spec.inputs)).ok();
            if let (Some(when), Some(inputs)) = (when, inputs) {
                triggers.push(Trigger { name: spec.name, source: spec.source, when, inputs });
            }
        }
        triggers
    }

    /// Holds values given for this playbook's inputs to their types.
    fn given_inputs(&mut self, given: Option<&YamlNode>, variables: &Variables<'_>) {
        let schema = inputs_schema(&self.inputs, false);
        if let Some(given) = given {
            Check { root: &schema, variables: Some(variables), faults: &mut self.faults }.check(&schema, given);
        }
    }
}

/// A JSON Schema of inputs.
pub(crate) fn inputs_schema(inputs: &BTreeMap<String, InputSpec>, required: bool) -> Value {
    let properties = inputs.iter().map(|(name, spec)| {
        let mut schema = match spec.r#type {
            InputType::String | InputType::Duration => serde_json::json!({"type": "string"}),
            InputType::Boolean => serde_json::json!({"type": "boolean"}),
            InputType::Integer => serde_json::json!({"type": "integer"}),
            InputType::List => serde_json::json!({"type": "array", "items": {"type": "string"}}),
        };
        if let (false, Some(schema)) = (spec.r#enum.is_empty(), schema.as_object_mut()) {
            schema.insert("enum".to_owned(), spec.r#enum.clone().into());
        }
        (name.clone(), schema)
    });
    let properties: serde_json::Map<String, Value> = properties.collect();
    let needed: Vec<&String> =
        inputs.iter().filter(|(_, spec)| required && spec.required).map(|(name, _)| name).collect();
    serde_json::json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": needed,
    })
}

#[cfg(test)]
mod tests;
