//! Prometheus' Alertmanager, version 4 of its webhook: one event for each alert that fires.
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use serde_json::{Map, Value};

use super::fields::{Fields, Reader};
use super::{AlertError, Base, object, objects, shape};
use crate::Event;

const TOOL: &str = "Alertmanager";
/// Labels that name what controls pods, as kube-state-metrics has them, with its kind.
const WORKLOADS: [(&str, &str); 6] = [
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("replicaset", "ReplicaSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
];

pub(super) fn events(base: &Base, body: Value) -> Result<Vec<Event>, AlertError> {
    let mut body = object(TOOL, body)?;
    if body.get("version").and_then(Value::as_str) != Some("4") {
        return Err(shape(TOOL, "its 'version' is not \"4\""));
    }
    let alerts = objects(TOOL, &mut body, "alerts")?;
    let firing = |alert: &Map<String, Value>| alert.get("status").and_then(Value::as_str) == Some("firing");
    let firing = alerts.into_iter().enumerate().filter(|(_, alert)| firing(alert));
    Ok(firing.map(|(place, alert)| event(base, place, alert)).collect())
}

fn event(base: &Base, place: usize, alert: Map<String, Value>) -> Event {
    let fields = Fields::of(&alert);
    let labels = fields.within("labels");
    let annotations = fields.within("annotations");
    let mut reader = Reader::default();
    // The fingerprint is that of the labels: what fires again later has the same one, and began at another time.
    let fingerprint = reader.name(fields, &["fingerprint"]);
    let began = reader.name(fields, &["startsAt"]);
    if !fingerprint.is_empty() {
        reader.id = format!("{fingerprint}/{began}");
    }
    reader.time(fields, &["startsAt"]);
    reader.rule = reader.name(labels, &["alertname"]);
    let names = [("info", "informational"), ("none", "debug"), ("high", "error"), ("page", "critical")];
    reader.severity("labels.severity", labels.get("severity"), &names);
    let mut text = ["summary", "description", "message"].into_iter().map(|key| annotations.text(key));
    reader.text = Reader::shown(text.find(|text| !text.is_empty()).unwrap_or_default());
    reader.target.namespace = reader.name(labels, &["namespace"]);
    reader.target.pod = reader.name(labels, &["pod"]);
    reader.target.container = reader.name(labels, &["container"]);
    reader.target.node = reader.name(labels, &["node"]);
    reader.target.image = reader.name(labels, &["image"]);
    if let Some((label, kind)) = WORKLOADS.iter().find(|(label, _)| labels.get(label).is_some()) {
        (*kind).clone_into(&mut reader.target.object.kind);
        reader.target.object.name = reader.name(labels, &[label]);
    }
    base.event(place, reader, alert)
}
