//! Which pods are meant.

use std::net::IpAddr;

use serde_json::Value;

use super::resolve::Inputs;
use crate::fields::{has_ended, items, text};

/// Whether a pod is what the inputs describe. Each that is given has to fit.
pub(crate) fn fits(pod: &Value, wanted: &Inputs) -> bool {
    let is = |wanted: &Option<String>, pointer| wanted.as_deref().is_none_or(|wanted| wanted == text(pod, pointer));
    is(&wanted.name, "/metadata/name")
        && is(&wanted.uid, "/metadata/uid")
        && is(&wanted.node, "/spec/nodeName")
        && is(&wanted.service_account, "/spec/serviceAccountName")
        && wanted.container_id.as_deref().is_none_or(|id| runs_container(pod, id))
        && wanted.image.as_deref().is_none_or(|image| runs_image(pod, image))
        && wanted.ip.as_deref().is_none_or(|ip| has_address(pod, ip))
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/status/containerStatuses", "/status/initContainerStatuses", "/status/ephemeralContainerStatuses"]
        .into_iter()
        .flat_map(|pointer| items(pod, pointer))
}

/// Container ids are `containerd://HEX`; alerts give the number alone, and some its first twelve digits.
fn runs_container(pod: &Value, id: &str) -> bool {
    let id = id.rsplit("://").next().unwrap_or(id);
    let is_enough = id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_enough
        && statuses(pod).any(|status| {
            let found = ["/containerID", "/lastState/terminated/containerID"].map(|pointer| text(status, pointer));
            found.into_iter().any(|found| found.rsplit("://").next().is_some_and(|found| found.starts_with(id)))
        })
}

/// By the image's id or digest: a name says nothing of what runs.
fn runs_image(pod: &Value, image: &str) -> bool {
    statuses(pod).any(|status| {
        let found = text(status, "/imageID");
        !found.is_empty() && (found == image || found.rsplit(['@', '/']).next() == image.rsplit(['@', '/']).next())
    })
}

/// By the pod's own address; pods of the host's network have that of the node, and are not meant.
fn has_address(pod: &Value, ip: &str) -> bool {
    let Ok(wanted) = ip.parse::<IpAddr>() else { return false };
    let host = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    let ended = has_ended(pod);
    !host && !ended && items(pod, "/status/podIPs").any(|found| text(found, "/ip").parse() == Ok(wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_known_by_what_runs_in_them() {
        let pod = json!({
            "metadata": {"name": "web-1", "uid": "u"},
            "spec": {"nodeName": "n1", "serviceAccountName": "web"},
            "status": {
                "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
                "containerStatuses": [{
                    "containerID": "containerd://0123456789abcdef0123456789abcdef",
                    "imageID": "registry.example.com/web@sha256:aa",
                    "lastState": {"terminated": {"containerID": "containerd://fedcba9876543210"}},
                }],
            },
        });
        let fits_with = |inputs: Value| fits(&pod, &serde_json::from_value(inputs).unwrap());
        for yes in [
            json!({}),
            json!({"name": "web-1", "node": "n1", "serviceAccount": "web", "uid": "u"}),
            json!({"containerId": "0123456789ab"}),
            json!({"containerId": "containerd://0123456789abcdef0123456789abcdef"}),
            json!({"containerId": "fedcba9876543210"}),
            json!({"image": "sha256:aa"}),
            json!({"image": "registry.example.com/web@sha256:aa"}),
            json!({"ip": "10.0.0.7"}),
            json!({"ip": "fd00:0::7"}),
        ] {
            assert!(fits_with(yes.clone()), "{yes}");
        }
        for no in [
            json!({"name": "web-1", "node": "n2"}),
            json!({"containerId": "0123"}),
            json!({"containerId": ""}),
            json!({"containerId": "ffffffffffff"}),
            json!({"image": "sha256:bb"}),
            json!({"image": "web"}),
            json!({"ip": "10.0.0.8"}),
            json!({"ip": "nonsense"}),
        ] {
            assert!(!fits_with(no.clone()), "{no}");
        }
    }
}
