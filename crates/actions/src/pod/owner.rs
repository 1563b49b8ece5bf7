//! What the owner of a pod does when it loses it.

use lifeboat_playbook::ObjectRef;
use serde_json::Value;

use crate::fields::controller;

/// How a pod is lost to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It no longer bears the labels that the owner selects by: the owner lets go of it, and it stays.
    Released,
    /// It is deleted.
    Deleted,
}

/// What the owner will do, in words.
pub(crate) fn reaction(pod: &Value, loss: Loss) -> String {
    let Some(ObjectRef { kind, name, .. }) = controller(pod) else {
        return match loss {
            Loss::Released => "nothing owns the pod: nothing takes its place".to_owned(),
            Loss::Deleted => "nothing owns the pod: it does not come back".to_owned(),
        };
    };
    match (kind.as_str(), loss) {
        ("ReplicaSet" | "ReplicationController", _) => {
            format!("{kind} {name} makes a new pod of the same template, which is as vulnerable as this one")
        }
        ("StatefulSet", Loss::Released) => {
            format!("{kind} {name} cannot make another pod while this one has the name: the replica is missing")
        }
        ("DaemonSet", Loss::Released) => {
            format!("{kind} {name} makes another pod on the same node, which is as vulnerable as this one")
        }
        ("StatefulSet" | "DaemonSet", Loss::Deleted) => {
            format!("{kind} {name} makes the pod again, as vulnerable as this one")
        }
        ("Job", _) => format!("{kind} {name} may make the pod again, and counts a failure if it was deleted"),
        _ => format!("it is not known what {kind} {name} does when it loses the pod"),
    }
}
