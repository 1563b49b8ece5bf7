//! Who reads a Secret.

use lifeboat_playbook::ActionError;
use serde_json::Value;

use crate::api::Api;
use crate::fields::{controller, has_ended, items, name, text};
use crate::resources::POD;
use crate::target::Target;
use crate::workload::ROLLED;

/// Whether a pod, or a template of one, refers to a Secret.
pub(super) fn reads(pod: &Value, secret: &str) -> bool {
    let is = |value: &Value, pointer: &str| text(value, pointer) == secret;
    let in_container = |container: &Value| {
        items(container, "/env").any(|env| is(env, "/valueFrom/secretKeyRef/name"))
            || items(container, "/envFrom").any(|from| is(from, "/secretRef/name"))
    };
    let in_volume = |volume: &Value| {
        is(volume, "/secret/secretName")
            || is(volume, "/csi/nodePublishSecretRef/name")
            || items(volume, "/projected/sources").any(|source| is(source, "/secret/name"))
    };
    let containers = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    containers.into_iter().flat_map(|pointer| items(pod, pointer)).any(in_container)
        || items(pod, "/spec/volumes").any(in_volume)
        || items(pod, "/spec/imagePullSecrets").any(|reference| is(reference, "/name"))
}

/// The workloads whose pods read a Secret, and, by name, the pods that nothing here can restart.
pub(super) async fn find(api: &Api, namespace: &str, secret: &str) -> Result<(Vec<Target>, Vec<String>), ActionError> {
    let mut workloads = Vec::new();
    for resource in ROLLED {
        let found = api.list(resource, Some(namespace)).await?;
        let of_template = |object: &&Value| object.pointer("/spec/template").is_some_and(|pod| reads(pod, secret));
        workloads.extend(found.iter().filter(of_template).map(Target::of));
    }
    let pods = api.list(&POD, Some(namespace)).await?;
    let restarted = ["ReplicaSet", "StatefulSet", "DaemonSet"];
    let others = pods.iter().filter(|pod| {
        let ended = has_ended(pod);
        let owned = controller(pod).is_some_and(|owner| restarted.contains(&owner.kind.as_str()));
        !ended && !owned && reads(pod, secret)
    });
    Ok((workloads, others.map(|pod| name(pod).to_owned()).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_read_a_secret_is_found() {
        for pod in [
            json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "db", "key": "a"}}}]}]}),
            json!({"containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}),
            json!({"volumes": [{"secret": {"secretName": "db"}}]}),
            json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "db"}}]}}]}),
            json!({"imagePullSecrets": [{"name": "db"}]}),
        ] {
            let pod = json!({"spec": pod});
            assert!(reads(&pod, "db") && !reads(&pod, "other"), "{pod}");
        }
        assert!(!reads(&json!({"spec": {"volumes": [{"configMap": {"name": "db"}}]}}), "db"));
    }
}
