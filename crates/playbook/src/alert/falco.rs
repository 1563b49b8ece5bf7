//! Falco and Falcosidekick: one event a body. The fields are those of <https://falco.org/docs/concepts/outputs/formatting/>
//! and <https://falco.org/docs/reference/rules/supported-fields/>.

use serde_json::Value;

use super::fields::{Fields, Reader, image};
use super::{AlertError, Base, object, shape};
use crate::Event;

const TOOL: &str = "Falco";

pub(super) fn events(base: &Base, body: Value) -> Result<Vec<Event>, AlertError> {
    let body = object(TOOL, body)?;
    let fields = Fields::of(&body);
    for key in ["rule", "priority"] {
        if fields.get(key).is_none() {
            return Err(shape(TOOL, format!("it has no '{key}'")));
        }
    }
    let mut reader = Reader::default();
    reader.id = reader.id_of(fields, &["uuid"]);
    reader.rule = reader.name(fields, &["rule"]);
    reader.severity("priority", fields.get("priority"), &[("info", "informational")]);
    reader.time(fields, &["time"]);
    reader.text = Reader::shown(fields.text("output"));
    reader.tags("tags", fields.get("tags"));
    target(&mut reader, fields);
    Ok(vec![base.event(0, reader, body)])
}

fn target(reader: &mut Reader, fields: Fields<'_>) {
    let output = fields.within("output_fields");
    reader.target.namespace = reader.name(output, &["k8s.ns.name", "k8smeta.ns.name", "ka.target.namespace"]);
    reader.target.pod = reader.name(output, &["k8s.pod.name", "k8smeta.pod.name"]);
    let (repository, tag) =
        (reader.name(output, &["container.image.repository"]), reader.name(output, &["container.image.tag"]));
    reader.target.image = image(&repository, &tag);
    reader.target.digest = reader.name(output, &["container.image.digest"]);
    // What does not run in a container has the word in place of an id.
    if output.text("container.id") != "host" {
        reader.target.container_id = reader.name(output, &["container.full_id", "container.id"]);
        reader.target.container = reader.name(output, &["container.name"]);
    }
    reader.target.node = reader.name(output, &["k8s.node.name", "evt.hostname"]);
    if reader.target.node.is_empty() {
        reader.target.node = reader.name(fields, &["hostname"]);
    }
    reader.target.user = reader.name(output, &["ka.user.name"]);
    reader.target.object.resource = reader.name(output, &["ka.target.resource"]);
    reader.target.object.subresource = reader.name(output, &["ka.target.subresource"]);
    reader.target.object.name = reader.name(output, &["ka.target.name"]);
    if reader.target.object.resource == "pods" && reader.target.pod.is_empty() {
        reader.target.pod.clone_from(&reader.target.object.name);
    }
}
