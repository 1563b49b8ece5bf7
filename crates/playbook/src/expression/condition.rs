//! A condition over one value, for who looks through many.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use cel::{ExecutionError, Value as Cel};
use serde_json::Value;

use super::{Expression, MAX_ROUNDS, Scope, Type, Variables, reason, run};

/// A CEL expression over one variable that is true or false of each value, such as `object.spec.replicas > 3`.
///
/// It is bounded as those of playbooks are, and evaluated where it is called.
#[derive(Debug, Clone)]
pub struct Condition {
    expression: Expression,
    variable: &'static str,
}

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    /// With the place, when it is no CEL; when it uses another variable, is never true or false, is longer than 4,096
    /// bytes, or has more than two loops within one another.
    pub fn compile(source: &str, variable: &'static str) -> Result<Self, String> {
        let expression = Expression::compile(source)?;
        let found = expression.infer(&Variables::new([(variable, &Type::Any)])).map_err(|faults| faults.join("; "))?;
        if !matches!(found, Type::Bool | Type::Any) {
            return Err(format!("the value is never true or false, but {found}"));
        }
        Ok(Self { expression, variable })
    }

    /// Whether it is true of a value. It is not where the value lacks a field that the expression needs.
    ///
    /// # Errors
    /// When the expression fails otherwise, all of its loops together make more than 100,000 rounds, or its value is
    /// neither true nor false. Nothing of the value is named.
    pub fn matches(&self, value: &Value) -> Result<bool, String> {
        let scope: Scope = [(self.variable.to_owned(), value.clone())].into_iter().collect();
        match run(&self.expression.bounded, scope, Arc::new(AtomicU32::new(MAX_ROUNDS))) {
            Ok(Cel::Bool(fits)) => Ok(fits),
            Ok(other) => Err(format!("the value is not true or false but of type {}", other.type_of())),
            Err(ExecutionError::NoSuchKey(_)) => Ok(false),
            Err(error) => Err(reason(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::MAX_LOOPS;
    use super::*;

    fn matches(source: &str) -> Result<bool, String> {
        let object =
            json!({"kind": "Deployment", "spec": {"replicas": 5, "list": [{"a": 1}]}, "metadata": {"name": "web"}});
        Condition::compile(source, "object")?.matches(&object)
    }

    #[test]
    fn conditions_over_objects() {
        for (source, fits) in [
            ("object.spec.replicas > 3", true),
            ("object.kind == 'Secret'", false),
            ("object.spec.list.exists(x, x.a == 1)", true),
            ("object.metadata.name.matches('^w')", true),
            ("object.spec.missing == 1", false),
            ("object.?spec.?missing.orValue(7) == 7", true),
            ("object.spec.list.map(x, x.a).exists(y, y == 1)", true),
            ("type(object.kind) == string", true),
        ] {
            assert_eq!(matches(source), Ok(fits), "{source}");
        }
    }

    #[test]
    fn bad_conditions_say_what_is_wrong() {
        for (source, wrong) in [
            ("object.spec.", "1:13"),
            ("objekt.kind == 'x'", "objekt"),
            ("object.spec.replicas", "true or false"),
            ("'web'", "true or false"),
            ("object.spec.replicas / 0 == 1", "division by zero"),
        ] {
            let error = matches(source).unwrap_err();
            assert!(error.contains(wrong), "{source}: {error}");
        }
        assert!(matches(&"!".repeat(5000)).unwrap_err().contains("longer"));
    }

    #[test]
    fn a_variable_that_is_not_known_is_found_wherever_it_stands() {
        for source in [
            "false && objekt.kind == 'x'",
            "true || objekt",
            "object.list.exists(x, x == y)",
            "[1].all(x, true) && x == 1",
            "{'a': objekt}.a == 1",
            "object.kind in [objekt]",
        ] {
            let error = Condition::compile(source, "object").unwrap_err();
            assert!(error.contains("no variable") || error.contains("not known"), "{source}: {error}");
        }
    }

    #[test]
    fn loops_end() {
        let nested = |depth: usize| {
            (0..depth).fold("true".to_owned(), |inner, level| format!("object.l.all(x{level}, {inner})"))
        };
        assert!(Condition::compile(&nested(MAX_LOOPS + 1), "object").unwrap_err().contains("loops within one another"));
        let condition = Condition::compile(&nested(MAX_LOOPS), "object").unwrap();
        let error = condition.matches(&json!({"l": vec![0; 400]})).unwrap_err();
        assert!(error.contains("rounds of its loops"), "{error}");
        assert_eq!(condition.matches(&json!({"l": vec![0; 200]})), Ok(true), "each value has rounds of its own");
        assert_eq!(condition.matches(&json!({"l": vec![0; 200]})), Ok(true));
    }
}
