//! Batches of spans as requests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, StatusCode, Uri};
use lifeboat_http::{Addresses, Answer, Bounds, Client};
use lifeboat_model::OtlpConfig;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};

/// What one request may take. <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> has ten seconds as default.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), body: 64 * 1024 };

/// Why spans are not delivered. Nothing of it has a header in it.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The address is none of a collector.
    #[error("telemetry.otlp.endpoint: '{0}' is no http:// or https:// URL without a query")]
    Endpoint(String),
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] lifeboat_http::Error),
    /// The collector said no.
    #[error("the collector answered with status {0}")]
    Status(StatusCode),
    /// The collector took a part of them.
    #[error("the collector refused {0} spans")]
    Refused(i64),
    /// There is no thread or no socket to be had.
    #[error("requests cannot be made")]
    Runtime(#[source] std::io::Error),
}

/// Sends spans to a collector. It works in the thread of its queue, on which nobody else waits.
#[derive(Debug)]
pub(crate) struct Exporter {
    uri: Uri,
    headers_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    resource: ResourceAttributesWithSchema,
    runtime: Runtime,
    is_failing: AtomicBool,
}

impl Exporter {
    pub(crate) fn new(config: &OtlpConfig, resource: &Resource) -> Result<Self, ExportError> {
        let exporter = Self {
            uri: traces(&config.endpoint).ok_or_else(|| ExportError::Endpoint(config.endpoint.clone()))?,
            headers_file: config.headers_file.clone(),
            ca_file: config.ca_file.clone(),
            resource: resource.into(),
            runtime: Builder::new_current_thread().enable_all().build().map_err(ExportError::Runtime)?,
            is_failing: AtomicBool::new(false),
        };
        exporter.prepare(Bytes::new())?;
        Ok(exporter)
    }

    /// A request, and who makes it. Its files are read anew each time, since they may be exchanged.
    fn prepare(&self, spans: Bytes) -> Result<(Client, Request<Bytes>), ExportError> {
        let mut request = Request::new(spans);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        if let Some(file) = &self.headers_file {
            *request.headers_mut() = lifeboat_http::headers(file)?;
        }
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Ok((Client::new(self.ca_file.as_deref(), Addresses::Any)?, request))
    }

    async fn send(&self, spans: Bytes) -> Result<(), ExportError> {
        let (client, request) = self.prepare(spans)?;
        let Answer { status, body, .. } = client.send(request, BOUNDS).await?;
        if !status.is_success() {
            return Err(ExportError::Status(status));
        }
        // A body that is none says nothing of spans that were refused.
        let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        match partial {
            Some(partial) if partial.rejected_spans > 0 => Err(ExportError::Refused(partial.rejected_spans)),
            _ => Ok(()),
        }
    }

    /// Says when spans begin to be lost, and when they are not any more.
    fn tell(&self, result: &Result<(), ExportError>) {
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !was_failing => {
                let error = chain(error);
                tracing::warn!(error, "spans do not reach the collector and are dropped; backups do not wait for it");
            }
            Ok(()) if was_failing => tracing::info!("spans reach the collector again"),
            _ => {}
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let spans = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        // The queue's thread has no runtime of its own, and drives this one meanwhile.
        let result = self.runtime.block_on(self.send(spans.into()));
        self.tell(&result);
        result.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}

/// Where a collector takes spans. <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>
fn traces(endpoint: &str) -> Option<Uri> {
    let base: Uri = endpoint.trim_end_matches('/').parse().ok()?;
    let known = base.scheme().is_some_and(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP);
    if !known || base.query().is_some() || base.host().is_none_or(str::is_empty) {
        return None;
    }
    let mut parts = base.into_parts();
    let path = parts.path_and_query.as_ref().map_or("", |path| path.path()).trim_end_matches('/');
    parts.path_and_query = Some(format!("{path}/v1/traces").parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_gets_the_path_of_traces() {
        for (endpoint, wanted) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("https://collector.example/", Some("https://collector.example/v1/traces")),
            ("https://collector.example/otlp/", Some("https://collector.example/otlp/v1/traces")),
            ("https://collector.example/?key=x", None),
            ("grpc://collector.example:4317", None),
            ("collector.example:4318", None),
            ("", None),
        ] {
            assert_eq!(traces(endpoint).map(|uri| uri.to_string()).as_deref(), wanted, "{endpoint}");
        }
    }
}
