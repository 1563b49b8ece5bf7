//! The steps of a playbook.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeboat_model::{YamlNode, YamlPlace};
use serde_json::Value;

use super::{Check, Draft, Faults, LoadErrors, Loader, MAX_CALLS, graph, inputs_schema, is_identifier, told};
use crate::expression::{Expression, Path, Type, Variables};
use crate::playbook::{CALL, Step, Tree};
use crate::{Playbook, Repeat, StepSpec};

/// A step that is good enough to be looked at more closely.
struct Sketch<'a> {
    node: &'a YamlNode,
    spec: StepSpec,
    calls: Option<Arc<Playbook>>,
    /// Inputs of what it uses.
    inputs: Option<Value>,
    repeat: Repeat,
}

impl Loader<'_> {
    /// The steps, those of `finally`, and the type of `steps`.
    pub(super) fn steps(&mut self, draft: &mut Draft<'_>) -> (Vec<Step>, Vec<Step>, Type) {
        let tree = draft.tree;
        let list = |name: &str| tree.get("spec").and_then(|spec| spec.get(name)).map_or(&[][..], YamlNode::items);
        let (nodes, last) = (list("steps"), list("finally"));
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut types: BTreeMap<String, Type> = BTreeMap::new();
        let mut sketches: Vec<Option<Sketch<'_>>> = Vec::new();
        for (place, node) in nodes.iter().chain(last).enumerate() {
            ids(&mut draft.faults, node, place, &mut places);
            let sketch = self.sketch(&mut draft.faults, node, &mut types);
            sketches.push(sketch);
        }
        let types = Type::map(types);
        let needs = needs(&mut draft.faults, nodes, &places);
        let before = match graph::order(&needs) {
            Ok(before) => Some(before),
            Err(cycle) => {
                let names: Vec<&str> =
                    cycle.iter().chain(cycle.first()).filter_map(|step| nodes.get(*step)?.get("id")?.text()).collect();
                let place = cycle.first().and_then(|step| nodes.get(*step)).map_or(tree.place, |node| node.place);
                draft.faults.add(place, format!("steps need one another: {}", names.join(" needs ")));
                None
            }
        };
        let mut steps = Vec::new();
        let mut finally = Vec::new();
        for (place, sketch) in sketches.into_iter().enumerate() {
            let Some(sketch) = sketch else { continue };
            let is_last = place >= nodes.len();
            let reach = |id: &str| match places.get(id) {
                Some(&first) if is_last => first < place,
                Some(&first) => before.as_ref().is_none_or(|before| before.runs(first, place)),
                None => true,
            };
            let own = needs.get(place).cloned().unwrap_or_default();
            let step = draft.step(sketch, own, &types, is_last, &reach);
            if is_last { finally.extend(step) } else { steps.extend(step) }
        }
        (steps, finally, types)
    }

    /// Looks at a step on its own.
    fn sketch<'n>(
        &mut self,
        faults: &mut Faults,
        node: &'n YamlNode,
        types: &mut BTreeMap<String, Type>,
    ) -> Option<Sketch<'n>> {
        let uses = node.get("uses").and_then(|uses| Some((uses.text()?, uses.place)));
        let id = node.get("id").and_then(YamlNode::text);
        let mut calls = None;
        let mut inputs = None;
        let mut repeat = Repeat::Safe;
        let mut outputs = Type::Any;
        match uses {
            Some((CALL, place)) => {
                calls = self.called(faults, node, place);
                if let Some(called) = &calls {
                    inputs = Some(call_schema(called));
                    outputs = called_type(called, self.registry);
                }
                repeat = Repeat::Never;
            }
            Some((name, place)) => match self.registry.get(name) {
                Some(action) => {
                    let schema = action.outputs();
                    outputs = Type::of_schema(schema, schema);
                    inputs = Some(action.inputs().clone());
                    repeat = action.statement().repeat;
                }
                None => faults.unknown(place, "action", name, self.registry.names().chain([CALL])),
            },
            None => {}
        }
        if let Some(id) = id {
            types.insert(id.to_owned(), step_type(outputs, node.get("forEach").is_some()));
        }
        let spec: StepSpec = told("StepSpec", node, faults)?;
        Some(Sketch { node, spec, calls, inputs, repeat })
    }

    /// The playbook that a step calls.
    fn called(&mut self, faults: &mut Faults, node: &YamlNode, uses: YamlPlace) -> Option<Arc<Playbook>> {
        let with = node.get("with");
        let Some(name) = with.and_then(|with| with.get("name")) else {
            faults.add(with.map_or(uses, |with| with.place), "the key 'name' is missing");
            return None;
        };
        let place = name.place;
        let name = name.text()?;
        if self.stack.iter().any(|open| open == name) {
            let path: Vec<&str> = self.stack.iter().map(String::as_str).chain([name]).collect();
            faults.add(place, format!("playbooks call one another: {}", path.join(" calls ")));
            return None;
        }
        if self.stack.len() > MAX_CALLS {
            faults.add(place, format!("playbooks call one another deeper than {MAX_CALLS} times"));
            return None;
        }
        if !self.known.contains_key(name) {
            let Some(text) = self.library.text(name) else {
                let names = self.library.names();
                faults.unknown(place, "playbook", name, names.iter().map(String::as_str));
                return None;
            };
            let loaded = self.load(name, &text).and_then(|playbook| {
                let found = playbook.name();
                if found == name { Ok(playbook) } else { Err(misnamed(name, found)) }
            });
            self.known.insert(name.to_owned(), loaded);
        }
        match self.known.get(name)? {
            Ok(playbook) => Some(Arc::clone(playbook)),
            Err(errors) => {
                faults.add(place, format!("the playbook '{name}' has faults"));
                faults.extend(errors.clone());
                None
            }
        }
    }
}

fn misnamed(name: &str, found: &str) -> LoadErrors {
    let mut faults = Faults::new(name);
    faults.add(YamlPlace { line: 1, column: 1 }, format!("its name is '{found}' and not '{name}'"));
    faults.into_errors()
}

fn ids<'n>(faults: &mut Faults, node: &'n YamlNode, place: usize, places: &mut BTreeMap<&'n str, usize>) {
    let Some(id) = node.get("id") else { return };
    let Some(text) = id.text() else { return };
    if !is_identifier(text) {
        let reason = format!("'{text}' is no id: expected letters, digits and '_', and a letter first");
        faults.add(id.place, reason);
    }
    if places.insert(text, place).is_some() {
        faults.add(id.place, format!("there are two steps '{text}'"));
    }
}

/// What each step needs, by places.
fn needs(faults: &mut Faults, nodes: &[YamlNode], places: &BTreeMap<&str, usize>) -> Vec<Vec<usize>> {
    let mut all = Vec::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        let Some(needs) = node.get("needs") else {
            all.push(place.checked_sub(1).into_iter().collect());
            continue;
        };
        let mut own = Vec::new();
        for need in needs.items() {
            let Some(name) = need.text() else { continue };
            match places.get(name) {
                Some(&found) if found < nodes.len() => own.push(found),
                Some(_) => faults.add(need.place, format!("'{name}' is a step of finally")),
                None => {
                    let known = places.iter().filter(|(_, found)| **found < nodes.len()).map(|(name, _)| *name);
                    faults.unknown(need.place, "step", name, known);
                }
            }
        }
        own.sort_unstable();
        own.dedup();
        all.push(own);
    }
    all
}

/// What later steps see of a step.
fn step_type(outputs: Type, for_each: bool) -> Type {
    let mut fields = match outputs {
        outputs if for_each => BTreeMap::from([("items".to_owned(), Type::List(Box::new(outputs)))]),
        Type::Map { fields, .. } => fields,
        // What it uses is not known, which was told: nothing in it is wrong besides.
        _ => return Type::Any,
    };
    fields.insert("outcome".to_owned(), Type::Text);
    fields.insert("message".to_owned(), Type::Text);
    Type::Map { fields, rest: None }
}

/// What later steps see of a playbook that was called: its steps.
fn called_type(called: &Playbook, registry: &crate::Registry) -> Type {
    let steps = called.steps.iter().map(|step| {
        let outputs = match (&step.calls, registry.get(&step.spec.uses)) {
            (Some(called), _) => called_type(called, registry),
            (None, Some(action)) => {
                let schema = action.outputs();
                Type::of_schema(schema, schema)
            }
            (None, None) => Type::Any,
        };
        (step.spec.id.clone(), step_type(outputs, step.for_each.is_some()))
    });
    Type::map([("steps", Type::map(steps))])
}

/// What stands under `with` of a call.
fn call_schema(called: &Playbook) -> Value {
    let inputs = inputs_schema(&called.spec().inputs, true);
    let needs_inputs = called.spec().inputs.values().any(|spec| spec.required);
    let required = if needs_inputs { vec!["name", "inputs"] } else { vec!["name"] };
    serde_json::json!({
        "type": "object", "additionalProperties": false, "required": required,
        "properties": {"name": {"const": called.name()}, "inputs": inputs},
    })
}

impl Draft<'_> {
    /// Compiles a step, and checks every expression in it.
    fn step(
        &mut self,
        sketch: Sketch<'_>,
        needs: Vec<usize>,
        steps: &Type,
        is_last: bool,
        reach: &dyn Fn(&str) -> bool,
    ) -> Option<Step> {
        let Sketch { node, spec, calls, inputs, repeat } = sketch;
        let outer = self.types.variables(is_last).with("steps", steps);
        let faults = &mut self.faults;
        keys(faults, node, &spec, repeat, is_last);
        let condition = node.get("if").map(|one| Self::expression(faults, one, &outer, &Type::Bool));
        let list = Type::List(Box::new(Type::Any));
        let for_each = node.get("forEach").map(|one| Self::template(faults, one, &outer, &list));
        let item = for_each.as_ref().map(|list| item_type(list.as_ref(), &outer));
        let variables = match &item {
            Some(item) => outer.with("item", item).with("index", &Type::Int),
            None => outer.clone(),
        };
        let own = own_outputs(steps, &spec);
        let repeated = variables.with("outputs", &own);
        let until = node.get("until").map(|one| Self::expression(faults, one, &repeated, &Type::Bool));
        if let Some(schema) = inputs {
            with(faults, node, &schema, &variables);
        }
        let with = match Tree::parse(&Value::Object(spec.with.clone())) {
            Ok(with) => with,
            Err(reason) => {
                faults.add(node.place, reason);
                return None;
            }
        };
        let (condition, for_each, until) =
            (condition.unwrap_or_default(), for_each.unwrap_or_default(), until.unwrap_or_default());
        let paths = condition.iter().chain(&until).flat_map(Expression::references);
        let paths = paths.chain(for_each.iter().flat_map(|one| one.references())).chain(with.references());
        for path in paths.filter(|path| path.root() == "steps") {
            reached(faults, node, path, is_last, reach);
        }
        Some(Step { spec, needs, condition, for_each, until, with, calls })
    }
}

/// A step may read only what surely ran before it.
fn reached(faults: &mut Faults, node: &YamlNode, path: &Path, is_last: bool, reach: &dyn Fn(&str) -> bool) {
    match path.second() {
        Some(id) if reach(id) => {}
        Some(id) if is_last => faults.add(node.place, format!("'{path}': '{id}' runs later")),
        Some(id) => {
            let hint =
                format!("'{path}': '{id}' may not have run yet; it has to be among the steps that this one needs");
            faults.add(node.place, hint);
        }
        None => faults.add(node.place, "'steps' can be read only step by step, as steps.ID"),
    }
}

/// Keys that go together, and keys that do not.
fn keys(faults: &mut Faults, node: &YamlNode, spec: &StepSpec, repeat: Repeat, is_last: bool) {
    let mut wrong = |key: &str, reason: &str| {
        let place = node.members().iter().find(|member| member.key == key).map_or(node.place, |member| member.place);
        faults.add(place, format!("'{key}' {reason}"));
    };
    if spec.parallel.is_some() && spec.for_each.is_none() {
        wrong("parallel", "is of no use without 'forEach'");
    }
    if spec.every.is_some() && spec.until.is_none() {
        wrong("every", "is of no use without 'until'");
    }
    if spec.until.is_some() && repeat == Repeat::Never {
        wrong("until", "repeats the step, and this action may not be repeated");
    }
    if spec.retry.is_some() && spec.uses == CALL {
        wrong("retry", "belongs to the steps of the playbook that is called");
    }
    if spec.needs.is_some() && is_last {
        wrong("needs", "is of no use in 'finally', whose steps run one after the other");
    }
}

/// What stands under `with`.
fn with(faults: &mut Faults, node: &YamlNode, schema: &Value, variables: &Variables<'_>) {
    let none = YamlNode { place: node.place, kind: lifeboat_model::YamlKind::Map(Vec::new()) };
    let given = node.get("with").unwrap_or(&none);
    Check { root: schema, variables: Some(variables), faults }.check(schema, given);
}

fn item_type(list: Option<&crate::expression::Template>, variables: &Variables<'_>) -> Type {
    let expression = list.and_then(|list| list.expressions().first().copied());
    match expression.map(|expression| expression.infer(variables)) {
        Some(Ok(Type::List(item))) => *item,
        _ => Type::Any,
    }
}

/// What `until` sees as `outputs`.
fn own_outputs(steps: &Type, spec: &StepSpec) -> Type {
    let Type::Map { fields, .. } = steps else { return Type::Any };
    match fields.get(&spec.id) {
        Some(Type::Map { fields, .. }) if spec.for_each.is_some() => match fields.get("items") {
            Some(Type::List(item)) => item.as_ref().clone(),
            _ => Type::Any,
        },
        Some(own) => own.clone(),
        None => Type::Any,
    }
}
