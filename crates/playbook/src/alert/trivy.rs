//! trivy-operator: a report, bare or as `{verb, operatorObject}`.
//! <https://aquasecurity.github.io/trivy-operator/latest/tutorials/integrations/webhook/>

use serde_json::{Map, Value};

use super::fields::{Fields, Reader, image};
use super::{AlertError, Base, object, shape};
use crate::{Event, event};

const TOOL: &str = "trivy-operator";
/// Members of a report's summary, worst first, with our names of their severities.
const COUNTS: [(&str, &str, &str); 4] = [
    ("criticalCount", "critical", "critical"),
    ("highCount", "high", "error"),
    ("mediumCount", "medium", "warning"),
    ("lowCount", "low", "notice"),
];

pub(super) fn events(base: &Base, body: Value) -> Result<Vec<Event>, AlertError> {
    let mut body = object(TOOL, body)?;
    if let Some(inner) = body.remove("operatorObject") {
        // A report that was deleted says nothing that is to be acted on.
        if body.get("verb").and_then(Value::as_str) == Some("delete") {
            return Ok(Vec::new());
        }
        body = object(TOOL, inner)?;
    }
    let fields = Fields::of(&body);
    if !fields.text("apiVersion").starts_with("aquasecurity.github.io/") || fields.get("report").is_none() {
        return Err(shape(TOOL, "it is no report of aquasecurity.github.io"));
    }
    Ok(vec![event(base, body)])
}

fn event(base: &Base, body: Map<String, Value>) -> Event {
    let fields = Fields::of(&body);
    let (metadata, report) = (fields.within("metadata"), fields.within("report"));
    let labels = metadata.within("labels");
    let mut reader = Reader::default();
    reader.rule = reader.name(fields, &["kind"]);
    reader.time(report, &["updateTimestamp"]);
    let uid = reader.name(metadata, &["uid"]);
    let version = reader.id_of(metadata, &["resourceVersion"]);
    if !uid.is_empty() {
        // A report is written again by each scan.
        reader.id = format!("{uid}/{}", if version.is_empty() { report.text("updateTimestamp") } else { &version });
    }
    summary(&mut reader, report.within("summary"));
    let artifact = report.within("artifact");
    let (server, repository) =
        (reader.name(report.within("registry"), &["server"]), reader.name(artifact, &["repository"]));
    let tag = reader.name(artifact, &["tag"]);
    reader.target.digest = reader.name(artifact, &["digest"]);
    let repository =
        if server.is_empty() || repository.is_empty() { repository } else { format!("{server}/{repository}") };
    reader.target.image = image(&repository, &tag);
    reader.target.namespace = reader.name(labels, &["trivy-operator.resource.namespace"]);
    if reader.target.namespace.is_empty() {
        reader.target.namespace = reader.name(metadata, &["namespace"]);
    }
    reader.target.container = reader.name(labels, &["trivy-operator.container.name"]);
    reader.target.object.kind = reader.name(labels, &["trivy-operator.resource.kind"]);
    reader.target.object.name = reader.name(labels, &["trivy-operator.resource.name"]);
    match reader.target.object.kind.as_str() {
        "Pod" => reader.target.pod.clone_from(&reader.target.object.name),
        "Node" => reader.target.node.clone_from(&reader.target.object.name),
        _ => {}
    }
    base.event(0, reader, body)
}

/// As bad as the worst that was found.
fn summary(reader: &mut Reader, summary: Fields<'_>) {
    let mut told = Vec::new();
    for (key, word, name) in COUNTS {
        let count = match summary.get(key) {
            None => continue,
            Some(count) => count.as_u64(),
        };
        let Some(count) = count else {
            reader.doubt(format!("summary.{key}: no count"));
            continue;
        };
        if count > 0 {
            reader.severity = reader.severity.max(event::severity(name).unwrap_or_default());
            told.push(format!("{count} {word}"));
        }
    }
    reader.text = told.join(", ");
}
