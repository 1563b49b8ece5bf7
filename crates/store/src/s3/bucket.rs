//! A bucket's client, and what all requests share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    Builder, Config, Credentials as AwsCredentials, ProvideCredentials as _, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{ChecksumAlgorithm, ServerSideEncryption as AwsEncryption};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder as HttpBuilder, Connector};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::options::{Checksums, Credentials, S3Options, ServerSideEncryption, Timeouts};
use super::parts::{self, Buffers};
use crate::{Key, KeyError, Prefix, Retention, StoreError};

/// Where a server without regions is said to be, as most such servers expect.
const DEFAULT_REGION: &str = "us-east-1";
/// How long a transfer may stand still before it is broken off.
const STALL: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) prefix: Prefix,
    /// Where it is, for messages.
    pub(super) endpoint: String,
    pub(super) checksums: Checksums,
    pub(super) encryption: Option<ServerSideEncryption>,
    /// Its Object Lock was seen to be on.
    pub(super) locks: AtomicBool,
    pub(super) timeouts: Timeouts,
    /// Room for the parts that are on their way.
    pub(super) window: Arc<Semaphore>,
    pub(super) buffers: Arc<Buffers>,
    /// Unfinished uploads that are being aborted.
    pub(super) tasks: TaskTracker,
}

impl Bucket {
    pub(super) async fn connect(options: S3Options) -> Result<Self, StoreError> {
        let prefix = options.prefix.trim_matches('/');
        let prefix = prefix.parse().map_err(|e: KeyError| bad("prefix", e.to_string()))?;
        if options.bucket.is_empty() {
            return Err(bad("bucket", "it is empty"));
        }
        if options.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains('@')) {
            return Err(bad("endpoint", "it holds credentials, which belong elsewhere"));
        }
        if let Some(endpoint) = &options.endpoint
            && !endpoint.starts_with("http://")
            && !endpoint.starts_with("https://")
        {
            return Err(bad("endpoint", format!("'{endpoint}' begins with neither https:// nor http://")));
        }
        let tasks = TaskTracker::new();
        tasks.close();
        let http = http_client(&options)?;
        let (region, credentials) = identity(&options, &http).await?;
        let endpoint = options.endpoint.clone().unwrap_or_else(|| format!("Amazon S3 in {region}"));
        let config = config(&options, http, region, credentials);
        Ok(Self {
            client: Client::from_conf(config),
            name: options.bucket,
            prefix,
            endpoint,
            checksums: options.checksums,
            encryption: options.encryption,
            locks: AtomicBool::new(false),
            timeouts: options.timeouts,
            window: Arc::new(Semaphore::new(parts::window())),
            buffers: Arc::default(),
            tasks,
        })
    }

    /// The object's name in the bucket.
    pub(super) fn path(&self, key: &Key) -> String {
        if self.prefix == Prefix::ROOT { key.to_string() } else { format!("{}/{key}", self.prefix) }
    }

    /// What all names in a folder begin with.
    pub(super) fn start(&self, prefix: &Prefix) -> String {
        [&self.prefix, prefix].iter().flat_map(|p| p.segments()).fold(String::new(), |start, name| start + name + "/")
    }

    /// The object that has that name; `None` for names that are not this store's.
    pub(super) fn key(&self, path: &str) -> Option<Key> {
        self.prefix.below(path)?.parse().ok()
    }

    /// The object's name for messages.
    pub(super) fn url(&self, key: &Key) -> String {
        format!("s3://{}/{}", self.name, self.path(key))
    }

    /// The checksum that uploads carry.
    pub(super) fn checksum(&self) -> Option<ChecksumAlgorithm> {
        (self.checksums == Checksums::WhenSupported).then_some(ChecksumAlgorithm::Crc32)
    }

    /// The checksum of a single upload: one that is held has to carry one.
    pub(super) fn checksum_of(&self, retention: Option<Retention>) -> Option<ChecksumAlgorithm> {
        self.checksum().or(retention.map(|_| ChecksumAlgorithm::Crc32))
    }

    /// The method of the server's encryption, and its key.
    pub(super) fn sse(&self) -> (Option<AwsEncryption>, Option<String>) {
        match &self.encryption {
            None => (None, None),
            Some(ServerSideEncryption::S3) => (Some(AwsEncryption::Aes256), None),
            Some(ServerSideEncryption::Kms { key_id }) => (Some(AwsEncryption::AwsKms), key_id.clone()),
        }
    }

    /// The settings of a request that moves so many bytes.
    pub(super) fn request_of(&self, bytes: u64) -> Builder {
        let attempt = self.timeouts.request_of(bytes);
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(attempt)
            .operation_timeout(attempt.max(self.timeouts.total))
            .build();
        Config::builder().timeout_config(timeouts)
    }
}

pub(super) fn bad(option: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::BadOption { option, reason: reason.into() }
}

fn http_client(options: &S3Options) -> Result<SharedHttpClient, StoreError> {
    let mut trust = TrustStore::default();
    if let Some(pem) = &options.ca_file {
        check_certificates(pem)?;
        trust = trust.with_pem_certificate(pem.clone());
    }
    trust = trust.with_native_roots(system_roots(options)?);
    let tls = TlsContext::builder().with_trust_store(trust).build().map_err(|e| bad("caFile", e.to_string()))?;
    // The proxy variables belong to the environment that the AWS chain reads, too.
    Ok(HttpBuilder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder();
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .build()
    }))
}

/// Whether this machine has authorities to trust, which the HTTP client takes for granted. Without any, no server can be
/// trusted that nobody vouches for.
fn system_roots(options: &S3Options) -> Result<bool, StoreError> {
    // Whence they come is for the environment to say, as with the AWS chain.
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(found.certs);
    let is_plain = options.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if usable > 0 || is_plain || options.ca_file.is_some() {
        return Ok(usable > 0);
    }
    let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    Err(bad(
        "caFile",
        format!(
            "this machine has no certificates of authorities{why}, so no server can be trusted: install them, as the \
             package ca-certificates does, have SSL_CERT_FILE name a file of them, or name one here"
        ),
    ))
}

/// Refuses what the HTTP client would panic on.
fn check_certificates(pem: &[u8]) -> Result<(), StoreError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| bad("caFile", format!("it is no PEM file: {e:?}")))?;
        store.add(certificate).map_err(|e| bad("caFile", format!("a certificate in it cannot be used: {e}")))?;
    }
    if store.is_empty() { Err(bad("caFile", "it holds no certificate")) } else { Ok(()) }
}

async fn identity(
    options: &S3Options,
    http: &SharedHttpClient,
) -> Result<(Region, SharedCredentialsProvider), StoreError> {
    let region = options.region.clone().map(Region::new);
    let no_region = || bad("region", "it is not given, nor is there one in the AWS configuration");
    match &options.credentials {
        Credentials::Static { access_key, secret_key } => {
            let credentials = AwsCredentials::new(access_key, secret_key, None, None, "static");
            let fallback = options.endpoint.is_some().then(|| Region::from_static(DEFAULT_REGION));
            let region = region.or(fallback).ok_or_else(no_region)?;
            Ok((region, SharedCredentialsProvider::new(credentials)))
        }
        Credentials::Chain => {
            let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
            let loader = match region {
                Some(region) => loader.region(region),
                // The whole chain would ask EC2's metadata service, which a server of one's own knows nothing of.
                None if options.endpoint.is_some() => loader.region(
                    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                        .or_else(ProfileFileRegionProvider::new())
                        .or_else(DEFAULT_REGION),
                ),
                None => loader,
            };
            let chain = loader.load().await;
            let failed = |reason: &str, source| StoreError::BadCredentials {
                endpoint: options.endpoint.clone().unwrap_or_else(|| "Amazon S3".to_owned()),
                reason: reason.to_owned(),
                source,
            };
            let provider = chain.credentials_provider().ok_or_else(|| failed("there are none", None))?;
            // Asked once here, so that missing ones are found before anything is begun.
            let asked = provider.provide_credentials().await;
            asked.map_err(|e| failed("the AWS chain has none", Some(Box::new(e))))?;
            let region = chain.region().cloned().ok_or_else(no_region)?;
            Ok((region, provider))
        }
    }
}

fn config(
    options: &S3Options,
    http: SharedHttpClient,
    region: Region,
    credentials: SharedCredentialsProvider,
) -> Config {
    let (request, response) = match options.checksums {
        Checksums::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
        Checksums::WhenRequired => (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired),
    };
    let timeouts = &options.timeouts;
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(region)
        .credentials_provider(credentials)
        .force_path_style(options.force_path_style)
        .request_checksum_calculation(request)
        .response_checksum_validation(response)
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL).build())
        .retry_config(RetryConfig::standard().with_max_attempts(timeouts.attempts.max(1)))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(timeouts.connect)
                .operation_attempt_timeout(timeouts.request)
                .operation_timeout(timeouts.total.max(timeouts.request))
                .build(),
        );
    builder.set_endpoint_url(options.endpoint.clone());
    builder.build()
}

/// A bucket that tasks share.
pub(super) type Shared = Arc<Bucket>;

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> S3Options {
        let credentials = Credentials::Static { access_key: "a".to_owned(), secret_key: "s".to_owned() };
        S3Options { credentials, ..S3Options::new("bucket", Some("http://127.0.0.1:9".to_owned())) }
    }

    #[tokio::test]
    async fn names_in_the_bucket() {
        let bucket = Bucket::connect(S3Options { prefix: "/k8s/eu/".to_owned(), ..options() }).await.unwrap();
        let key: Key = "prod/x".parse().unwrap();
        assert_eq!(bucket.path(&key), "k8s/eu/prod/x");
        assert_eq!(bucket.key("k8s/eu/prod/x"), Some(key.clone()));
        for other in ["prod/x", "k8s/eu", "k8s/eu/", "k8s/eux/prod/x", "k8s/eu/../x"] {
            assert_eq!(bucket.key(other), None, "{other}");
        }
        assert_eq!(bucket.start(&key.parent()), "k8s/eu/prod/");
        let bare = Bucket::connect(options()).await.unwrap();
        assert_eq!((bare.path(&key).as_str(), bare.start(&Prefix::ROOT).as_str()), ("prod/x", ""));
    }

    #[tokio::test]
    async fn options_that_make_no_sense_are_named() {
        let cases = [
            ("bucket", S3Options { bucket: String::new(), ..options() }),
            ("prefix", S3Options { prefix: "a/../b".to_owned(), ..options() }),
            ("endpoint", S3Options { endpoint: Some("127.0.0.1:9000".to_owned()), ..options() }),
            ("endpoint", S3Options { endpoint: Some("http://me:secret@127.0.0.1:9000".to_owned()), ..options() }),
            ("region", S3Options { endpoint: None, ..options() }),
            ("caFile", S3Options { ca_file: Some(b"no certificate".to_vec()), ..options() }),
            (
                "caFile",
                S3Options {
                    ca_file: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
                    ..options()
                },
            ),
            (
                "caFile",
                S3Options {
                    ca_file: Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
                    ..options()
                },
            ),
        ];
        for (want, options) in cases {
            match Bucket::connect(options).await {
                Err(StoreError::BadOption { option, reason }) => {
                    assert_eq!(option, want);
                    assert!(!reason.contains("secret"), "{reason}");
                }
                other => panic!("{want}: {other:?}"),
            }
        }
    }
}
