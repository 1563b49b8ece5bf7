//! CEL: compiled once, checked against the schemas, evaluated on a thread that may block, with a deadline.
//!
//! CEL's implementation has no limit on its cost. So an expression is bounded in length, in depth and in the depth of its
//! loops, and each round of a loop asks first whether there is still time: a call that says so is put into the condition
//! of every loop. What has no loop ends by itself, but for functions over long texts; so it runs beside the engine, which
//! gives it up when its time is over.

mod condition;
mod infer;
mod template;
mod types;
mod value;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use cel::{Context, Env, ExecutionError, IdedExpr, extensions};
use serde_json::{Map, Value};

pub use condition::Condition;
pub(crate) use infer::{Path, Variables};
pub(crate) use template::Template;
pub(crate) use types::{Type, not_null, resolved, type_names};

/// The longest expression, in bytes.
pub(crate) const MAX_LENGTH: usize = 4096;
/// How deep an expression may be nested.
const MAX_DEPTH: u16 = 48;
/// How many loops (`map`, `filter`, `all`, `exists`) may be within one another.
const MAX_LOOPS: usize = 2;
/// How many rounds all loops of an expression may make together.
const MAX_ROUNDS: u32 = 100_000;
/// How long an expression may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// What each round of a loop asks. No name of a person's can begin so.
const MAY_GO_ON: &str = "@mayGoOn";
/// The language: CEL's standard library, optional values, functions over texts, and `always()`.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(true);
    // It fails only when a function is there twice, which a test would show.
    let _ = env.add_extension(extensions::strings);
    Arc::new(env)
});

/// The variables of an expression.
pub(crate) type Scope = Map<String, Value>;

/// A compiled expression.
#[derive(Clone)]
pub(crate) struct Expression {
    source: String,
    /// As it was written.
    ast: Arc<IdedExpr>,
    /// With every loop bounded.
    bounded: Arc<IdedExpr>,
    references: Vec<Path>,
    always: bool,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Expression {
    /// Compiles an expression; the message of an error fits behind its place.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        let source = source.trim();
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
        }
        let parser = ENV.parser().max_recursion_depth(MAX_DEPTH);
        let ast = parser.parse(source).map_err(|errors| {
            let Some(first) = errors.errors.first() else { return format!("'{}': it is no CEL", shown(source)) };
            let (line, column) = first.pos;
            let text: String = first.msg.lines().next().unwrap_or_default().chars().take(200).collect();
            format!("'{}', at {line}:{column}: {text}", shown(source))
        })?;
        if loops(&ast) > MAX_LOOPS {
            return Err(format!("'{}': more than {MAX_LOOPS} loops within one another", shown(source)));
        }
        let (references, always) = infer::references(&ast);
        let mut bounded = ast.clone();
        bound(&mut bounded);
        Ok(Self { source: source.to_owned(), ast: Arc::new(ast), bounded: Arc::new(bounded), references, always })
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether `always()` is called.
    pub(crate) fn is_always(&self) -> bool {
        self.always
    }

    /// The paths that it reads, each as long as it is known.
    pub(crate) fn references(&self) -> &[Path] {
        &self.references
    }

    /// Its type, with everything in it that cannot be.
    pub(crate) fn infer(&self, variables: &Variables<'_>) -> Result<Type, Vec<String>> {
        infer::infer(&self.ast, variables)
    }

    /// Its value.
    pub(crate) async fn evaluate(&self, scope: &Scope) -> Result<Value, String> {
        let wanted = self.part_of(scope);
        let (ast, source) = (Arc::clone(&self.bounded), self.source.clone());
        let rounds = Arc::new(AtomicU32::new(MAX_ROUNDS));
        let left = Arc::clone(&rounds);
        let work = tokio::task::spawn_blocking(move || {
            resolve(&ast, wanted, left).map_err(|reason| format!("'{}': {reason}", shown(&source)))
        });
        if let Ok(done) = tokio::time::timeout(DEADLINE, work).await {
            done.map_err(|_| format!("'{}': it cannot be evaluated", shown(&self.source)))?
        } else {
            rounds.store(0, Ordering::Relaxed);
            Err(format!("'{}': it takes longer than {DEADLINE:?}", shown(&self.source)))
        }
    }

    /// Whether it is true.
    pub(crate) async fn holds(&self, scope: &Scope) -> Result<bool, String> {
        match self.evaluate(scope).await? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(format!("'{}': its value is neither true nor false", shown(&self.source))),
        }
    }

    /// The variables that it reads; of `steps`, only those that it names.
    fn part_of(&self, scope: &Scope) -> Scope {
        let mut part = Scope::new();
        for path in &self.references {
            let Some((root, value)) = scope.get_key_value(path.root()) else { continue };
            match (path.second(), value) {
                (Some(second), Value::Object(members)) => {
                    let entry = part.entry(root.clone()).or_insert_with(|| Value::Object(Map::new()));
                    if let (Value::Object(known), Some(member)) = (entry, members.get(second)) {
                        known.insert(second.to_owned(), member.clone());
                    }
                }
                _ => {
                    part.insert(root.clone(), value.clone());
                }
            }
        }
        // A path to the whole of a variable came before or after one to a part of it.
        for path in self.references.iter().filter(|path| path.second().is_none()) {
            if let Some((root, value)) = scope.get_key_value(path.root()) {
                part.insert(root.clone(), value.clone());
            }
        }
        part
    }
}

/// The value of an expression, evaluated in place. Only the rounds of its loops bound it, which several may share.
pub(crate) fn give(expression: &Expression, scope: &Scope, rounds: &Arc<AtomicU32>) -> Result<Value, String> {
    resolve(&expression.bounded, expression.part_of(scope), Arc::clone(rounds))
}

fn resolve(ast: &IdedExpr, scope: Scope, rounds: Arc<AtomicU32>) -> Result<Value, String> {
    value::to_json(run(ast, scope, rounds).map_err(|error| reason(&error))?)
}

/// The value of an expression whose loops may make so many rounds.
fn run(ast: &IdedExpr, scope: Scope, rounds: Arc<AtomicU32>) -> Result<cel::Value, ExecutionError> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    // Fails only where the name is taken by a function with the same arguments, which a test would show.
    let _ = context.add_function("always", || true);
    let _ = context.add_function(MAY_GO_ON, move || {
        let left = rounds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| true).map_err(|_| ExecutionError::InternalError(MAY_GO_ON.to_owned()))
    });
    for (name, variable) in scope {
        context.add_variable_from_value(name, value::of_json(variable));
    }
    context.resolve(ast)
}

/// What is wrong, without any value of the objects it is about.
fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::InternalError(text) if text == MAY_GO_ON => {
            format!("more than {MAX_ROUNDS} rounds of its loops")
        }
        ExecutionError::NoSuchKey(key) => format!("there is no '{}'", key.chars().take(80).collect::<String>()),
        ExecutionError::UndeclaredReference(name) => format!("'{name}' is not known"),
        ExecutionError::NoSuchOverload(error) => error.to_string(),
        ExecutionError::FunctionError { function, .. } => format!("the function '{function}' failed"),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "a division by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number too large".to_owned(),
        _ => "operands do not fit each other".to_owned(),
    }
}

/// The beginning of an expression, for messages.
fn shown(source: &str) -> String {
    let mut text: String = source.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if source.chars().count() > 80 {
        text.push_str("...");
    }
    text
}

/// Puts the question whether it may go on before the condition of every loop.
fn bound(ast: &mut IdedExpr) {
    match &mut ast.expr {
        Expr::Comprehension(one) => {
            for part in [&mut one.iter_range, &mut one.accu_init, &mut one.loop_step, &mut one.result] {
                bound(part);
            }
            let condition = std::mem::take(&mut one.loop_cond);
            let node = |expr| IdedExpr { id: condition.id, expr };
            let ask = CallExpr { func_name: MAY_GO_ON.to_owned(), target: None, args: Vec::new() };
            let no = node(Expr::Literal(LiteralValue::Boolean(false.into())));
            let args = vec![node(Expr::Call(ask)), condition.clone(), no];
            let both = CallExpr { func_name: operators::CONDITIONAL.to_owned(), target: None, args };
            one.loop_cond = node(Expr::Call(both));
        }
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(bound),
        Expr::Select(select) => bound(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(bound),
        Expr::Map(map) => map.entries.iter_mut().flat_map(|entry| infer::parts_mut(&mut entry.expr)).for_each(bound),
        Expr::Struct(one) => one.entries.iter_mut().flat_map(|entry| infer::parts_mut(&mut entry.expr)).for_each(bound),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

/// How many loops are within one another.
fn loops(ast: &IdedExpr) -> usize {
    let most = |parts: &[&IdedExpr]| parts.iter().map(|part| loops(part)).max().unwrap_or(0);
    match &ast.expr {
        Expr::Comprehension(one) => {
            let within = most(&[&one.loop_cond, &one.loop_step, &one.result]);
            (1 + within).max(most(&[&one.iter_range, &one.accu_init]))
        }
        Expr::Call(call) => {
            let target = call.target.as_deref().map_or(0, loops);
            call.args.iter().map(loops).max().unwrap_or(0).max(target)
        }
        Expr::Select(select) => loops(&select.operand),
        Expr::List(list) => list.elements.iter().map(loops).max().unwrap_or(0),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| infer::parts(&entry.expr)).map(loops).max().unwrap_or(0),
        Expr::Struct(one) => {
            one.entries.iter().flat_map(|entry| infer::parts(&entry.expr)).map(loops).max().unwrap_or(0)
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn value_of(source: &str, scope: Value) -> Result<Value, String> {
        let Value::Object(scope) = scope else { panic!("a scope is an object") };
        Expression::compile(source)?.evaluate(&scope).await
    }

    #[tokio::test]
    async fn values_keep_their_types() {
        let scope = json!({"inputs": {"a": 1, "b": "x", "c": [1, 2.5, null, {"d": true}], "big": u64::MAX}});
        for (source, expected) in [
            ("inputs.a", json!(1)),
            ("inputs.b + 'y'", json!("xy")),
            ("inputs.c", json!([1, 2.5, null, {"d": true}])),
            ("inputs.c[3].d", json!(true)),
            ("inputs.big", json!(u64::MAX)),
            ("inputs.c.filter(x, type(x) == int).size()", json!(1)),
            ("inputs.?missing.orValue('none')", json!("none")),
            ("'A,B'.lowerAscii().split(',')", json!(["a", "b"])),
            ("{'k': inputs.a}", json!({"k": 1})),
            ("always() && has(inputs.a)", json!(true)),
        ] {
            assert_eq!(value_of(source, scope.clone()).await, Ok(expected), "{source}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_values() {
        let scope = json!({"inputs": {"secret": "hunter2", "n": 1}});
        for (source, expected) in [
            ("inputs.nothing", "there is no 'nothing'"),
            ("inputs.n / 0", "a division by zero"),
            ("inputs.n + inputs.secret", "do not fit"),
            ("nobody.x", "not known"),
        ] {
            let error = value_of(source, scope.clone()).await.unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn expressions_are_bounded() {
        assert!(Expression::compile(&"!".repeat(5000)).unwrap_err().contains("longer"));
        assert!(Expression::compile(&format!("{}1{}", "(".repeat(200), ")".repeat(200))).is_err());
        assert!(Expression::compile(&format!("{}1{}", "[".repeat(1000), "]".repeat(1000))).is_err());
        let nested = "[1].map(a, [1].map(b, [1].map(c, c)))";
        assert!(Expression::compile(nested).unwrap_err().contains("loops"));
        assert!(Expression::compile("[1].map(a, [1].map(b, a + b))").is_ok());
        assert!(Expression::compile("inputs.").is_err());
        assert!(Expression::compile("").is_err());
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_given_up() {
        let list: Vec<u32> = (0..2000).collect();
        for source in [
            "inputs.l.map(a, inputs.l.map(b, a + b).size()).size()",
            "inputs.l.all(a, inputs.l.all(b, a + b >= 0))",
            "inputs.l.exists(a, inputs.l.exists(b, a + b < 0))",
            "[inputs.l.filter(a, inputs.l.filter(b, true).size() > 0)].size()",
            "{'a': inputs.l.exists_one(a, inputs.l.exists_one(b, false))}",
        ] {
            let error = value_of(source, json!({"inputs": {"l": list}})).await.unwrap_err();
            assert!(error.contains("rounds of its loops") || error.contains("longer than"), "{source}: {error}");
        }
        let fine = value_of("inputs.l.map(a, a * 2)[1999]", json!({"inputs": {"l": list}})).await;
        assert_eq!(fine, Ok(json!(3998)));
    }

    #[test]
    fn what_is_read_is_known() {
        let references = |source: &str| {
            let mut paths: Vec<String> =
                Expression::compile(source).unwrap().references().iter().map(ToString::to_string).collect();
            paths.sort();
            paths
        };
        assert_eq!(references("steps.a.b.c == inputs['x'].y"), ["inputs.x.y", "steps.a.b.c"]);
        assert_eq!(references("steps.a.list.exists(x, x.name == inputs.n)"), ["inputs.n", "steps.a.list"]);
        assert_eq!(references("steps[inputs.n].a"), ["inputs.n", "steps"]);
        assert_eq!(references("steps.?a.?b.orValue(1)"), ["steps.a.b"]);
        assert!(Expression::compile("always() && true").unwrap().is_always());
    }
}
