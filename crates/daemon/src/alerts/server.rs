//! The address. Whoever sends is bounded before it is known who that is: connections, heads, time; then bodies.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, RETRY_AFTER};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lifeboat_playbook::{MAX_ALERT_BYTES, Received, normalise};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::auth::{Peer, Proved, of_body, of_head};
use super::spool::Accepted;
use super::tls::Tls;

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 128;
/// Bodies that are read and parsed at a time: what bounds the memory.
const BODIES: usize = 4;
/// How long the head of a request may take, and the handshake before it.
const HEADER: Duration = Duration::from_secs(5);
/// How long a body may take.
const BODY: Duration = Duration::from_secs(20);
/// How long a connection may last, whatever goes over it.
const CONNECTION: Duration = Duration::from_mins(2);
/// The most bytes of a request's head.
const BUFFER: usize = 32 << 10;
/// After a failure to accept, as where no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);
/// The requests in a second, where a receiver does not say.
const PER_SECOND: u32 = 1000;
/// What the attributes of `CloudEvents` begin with.
const ATTRIBUTE: &str = "ce-";

/// How many requests a receiver still takes in this second.
pub(super) struct Bucket {
    per_second: u32,
    state: Mutex<(Option<Instant>, u32)>,
}

impl Bucket {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        Self { per_second: per_second.unwrap_or(PER_SECOND), state: Mutex::default() }
    }

    fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = &mut *state;
        if began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            (*began, *count) = (Some(now), 0);
        }
        *count = count.saturating_add(1);
        *count <= self.per_second
    }
}

/// What handlers are given.
#[derive(Clone)]
struct Served {
    shared: Arc<Shared>,
    bodies: Arc<Semaphore>,
    to_work: mpsc::UnboundedSender<OsString>,
    peer: Peer,
}

/// Serves until the token is cancelled.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    shared: Arc<Shared>,
    to_work: mpsc::UnboundedSender<OsString>,
    shutdown: CancellationToken,
) {
    let served = Served { shared, bodies: Arc::new(Semaphore::new(BODIES)), to_work, peer: Peer { certified: false } };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let acceptor = tls.as_ref().map(Tls::acceptor);
                let (served, shutdown) = (served.clone(), shutdown.clone());
                tasks.spawn(async move {
                    let _place = place;
                    let done = timeout(CONNECTION, connection(stream, acceptor, served));
                    shutdown.run_until_cancelled(done).await
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection for alerts");
                sleep(PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: TcpStream, acceptor: Option<tokio_rustls::TlsAcceptor>, mut served: Served) {
    let Some(acceptor) = acceptor else { return requests(stream, served).await };
    match timeout(HEADER, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            // With a verifier of clients, a certificate that is there was verified.
            served.peer.certified = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
            requests(stream, served).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a handshake for alerts failed"),
        Err(_) => tracing::debug!("a handshake for alerts took too long"),
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, served: Served) {
    let router = Router::new().route("/alerts/{name}", post(take)).with_state(served);
    let done = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = done {
        tracing::debug!(%error, "a connection for alerts broke");
    }
}

/// An answer in a line.
fn answer(status: StatusCode, text: impl Into<String>) -> Response {
    (status, text.into() + "\n").into_response()
}

/// An answer that asks for the same again, later.
fn later(status: StatusCode, seconds: &'static str, text: &'static str) -> Response {
    (status, [(RETRY_AFTER, seconds)], format!("{text}\n")).into_response()
}

async fn take(State(served): State<Served>, Path(name): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(receiver) = served.shared.receiver(&name) else {
        return answer(StatusCode::NOT_FOUND, "there is no such receiver");
    };
    let proved = of_head(&receiver.spec.authentication, served.peer, &parts.headers);
    if proved == Proved::No {
        return refuse(&name);
    }
    // What unpacks to more than was sent is not taken at all.
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must not be compressed");
    }
    if !receiver.bucket.take(Instant::now()) {
        return later(StatusCode::TOO_MANY_REQUESTS, "1", "too many requests in a second");
    }
    if !served.shared.spool.has_room() {
        return later(StatusCode::SERVICE_UNAVAILABLE, "10", "too much waits to be done");
    }
    let Ok(_place) = served.bodies.acquire().await else {
        return later(StatusCode::SERVICE_UNAVAILABLE, "10", "ending");
    };
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return answer(status, "the body is too large, too slow or broken"),
    };
    if proved == Proved::ByBody && !of_body(&receiver.spec.authentication, &parts.headers, &body) {
        return refuse(&name);
    }
    accept(served.clone(), name, parts.headers, body).await
}

fn refuse(receiver: &str) -> Response {
    tracing::warn!(receiver, "a request without the right credentials was refused");
    answer(StatusCode::UNAUTHORIZED, "no credentials, or wrong ones")
}

async fn read(body: Body) -> Result<Bytes, StatusCode> {
    let whole = timeout(BODY, Limited::new(body, MAX_ALERT_BYTES).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Puts what holds any event onto the disk, and only then says yes.
async fn accept(served: Served, name: String, headers: HeaderMap, body: Bytes) -> Response {
    let done = tokio::task::spawn_blocking(move || {
        let Some(receiver) = served.shared.receiver(&name) else {
            return answer(StatusCode::NOT_FOUND, "there is no such receiver");
        };
        let headers = attributes(&headers);
        let pairs: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let at = served.shared.clock.now();
        let received = Received { body: &body, headers: &pairs, at };
        match normalise(receiver.spec.source, receiver.mapping.as_ref(), received) {
            Ok(events) if events.is_empty() => return answer(StatusCode::OK, "no events"),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(receiver = name, %error, "a body was refused");
                return answer(StatusCode::BAD_REQUEST, error.to_string());
            }
        }
        // It was parsed, so that it is text.
        let Ok(body) = String::from_utf8(body.to_vec()) else {
            return answer(StatusCode::BAD_REQUEST, "the body is no text");
        };
        let accepted = Accepted { receiver: name, received: at, headers, body };
        match served.shared.spool.put(&accepted, served.shared.clock.random()) {
            Ok(file) => {
                // When the worker has ended, it waits for the next start.
                let _ = served.to_work.send(file);
                answer(StatusCode::OK, "accepted")
            }
            Err(error) => {
                tracing::error!(%error, "an alert cannot be put onto the disk: its sender was told to send it again");
                later(StatusCode::SERVICE_UNAVAILABLE, "10", "it cannot be kept")
            }
        }
    });
    done.await.unwrap_or_else(|_| later(StatusCode::SERVICE_UNAVAILABLE, "10", "ending"))
}

/// The headers that belong to an event.
fn attributes(headers: &HeaderMap) -> Vec<(String, String)> {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with(ATTRIBUTE));
    own.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}
