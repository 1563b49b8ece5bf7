//! CEL expressions over objects.

use lifeboat_playbook::Condition;

/// A CEL expression over `object`, such as `object.spec.replicas > 3`.
#[derive(Debug, Clone)]
pub struct Expression(Condition);

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn compile(source: &str) -> Result<Self, String> {
        Condition::compile(source, "object").map(Self)
    }

    /// Whether an object fits. One that lacks a field which the expression needs does not.
    ///
    /// # Errors
    /// As [`Condition::matches`].
    pub fn matches(&self, object: &serde_json::Value) -> Result<bool, String> {
        self.0.matches(object)
    }
}
