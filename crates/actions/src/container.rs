//! Ephemeral containers: added to a pod that runs, and never taken out again.

use lifeboat_playbook::{ActionError, Change, StepPlan};
use serde_json::{Value, json};

use crate::api::{Api, Place};
use crate::fields::{items, reference, text};
use crate::planning::asked;

/// Why adding one is not undone.
pub(crate) const STAYS: &str = "an ephemeral container stays in its pod until the pod is gone";

/// A name that no container of the pod has.
pub(crate) fn free_name(pod: &Value, prefix: &str) -> String {
    let taken: Vec<&str> = items(pod, "/spec/ephemeralContainers").map(|container| text(container, "/name")).collect();
    let mut number = 1_usize;
    loop {
        let name = format!("{prefix}-{number}");
        if !taken.contains(&name.as_str()) {
            return name;
        }
        number += 1;
    }
}

/// What the kubelet tells of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) running: bool,
    pub(crate) ended: bool,
    pub(crate) exit_code: Option<i64>,
    /// For people.
    pub(crate) words: String,
}

/// What the kubelet tells of an ephemeral container.
pub(crate) fn state(pod: &Value, name: &str) -> State {
    let status = items(pod, "/status/ephemeralContainerStatuses").find(|status| text(status, "/name") == name);
    let Some(state) = status.and_then(|status| status.get("state")) else {
        let words = "the kubelet of its node has told nothing of it".to_owned();
        return State { words, ..State::default() };
    };
    let reason = |of: &str| {
        let (reason, message) = (text(state, &format!("/{of}/reason")), text(state, &format!("/{of}/message")));
        if message.is_empty() { reason.to_owned() } else { format!("{reason}, {message}") }
    };
    if let Some(terminated) = state.get("terminated") {
        let code = terminated.get("exitCode").and_then(Value::as_i64);
        let words = format!("it ended with exit code {} ({})", code.unwrap_or(-1), reason("terminated"));
        return State { ended: true, exit_code: code, words, ..State::default() };
    }
    if state.get("running").is_some() {
        return State { running: true, words: "it runs".to_owned(), ..State::default() };
    }
    State { words: format!("it waits ({})", reason("waiting")), ..State::default() }
}

/// Plans to add a container, which the server is asked about by a dry run.
pub(crate) async fn plan_container<O>(
    api: &Api,
    plan: &mut StepPlan<O>,
    id: &str,
    place: Place<'_>,
    (pod, container): (&Value, &Value),
) -> Result<(), ActionError> {
    if let Some((_, warnings)) = asked(api.dry_add_container(place, crate::fields::uid(pod), container).await)? {
        plan.warnings.extend(warnings);
    }
    let mut shown = container.clone();
    if let Some(members) = shown.as_object_mut() {
        // A script of many lines, the same for everybody.
        members.remove("command");
    }
    let after = json!({"spec": {"ephemeralContainer": shown}});
    plan.changes.push(Change::new(id, "patch", reference(pod), &json!({}), &after).irreversible(STAYS));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free() {
        assert_eq!(free_name(&json!({}), "x"), "x-1");
        let pod = json!({"spec": {"ephemeralContainers": [{"name": "x-1"}, {"name": "x-3"}, {"name": "debug"}]}});
        assert_eq!(free_name(&pod, "x"), "x-2");
    }

    #[test]
    fn a_state_is_told_in_words() {
        let pod = |state: Value| json!({"status": {"ephemeralContainerStatuses": [{"name": "x", "state": state}]}});
        let ended = state(&pod(json!({"terminated": {"exitCode": 3, "reason": "Error"}})), "x");
        assert_eq!(
            (ended.ended, ended.exit_code, ended.words.as_str()),
            (true, Some(3), "it ended with exit code 3 (Error)")
        );
        assert!(state(&pod(json!({"running": {}})), "x").running);
        let waits = state(&pod(json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}})), "x");
        assert_eq!(waits, State { words: "it waits (ErrImagePull, no such image)".to_owned(), ..State::default() });
        assert!(state(&json!({}), "x").words.contains("told nothing"));
    }
}
