//! The actions that playbooks may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::action::{AnyAction, erase};
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
    /// When its statement, its types or its example are not as [`Action`] says.
    pub fn add<A: Action>(&mut self, action: A) -> Result<(), RegistryError> {
        let action = erase(action);
        let name = action.statement().name;
        let wrong = |reason: &str| RegistryError { name: name.to_owned(), reason: reason.to_owned() };
        if self.actions.insert(name, action).is_some() {
            return Err(wrong("is there twice"));
        }
        Ok(())
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

fn manual(action: &dyn AnyAction) -> Manual {
    Manual { statement: action.statement(), inputs: action.inputs(), outputs: action.outputs() }
}
