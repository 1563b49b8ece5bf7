//! What an expression reads, of what type it is, and what in it cannot be.

use std::borrow::Cow;
use std::fmt;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use lifeboat_model::nearest;

use super::types::{Type, common};

/// A path that an expression reads: `steps.find.target.uid`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// The variable.
    pub(crate) fn root(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// What is read of it.
    pub(crate) fn second(&self) -> Option<&str> {
        self.0.get(1).map(String::as_str)
    }

    /// What is read of that.
    pub(crate) fn third(&self) -> Option<&str> {
        self.0.get(2).map(String::as_str)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Functions there are, by what they give. A test holds them to the environment.
const FUNCTIONS: [(&str, Type); 34] = [
    ("always", Type::Bool),
    ("bool", Type::Bool),
    ("bytes", Type::Any),
    ("charAt", Type::Text),
    ("contains", Type::Bool),
    ("double", Type::Double),
    ("dyn", Type::Any),
    ("endsWith", Type::Bool),
    ("format", Type::Text),
    ("hasValue", Type::Bool),
    ("indexOf", Type::Int),
    ("int", Type::Int),
    ("join", Type::Text),
    ("lastIndexOf", Type::Int),
    ("lowerAscii", Type::Text),
    ("matches", Type::Bool),
    ("none", Type::Any),
    ("of", Type::Any),
    ("ofNonZeroValue", Type::Any),
    ("or", Type::Any),
    ("orValue", Type::Any),
    ("optional.none", Type::Any),
    ("optional.of", Type::Any),
    ("optional.ofNonZeroValue", Type::Any),
    ("replace", Type::Text),
    ("reverse", Type::Text),
    ("size", Type::Int),
    ("split", Type::Any),
    ("startsWith", Type::Bool),
    ("string", Type::Text),
    ("substring", Type::Text),
    ("trim", Type::Text),
    ("type", Type::Any),
    ("uint", Type::Any),
];

/// Functions whose names are those of types as well.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// The expressions of an entry of a map.
pub(crate) fn parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

/// The same, to be changed.
pub(crate) fn parts_mut(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
        EntryExpr::StructField(field) => vec![&mut field.value],
    }
}

/// The paths that an expression reads, and whether it calls `always()`.
pub(crate) fn references(ast: &IdedExpr) -> (Vec<Path>, bool) {
    let mut walk = Walk::new(None);
    walk.visit(ast);
    let mut paths = walk.paths;
    paths.dedup();
    (paths, walk.always)
}

/// The type of an expression, or what cannot be.
pub(crate) fn infer(ast: &IdedExpr, variables: &Variables<'_>) -> Result<Type, Vec<String>> {
    let mut walk = Walk::new(Some(variables));
    let found = walk.visit(ast).into_owned();
    if walk.faults.is_empty() { Ok(found) } else { Err(walk.faults) }
}

/// The variables that an expression may read. Types are not copied: `steps` may hold ten thousand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables<'a>(Vec<(&'static str, &'a Type)>);

impl<'a> Variables<'a> {
    pub(crate) fn new(roots: impl IntoIterator<Item = (&'static str, &'a Type)>) -> Self {
        Self(roots.into_iter().collect())
    }

    /// With another one.
    pub(crate) fn with(&self, name: &'static str, of: &'a Type) -> Self {
        Self(self.0.iter().copied().filter(|(known, _)| *known != name).chain([(name, of)]).collect())
    }

    fn get(&self, name: &str) -> Option<&'a Type> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, of)| *of)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.0.iter().map(|(name, _)| *name)
    }
}

type Found<'a> = Cow<'a, Type>;

const ANY: Found<'static> = Cow::Owned(Type::Any);
const BOOL: Found<'static> = Cow::Owned(Type::Bool);

struct Walk<'a> {
    /// The variables; not looked at where absent.
    variables: Option<&'a Variables<'a>>,
    /// Those of loops, innermost last.
    locals: Vec<(&'a str, Found<'a>)>,
    paths: Vec<Path>,
    always: bool,
    faults: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(variables: Option<&'a Variables<'a>>) -> Self {
        Self { variables, locals: Vec::new(), paths: Vec::new(), always: false, faults: Vec::new() }
    }

    /// An expression that is no part of a path, or all of one.
    fn visit(&mut self, ast: &'a IdedExpr) -> Found<'a> {
        if let Some(path) = self.path(ast) {
            self.paths.push(Path(path));
        }
        self.typed(ast)
    }

    /// The operand of a path: what is read is noted with the whole of it.
    fn operand(&mut self, ast: &'a IdedExpr) -> Found<'a> {
        if self.path(ast).is_some() { self.typed(ast) } else { self.visit(ast) }
    }

    /// The path that an expression is, unless it begins with the variable of a loop.
    fn path(&self, ast: &IdedExpr) -> Option<Vec<String>> {
        match &ast.expr {
            Expr::Ident(name) => {
                let is_local = self.locals.iter().any(|(local, _)| local == name);
                (!is_local && !name.starts_with('@') && !is_namespace(name)).then(|| vec![name.clone()])
            }
            Expr::Select(select) => self.longer(&select.operand, &select.field),
            Expr::Call(call) => {
                let (operand, field) = literal_index(call)?;
                self.longer(operand, field)
            }
            _ => None,
        }
    }

    fn longer(&self, operand: &IdedExpr, field: &str) -> Option<Vec<String>> {
        let mut path = self.path(operand)?;
        path.push(field.to_owned());
        Some(path)
    }

    fn typed(&mut self, ast: &'a IdedExpr) -> Found<'a> {
        match &ast.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let of = self.operand(&select.operand);
                let found = self.member(of, &select.field, &select.operand);
                if select.test { BOOL } else { found }
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(one) => self.comprehension(one),
            Expr::List(list) => {
                let items: Vec<Type> = list.elements.iter().map(|item| self.visit(item).into_owned()).collect();
                Cow::Owned(Type::List(Box::new(common(items.into_iter()))))
            }
            Expr::Map(map) => {
                for part in map.entries.iter().flat_map(|entry| parts(&entry.expr)) {
                    self.visit(part);
                }
                ANY
            }
            Expr::Struct(one) => {
                self.faults.push(format!("there is no type '{}'", one.type_name));
                ANY
            }
            Expr::Literal(literal) => Cow::Owned(match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Double(_) => Type::Double,
                LiteralValue::Int(_) => Type::Int,
                LiteralValue::String(_) => Type::Text,
                LiteralValue::Bytes(_) | LiteralValue::UInt(_) | LiteralValue::Null => Type::Any,
            }),
            Expr::Unspecified => ANY,
        }
    }

    fn variable(&mut self, name: &str) -> Found<'a> {
        if let Some((_, of)) = self.locals.iter().rev().find(|(local, _)| *local == name) {
            return of.clone();
        }
        let Some(variables) = self.variables.filter(|_| !is_namespace(name)) else { return ANY };
        if let Some(of) = variables.get(name) {
            return Cow::Borrowed(of);
        }
        self.unknown("variable ", name, "", variables.names());
        ANY
    }

    fn member(&mut self, of: Found<'a>, field: &str, operand: &IdedExpr) -> Found<'a> {
        let (fields, rest) = match &of {
            Cow::Borrowed(Type::Map { fields, rest }) => (fields, rest),
            // Only loops over lists make types of their own, and those are small.
            Cow::Owned(Type::Map { fields, rest }) => (fields, rest),
            other => {
                if **other != Type::Any {
                    self.faults.push(format!("there is no '{field}' in {}", other.as_ref()));
                }
                return ANY;
            }
        };
        if fields.contains_key(field) || rest.is_some() {
            return inner(of, field);
        }
        let whole = self.path(operand).map(|path| format!(" in '{}'", path.join("."))).unwrap_or_default();
        self.unknown("", field, &whole, fields.keys().map(String::as_str));
        ANY
    }

    fn unknown<'n>(&mut self, what: &str, name: &str, place: &str, known: impl Iterator<Item = &'n str> + Clone) {
        let nearest = nearest(name, known.clone()).map(|nearest| format!(", did you mean '{nearest}'?"));
        let known: Vec<&str> = known.take(12).collect();
        let but = if known.is_empty() { String::new() } else { format!(", but {}", known.join(", ")) };
        self.faults.push(format!("there is no {what}'{name}'{place}{}", nearest.unwrap_or(but)));
    }

    fn call(&mut self, call: &'a CallExpr) -> Found<'a> {
        use operators as op;
        if let Some((operand, field)) = literal_index(call) {
            let of = self.operand(operand);
            let found = self.member(of, field, operand);
            return if call.func_name == op::INDEX { found } else { ANY };
        }
        if let Some(target) = &call.target {
            self.visit(target);
        }
        let arguments: Vec<Found<'a>> = call.args.iter().map(|argument| self.visit(argument)).collect();
        match (call.func_name.as_str(), arguments.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, operands) => {
                for operand in operands.iter().filter(|operand| !operand.fits(&Type::Bool)) {
                    self.faults.push(format!("'&&', '||' and '!' want true or false, and not {}", operand.as_ref()));
                }
                BOOL
            }
            (
                op::EQUALS
                | op::NOT_EQUALS
                | op::GREATER
                | op::GREATER_EQUALS
                | op::LESS
                | op::LESS_EQUALS
                | op::IN
                | op::NOT_STRICTLY_FALSE,
                _,
            ) => BOOL,
            (op::CONDITIONAL, [_, left, right])
            | (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [left, right])
                if left == right =>
            {
                left.clone()
            }
            (op::NEGATE, [operand]) => operand.clone(),
            (op::INDEX, [list, _]) => match list.as_ref() {
                Type::List(item) => Cow::Owned(item.as_ref().clone()),
                Type::Map { fields, rest: Some(rest) } if fields.is_empty() => Cow::Owned(rest.as_ref().clone()),
                _ => ANY,
            },
            (name, _) if name.contains('_') || name.starts_with('@') => ANY,
            (name, _) => self.function(name),
        }
    }

    fn function(&mut self, name: &str) -> Found<'a> {
        self.always |= name == "always";
        if let Some((_, of)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
            return Cow::Owned(of.clone());
        }
        self.unknown("function ", name, "", FUNCTIONS.iter().map(|(known, _)| *known));
        ANY
    }

    fn comprehension(&mut self, one: &'a ComprehensionExpr) -> Found<'a> {
        let item = match self.visit(&one.iter_range).as_ref() {
            Type::List(item) => Cow::Owned(item.as_ref().clone()),
            Type::Map { .. } => Cow::Owned(Type::Text),
            Type::Any => ANY,
            other => {
                self.faults.push(format!("there is nothing to go through in {other}"));
                ANY
            }
        };
        let begin = self.visit(&one.accu_init).into_owned();
        let depth = self.locals.len();
        let second = one.iter_var2.as_deref();
        self.locals.push((&one.iter_var, if second.is_some() { ANY } else { item }));
        self.locals.extend(second.map(|name| (name, ANY)));
        self.locals.push((&one.accu_var, ANY));
        self.visit(&one.loop_cond);
        self.visit(&one.loop_step);
        self.visit(&one.result);
        self.locals.truncate(depth);
        match begin {
            Type::List(_) => Cow::Owned(Type::List(Box::new(Type::Any))),
            // `exists_one` counts.
            Type::Bool | Type::Int => BOOL,
            _ => ANY,
        }
    }
}

/// The type of a member that is there.
fn inner<'a>(of: Found<'a>, field: &str) -> Found<'a> {
    match of {
        Cow::Borrowed(Type::Map { fields, rest }) => fields.get(field).or(rest.as_deref()).map_or(ANY, Cow::Borrowed),
        Cow::Owned(Type::Map { mut fields, rest }) => {
            fields.remove(field).or(rest.map(|rest| *rest)).map_or(ANY, Cow::Owned)
        }
        _ => ANY,
    }
}

/// Names that are no variables: those of types, and that of the functions over optional values.
fn is_namespace(name: &str) -> bool {
    TYPES.contains(&name) || name == "optional"
}

/// What is indexed and by which text, where that is written out: `a['b']`, `a.?b`, `a[?'b']`.
fn literal_index(call: &CallExpr) -> Option<(&IdedExpr, &str)> {
    let is_index = [operators::INDEX, operators::OPT_INDEX, operators::OPT_SELECT].contains(&call.func_name.as_str());
    match call.args.as_slice() {
        [operand, key] if is_index => match &key.expr {
            Expr::Literal(LiteralValue::String(text)) => Some((operand, text.inner())),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expression::Expression;

    fn types() -> Type {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "inputs": {"type": "object", "additionalProperties": false, "properties": {
                    "name": {"type": "string"}, "count": {"type": "integer"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                }},
                "steps": {"type": "object", "additionalProperties": false, "properties": {
                    "find": {"type": "object", "additionalProperties": false, "properties": {
                        "target": {"$ref": "#/$defs/Target"},
                        "pods": {"type": "array", "items": {"$ref": "#/$defs/Target"}},
                    }},
                }},
            },
            "$defs": {"Target": {"type": "object", "additionalProperties": false, "properties": {
                "uid": {"type": ["string", "null"]}, "parent": {"$ref": "#/$defs/Target"},
            }}},
        });
        Type::of_schema(&schema, &schema)
    }

    fn infer(source: &str) -> Result<Type, Vec<String>> {
        let Type::Map { fields, .. } = types() else { panic!("no mapping") };
        let variables = Variables::new([("inputs", &fields["inputs"]), ("steps", &fields["steps"])]);
        Expression::compile(source).map_err(|error| vec![error])?.infer(&variables)
    }

    #[test]
    fn types_follow_from_schemas() {
        for (source, expected) in [
            ("inputs.name", Type::Text),
            ("inputs.count + 1", Type::Int),
            ("inputs.count > 1 && !(inputs.name == 'x')", Type::Bool),
            ("steps.find.target.parent.parent.uid", Type::Text),
            ("steps.find.pods[0].uid", Type::Text),
            ("steps['find'].target.uid", Type::Text),
            ("steps.find.pods.map(p, p.uid)", Type::List(Box::new(Type::Any))),
            ("steps.find.pods.exists(p, p.uid == inputs.name)", Type::Bool),
            ("inputs.labels.app", Type::Text),
            ("inputs.labels[inputs.name]", Type::Text),
            ("steps.find.?target.?uid.orValue('')", Type::Any),
            ("has(inputs.name)", Type::Bool),
            ("string(inputs.count)", Type::Text),
            ("optional.of(inputs.count).hasValue()", Type::Bool),
            ("type(inputs.count) == int", Type::Bool),
            ("inputs.count > 1 ? 'a' : 'b'", Type::Text),
        ] {
            assert_eq!(infer(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn paths_that_no_schema_has_are_told_with_the_nearest() {
        for (source, expected) in [
            ("inputs.nam", "there is no 'nam' in 'inputs', did you mean 'name'?"),
            ("input.name", "there is no variable 'input', did you mean 'inputs'?"),
            ("steps.find.target.id", "there is no 'id' in 'steps.find.target', did you mean 'uid'?"),
            ("steps.find.pods.map(p, p.ui)", "there is no 'ui', did you mean 'uid'?"),
            ("steps.find.?targt.?uid.orValue('')", "there is no 'targt' in 'steps.find', did you mean 'target'?"),
            ("has(inputs.nam)", "there is no 'nam' in 'inputs', did you mean 'name'?"),
            ("inputs.name.first", "there is no 'first' in text"),
            ("inputs.name.startWith('a')", "there is no function 'startWith', did you mean 'startsWith'?"),
            ("inputs.count && true", "'&&', '||' and '!' want true or false, and not a whole number"),
            ("inputs.count.all(x, x)", "there is nothing to go through in a whole number"),
        ] {
            let faults = infer(source).unwrap_err();
            assert_eq!(faults.first().map(String::as_str), Some(expected), "{source}: {faults:?}");
        }
    }

    /// That every function is there, and is not merely believed to be.
    #[tokio::test]
    async fn the_functions_are_those_of_the_environment() {
        for source in [
            "always()",
            "bool('true')",
            "size(bytes('a'))",
            "'abc'.charAt(1)",
            "'a'.contains('a')",
            "double(1)",
            "dyn(1)",
            "'a'.endsWith('a')",
            "'%s'.format(['a'])",
            "optional.of(1).hasValue()",
            "'a'.indexOf('a')",
            "int('1')",
            "['a'].join()",
            "'a'.lastIndexOf('a')",
            "'A'.lowerAscii()",
            "'a'.matches('a')",
            "optional.none().hasValue()",
            "optional.ofNonZeroValue(1).hasValue()",
            "optional.of(1).or(optional.of(2)).hasValue()",
            "optional.none().orValue(1)",
            "'a'.replace('a', 'b')",
            "'ab'.reverse()",
            "size('a')",
            "'a'.split(',')",
            "'a'.startsWith('a')",
            "string(1)",
            "'abc'.substring(1)",
            "' a '.trim()",
            "type(1) == int",
            "uint(1)",
        ] {
            let expression = Expression::compile(source).unwrap();
            assert!(infer(source).is_ok(), "{source}: {:?}", infer(source));
            let value = expression.evaluate(&serde_json::Map::new()).await;
            assert!(value.is_ok(), "{source}: {value:?}");
        }
    }
}
