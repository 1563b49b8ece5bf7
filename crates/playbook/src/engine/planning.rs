//! Making a plan: every step is asked what it would do, with what is known before anything is done.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use lifeboat_model::Digest;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::frame::Frame;
use super::{Engine, EngineError, guards, hash};
use crate::action::StepContext;
use crate::expression::{Expression, Path, Scope};
use crate::playbook::Step;
use crate::{ActionError, FailurePolicy, Plan, Planned, PlannedStep, Playbook, Request, RunId, StepPlan};

/// How many items of `forEach` are planned at a time: planning writes nothing, so their order does not matter.
const AT_ONCE: usize = 16;
/// The most items of one `forEach`.
pub(crate) const MAX_ITEMS: usize = 10_000;

/// What is in common for all steps of a plan.
struct Planning<'a> {
    engine: &'a Engine,
    run: &'a RunId,
    request: &'a Request,
    cancel: &'a CancellationToken,
}

/// What is known of a step before it runs.
enum Known {
    /// Its outputs.
    Outputs,
    /// That it is not wanted: it has an outcome, and no outputs.
    NotWanted,
    /// That it would not be done.
    Refused,
    /// Nothing.
    Nothing,
}

/// What came of planning one step.
struct Found {
    known: Known,
    outputs: Option<Value>,
    steps: Vec<PlannedStep>,
}

pub(crate) async fn plan(
    engine: &Engine,
    run: RunId,
    playbook: &Playbook,
    request: &Request,
    cancel: &CancellationToken,
) -> Result<Plan, EngineError> {
    let inputs = playbook.inputs(&request.inputs).map_err(EngineError::Inputs)?;
    let planning = Planning { engine, run: &run, request, cancel };
    let about = json!({"id": run, "playbook": playbook.name(), "requester": request.requester});
    let frame = Frame::new(playbook, String::new(), inputs.clone(), about, request);
    let (steps, _) = planning.frame(&frame).await?;
    let concurrency = match &playbook.concurrency {
        Some(key) => Some(concurrency(&frame, key).await.map_err(|error| refused_before(&steps).unwrap_or(error))?),
        None => None,
    };
    let mut plan = Plan {
        run: run.clone(),
        playbook: playbook.name().to_owned(),
        request: request.clone(),
        sources: playbook.sources.digest(),
        inputs,
        steps,
        denied: Vec::new(),
        approval: Vec::new(),
        quorum: playbook.spec().approval.as_ref().map_or(1, |approval| approval.quorum),
        concurrency,
        hash: Digest([0; 32]),
    };
    guards::judge(engine, playbook, &frame, &mut plan).await?;
    plan.hash = hash::of_plan(&plan);
    Ok(plan)
}

/// What a key that has no value lacks is mostly what a step would have given that was refused: that is the reason to tell.
fn refused_before(steps: &[PlannedStep]) -> Option<EngineError> {
    steps.iter().find_map(|step| match &step.state {
        Planned::Refused(reason) => Some(EngineError::Expression { step: step.step.clone(), reason: reason.clone() }),
        _ => None,
    })
}

/// The key under which one run is under way. One that cannot be known would guard nothing.
async fn concurrency(frame: &Frame<'_>, key: &crate::expression::Template) -> Result<String, EngineError> {
    let wrong = |reason: String| EngineError::Expression { step: "guards.concurrency".to_owned(), reason };
    match key.evaluate(&frame.scope(key.references())).await.map_err(wrong)? {
        Value::String(text) if !text.is_empty() => Ok(text),
        other => Err(wrong(format!("{other} is no key"))),
    }
}

impl Planning<'_> {
    /// Plans a playbook's steps, each after those that it needs.
    fn frame<'f>(&'f self, frame: &'f Frame<'_>) -> BoxFuture<'f, Result<(Vec<PlannedStep>, bool), EngineError>> {
        async move {
            let steps = &frame.playbook.steps;
            let mut known: BTreeMap<&str, Known> = BTreeMap::new();
            let mut planned: Vec<PlannedStep> = Vec::new();
            for place in order(steps) {
                let Some(step) = steps.get(place) else { continue };
                let refused = step.needs.iter().filter_map(|need| steps.get(*need)).find(|need| {
                    need.spec.on_failure == FailurePolicy::Abort
                        && matches!(known.get(need.spec.id.as_str()), Some(Known::Refused))
                });
                let is_always = step.condition.as_ref().is_some_and(Expression::is_always);
                let found = match refused {
                    Some(need) if !is_always => refusal(frame, step, format!("it needs '{}'", need.spec.id)),
                    _ => self.told(frame, step, &known).await?,
                };
                known.insert(&step.spec.id, found.known);
                planned.extend(found.steps);
            }
            let complete = known.values().all(|known| matches!(known, Known::Outputs | Known::NotWanted));
            for step in &frame.playbook.finally {
                let found = self.told(frame, step, &known).await?;
                known.insert(&step.spec.id, found.known);
                planned.extend(found.steps);
            }
            Ok((planned, complete))
        }
        .boxed()
    }

    /// A step whose expressions have no value, as of a step that was skipped, is refused, and the others are planned.
    async fn told(&self, frame: &Frame<'_>, step: &Step, known: &BTreeMap<&str, Known>) -> Result<Found, EngineError> {
        match self.step(frame, step, known).await {
            Err(EngineError::Expression { reason, .. }) => Ok(refusal(frame, step, reason)),
            other => other,
        }
    }

    async fn step(&self, frame: &Frame<'_>, step: &Step, known: &BTreeMap<&str, Known>) -> Result<Found, EngineError> {
        let references = step.condition.iter().flat_map(Expression::references);
        let missing = unknown(references, known);
        if missing.is_empty() {
            return self.wanted(frame, step, known).await;
        }
        // Whether it is wanted is not known, but what it would do may be.
        let mut found = self.each(frame, step, known).await?;
        for planned in found.steps.iter_mut().filter(|planned| planned.state == Planned::Known) {
            planned.state = Planned::Maybe(missing.clone());
        }
        frame.forget(step);
        found.known = Known::Nothing;
        Ok(found)
    }

    /// A step of which it is known whether it is wanted.
    async fn wanted(
        &self,
        frame: &Frame<'_>,
        step: &Step,
        known: &BTreeMap<&str, Known>,
    ) -> Result<Found, EngineError> {
        let paths = step.references();
        let scope = frame.scope(paths.iter().copied());
        let key = frame.key(step);
        let wrong = |reason: String| EngineError::Expression { step: key.clone(), reason };
        if let Some(condition) = &step.condition
            && !condition.holds(&scope).await.map_err(wrong)?
        {
            frame.ended(step, None, Some("skipped"), None);
            let not_wanted = planned(&key, step, Planned::NotWanted, None, StepPlan::default());
            return Ok(Found { known: Known::NotWanted, outputs: None, steps: vec![not_wanted] });
        }
        self.each(frame, step, known).await
    }

    /// A step that is wanted, or all of its items.
    async fn each(&self, frame: &Frame<'_>, step: &Step, known: &BTreeMap<&str, Known>) -> Result<Found, EngineError> {
        let paths = step.references();
        let scope = frame.scope(paths.iter().copied());
        let key = frame.key(step);
        let wrong = |reason: String| EngineError::Expression { step: key.clone(), reason };
        let Some(list) = &step.for_each else {
            let found = self.instance(frame, step, &key, scope, known).await?;
            if let Known::Outputs = found.known {
                frame.ended(step, found.outputs.as_ref(), None, None);
            }
            return Ok(found);
        };
        let missing = unknown(list.references(), known);
        if !missing.is_empty() {
            return Ok(later(&key, step, missing));
        }
        let items = items(list.evaluate(&scope).await.map_err(wrong)?).map_err(wrong)?;
        let found: Vec<Found> = futures::stream::iter(items.into_iter().enumerate())
            .map(|(index, item)| {
                let key = format!("{key}[{index}]");
                let scope = with_item(&scope, index, item);
                async move { self.instance(frame, step, &key, scope, known).await }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(together(frame, step, found))
    }

    /// A step, or one item of it.
    async fn instance(
        &self,
        frame: &Frame<'_>,
        step: &Step,
        key: &str,
        scope: Scope,
        known: &BTreeMap<&str, Known>,
    ) -> Result<Found, EngineError> {
        let missing = unknown(step.with.references(), known);
        if !missing.is_empty() {
            return Ok(later(key, step, missing));
        }
        let wrong = |reason: String| EngineError::Expression { step: key.to_owned(), reason };
        let inputs = step.with.evaluate(&scope).await.map_err(wrong)?;
        if let Some(called) = &step.calls {
            return self.call(frame, called, key, &inputs).await;
        }
        let action = self.engine.registry.get(&step.spec.uses);
        let action = action.ok_or_else(|| wrong(format!("there is no action '{}'", step.spec.uses)))?;
        action.accepts(&inputs).map_err(wrong)?;
        let context = self.context(key);
        match action.plan(&inputs, &context).await {
            Ok(plan) => {
                let outputs = plan.outputs.clone();
                let known = if outputs.is_some() { Known::Outputs } else { Known::Nothing };
                let steps = vec![planned(key, step, Planned::Known, Some(inputs), plan)];
                Ok(Found { known, outputs, steps })
            }
            Err(error @ ActionError::Denied { .. }) => {
                let state = Planned::Refused(error.chain());
                let steps = vec![planned(key, step, state, Some(inputs), StepPlan::default())];
                Ok(Found { known: Known::Refused, outputs: None, steps })
            }
            Err(ActionError::Cancelled) => Err(EngineError::Cancelled),
            Err(source) => Err(EngineError::Step { step: key.to_owned(), source }),
        }
    }

    async fn call(
        &self,
        outer: &Frame<'_>,
        called: &Playbook,
        key: &str,
        inputs: &Value,
    ) -> Result<Found, EngineError> {
        let wrong = |reasons: Vec<String>| EngineError::Expression { step: key.to_owned(), reason: reasons.join("; ") };
        let inputs = called.inputs(&call_inputs(inputs)).map_err(wrong)?;
        let run = outer.run();
        let frame = Frame::new(called, format!("{key}/"), inputs, run, self.request);
        let (steps, complete) = self.frame(&frame).await?;
        let known = if complete { Known::Outputs } else { Known::Nothing };
        Ok(Found { known, outputs: complete.then(|| frame.outputs()), steps })
    }

    fn context(&self, key: &str) -> StepContext {
        StepContext {
            run: self.run.clone(),
            step: key.to_owned(),
            hash: Digest([0; 32]),
            requester: self.request.requester.clone(),
            record: None,
            clock: std::sync::Arc::clone(&self.engine.clock),
            approver: std::sync::Arc::clone(&self.engine.approver),
            cancel: self.cancel.clone(),
            deadline: None,
        }
    }
}

/// The inputs that a call gives.
pub(crate) fn call_inputs(with: &Value) -> Map<String, Value> {
    with.get("inputs").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The items of a `forEach`.
pub(crate) fn items(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) if items.len() <= MAX_ITEMS => Ok(items),
        Value::Array(items) => Err(format!("forEach has {} items, and at most {MAX_ITEMS} may be", items.len())),
        _ => Err("forEach is no list".to_owned()),
    }
}

/// What an item of `forEach` sees.
pub(crate) fn with_item(scope: &Scope, index: usize, item: Value) -> Scope {
    let mut scope = scope.clone();
    scope.insert("item".to_owned(), item);
    scope.insert("index".to_owned(), index.into());
    scope
}

/// All items of a step.
fn together(frame: &Frame<'_>, step: &Step, found: Vec<Found>) -> Found {
    let known = if found.iter().any(|one| matches!(one.known, Known::Refused)) {
        Known::Refused
    } else if found.iter().all(|one| matches!(one.known, Known::Outputs)) {
        Known::Outputs
    } else {
        Known::Nothing
    };
    let items: Option<Vec<Value>> = found.iter().map(|one| one.outputs.clone()).collect();
    let outputs = items.map(|items| json!({"items": items}));
    if let Known::Outputs = known {
        frame.ended(step, outputs.as_ref(), None, None);
    }
    Found { known, outputs, steps: found.into_iter().flat_map(|one| one.steps).collect() }
}

/// The steps in an order in which each comes after those that it needs, as near to the file's as may be.
pub(crate) fn order(steps: &[Step]) -> Vec<usize> {
    let mut waits: Vec<usize> = steps.iter().map(|step| step.needs.len()).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (place, step) in steps.iter().enumerate() {
        for need in &step.needs {
            if let Some(list) = dependents.get_mut(*need) {
                list.push(place);
            }
        }
    }
    let mut ready: BTreeSet<usize> =
        waits.iter().enumerate().filter(|(_, waits)| **waits == 0).map(|(place, _)| place).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(place) = ready.pop_first() {
        order.push(place);
        for next in dependents.get(place).into_iter().flatten() {
            if let Some(waits) = waits.get_mut(*next) {
                *waits -= 1;
                if *waits == 0 {
                    ready.insert(*next);
                }
            }
        }
    }
    order
}

/// The steps on which paths depend whose values are not known yet.
fn unknown<'a>(paths: impl IntoIterator<Item = &'a Path>, known: &BTreeMap<&str, Known>) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for path in paths {
        match (path.root(), path.second()) {
            ("steps", Some(id)) => {
                let ended = matches!(path.third(), Some("outcome" | "message") | None);
                let is_known = match known.get(id) {
                    Some(Known::Outputs) => !ended,
                    Some(Known::NotWanted) => true,
                    Some(Known::Refused | Known::Nothing) | None => false,
                };
                if !is_known {
                    missing.insert(id.to_owned());
                }
            }
            ("run", Some("id" | "playbook" | "requester")) => {}
            ("run", _) => drop(missing.insert("run".to_owned())),
            _ => {}
        }
    }
    missing.into_iter().collect()
}

fn planned(key: &str, step: &Step, state: Planned, inputs: Option<Value>, plan: StepPlan) -> PlannedStep {
    PlannedStep { step: key.to_owned(), uses: step.spec.uses.clone(), state, inputs, plan }
}

fn later(key: &str, step: &Step, missing: Vec<String>) -> Found {
    let steps = vec![planned(key, step, Planned::Later(missing), None, StepPlan::default())];
    Found { known: Known::Nothing, outputs: None, steps }
}

fn refusal(frame: &Frame<'_>, step: &Step, reason: String) -> Found {
    let steps = vec![planned(&frame.key(step), step, Planned::Refused(reason), None, StepPlan::default())];
    Found { known: Known::Refused, outputs: None, steps }
}
