//! CEL expressions over objects.

use std::sync::Arc;

use cel::{Context, Env, ExecutionError, Program, Value};

/// The longest expression, in bytes. CEL has no cost limit of its own.
const MAX_LENGTH: usize = 4096;

/// A CEL expression over `object`, such as `object.spec.replicas > 3`.
pub struct Expression {
    program: Program,
    env: Arc<Env>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// With the place, when it is no CEL, uses another variable than `object`, or is longer than 4,096 bytes.
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
        }
        let env = Env::stdlib().with_optional_support(true);
        let program = env.compile(source).map_err(|error| error.to_string())?;
        let expression = Self { program, env: Arc::new(env) };
        // A misspelt variable shows at once, and not on every object.
        match expression.evaluate(&serde_json::json!({})) {
            Err(ExecutionError::UndeclaredReference(name)) => {
                Err(format!("the expression uses '{name}', which is not known; the variable is 'object'"))
            }
            _ => Ok(expression),
        }
    }

    /// Whether an object fits. One that lacks a field which the expression needs does not.
    ///
    /// # Errors
    /// When the expression fails otherwise or its value is neither true nor false. No value of the object is named.
    pub fn matches(&self, object: &serde_json::Value) -> Result<bool, String> {
        match self.evaluate(object) {
            Ok(Value::Bool(fits)) => Ok(fits),
            Ok(value) => Err(format!("the value is not true or false but of type {:?}", value.type_of())),
            Err(ExecutionError::NoSuchKey(_)) => Ok(false),
            Err(ExecutionError::UndeclaredReference(name)) => Err(format!("'{name}' is not known")),
            Err(ExecutionError::NoSuchOverload(error)) => Err(error.to_string()),
            Err(ExecutionError::FunctionError { function, .. }) => Err(format!("the function '{function}' failed")),
            Err(_) => Err("operands do not fit each other".to_owned()),
        }
    }

    fn evaluate(&self, object: &serde_json::Value) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.add_variable("object", object).map_err(|error| ExecutionError::function_error("object", error))?;
        self.program.execute(&context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(source: &str) -> Result<bool, String> {
        let object =
            json!({"kind": "Deployment", "spec": {"replicas": 5, "list": [{"a": 1}]}, "metadata": {"name": "web"}});
        Expression::compile(source)?.matches(&object)
    }

    #[test]
    fn expressions_over_objects() {
        assert_eq!(matches("object.spec.replicas > 3"), Ok(true));
        assert_eq!(matches("object.kind == 'Secret'"), Ok(false));
        assert_eq!(matches("object.spec.list.exists(x, x.a == 1)"), Ok(true));
        assert_eq!(matches("object.metadata.name.matches('^w')"), Ok(true));
        assert_eq!(matches("object.spec.missing == 1"), Ok(false));
        assert_eq!(matches("object.?spec.?missing.orValue(7) == 7"), Ok(true));
    }

    #[test]
    fn bad_expressions_say_what_is_wrong() {
        assert!(matches("object.spec.").unwrap_err().contains("1:"));
        assert!(matches("objekt.kind == 'x'").unwrap_err().contains("objekt"));
        assert!(matches("object.spec.replicas").unwrap_err().contains("true or false"));
        assert!(matches(&"!".repeat(5000)).unwrap_err().contains("longer"));
    }
}
