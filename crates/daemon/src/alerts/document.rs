//! What receivers there are: a file of its own, so that what receives needs nothing of backups and their keys.

use std::net::IpAddr;
use std::path::PathBuf;

use lifeboat_playbook::{EventSource, MappingSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may send alerts, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Receivers")]
pub struct ReceiversDocument {
    /// The certificate of the address. Without it, it is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ReceiverTls>,
    /// The receivers. Each is at the path `/alerts/NAME`.
    #[schemars(length(min = 1, max = 100))]
    pub receivers: Vec<ReceiverSpec>,
}

/// The certificate of the address. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverTls {
    /// PEM file with the certificate and those between it and its authority.
    pub cert_file: PathBuf,
    /// PEM file with its key.
    pub key_file: PathBuf,
    /// PEM file with the authorities of clients. Clients may have a certificate of theirs; receivers with
    /// `certificate` take nothing from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
}

/// An address for the alerts of one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiverSpec {
    /// Its name: lower-case letters, digits and `-`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The tool.
    pub source: EventSource,
    /// For the source `generic`: how its JSON becomes events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingSpec>,
    /// How senders prove who they are.
    pub authentication: Authentication,
    /// What becomes of events that fit a playbook.
    #[serde(default)]
    pub mode: ReceiverMode,
    /// The most requests in a second. Without it, 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub per_second: Option<u32>,
}

/// How senders prove who they are. Secrets are read from their files for each request, so that they can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Authentication {
    /// `Authorization: Bearer TOKEN`.
    Bearer {
        /// File with the token.
        token_file: PathBuf,
    },
    /// `Authorization: Basic ...`.
    Basic {
        /// The user.
        user: String,
        /// File with the password.
        password_file: PathBuf,
    },
    /// A header with the HMAC-SHA-256 of the body, in hexadecimal digits, with `sha256=` before it or not.
    Signature {
        /// Name of the header.
        header: String,
        /// File with the secret.
        secret_file: PathBuf,
    },
    /// A certificate of an authority of `tls.clientCaFile`.
    Certificate {},
    /// Not at all: only on a loopback address, and only with `insecure: true`.
    None {
        /// That this is meant.
        insecure: bool,
    },
}

/// What becomes of events that fit a playbook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReceiverMode {
    /// What would be started is told, and nothing is started.
    #[default]
    Observe,
    /// The playbook is started.
    Run,
}

impl ReceiversDocument {
    /// What is wrong with it at that address, a sentence for each fault.
    pub fn faults(&self, address: IpAddr) -> Vec<String> {
        let mut faults = Vec::new();
        if self.receivers.is_empty() {
            faults.push("there is no receiver".to_owned());
        }
        for (place, one) in self.receivers.iter().enumerate() {
            let name = &one.name;
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
                faults.push(format!("receivers[{place}].name: expected lower-case letters, digits and '-'"));
            }
            if self.receivers.iter().take(place).any(|other| other.name == *name) {
                faults.push(format!("receivers[{place}].name: there is another receiver '{name}'"));
            }
            if one.source == EventSource::KubeBench {
                faults.push(format!("receivers[{place}].source: kube-bench sends no alerts"));
            }
            if one.mapping.is_some() && one.source != EventSource::Generic {
                faults.push(format!("receivers[{place}].mapping: it is for the source generic only"));
            }
            if one.per_second == Some(0) {
                faults.push(format!("receivers[{place}].perSecond: it would take nothing"));
            }
            let fault = match &one.authentication {
                Authentication::None { insecure: false } => Some("without authentication it needs 'insecure: true'"),
                Authentication::None { .. } if !address.is_loopback() => {
                    Some("without authentication it is for a loopback address only")
                }
                Authentication::Certificate {} if self.tls.as_ref().is_none_or(|tls| tls.client_ca_file.is_none()) => {
                    Some("certificates need tls.clientCaFile")
                }
                Authentication::Bearer { .. } | Authentication::Basic { .. }
                    if self.tls.is_none() && !address.is_loopback() =>
                {
                    Some("a secret would be readable on the wire: it needs tls, or a loopback address")
                }
                _ => None,
            };
            faults.extend(fault.map(|fault| format!("receivers[{place}].authentication: {fault}")));
        }
        faults
    }
}
