//! The canonical hash of a plan.

use lifeboat_model::Digest;
use serde_json::{Value, json};

use crate::{Plan, Planned, StepPlan};

/// Of everything that would be done, to what: not of warnings, clocks and durations, which change by themselves, nor of
/// who asks.
pub(crate) fn of_plan(plan: &Plan) -> Digest {
    let steps = plan.steps.iter().map(|step| {
        let state = match &step.state {
            Planned::Known => "known",
            Planned::Maybe(_) => "maybe",
            Planned::NotWanted => "notWanted",
            Planned::Later(_) => "later",
            Planned::Refused(_) => "refused",
        };
        json!({"step": step.step, "uses": step.uses, "state": state, "inputs": step.inputs, "does": of_step(&step.plan)})
    });
    let whole = json!({
        "playbook": plan.playbook, "sources": plan.sources, "inputs": plan.inputs, "concurrency": plan.concurrency,
        "steps": steps.collect::<Vec<_>>(),
    });
    digest(&whole)
}

/// Of one step that was planned later than the others.
pub(crate) fn of_late(key: &str, inputs: &Value, plan: &StepPlan) -> Digest {
    digest(&json!({"step": key, "inputs": inputs, "does": of_step(plan)}))
}

fn of_step(plan: &StepPlan) -> Value {
    json!({"changes": plan.changes, "targets": plan.targets, "memo": plan.memo})
}

fn digest(value: &Value) -> Digest {
    let mut text = String::new();
    write(value, &mut text);
    Digest::of(text.as_bytes())
}

/// JSON without spaces, keys in the order of their bytes, whatever order a map has.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                text.push_str(if place > 0 { "," } else { "" });
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (place, (key, value)) in members.into_iter().enumerate() {
                text.push_str(if place > 0 { "," } else { "" });
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
