//! The executor against a model.

mod model;
mod rules;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::*;
use world::{People, World};

/// A playbook of these steps, with what else its `spec` has.
fn playbook(engine: &Engine, steps: Value, more: Value) -> Playbook {
    let mut spec = json!({"description": "A test.", "steps": steps, "guards": {"maxTargets": 10_000}});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        spec[key] = value;
    }
    let document = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": {"name": "test"}, "spec": spec,
    });
    load("test.yaml", &document.to_string(), &engine.registry, &BTreeMap::new()).unwrap()
}

fn request() -> Request {
    Request { inputs: Map::new(), requester: Identity("ann".to_owned()), trigger: None }
}

async fn run(engine: &Engine, playbook: &Playbook, cancel: &CancellationToken) -> Result<RunRecord, EngineError> {
    let plan = engine.plan(playbook, &request(), &CancellationToken::new()).await?;
    let hash = plan.hash;
    engine.run(playbook, plan, &hash, Arc::new(()), cancel).await
}

/// Runs in a new world, with nobody to ask.
async fn simple(steps: Value, more: Value) -> (World, RunRecord) {
    let world = World::default();
    let engine = world.engine(&People::default());
    let playbook = playbook(&engine, steps, more);
    let record = run(&engine, &playbook, &CancellationToken::new()).await.unwrap();
    (world, record)
}

/// Outcomes by step.
fn outcomes(record: &RunRecord) -> BTreeMap<&str, &'static str> {
    record.steps.iter().map(|step| (step.step.as_str(), step.outcome.map_or("open", Outcome::name))).collect()
}
