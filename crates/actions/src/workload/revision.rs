//! The pod templates that a workload had.

use lifeboat_playbook::ActionError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Api;
use crate::fields::{annotation, controller, name, text, uid};
use crate::resources::{CONTROLLER_REVISION, REPLICA_SET};
use crate::target::Target;

/// Where a template is kept: in a `ReplicaSet` of a Deployment, in a `ControllerRevision` of the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) uid: String,
}

/// A template that a workload had, or has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Revision {
    pub(super) number: u64,
    pub(super) kept: Kept,
    pub(super) template: Value,
}

/// A template without what controllers put into their copies of it.
pub(super) fn cleaned(template: Option<&Value>) -> Value {
    let mut template = template.cloned().unwrap_or_default();
    if let Some(members) = template.as_object_mut() {
        members.remove("$patch");
    }
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    if let Some(metadata) = template.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
    }
    template
}

fn of_replica_set(set: &Value) -> Option<Revision> {
    let number = annotation(set, "deployment.kubernetes.io/revision").parse().ok()?;
    Some(Revision { number, kept: kept(set), template: cleaned(set.pointer("/spec/template")) })
}

fn of_controller_revision(revision: &Value) -> Option<Revision> {
    let number = revision.get("revision").and_then(Value::as_u64)?;
    Some(Revision { number, kept: kept(revision), template: cleaned(revision.pointer("/data/spec/template")) })
}

fn kept(object: &Value) -> Kept {
    Kept { name: name(object).to_owned(), uid: uid(object).to_owned() }
}

/// The templates that a workload had, newest first.
pub(super) async fn revisions(api: &Api, target: &Target) -> Result<Vec<Revision>, ActionError> {
    let is_deployment = target.kind == "Deployment";
    let resource = if is_deployment { &REPLICA_SET } else { &CONTROLLER_REVISION };
    let mut objects = api.list(resource, target.namespace.as_deref()).await?;
    objects.retain(|object| controller(object).is_some_and(|owner| owner.uid.as_ref() == Some(&target.uid)));
    let read = if is_deployment { of_replica_set } else { of_controller_revision };
    let mut found: Vec<Revision> = objects.iter().filter_map(read).collect();
    found.sort_unstable_by_key(|revision| std::cmp::Reverse(revision.number));
    Ok(found)
}

/// The one that a workload has now.
pub(super) fn current<'a>(revisions: &'a [Revision], object: &Value) -> Option<&'a Revision> {
    let template = cleaned(object.pointer("/spec/template"));
    revisions.iter().find(|revision| revision.template == template)
}

/// Whether a pod was made of a template.
pub(super) fn is_of(pod: &Value, kept: &Kept) -> bool {
    let hash = text(pod, "/metadata/labels/controller-revision-hash");
    let owned = controller(pod).is_some_and(|owner| owner.uid.as_ref() == Some(&kept.uid));
    // A stateful set writes the revision's name on its pods, a daemon set only the end of it.
    owned || (!hash.is_empty() && (kept.name == hash || kept.name.ends_with(&format!("-{hash}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_compared_without_what_controllers_add() {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
        let set = json!({
            "metadata": {"name": "web-1", "uid": "u", "annotations": {"deployment.kubernetes.io/revision": "3"}},
            "spec": {"template": {
                "metadata": {"labels": {"app": "web", "pod-template-hash": "x"}, "creationTimestamp": null},
                "spec": {"containers": []},
            }},
        });
        let revision = json!({
            "metadata": {"name": "web-5d4", "uid": "v"}, "revision": 2,
            "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}},
        });
        let found = [of_replica_set(&set).unwrap(), of_controller_revision(&revision).unwrap()];
        assert_eq!(found.each_ref().map(|one| one.number), [3, 2]);
        assert!(found.iter().all(|one| one.template == template));
        assert_eq!(current(&found, &json!({"spec": {"template": template}})), Some(&found[0]));
        let pod = |hash: &str| json!({"metadata": {"labels": {"controller-revision-hash": hash}}});
        assert!(is_of(&pod("5d4"), &found[1].kept) && is_of(&pod("web-5d4"), &found[1].kept));
        assert!(!is_of(&pod("d4"), &found[1].kept) && !is_of(&pod(""), &found[1].kept));
    }
}
