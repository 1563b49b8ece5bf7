//! Whether the pods of a workload are those of its template.

use std::time::Duration;

use lifeboat_playbook::{ActionError, Period, Proof};
use serde_json::Value;

use crate::api::Api;
use crate::fields::{has_ended, is_going, items, labels, name, text};
use crate::policy::selects;
use crate::resources::{DAEMON_SET, DEPLOYMENT, POD, Resource, STATEFUL_SET};
use crate::target::Target;

/// The workloads whose controllers replace pods when the template changes.
pub(crate) static ROLLED: [&Resource; 3] = [&DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET];

/// What is waited for new pods, if nothing is said.
pub(crate) fn four_minutes() -> Period {
    Period::seconds(240)
}

/// Why a change of the template would not replace pods.
pub(crate) fn refusal(object: &Value) -> Option<String> {
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some("it is paused, and rolls nothing out".to_owned());
    }
    (text(object, "/spec/updateStrategy/type") == "OnDelete")
        .then(|| "its strategy is OnDelete: pods are made of the new template only once they are deleted".to_owned())
}

/// How many pods there are to be, where the controller says that all of them are of the newest template and available.
fn complete(kind: &str, object: &Value) -> Option<u64> {
    let number = |pointer| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let (wanted, counts): (u64, &[&str]) = match kind {
        "DaemonSet" => {
            (number("/status/desiredNumberScheduled"), &["/status/updatedNumberScheduled", "/status/numberAvailable"])
        }
        "StatefulSet" => (
            object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1),
            &["/status/replicas", "/status/updatedReplicas", "/status/readyReplicas"],
        ),
        _ => (
            object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1),
            &["/status/replicas", "/status/updatedReplicas", "/status/availableReplicas"],
        ),
    };
    let observed = number("/status/observedGeneration") >= number("/metadata/generation");
    (observed && counts.iter().all(|pointer| number(pointer) == wanted)).then_some(wanted)
}

fn is_ready(pod: &Value) -> bool {
    items(pod, "/status/conditions")
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True")
}

/// Waits for the controller, and then looks at each pod: whether it is new, in the words of `new`, and ready.
pub(crate) async fn observe(
    api: &Api,
    target: &Target,
    within: Duration,
    new: impl Fn(&Value) -> Result<(), String> + Send + Sync,
) -> Result<Proof, ActionError> {
    let place = target.place(&ROLLED)?;
    if !api.wait_for(place, within, |object| complete(&target.kind, object).is_some()).await? {
        let words = format!("the controller of {target} does not say, within {within:?}, that all pods are replaced");
        return Ok(Proof::NotObserved(words));
    }
    let object = target.read(api, &ROLLED).await?;
    let Some(wanted) = complete(&target.kind, &object) else {
        return Ok(Proof::NotObserved(format!("{target} is being changed again")));
    };
    let selector = object.pointer("/spec/selector").cloned().unwrap_or_default();
    let mut pods = api.list(&POD, target.namespace.as_deref()).await?;
    pods.retain(|pod| {
        let ended = has_ended(pod);
        !ended && !is_going(pod) && selects(&selector, &labels(pod))
    });
    let bad = pods.iter().filter_map(|pod| {
        let ready = if is_ready(pod) { Ok(()) } else { Err("it is not ready".to_owned()) };
        new(pod).and(ready).err().map(|reason| format!("{}: {reason}", name(pod)))
    });
    let bad: Vec<String> = bad.take(10).collect();
    Ok(if !bad.is_empty() {
        Proof::NotObserved(format!("pods of {target} are not as they should be: {}", bad.join("; ")))
    } else if wanted == 0 {
        Proof::NotObserved(format!("{target} is to have no pods, so that none was seen"))
    } else if pods.len() as u64 != wanted {
        Proof::NotObserved(format!("{target} is to have {wanted} pods, and {} were seen", pods.len()))
    } else {
        let names: Vec<&str> = pods.iter().take(10).map(name).collect();
        Proof::Observed(format!("{wanted} pods of {target} are new and ready: {}", names.join(", ")))
    })
}
