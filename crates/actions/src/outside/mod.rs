//! What playbooks do outside of the cluster: messages, requests, programs. Only what the configuration names.

mod exec;
mod http;
mod notify;

use std::path::PathBuf;

use lifeboat_model::{Config, HttpHost, WebhookConfig};
use lifeboat_playbook::{Change, ObjectRef};
use serde_json::Value;

pub(crate) use exec::Exec;
pub(crate) use http::Http;
pub(crate) use notify::Notify;

/// What the configuration allows outside of the cluster. By default, nothing.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The name of the cluster, for messages.
    cluster: Option<String>,
    webhooks: Vec<WebhookConfig>,
    hosts: Vec<HttpHost>,
    programs: Vec<PathBuf>,
}

impl From<&Config> for Outside {
    fn from(config: &Config) -> Self {
        Self {
            cluster: Some(config.cluster.name.to_string()),
            webhooks: config.daemon.notify.webhooks.clone(),
            hosts: config.playbooks.hosts.clone(),
            programs: config.playbooks.programs.clone(),
        }
    }
}

/// The one thing that a step does, which nothing takes back.
fn change(verb: &str, kind: &str, name: String, what: &Value, irreversible: &str) -> Change {
    let object = ObjectRef {
        api_version: "lifeboat.dev/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        namespace: None,
        name,
        uid: None,
    };
    Change::new(verb, verb, object, &Value::Null, what).irreversible(irreversible)
}

/// The beginning of what came, as text without what controls terminals.
fn tamed(bytes: &[u8]) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}
