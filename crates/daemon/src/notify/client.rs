//! One request to a target. Nothing that it returns or logs has the URL or the token in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::Target;
use super::outbox::Parcel;

/// The longest file with a URL or a token, in bytes.
const MAX_SECRET: u64 = 8192;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// A file with a URL, a token or an authority cannot be read.
    #[error("'{}' cannot be read", file.display())]
    File {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// What such a file has in it is not that.
    #[error("'{}' {problem}", file.display())]
    Content { file: PathBuf, problem: &'static str },
    /// The system's certificate authorities are not there, or TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] std::io::Error),
    /// No connection, or it broke.
    #[error("no connection to the target, or it broke")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The target said no.
    #[error("the target answered with status {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl ClientError {
    /// Whether the same request may be taken later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            // A Secret that is mounted anew is away for a moment.
            Self::File { .. } | Self::Content { .. } => true,
            Self::Tls(_) => false,
            Self::Connection(_) | Self::Timeout(_) => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(status)
            }
        }
    }

    /// How long the target wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What a target needs, read from its files.
struct Prepared {
    uri: Uri,
    authorization: Option<HeaderValue>,
    connector: HttpsConnector<HttpConnector>,
}

/// Finds out whether messages could be sent at all.
pub(super) fn check(target: &Target) -> Result<(), ClientError> {
    prepare(target, "").map(drop)
}

/// Makes one request. A redirect is not followed: it would take the message, and maybe the token, elsewhere.
pub(super) async fn send(target: &Target, parcel: &Parcel, patience: Duration) -> Result<(), ClientError> {
    let Prepared { uri, authorization, connector } = prepare(target, parcel.suffix)?;
    let mut request = Request::new(Full::new(parcel.json.clone().unwrap_or_default()));
    *request.uri_mut() = uri;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("lifeboat"));
    if parcel.json.is_some() {
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let answer = timeout(patience, client.request(request)).await.map_err(|_| ClientError::Timeout(patience))?;
    judge(&answer.map_err(ClientError::Connection)?)
}

fn judge(answer: &Response<Incoming>) -> Result<(), ClientError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(ClientError::Status { status, retry_after: seconds.map(Duration::from_secs) })
}

fn prepare(target: &Target, suffix: &str) -> Result<Prepared, ClientError> {
    let uri = read_uri(&target.url_file, suffix)?;
    let authorization = target.token_file.as_deref().map(read_token).transpose()?;
    Ok(Prepared { uri, authorization, connector: connector(target.ca_file.as_deref())? })
}

fn read_uri(file: &Path, suffix: &str) -> Result<Uri, ClientError> {
    let bad = || ClientError::Content { file: file.to_owned(), problem: "has no http:// or https:// URL in it" };
    let text = read_secret(file)?;
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let known = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP);
    if !known || uri.host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    if suffix.is_empty() {
        return Ok(uri);
    }
    let path = uri.path().trim_end_matches('/');
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let longer: PathAndQuery = format!("{path}{suffix}{query}").parse().map_err(|_| bad())?;
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(longer);
    Uri::from_parts(parts).map_err(|_| bad())
}

fn read_token(file: &Path) -> Result<HeaderValue, ClientError> {
    let problem = "has no token in it";
    let bad = || ClientError::Content { file: file.to_owned(), problem };
    let text = read_secret(file)?;
    if text.is_empty() {
        return Err(bad());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_secret(file: &Path) -> Result<String, ClientError> {
    use std::io::Read as _;
    let failed = |source| ClientError::File { file: file.to_owned(), source };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(MAX_SECRET).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}

fn connector(ca_file: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = match ca_file {
        None => builder.with_provider_and_native_roots(provider).map_err(ClientError::Tls)?,
        Some(file) => {
            let config = ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(|error| ClientError::Tls(std::io::Error::other(error)))?;
            builder.with_tls_config(config.with_root_certificates(authorities(file)?).with_no_client_auth())
        }
    };
    Ok(builder.https_or_http().enable_http1().build())
}

fn authorities(file: &Path) -> Result<RootCertStore, ClientError> {
    let bad = |problem| ClientError::Content { file: file.to_owned(), problem };
    let pem = std::fs::read(file).map_err(|source| ClientError::File { file: file.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| bad("is no PEM file of certificates"))?;
        roots.add(certificate).map_err(|_| bad("has a certificate that cannot be an authority"))?;
    }
    if roots.is_empty() { Err(bad("has no certificates in it")) } else { Ok(roots) }
}
