//! A collector of spans: a real server of OTLP over HTTPS that decodes what it is sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What came.
#[derive(Debug, Default)]
struct Heard {
    requests: Vec<String>,
    facts: Vec<(String, String)>,
    spans: Vec<Span>,
}

/// A collector that runs as long as the test does.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    /// Who vouches for it, in PEM.
    pub(crate) authority: String,
    heard: Arc<Mutex<Heard>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (authority, tls) = certificate();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, heard) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| take(request, Arc::clone(&heard)));
                    let http = hyper::server::conn::http1::Builder::new();
                    // A connection that breaks is the client's business.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, authority, heard }
    }

    /// Method, path, type of content and authorization of each request.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.heard.lock().unwrap().requests.clone()
    }

    /// What is said of all spans.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        self.heard.lock().unwrap().facts.clone()
    }

    /// The spans of that name.
    pub(crate) fn spans(&self, name: &str) -> Vec<Span> {
        self.heard.lock().unwrap().spans.iter().filter(|span| span.name == name).cloned().collect()
    }

    /// The names of what is below a span, each with that of what it is in.
    pub(crate) fn below(&self, root: &Span) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let mut names = Vec::new();
        let mut open = vec![(root.span_id.clone(), root.name.clone())];
        while let Some((id, path)) = open.pop() {
            for span in heard.spans.iter().filter(|span| span.parent_span_id == id) {
                assert_eq!(span.trace_id, root.trace_id);
                assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{span:?} of {root:?}");
                let path = format!("{path}/{}", span.name);
                names.push(path.clone());
                open.push((span.span_id.clone(), path));
            }
        }
        names.sort();
        names
    }
}

/// The text of an attribute.
pub(crate) fn attribute(of: &[KeyValue], name: &str) -> Option<String> {
    let found = of.iter().find(|attribute| attribute.key == name)?;
    match &found.value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text.clone()),
        other => panic!("{name} is {other:?}"),
    }
}

async fn take(request: Request<Incoming>, heard: Arc<Mutex<Heard>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
    let line = format!("{} {} {} {}", request.method(), request.uri(), header("content-type"), header("authorization"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    let mut heard = heard.lock().unwrap();
    heard.requests.push(line);
    for of_resource in message.resource_spans {
        let attributes = of_resource.resource.unwrap().attributes;
        heard.facts =
            attributes.iter().filter_map(|fact| Some((fact.key.clone(), attribute(&attributes, &fact.key)?))).collect();
        heard.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    Ok(Response::new(Full::default()))
}

/// An authority of its own, and a certificate by it for 127.0.0.1.
fn certificate() -> (String, TlsAcceptor) {
    let issuer_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&issuer_key).unwrap();
    let issuer = rcgen::Issuer::new(params, issuer_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}
