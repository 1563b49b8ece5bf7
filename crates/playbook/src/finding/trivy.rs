//! Trivy: `--format json` of an image, a file system or a cluster's manifests.
//! <https://trivy.dev/latest/docs/configuration/reporting/#json>

use serde_json::Value;

use super::{Draft, Finding, list, members, shape};
use crate::AlertError;
use crate::alert::{Fields, Reader};

const TOOL: &str = "Trivy";
/// Trivy's severities with our names of them.
const SEVERITIES: [(&str, &str); 5] =
    [("unknown", "debug"), ("low", "notice"), ("medium", "warning"), ("high", "error"), ("critical", "critical")];

pub(super) fn read(draft: &mut Draft, body: &Value) -> Result<(), AlertError> {
    let fields = Fields::of(members(TOOL, body)?);
    if fields.get("SchemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(shape(TOOL, "its 'SchemaVersion' is not 2"));
    }
    draft.subject = draft.reader.name(fields, &["ArtifactName"]);
    let digests = list(TOOL, fields.within("Metadata"), "RepoDigests")?;
    let digest = digests.first().and_then(Value::as_str).and_then(|name| name.rsplit_once('@'));
    if let Some((_, digest)) = digest {
        draft.image = draft.reader.name_of("Metadata.RepoDigests", &digest.into());
    }
    for result in list(TOOL, fields, "Results")? {
        let result = Fields::of(members(TOOL, result)?);
        for one in list(TOOL, result, "Vulnerabilities")? {
            vulnerability(draft, Fields::of(members(TOOL, one)?))?;
        }
        for one in list(TOOL, result, "Misconfigurations")? {
            misconfiguration(draft, result, Fields::of(members(TOOL, one)?))?;
        }
    }
    Ok(())
}

fn vulnerability(draft: &mut Draft, one: Fields<'_>) -> Result<(), AlertError> {
    let finding = Finding {
        severity: draft.severity("Severity", one.get("Severity"), &SEVERITIES),
        id: draft.reader.name(one, &["VulnerabilityID"]),
        component: draft.reader.name(one, &["PkgName"]),
        version: draft.reader.name(one, &["InstalledVersion"]),
        fixed: draft.reader.name(one, &["FixedVersion"]),
        title: Reader::shown(one.text("Title")),
    };
    draft.add(finding)
}

fn misconfiguration(draft: &mut Draft, result: Fields<'_>, one: Fields<'_>) -> Result<(), AlertError> {
    if one.text("Status") != "FAIL" {
        return Ok(());
    }
    let finding = Finding {
        severity: draft.severity("Severity", one.get("Severity"), &SEVERITIES),
        id: draft.reader.name(one, &["ID", "AVDID"]),
        component: draft.reader.name(result, &["Target"]),
        version: String::new(),
        fixed: String::new(),
        title: Reader::shown(one.text("Title")),
    };
    draft.add(finding)
}
