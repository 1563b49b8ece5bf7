//! Spans of Lifeboat's own work, for a collector that speaks OTLP over HTTP.
//!
//! Nobody ever waits for the collector: spans go into a bounded queue, from which a thread of its own sends them, and what
//! does not fit, or is not taken, is dropped. That it is not taken is said once, and once that it is again.
//!
//! The log begins before the configuration is read, so there is a [`layer`] first, which does nothing until
//! [`Telemetry::begin`].

mod exporter;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lifeboat_model::OtlpConfig;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider};
use tracing::{Level, Metadata};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

pub use exporter::ExportError;
use exporter::Exporter;

/// Spans that wait; further ones are dropped.
const QUEUE: usize = 2048;
/// The most that are sent at once.
const BATCH: usize = 256;
/// How often they are sent.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a process that ends waits for what is left to be sent.
const FAREWELL: Duration = Duration::from_secs(3);

type Spans = Option<OpenTelemetryLayer<Registry, SdkTracer>>;

/// The way of spans to a collector.
pub struct Telemetry {
    layer: reload::Handle<Spans, Registry>,
    provider: Mutex<Option<SdkTracerProvider>>,
}

/// A layer for the registry, and what makes it send.
pub fn layer() -> (impl Layer<Registry> + Send + Sync, Telemetry) {
    let (layer, handle) = reload::Layer::new(None);
    (layer.with_filter(filter_fn(is_ours)), Telemetry { layer: handle, provider: Mutex::default() })
}

/// Spans of Lifeboat's own crates, and what they log for whoever operates it.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("lifeboat") && (metadata.is_span() || *metadata.level() <= Level::INFO)
}

impl Telemetry {
    /// Begins to send, once. `facts` are said of all spans: the version, and which cluster they are about.
    ///
    /// # Errors
    /// When the collector's address, its headers or authorities cannot be used as they stand.
    pub fn begin(&self, config: &OtlpConfig, facts: &[(&'static str, String)]) -> Result<(), ExportError> {
        let mut provider = self.provider.lock().unwrap_or_else(PoisonError::into_inner);
        if provider.is_some() {
            return Ok(());
        }
        let facts = facts.iter().map(|(name, value)| KeyValue::new(*name, value.clone()));
        let resource = Resource::builder_empty().with_service_name("lifeboat").with_attributes(facts).build();
        let exporter = Exporter::new(config, &resource)?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(PAUSE)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let begun = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        let spans = tracing_opentelemetry::layer()
            .with_tracer(begun.tracer("lifeboat"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false);
        // Without a registry that has the layer there is nothing to send.
        let _ = self.layer.reload(Some(spans));
        *provider = Some(begun);
        Ok(())
    }

    /// Sends what is left, for a few seconds at most. Nothing is sent after it.
    pub fn end(&self) {
        let provider = self.provider.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(provider) = provider {
            let _ = self.layer.reload(None);
            // What does not get there was told by the exporter, or takes too long.
            let _ = provider.shutdown_with_timeout(FAREWELL);
        }
    }
}
