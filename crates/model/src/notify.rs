//! Whom the daemon tells: dead man's switches and webhooks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whom the daemon tells what became of its work. Schedules name entries of it, so that whoever may write a schedule
/// neither sees a secret nor chooses where requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotifyConfig {
    /// Monitors that raise the alarm when nothing is heard of a schedule any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heartbeats: Vec<HeartbeatConfig>,
    /// Whoever is told of failures, and when they are over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookConfig>,
}

/// A dead man's switch: a URL that is called after each success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// The name by which schedules refer to it.
    pub name: String,
    /// A file with the URL, and nothing else: whoever knows it can feign success. It is read anew for each call.
    pub url_file: PathBuf,
    /// What is called besides.
    #[serde(default)]
    pub style: HeartbeatStyle,
    /// PEM file of certificate authorities to trust for this server instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// What a dead man's switch understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeartbeatStyle {
    /// The URL alone, after a success.
    #[default]
    Plain,
    /// Besides it, `/start` when work begins and `/fail` when it failed, as healthchecks.io has it.
    /// <https://healthchecks.io/docs/http_api/>
    Healthchecks,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    /// The name by which schedules refer to it.
    pub name: String,
    /// A file with the URL, and nothing else. It is read anew for each message.
    pub url_file: PathBuf,
    /// A file with a token, sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The form of the messages.
    #[serde(default)]
    pub format: WebhookFormat,
    /// PEM file of certificate authorities to trust for this server instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// The form of a webhook's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WebhookFormat {
    /// A JSON document with named fields.
    #[default]
    Json,
    /// A JSON document with the one field `text`, as Slack, Mattermost, Rocket.Chat and others take it.
    Slack,
}

impl NotifyConfig {
    /// What is wrong with it, a sentence for each fault.
    pub fn faults(&self, path: &str) -> Vec<String> {
        let heartbeats = self.heartbeats.iter().map(|heartbeat| heartbeat.name.as_str());
        let webhooks = self.webhooks.iter().map(|webhook| webhook.name.as_str());
        let mut faults = repeated(&format!("{path}.heartbeats"), heartbeats);
        faults.extend(repeated(&format!("{path}.webhooks"), webhooks));
        faults
    }

    /// The heartbeat of that name.
    pub fn heartbeat(&self, name: &str) -> Option<&HeartbeatConfig> {
        self.heartbeats.iter().find(|heartbeat| heartbeat.name == name)
    }

    /// The webhook of that name.
    pub fn webhook(&self, name: &str) -> Option<&WebhookConfig> {
        self.webhooks.iter().find(|webhook| webhook.name == name)
    }
}

fn repeated<'a>(path: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for name in names {
        if name.is_empty() {
            faults.push(format!("{path}: a name is empty"));
        } else if !seen.insert(name) {
            faults.push(format!("{path}: '{name}' is there twice"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_yaml;

    #[test]
    fn names_are_there_once() {
        let text = "\
heartbeats: [{name: a, urlFile: /a}, {name: a, urlFile: /b, style: healthchecks}]
webhooks: [{name: a, urlFile: /a, format: slack}, {name: '', urlFile: /a}]
";
        let config: NotifyConfig = parse_yaml("notify.yaml", text).unwrap();
        assert_eq!(
            config.faults("daemon.notify"),
            ["daemon.notify.heartbeats: 'a' is there twice", "daemon.notify.webhooks: a name is empty"]
        );
        assert_eq!(config.webhook("a").map(|webhook| webhook.format), Some(WebhookFormat::Slack));
        assert!(config.heartbeat("b").is_none());
    }

    #[test]
    fn a_url_itself_is_refused() {
        let error = parse_yaml::<NotifyConfig>("n.yaml", "webhooks: [{name: a, url: 'https://x/secret'}]").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
