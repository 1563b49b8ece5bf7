//! The actions that playbooks may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::action::{AnyAction, erase};
use crate::load::{load, unknown_keyword};
use crate::playbook::CALL;
use crate::{Action, Statement};

/// An action that cannot be offered: a mistake of its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the action '{name}' {reason}")]
pub struct RegistryError {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The actions that playbooks may use.
#[derive(Clone, Default)]
pub struct Registry {
    actions: BTreeMap<&'static str, Arc<dyn AnyAction>>,
}

/// What is known of an action without running it: everything that its manual page says.
#[derive(Debug, Clone, PartialEq)]
pub struct Manual {
    /// What it says of itself.
    pub statement: Statement,
    /// JSON Schema of what stands under `with`.
    pub inputs: Value,
    /// JSON Schema of what later steps see.
    pub outputs: Value,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.actions.keys()).finish()
    }
}

impl Registry {
    /// Without any action but those that are added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers an action.
    ///
    /// # Errors
    /// When its statement or its types are not as [`Action`] says.
    pub fn add<A: Action>(&mut self, action: A) -> Result<(), RegistryError> {
        let action = erase(action);
        let name = action.statement().name;
        let wrong = |reason: &str| RegistryError { name: name.to_owned(), reason: reason.to_owned() };
        if let Some(reason) = fault(action.as_ref()) {
            return Err(wrong(&reason));
        }
        if self.actions.contains_key(name) {
            return Err(wrong("is there twice"));
        }
        self.actions.insert(name, action);
        Ok(())
    }

    /// Checks every action's example against all actions there are. For a test of whoever made the registry.
    ///
    /// # Errors
    /// With the first example that has a fault.
    pub fn check_examples(&self) -> Result<(), RegistryError> {
        let faults = self.names().filter_map(|name| Some((name, self.example_fault(name)?)));
        faults.map(|(name, reason)| RegistryError { name: name.to_owned(), reason }).next().map_or(Ok(()), Err)
    }

    /// What is wrong with an action's example, as a step of a playbook.
    fn example_fault(&self, name: &str) -> Option<String> {
        let example = self.actions.get(name)?.statement().example;
        let indented: String = example.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!(
            "apiVersion: lifeboat.dev/v1alpha1\nkind: Playbook\nmetadata: {{name: example}}\nspec:\n  \
             description: An example.\n  inputs: {EXAMPLE_INPUTS}\n  steps:\n{indented}"
        );
        match load("example", &text, self, &BTreeMap::new()) {
            Ok(playbook) if playbook.actions().contains(&name) => None,
            Ok(_) => Some("has an example that does not use it".to_owned()),
            Err(errors) => Some(format!("has an example with faults: {errors}")),
        }
    }

    /// The actions' manuals, by name.
    pub fn manuals(&self) -> Vec<Manual> {
        self.actions.values().map(|action| manual(action.as_ref())).collect()
    }

    /// One action's manual.
    pub fn manual(&self, name: &str) -> Option<Manual> {
        self.actions.get(name).map(|action| manual(action.as_ref()))
    }

    /// The names of all actions.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.actions.keys().copied()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn AnyAction>> {
        self.actions.get(name)
    }
}

/// What examples may read, besides of their own steps.
const EXAMPLE_INPUTS: &str = "{namespace: {type: string, required: true}, name: {type: string, required: true}}";

/// What later steps see of every step, and no action may give.
const RESERVED: [&str; 3] = ["items", "message", "outcome"];

/// What is wrong with an action on its own.
fn fault(action: &dyn AnyAction) -> Option<String> {
    let Statement { name, summary, description, .. } = action.statement();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_uppercase() || c == '.';
    if name == CALL || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(good) {
        return Some("has a name that is none: letters and dots, a lower-case letter first".to_owned());
    }
    if summary.is_empty() || summary.ends_with('.') || summary.contains('\n') || description.is_empty() {
        return Some("does not say what it does: one line without a full stop, and a description".to_owned());
    }
    for (what, schema) in [("inputs", action.inputs()), ("outputs", action.outputs())] {
        if let Some(keyword) = unknown_keyword(schema) {
            return Some(format!("has {what} whose schema uses '{keyword}', which is not understood"));
        }
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Some(format!("has {what} that are no struct"));
        }
        if what == "inputs" && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some("has inputs without deny_unknown_fields".to_owned());
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let taken = properties.and_then(|all| all.keys().find(|key| RESERVED.contains(&key.as_str())));
        if let (Some(taken), "outputs") = (taken, what) {
            return Some(format!("has an output '{taken}', which every step has"));
        }
    }
    None
}

fn manual(action: &dyn AnyAction) -> Manual {
    Manual { statement: action.statement(), inputs: action.inputs().clone(), outputs: action.outputs().clone() }
}
