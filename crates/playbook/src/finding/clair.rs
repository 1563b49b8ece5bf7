//! Clair v4: a vulnerability report, as `clairctl report --out json` and the matcher's API write it.
//! <https://quay.github.io/clair/reference/api.html>

use serde_json::Value;

use super::{Draft, Finding, members, shape};
use crate::AlertError;
use crate::alert::{CLAIR_SEVERITIES, Fields, Reader};

const TOOL: &str = "Clair";

pub(super) fn read(draft: &mut Draft, body: &Value) -> Result<(), AlertError> {
    let fields = Fields::of(members(TOOL, body)?);
    if fields.get("manifest_hash").is_none() || fields.get("package_vulnerabilities").is_none() {
        return Err(shape(TOOL, "it has no 'manifest_hash' and 'package_vulnerabilities'"));
    }
    draft.image = draft.reader.name(fields, &["manifest_hash"]);
    draft.subject.clone_from(&draft.image);
    let (packages, known) = (fields.within("packages"), fields.within("vulnerabilities"));
    let found = members(TOOL, fields.get("package_vulnerabilities").unwrap_or(&Value::Null))?;
    for (package, ids) in found {
        let ids = ids.as_array().ok_or_else(|| shape(TOOL, "a member of 'package_vulnerabilities' is no list"))?;
        let package = packages.within_any(package);
        for id in ids.iter().filter_map(Value::as_str) {
            // What the report refers to and does not have is told by its lack of a name.
            let vulnerability = known.within_any(id);
            let severity = vulnerability.get("normalized_severity");
            let finding = Finding {
                severity: draft.severity("normalized_severity", severity, &CLAIR_SEVERITIES),
                id: draft.reader.name(vulnerability, &["name"]),
                component: draft.reader.name(package, &["name"]),
                version: draft.reader.name(package, &["version"]),
                fixed: draft.reader.name(vulnerability, &["fixed_in_version"]),
                title: Reader::shown(vulnerability.text("description")),
            };
            draft.add(finding)?;
        }
    }
    Ok(())
}
