//! CEL expressions over objects.
//!
//! CEL has no cost limit, and an expression that goes through lists within lists can take for ever. So length, depth and
//! nested loops are bounded, and it is evaluated on a thread of its own, which is left behind when it takes too long.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, ExecutionError, Program, Value};

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 4096;
/// Loops within loops: `a.exists(x, x.all(y, ...))` has two.
const MAX_LOOPS: usize = 3;
/// How long one object may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The one variable.
const OBJECT: &str = "object";

/// A CEL expression over `object`, such as `object.spec.replicas > 3`.
#[derive(Debug)]
pub struct Expression {
    program: Arc<Compiled>,
    deadline: Duration,
    /// Where it is evaluated; absent before the first time, and after it took too long.
    worker: Mutex<Option<Worker>>,
}

struct Compiled {
    program: Program,
    env: Arc<Env>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").finish_non_exhaustive()
    }
}

/// A thread that evaluates.
#[derive(Debug)]
struct Worker {
    objects: SyncSender<serde_json::Value>,
    answers: Receiver<Result<bool, String>>,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// With the place, when it is no CEL, uses another variable than `object`, is longer than 4,096 bytes, or has more
    /// than three loops within each other.
    pub fn compile(source: &str) -> Result<Self, String> {
        Self::with_deadline(source, DEADLINE)
    }

    fn with_deadline(source: &str, deadline: Duration) -> Result<Self, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
        }
        let env = Env::stdlib().with_optional_support(true);
        let program = env.compile(source).map_err(|error| error.to_string())?;
        check(program.expression(), &mut vec![OBJECT], 0)?;
        let program = Arc::new(Compiled { program, env: Arc::new(env) });
        Ok(Self { program, deadline, worker: Mutex::default() })
    }

    /// Whether an object fits. One that lacks a field which the expression needs does not.
    ///
    /// # Errors
    /// When the expression fails otherwise, takes longer than five seconds, or its value is neither true nor false. No
    /// value of the object is named.
    pub fn matches(&self, object: &serde_json::Value) -> Result<bool, String> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match worker.take() {
            Some(running) => running,
            None => Worker::start(Arc::clone(&self.program)).map_err(|error| error.to_string())?,
        };
        let ended = "the expression could not be evaluated";
        running.objects.send(object.clone()).map_err(|_| ended.to_owned())?;
        match running.answers.recv_timeout(self.deadline) {
            Ok(answer) => {
                *worker = Some(running);
                answer
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("it takes longer than {} s on one object", self.deadline.as_secs_f32()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended.to_owned()),
        }
    }
}

impl Worker {
    /// Evaluates what it is sent, until nobody sends any more.
    fn start(program: Arc<Compiled>) -> std::io::Result<Self> {
        let (objects, received) = sync_channel::<serde_json::Value>(1);
        let (answer, answers) = sync_channel(1);
        std::thread::Builder::new().name("cel".to_owned()).spawn(move || {
            while let Ok(object) = received.recv() {
                if answer.send(program.matches(&object)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { objects, answers })
    }
}

impl Compiled {
    fn matches(&self, object: &serde_json::Value) -> Result<bool, String> {
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
        context.add_variable(OBJECT, object).map_err(|error| ExecutionError::function_error(OBJECT, error))?;
        self.program.execute(&context)
    }
}

/// Looks for variables that are not known, wherever they stand, and for too many loops. `known` are the variables, those
/// of the loops around included; names that begin with `@` are CEL's own. The parser bounds how deep an expression is.
fn check<'a>(expression: &'a IdedExpr, known: &mut Vec<&'a str>, loops: usize) -> Result<(), String> {
    match &expression.expr {
        Expr::Ident(name) if !name.starts_with('@') && !known.contains(&name.as_str()) && !is_type(name) => {
            Err(format!("the expression uses '{name}', which is not known; the variable is '{OBJECT}'"))
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Ok(()),
        Expr::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).try_for_each(|part| check(part, known, loops))
        }
        Expr::Select(select) => check(&select.operand, known, loops),
        Expr::List(list) => list.elements.iter().try_for_each(|part| check(part, known, loops)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| check_entry(&entry.expr, known, loops)),
        Expr::Struct(of) => of.entries.iter().try_for_each(|entry| check_entry(&entry.expr, known, loops)),
        Expr::Comprehension(of) => {
            if loops == MAX_LOOPS {
                return Err(format!("the expression has more than {MAX_LOOPS} loops within each other"));
            }
            check(&of.iter_range, known, loops)?;
            check(&of.accu_init, known, loops)?;
            let outside = known.len();
            known.extend([of.iter_var.as_str(), of.accu_var.as_str()].into_iter().chain(of.iter_var2.as_deref()));
            let parts = [&of.loop_cond, &of.loop_step, &of.result];
            parts.into_iter().try_for_each(|part| check(part, known, loops + 1))?;
            known.truncate(outside);
            Ok(())
        }
    }
}

fn check_entry<'a>(entry: &'a EntryExpr, known: &mut Vec<&'a str>, loops: usize) -> Result<(), String> {
    match entry {
        EntryExpr::StructField(field) => check(&field.value, known, loops),
        EntryExpr::MapEntry(entry) => {
            check(&entry.key, known, loops)?;
            check(&entry.value, known, loops)
        }
    }
}

/// Names of types, which are values too: `type(object) == map`. `optional` stands before its functions.
fn is_type(name: &str) -> bool {
    const TYPES: [&str; 11] =
        ["bool", "bytes", "double", "int", "list", "map", "null_type", "optional", "string", "type", "uint"];
    TYPES.contains(&name)
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
            let error = matches(source).unwrap_err();
            assert!(error.contains("not known"), "{source}: {error}");
        }
        for source in ["object.spec.list.map(x, x.a).exists(y, y == 1)", "type(object.kind) == string"] {
            assert_eq!(matches(source), Ok(true), "{source}");
        }
    }

    #[test]
    fn loops_within_loops_are_bounded_and_so_is_time() {
        let nested = |depth: usize| {
            (0..depth).fold("true".to_owned(), |inner, level| format!("object.l.all(x{level}, {inner})"))
        };
        assert!(Expression::compile(&nested(MAX_LOOPS)).is_ok());
        assert!(Expression::compile(&nested(MAX_LOOPS + 1)).unwrap_err().contains("loops within each other"));
        assert!(Expression::compile(&"(".repeat(2000)).is_err());
        assert!(Expression::compile(&format!("{}true{}", "[".repeat(2000), "]".repeat(2000))).is_err());

        // Sixty-four million steps, which no machine takes in a second.
        let expression = Expression::with_deadline(&nested(MAX_LOOPS), Duration::from_secs(1)).unwrap();
        let error = expression.matches(&json!({"l": vec![0; 400]})).unwrap_err();
        assert!(error.contains("longer than 1 s"), "{error}");
        let expression = Expression::compile(&nested(MAX_LOOPS)).unwrap();
        assert_eq!(expression.matches(&json!({"l": [0]})), Ok(true), "others are evaluated");
    }
}
