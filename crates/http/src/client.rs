//! One request and its answer.

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::resolver::Resolver;
use crate::{Addresses, Error};

/// What a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The time, until the answer is read.
    pub time: Duration,
    /// What is read of the answer's body, in bytes.
    pub body: usize,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status. A redirect is one, too: it is not followed, since that would take what was sent elsewhere.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or the beginning of it.
    pub body: Bytes,
    /// Whether there was more.
    pub is_cut: bool,
}

/// Makes requests, each on a connection of its own.
pub struct Client(Pool<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>);

impl Client {
    /// A client that trusts the authorities of a PEM file, or without one those of the system.
    ///
    /// # Errors
    /// When the file cannot be read, has no certificates, or the system has none.
    pub fn new(ca_file: Option<&Path>, addresses: Addresses) -> Result<Self, Error> {
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca_file {
            None => builder.with_provider_and_native_roots(provider).map_err(Error::Tls)?,
            Some(file) => {
                let config = ClientConfig::builder_with_provider(provider.into())
                    .with_safe_default_protocol_versions()
                    .map_err(|error| Error::Tls(std::io::Error::other(error)))?;
                builder.with_tls_config(config.with_root_certificates(authorities(file)?).with_no_client_auth())
            }
        };
        let mut http = HttpConnector::new_with_resolver(Resolver::new(addresses));
        http.enforce_http(false);
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        Ok(Self(Pool::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)))
    }

    /// Makes one request.
    ///
    /// # Errors
    /// When there is no answer. An answer that says no is one.
    pub async fn send(&self, request: Request<Bytes>, bounds: Bounds) -> Result<Answer, Error> {
        let mut request = request.map(Full::new);
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static("lifeboat"));
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|error| Error::Connection(error.into()))?;
            let (parts, mut rest) = answer.into_parts();
            let (mut body, mut is_cut) = (BytesMut::new(), false);
            while let Some(frame) = rest.frame().await {
                let frame = frame.map_err(|error| Error::Connection(error.into()))?;
                let Ok(data) = frame.into_data() else { continue };
                let room = bounds.body - body.len();
                is_cut = data.len() > room;
                body.extend_from_slice(data.get(..room).unwrap_or(&data));
                if is_cut {
                    break;
                }
            }
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.freeze(), is_cut })
        };
        timeout(bounds.time, exchange).await.unwrap_or(Err(Error::Timeout(bounds.time)))
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    let bad = |problem| Error::Content { file: file.to_owned(), problem };
    let pem = std::fs::read(file).map_err(|source| Error::File { file: file.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| bad("is no PEM file of certificates"))?;
        roots.add(certificate).map_err(|_| bad("has a certificate that cannot be an authority"))?;
    }
    if roots.is_empty() { Err(bad("has no certificates in it")) } else { Ok(roots) }
}
