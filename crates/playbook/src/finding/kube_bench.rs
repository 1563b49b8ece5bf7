//! kube-bench: `--json`, with totals or (`--noTotals`) without. <https://github.com/aquasecurity/kube-bench>

use serde_json::Value;

use super::{Draft, Finding, list, members, shape};
use crate::alert::{Fields, Reader};
use crate::{AlertError, event};

const TOOL: &str = "kube-bench";

pub(super) fn read(draft: &mut Draft, body: &Value) -> Result<(), AlertError> {
    let controls = match body {
        Value::Array(controls) => controls.as_slice(),
        body => {
            let fields = Fields::of(members(TOOL, body)?);
            if fields.get("Controls").is_none() {
                return Err(shape(TOOL, "it has no 'Controls'"));
            }
            list(TOOL, fields, "Controls")?
        }
    };
    let mut kinds: Vec<String> = Vec::new();
    for control in controls {
        let fields = Fields::of(members(TOOL, control)?);
        let kind = draft.reader.name(fields, &["node_type"]);
        if !kind.is_empty() && !kinds.contains(&kind) {
            kinds.push(kind);
        }
        for test in list(TOOL, fields, "tests")? {
            let test = Fields::of(members(TOOL, test)?);
            for result in list(TOOL, test, "results")? {
                self::result(draft, test, Fields::of(members(TOOL, result)?))?;
            }
        }
    }
    draft.subject = kinds.join("+");
    Ok(())
}

/// What failed is as bad as an error, if it counts; what a person has to look at is a notice.
fn result(draft: &mut Draft, test: Fields<'_>, result: Fields<'_>) -> Result<(), AlertError> {
    let counts = result.get("scored") != Some(&Value::Bool(false));
    let severity = match result.text("status") {
        "FAIL" if counts => "error",
        "FAIL" => "warning",
        "WARN" => "notice",
        "PASS" | "INFO" => return Ok(()),
        _ => {
            draft.reader.doubt("a result has no status that is known");
            return Ok(());
        }
    };
    let id = draft.reader.name(result, &["test_number"]);
    let component = draft.reader.name(test, &["desc"]);
    draft.add(Finding {
        severity: event::severity(severity).unwrap_or_default(),
        id,
        component,
        version: String::new(),
        fixed: String::new(),
        title: Reader::shown(result.text("test_desc")),
    })
}
