//! As Markdown.

use std::fmt::Write as _;

use super::timeline::{evidence, outcome_name, timeline};
use crate::RunRecord;
use crate::text::clean;

/// The timeline of a run as Markdown, fit for a post-mortem. Everything that came from outside is shown as text.
pub fn markdown(record: &RunRecord) -> String {
    let mut text = format!("# Run {} of {}\n\n", record.run, plain(&record.playbook));
    let mut line = |name: &str, value: &str| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "- {name}: {value}");
    };
    line("Outcome", &format!("**{}**", outcome_name(record.outcome)));
    line("Asked for by", &plain(&record.plan.request.requester.0));
    line("Began", &record.began.to_string());
    if let Some(ended) = record.ended {
        line("Ended", &ended.to_string());
    }
    if let Some(refused) = &record.refused {
        line("Denied", &plain(refused));
    }
    line("Plan", &format!("`{}`", record.plan.hash));
    text.push_str("\n## Timeline\n\n| when | what | outcome | details |\n| --- | --- | --- | --- |\n");
    for event in timeline(record) {
        let (what, details) = (plain(&event.what), plain(&event.details));
        let _ = writeln!(text, "| {} | {what} | {} | {details} |", event.at, event.outcome);
    }
    let found = evidence(record);
    if !found.is_empty() {
        text.push_str("\n## Evidence\n\n| step | item | SHA-256 |\n| --- | --- | --- |\n");
        for item in found {
            let _ = writeln!(text, "| {} | {} | {} |", plain(&item.step), plain(&item.path), plain(&item.sha256));
        }
    }
    text
}

/// Text that is nothing else in Markdown, on one line.
fn plain(text: &str) -> String {
    let mut safe = String::new();
    for character in clean(text).chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '&' | '!') {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}
