//! The variables of a playbook while it is planned or run.

use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::expression::{Expression, Path, Scope};
use crate::playbook::Step;
use crate::{Playbook, Request};

/// A playbook, called or not, with what its expressions see.
pub(crate) struct Frame<'p> {
    pub(crate) playbook: &'p Playbook,
    /// Put before the ids of its steps: `contain[3]/`.
    pub(crate) prefix: String,
    /// `inputs`, `run` and `trigger`.
    base: Mutex<Scope>,
    /// `steps`.
    steps: Mutex<Map<String, Value>>,
}

impl<'p> Frame<'p> {
    pub(crate) fn new(
        playbook: &'p Playbook,
        prefix: String,
        inputs: Map<String, Value>,
        run: Value,
        request: &Request,
    ) -> Self {
        let trigger = json!({"automatic": request.trigger.is_some(), "name": request.trigger.as_deref().unwrap_or("")});
        let base = [("inputs", Value::Object(inputs)), ("run", run), ("trigger", trigger)];
        Self {
            playbook,
            prefix,
            base: Mutex::new(base.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            steps: Mutex::default(),
        }
    }

    /// A step's key.
    pub(crate) fn key(&self, step: &Step) -> String {
        format!("{}{}", self.prefix, step.spec.id)
    }

    /// What a step, and whatever else reads these paths, may see: of `steps` only what is read, since there may be ten
    /// thousand.
    pub(crate) fn scope<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Scope {
        let mut scope = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Map::new();
        for id in paths.into_iter().filter(|path| path.root() == "steps").filter_map(Path::second) {
            if let Some(value) = steps.get(id) {
                seen.insert(id.to_owned(), value.clone());
            }
        }
        scope.insert("steps".to_owned(), Value::Object(seen));
        scope
    }

    /// Notes what later steps see of a step.
    pub(crate) fn ended(&self, step: &Step, outputs: Option<&Value>, outcome: Option<&str>, message: Option<&str>) {
        let mut seen = match outputs {
            Some(Value::Object(members)) => members.clone(),
            _ => Map::new(),
        };
        if let Some(outcome) = outcome {
            seen.insert("outcome".to_owned(), outcome.into());
            seen.insert("message".to_owned(), message.unwrap_or_default().into());
        }
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).insert(step.spec.id.clone(), Value::Object(seen));
    }

    /// Forgets what later steps see of a step.
    pub(crate) fn forget(&self, step: &Step) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).remove(&step.spec.id);
    }

    /// What it sees as `run`, for the playbooks that it calls.
    pub(crate) fn run(&self) -> Value {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).get("run").cloned().unwrap_or_default()
    }

    /// What a caller sees of this playbook's steps.
    pub(crate) fn outputs(&self) -> Value {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        steps.retain(|id, _| self.playbook.steps.iter().any(|step| step.spec.id == *id));
        json!({"steps": steps})
    }

    /// Tells the steps of `finally` how the others ended.
    pub(crate) fn over(&self, outcome: &str, summary: &str) {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Value::Object(run)) = base.get_mut("run") {
            run.insert("outcome".to_owned(), outcome.into());
            run.insert("summary".to_owned(), summary.into());
        }
    }
}

impl Step {
    /// Every path that its expressions read.
    pub(crate) fn references(&self) -> Vec<&Path> {
        let conditions = self.condition.iter().chain(&self.until).flat_map(Expression::references);
        let lists = self.for_each.iter().flat_map(|one| one.references());
        conditions.chain(lists).chain(self.with.references()).collect()
    }
}
