//! Findings, as people read them.

use std::fmt::Write as _;

use lifeboat_playbook::{Finding, SEVERITIES};

use crate::exit::ExitCode;
use crate::output::{Table, printable};

/// The longest title in a table.
const MAX_TITLE: usize = 80;

pub(super) fn severity(number: u8) -> &'static str {
    SEVERITIES.get(usize::from(number)).copied().unwrap_or_default()
}

/// A table, or nothing where there are none.
pub(super) fn table(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["SEVERITY", "ID", "COMPONENT", "VERSION", "FIXED", "TITLE"]);
    for one in findings {
        let title: String = one.title.chars().take(MAX_TITLE).collect();
        table.row([severity(one.severity), &one.id, &one.component, &one.version, &one.fixed, &title]);
    }
    table.to_string()
}

/// What is new and what is gone.
pub(super) fn difference(text: &mut String, added: &[Finding], removed: &[Finding]) {
    for (word, findings) in [("new", added), ("gone", removed)] {
        if !findings.is_empty() {
            let _ = write!(text, "\n{word}:\n{}", table(findings));
        }
    }
}

pub(super) fn doubts(text: &mut String, doubts: &[String]) {
    for doubt in doubts {
        let _ = writeln!(text, "left out: {}", printable(doubt));
    }
}

/// How the gate ends it.
pub(super) fn exit(findings: &[Finding], fail_on: Option<u8>) -> ExitCode {
    let stops = fail_on.is_some_and(|least| findings.iter().any(|one| one.severity >= least));
    if stops { ExitCode::Partial } else { ExitCode::Done }
}
