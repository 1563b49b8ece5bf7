//! Just enough of HTTPS to ask a server that we started ourselves whether it is ready.
//!
//! TLS comes from `tokio-rustls`, which the clients of etcd and Kubernetes bring into every build of Lifeboat anyway.
//! HTTP is written by hand: as HTTP/1.0 the answer is never chunked and ends with the connection, so it needs no
//! library, and this crate stays clear of the Kubernetes client, which belongs to others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::pki::Credentials;
use crate::{Error, Result};

/// The most that an answer may hold; a list of a few hundred nodes is the longest.
const LIMIT: u64 = 16 * 1024 * 1024;

/// A client of one server on 127.0.0.1.
#[derive(Clone)]
pub(crate) struct Client {
    name: &'static str,
    connector: TlsConnector,
    address: SocketAddr,
}

/// What the server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Client {
    /// A client that trusts `ca` alone and shows `credentials`.
    pub(crate) fn new(name: &'static str, port: u16, ca: &str, credentials: &Credentials) -> Result<Self> {
        let invalid = |what: &str, e: &dyn std::fmt::Display| Error::Invalid(format!("{what} for {name}: {e}"));
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|e| invalid("authority", &e))?;
        roots.add(ca).map_err(|e| invalid("authority", &e))?;
        let certificate = CertificateDer::from_pem_slice(credentials.certificate.as_bytes())
            .map_err(|e| invalid("client certificate", &e))?;
        let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).map_err(|e| invalid("client key", &e))?;
        // Named, since with two providers in a build rustls has no default.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| invalid("TLS versions", &e))?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .map_err(|e| invalid("client certificate", &e))?;
        Ok(Self { name, connector: Arc::new(config).into(), address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Asks for a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(path, &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n")).await
    }

    /// Posts a JSON document.
    pub(crate) async fn post(&self, path: &str, json: &str) -> Result<Answer> {
        let length = json.len();
        let head = format!("POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
        self.send(path, &format!("{head}Content-Length: {length}\r\n\r\n{json}")).await
    }

    /// An error about an answer that is none.
    pub(crate) fn error(&self, path: &str, reason: impl Into<String>) -> Error {
        Error::Request { name: self.name, path: path.to_owned(), reason: reason.into() }
    }

    async fn send(&self, path: &str, request: &str) -> Result<Answer> {
        let bytes = self.exchange(request).await.map_err(|e| self.error(path, e.to_string()))?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| self.error(path, "the answer is cut off"))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| self.error(path, "the answer is not HTTP"))?;
        Ok(Answer { status, body: body.to_owned() })
    }

    async fn exchange(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let stream = TcpStream::connect(self.address).await?;
        let server = ServerName::IpAddress(self.address.ip().into());
        let mut stream = self.connector.connect(server, stream).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LIMIT).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}
