//! The messages as webhooks get them.

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_http::slack_text;
use lifeboat_model::WebhookFormat;
use serde::Serialize;

use super::judge::{Kind, News, State, Subject};

/// The longest detail, in characters: receivers refuse long messages.
const MAX_DETAIL: usize = 1000;

/// Who tells.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// Name and version of the program.
    pub(crate) tool: String,
}

/// A message as JSON. Fields may be added and are never renamed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    version: u32,
    event: &'static str,
    subject: &'static str,
    cluster: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    summary: String,
    detail: String,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    tool: &'a str,
}

#[derive(Serialize)]
struct Slack {
    text: String,
}

impl<'a> Message<'a> {
    pub(super) fn new(about: &'a About, news: &'a News, now: Timestamp) -> Self {
        let (event, outcome, failing_since) = match news.state {
            State::Failing(Kind::Partial) => ("failure", Some("partial"), None),
            State::Failing(Kind::Failed) => ("failure", Some("failed"), None),
            State::Failing(Kind::Missed) => ("failure", Some("missed"), None),
            State::Recovered { since } => ("recovery", None, Some(since)),
        };
        let (subject, of) = match &news.subject {
            Subject::Backups(schedule) => ("backups", format!("backups of schedule {schedule}")),
            Subject::Retention(Some(schedule)) => ("retention", format!("retention of schedule {schedule}")),
            Subject::Retention(None) => ("retention", "retention".to_owned()),
            Subject::Drills => ("drills", "drills".to_owned()),
        };
        let state = match news.state {
            State::Failing(Kind::Partial) => "are not complete",
            State::Failing(Kind::Failed) => "fail",
            State::Failing(Kind::Missed) => "were missed",
            State::Recovered { .. } => "work again",
        };
        let summary = format!("{}: {of} {state}", about.cluster);
        Self {
            version: 1,
            event,
            subject,
            cluster: &about.cluster,
            schedule: news.schedule.as_deref(),
            backup: news.backup.as_deref(),
            outcome,
            summary,
            detail: shortened(&news.detail),
            at: now,
            failing_since,
            tool: &about.tool,
        }
    }

    /// The body of the request.
    pub(super) fn body(&self, format: WebhookFormat) -> Bytes {
        let json = match format {
            WebhookFormat::Json => serde_json::to_vec(self),
            WebhookFormat::Slack => serde_json::to_vec(&Slack { text: self.text() }),
        };
        // Neither has a key that is no text, which is all that could fail.
        json.unwrap_or_default().into()
    }

    /// Text in Slack's form. Details quote servers and stores.
    fn text(&self) -> String {
        let mark = if self.event == "recovery" { "recovered" } else { "failure" };
        let mut text = format!("[{mark}] {}", slack_text(&self.summary));
        for (name, value) in [("backup", self.backup.unwrap_or_default()), ("detail", &self.detail)] {
            if !value.is_empty() {
                text.extend(["\n", name, ": ", &slack_text(value)]);
            }
        }
        text
    }
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(MAX_DETAIL).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
