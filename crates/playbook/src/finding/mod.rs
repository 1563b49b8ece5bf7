//! What scanners found, in one form: kube-bench, Trivy, Clair.

mod clair;
mod kube_bench;
mod trivy;

use std::collections::BTreeSet;

use jiff::Timestamp;
use lifeboat_model::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::alert::{Fields, Reader, parse};
use crate::{AlertError, EventSource};

/// The largest report, in bytes. It is larger than alerts are: Trivy lists every package with every link.
pub const MAX_REPORT_BYTES: usize = 64 << 20;
/// The most values of a report.
const MAX_VALUES: usize = 2_000_000;
/// The most findings of a report.
const MAX_FINDINGS: usize = 50_000;

/// One thing that a scanner found to be wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// How bad it is, from 0 to 7, as of events.
    pub severity: u8,
    /// The scanner's id of the rule or the vulnerability: `1.2.7`, `CVE-2024-1`.
    pub id: String,
    /// Where: the package, or the part of the benchmark.
    pub component: String,
    /// Its version, where it has one.
    pub version: String,
    /// The version in which it is mended, where there is one.
    pub fixed: String,
    /// What is wrong, in a line.
    pub title: String,
}

impl Finding {
    /// What makes it the same in two reports: not its words, nor how bad it is.
    fn key(&self) -> (&str, &str, &str) {
        (&self.id, &self.component, &self.version)
    }
}

/// A report of a scanner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Findings {
    /// The scanner.
    pub tool: EventSource,
    /// What was scanned: an image, a manifest, a kind of node.
    pub subject: String,
    /// When it was read.
    #[schemars(with = "String")]
    pub read: Timestamp,
    /// SHA-256 of the report.
    pub digest: Digest,
    /// Digest of the image that was scanned, where it is one and that is known.
    pub image: String,
    /// Worst first.
    pub findings: Vec<Finding>,
    /// What of the report was left out, and why.
    pub doubts: Vec<String>,
}

/// What is different between two reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingsDiff {
    /// In the later one only, worst first.
    pub added: Vec<Finding>,
    /// In the earlier one only.
    pub removed: Vec<Finding>,
    /// In both.
    pub unchanged: usize,
}

impl Findings {
    /// Reads the report of a scanner; without a tool, of the one that it looks like.
    ///
    /// # Errors
    /// When it is too large, no JSON, or not what such a scanner writes.
    pub fn read(report: &[u8], tool: Option<EventSource>, at: Timestamp) -> Result<Self, AlertError> {
        if report.len() > MAX_REPORT_BYTES {
            return Err(AlertError::TooLarge { bytes: report.len(), limit: MAX_REPORT_BYTES });
        }
        let body = parse(report, MAX_VALUES)?;
        let tool =
            tool.or_else(|| looks_like(&body)).ok_or_else(|| shape("what a scanner writes", "it is not known"))?;
        let mut draft = Draft::default();
        match tool {
            EventSource::KubeBench => kube_bench::read(&mut draft, &body)?,
            EventSource::Trivy => trivy::read(&mut draft, &body)?,
            EventSource::Clair => clair::read(&mut draft, &body)?,
            _ => return Err(shape("what a scanner writes", "only kube-bench, Trivy and Clair are read")),
        }
        Ok(draft.finish(tool, at, Digest::of(report)))
    }

    /// What is different from an earlier report of the same subject.
    pub fn since(&self, earlier: &Self) -> FindingsDiff {
        let keys = |findings: &Self| -> BTreeSet<(String, String, String)> {
            let keys = findings.findings.iter().map(Finding::key);
            keys.map(|(id, component, version)| (id.to_owned(), component.to_owned(), version.to_owned())).collect()
        };
        let only = |of: &Self, other: &BTreeSet<(String, String, String)>| -> Vec<Finding> {
            let is_in = |finding: &&Finding| {
                let (id, component, version) = finding.key();
                !other.contains(&(id.to_owned(), component.to_owned(), version.to_owned()))
            };
            of.findings.iter().filter(is_in).cloned().collect()
        };
        let added = only(self, &keys(earlier));
        let unchanged = self.findings.len().saturating_sub(added.len());
        FindingsDiff { added, removed: only(earlier, &keys(self)), unchanged }
    }
}

fn looks_like(body: &Value) -> Option<EventSource> {
    let first = body.as_array().and_then(|items| items.first()).unwrap_or(body);
    [
        ("Controls", EventSource::KubeBench),
        ("tests", EventSource::KubeBench),
        ("SchemaVersion", EventSource::Trivy),
        ("manifest_hash", EventSource::Clair),
    ]
    .into_iter()
    .find_map(|(key, tool)| first.get(key).map(|_| tool))
}

/// A report while it is read.
#[derive(Default)]
struct Draft {
    subject: String,
    image: String,
    findings: Vec<Finding>,
    reader: Reader,
}

impl Draft {
    fn add(&mut self, finding: Finding) -> Result<(), AlertError> {
        if finding.id.is_empty() {
            self.reader.doubt("a finding has no id that is one");
            return Ok(());
        }
        if self.findings.len() == MAX_FINDINGS {
            return Err(AlertError::TooMany { count: MAX_FINDINGS + 1, limit: MAX_FINDINGS });
        }
        self.findings.push(finding);
        Ok(())
    }

    /// A severity by its name, for this finding alone.
    fn severity(&mut self, place: &str, value: Option<&Value>, names: &[(&str, &str)]) -> u8 {
        self.reader.severity = 0;
        self.reader.severity(place, value, names);
        self.reader.severity
    }

    fn finish(mut self, tool: EventSource, read: Timestamp, digest: Digest) -> Findings {
        self.findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.key().cmp(&b.key())));
        // Two layers of an image may hold the same package.
        self.findings.dedup_by(|a, b| a.key() == b.key());
        let (subject, image, findings) = (self.subject, self.image, self.findings);
        Findings { tool, subject, read, digest, image, findings, doubts: self.reader.doubts }
    }
}

fn shape(tool: &'static str, reason: &str) -> AlertError {
    AlertError::Shape { tool, reason: reason.to_owned() }
}

fn members<'a>(tool: &'static str, value: &'a Value) -> Result<&'a Map<String, Value>, AlertError> {
    value.as_object().ok_or_else(|| shape(tool, "it is no JSON object"))
}

/// The items of a list that may be absent or null, as Go writes one that is empty.
fn list<'a>(tool: &'static str, fields: Fields<'a>, key: &str) -> Result<&'a [Value], AlertError> {
    match fields.get(key) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(shape(tool, &format!("'{key}' is no list"))),
    }
}

#[cfg(test)]
mod tests;
