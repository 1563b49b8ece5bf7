//! The timeline of a run, for a post-mortem.

mod html;
mod markdown;
mod timeline;

pub use html::html;
pub use markdown::markdown;

#[cfg(test)]
mod tests {
    use lifeboat_model::Digest;
    use serde_json::{Map, json};

    use super::*;
    use crate::{Entry, Identity, Line, Outcome, Plan, Proof, Request, RunId, RunRecord, Sources};

    /// A run in which everything from outside wants to be something else.
    fn hostile() -> RunRecord {
        let evil = "<script>alert(1)</script> [x](javascript:y) \u{1b}[31m | # **b**\n\u{202e}";
        let plan = Plan {
            run: "20261121T120000Z-k3f9qz".parse::<RunId>().unwrap(),
            playbook: evil.to_owned(),
            request: Request { inputs: Map::new(), requester: Identity(evil.to_owned()), trigger: None },
            sources: Digest::of(b""),
            inputs: Map::new(),
            steps: Vec::new(),
            denied: Vec::new(),
            approval: Vec::new(),
            quorum: 1,
            concurrency: None,
            hash: Digest::of(b"plan"),
        };
        let sources = Sources { name: evil.to_owned(), text: String::new(), called: std::collections::BTreeMap::new() };
        let at = "2026-11-21T12:00:00Z".parse().unwrap();
        let entries = [
            Entry::Began { format: 1, sources, plan: Box::new(plan) },
            Entry::StepBegan { step: "logs".to_owned(), uses: evil.to_owned(), attempt: 1, inputs: json!({}) },
            Entry::StepEnded {
                step: "logs".to_owned(),
                uses: evil.to_owned(),
                outcome: Outcome::Success,
                message: None,
                proof: Some(Proof::Observed(evil.to_owned())),
                outputs: Some(json!({"items": [{"sha256": evil, "name": "web"}]})),
            },
            Entry::Ended { outcome: Outcome::Success },
        ];
        let lines: Vec<Line> = entries.into_iter().zip(0..).map(|(entry, seq)| Line { seq, at, entry }).collect();
        RunRecord::of(&lines).unwrap()
    }

    #[test]
    fn nothing_from_outside_is_more_than_text() {
        let record = hostile();
        let (page, text) = (html(&record), markdown(&record));
        assert_eq!(page.matches("<script").count(), 0);
        for safe in [&page, &text] {
            assert!(!safe.contains('\u{1b}') && !safe.contains('\u{202e}'), "{safe}");
        }
        assert!(!text.contains("<script") || text.contains("\\<script"), "{text}");
        assert!(text.lines().filter(|line| line.starts_with('#')).count() == 3, "{text}");
        insta::assert_snapshot!("markdown", text);
    }
}
