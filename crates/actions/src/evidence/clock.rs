//! How long evidence lasts.

use jiff::{SignedDuration, Timestamp};
use lifeboat_playbook::EvidenceClock;
use serde_json::Value;

use crate::fields::{items, name, text};

/// What will destroy evidence of a pod by itself, and when. `job` is the one that controls it.
pub(crate) fn clock(pod: &Value, job: Option<&Value>, now: Timestamp) -> Vec<EvidenceClock> {
    let mut clocks = probes(pod);
    clocks.extend(after(pod, "/metadata/deletionTimestamp", Some(0), now, "the pod is being deleted"));
    let deadline = seconds(pod, "/spec/activeDeadlineSeconds");
    clocks.extend(after(pod, "/status/startTime", deadline, now, "the pod's deadline ends its containers"));
    if let Some(job) = job {
        let name = name(job);
        let ttl = seconds(job, "/spec/ttlSecondsAfterFinished");
        let finished = items(job, "/status/conditions").find(|condition| {
            ["Complete", "Failed"].contains(&text(condition, "/type")) && text(condition, "/status") == "True"
        });
        let what = format!("the time to live of Job {name} deletes it with its pods");
        clocks.extend(finished.and_then(|condition| after(condition, "/lastTransitionTime", ttl, now, &what)));
        if ttl.is_some() && finished.is_none() {
            clocks.push(EvidenceClock { what: format!("{what}, once it has ended"), seconds: ttl });
        }
        let deadline = seconds(job, "/spec/activeDeadlineSeconds");
        clocks.extend(after(
            job,
            "/status/startTime",
            deadline,
            now,
            &format!("the deadline of Job {name} ends its pods"),
        ));
    }
    clocks
}

/// The kubelet probes over the network, which a quarantine may cut; a container that fails is restarted, and what it had
/// written is gone. Source: <https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>
fn probes(pod: &Value) -> Vec<EvidenceClock> {
    let probed = items(pod, "/spec/containers").filter_map(|container| {
        let probe = container.get("livenessProbe")?;
        ["httpGet", "tcpSocket", "grpc"].iter().any(|kind| probe.get(kind).is_some()).then(|| {
            let period = seconds(probe, "/periodSeconds").unwrap_or(10);
            let failures = seconds(probe, "/failureThreshold").unwrap_or(3);
            let what = format!(
                "where a quarantine cuts off the kubelet as well, the liveness probe restarts container {}, and its \
                 writable layer is gone",
                name_of(container)
            );
            EvidenceClock { what, seconds: Some(period.saturating_mul(failures)) }
        })
    });
    probed.collect()
}

fn name_of(container: &Value) -> &str {
    text(container, "/name")
}

fn seconds(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// What happens a while after a time that an object has.
fn after(object: &Value, pointer: &str, later: Option<u64>, now: Timestamp, what: &str) -> Option<EvidenceClock> {
    let from: Timestamp = text(object, pointer).parse().ok()?;
    let at = from.checked_add(SignedDuration::from_secs(i64::try_from(later?).ok()?)).ok()?;
    let left = u64::try_from(at.duration_since(now).as_secs()).unwrap_or(0);
    Some(EvidenceClock { what: what.to_owned(), seconds: Some(left) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_has_a_clock() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let pod = json!({
            "spec": {
                "activeDeadlineSeconds": 600,
                "containers": [
                    {"name": "web", "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5, "failureThreshold": 2}},
                    {"name": "by-default", "livenessProbe": {"tcpSocket": {"port": 80}}},
                    {"name": "by-exec", "livenessProbe": {"exec": {"command": ["true"]}}},
                ],
            },
            "status": {"startTime": "2026-11-21T11:55:00Z"},
        });
        let job = json!({
            "metadata": {"name": "report"},
            "spec": {"ttlSecondsAfterFinished": 120},
            "status": {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-21T11:59:00Z"}]},
        });
        let seconds: Vec<Option<u64>> = clock(&pod, Some(&job), now).iter().map(|clock| clock.seconds).collect();
        assert_eq!(seconds, [Some(10), Some(30), Some(300), Some(60)]);
        assert_eq!(clock(&json!({"metadata": {}}), None, now), []);
        let going = json!({"metadata": {"deletionTimestamp": "2026-11-21T11:00:00Z"}});
        assert_eq!(clock(&going, None, now)[0].seconds, Some(0));
    }
}
