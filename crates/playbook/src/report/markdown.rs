//! As Markdown.

use std::fmt::Write as _;

use crate::{RunRecord, WriteOutcome};

/// The timeline of a run as Markdown. Everything that came from outside is shown as text.
pub fn markdown(record: &RunRecord) -> String {
    let mut text = format!("# Run {} of {}\n\n", record.run, plain(&record.playbook));
    let outcome = record.outcome.map_or("not ended", |outcome| outcome.name());
    // Writing into a String cannot fail.
    let _ = writeln!(text, "- Outcome: **{outcome}**");
    let _ = writeln!(text, "- Asked for by {} at {}", plain(&record.plan.request.requester.0), record.began);
    for step in &record.steps {
        let outcome = step.outcome.map_or("not ended", |outcome| outcome.name());
        let _ = writeln!(text, "- {} `{}` {outcome}", step.began, plain(&step.step));
        for write in &step.writes {
            let done = match write.outcome {
                Some(WriteOutcome::Done) => "done",
                Some(WriteOutcome::NotDone) => "not done",
                Some(WriteOutcome::Uncertain) | None => "uncertain",
            };
            let _ = writeln!(text, "  - {} {done}", plain(&write.object.to_string()));
        }
    }
    text
}

/// Text that is nothing else in Markdown, on one line.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '&' => vec!['\\', c],
            c if c.is_control() => vec![' '],
            c => vec![c],
        })
        .collect()
}
