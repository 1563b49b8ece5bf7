//! What playbooks may do outside of the cluster.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What playbooks may do outside of the cluster. Nothing unless it is named here; whom `notify` tells is in
/// `daemon.notify.webhooks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaybooksConfig {
    /// Servers that `run.http` may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HttpHost>,
    /// Programs that `run.exec` may start, by absolute paths. They have the rights of whoever runs Lifeboat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<PathBuf>,
}

/// A server that `run.http` may call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHost {
    /// Its name or address, with the port where that is not the scheme's own: `pager.example`, `10.0.0.7:8443`.
    pub host: String,
    /// Whether `http://` will do. Otherwise it is `https://` alone.
    #[serde(default)]
    pub plain: bool,
    /// A file with headers of each request, one a line, as `Authorization: Bearer ...`. It is read anew for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// PEM file of certificate authorities to trust for this server instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl PlaybooksConfig {
    /// What is wrong with it, a sentence for each fault.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        for HttpHost { host, .. } in &self.hosts {
            if host.is_empty() || host.contains(|c: char| c == '/' || c == '@' || c == '*' || c.is_whitespace()) {
                faults.push(format!("playbooks.hosts: '{host}' is no host, or a host and its port"));
            } else if !seen.insert(host.to_ascii_lowercase()) {
                faults.push(format!("playbooks.hosts: '{host}' is there twice"));
            }
        }
        for program in self.programs.iter().filter(|program| !program.is_absolute()) {
            faults.push(format!("playbooks.programs: '{}' is no absolute path", program.display()));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_yaml;

    #[test]
    fn hosts_and_programs_are_named_exactly() {
        let text = "\
hosts: [{host: a.example}, {host: A.example}, {host: 'https://b.example'}, {host: '*.c.example'}, {host: ''}]
programs: [/usr/bin/page, page]
";
        let config: PlaybooksConfig = parse_yaml("playbooks.yaml", text).unwrap();
        assert_eq!(
            config.faults(),
            [
                "playbooks.hosts: 'A.example' is there twice",
                "playbooks.hosts: 'https://b.example' is no host, or a host and its port",
                "playbooks.hosts: '*.c.example' is no host, or a host and its port",
                "playbooks.hosts: '' is no host, or a host and its port",
                "playbooks.programs: 'page' is no absolute path",
            ]
        );
    }
}
