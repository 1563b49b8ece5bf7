//! Where traces of Lifeboat's own work go.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where traces of Lifeboat's own work go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TelemetryConfig {
    /// A collector. Nothing is sent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpConfig>,
}

/// A collector that takes spans by OTLP over HTTP, as protobuf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtlpConfig {
    /// Its URL, `https://collector.example:4318`; `/v1/traces` is put behind it.
    pub endpoint: String,
    /// A file with headers of each request, one a line, as `Authorization: Bearer ...`. It is read anew for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// PEM file of certificate authorities to trust for this server instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl TelemetryConfig {
    /// What is wrong with it, a sentence for each fault.
    pub fn faults(&self) -> Vec<String> {
        let foreign =
            |otlp: &&OtlpConfig| !["http://", "https://"].iter().any(|scheme| otlp.endpoint.starts_with(scheme));
        let fault =
            |otlp: &OtlpConfig| format!("telemetry.otlp.endpoint: '{}' is no http:// or https:// URL", otlp.endpoint);
        self.otlp.iter().filter(foreign).map(fault).collect()
    }
}
