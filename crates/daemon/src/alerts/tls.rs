//! TLS with files that may change.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::AlertsError;
use super::document::ReceiverTls;

/// The certificate as its files were last.
pub(super) struct Tls {
    spec: ReceiverTls,
    current: Mutex<Current>,
}

struct Current {
    changed: Vec<Option<SystemTime>>,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn new(spec: ReceiverTls) -> Result<Self, AlertsError> {
        let current = Current { changed: changed(&spec), acceptor: acceptor(&spec)? };
        Ok(Self { spec, current: Mutex::new(current) })
    }

    /// For one connection. What cannot be read, as while files are exchanged, leaves the certificate there was.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed(&self.spec);
        if now != current.changed {
            match acceptor(&self.spec) {
                Ok(acceptor) => *current = Current { changed: now, acceptor },
                Err(error) => {
                    tracing::warn!(error = lifeboat_recovery::chain(&error), "the certificate stays as it was");
                }
            }
        }
        current.acceptor.clone()
    }
}

fn changed(spec: &ReceiverTls) -> Vec<Option<SystemTime>> {
    let files = [Some(&spec.cert_file), Some(&spec.key_file), spec.client_ca_file.as_ref()];
    files.into_iter().flatten().map(|file| file.metadata().ok()?.modified().ok()).collect()
}

fn acceptor(spec: &ReceiverTls) -> Result<TlsAcceptor, AlertsError> {
    let certificates = certificates(&spec.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&spec.key_file).map_err(|error| wrong(&spec.key_file, error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&spec.cert_file, error))?;
    let builder = match &spec.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(file)? {
                roots.add(certificate).map_err(|error| wrong(file, error))?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong(file, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(certificates, key).map_err(|error| wrong(&spec.cert_file, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, AlertsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| wrong(file, error))?;
    if found.is_empty() { Err(wrong(file, std::io::Error::other("there is no certificate in it"))) } else { Ok(found) }
}

fn wrong(file: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AlertsError {
    AlertsError::Tls { file: file.to_owned(), source: source.into() }
}
