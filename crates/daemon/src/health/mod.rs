//! Answers for those who watch the process: `/metrics`, `/livez` and `/readyz`.
//!
//! Anybody in the cluster may connect, so that connections are few, requests small, and nobody may be slow.

mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{CONTENT_TYPE as METRICS, Metrics};
pub(crate) use state::{Health, Pulse};

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// How long the head of a request may take.
const HEADER: Duration = Duration::from_secs(5);
/// How long a connection may last, whatever goes over it.
const CONNECTION: Duration = Duration::from_mins(1);
/// The most bytes of a request's head.
const BUFFER: usize = 16 << 10;
/// After a failure to accept, as where no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Served {
    metrics: Metrics,
    health: Health,
}

/// Serves until the token is cancelled.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics, health: Health, shutdown: CancellationToken) {
    let served = Served { metrics, health };
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(served);
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
                let (router, shutdown) = (router.clone(), shutdown.clone());
                tasks.spawn(async move {
                    let _place = place;
                    let done = timeout(CONNECTION, connection(stream, router));
                    if let Some(Ok(Err(error))) = shutdown.run_until_cancelled(done).await {
                        tracing::debug!(%error, "a connection for metrics or health broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection for metrics or health");
                sleep(PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: TcpStream, router: Router) -> Result<(), hyper::Error> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

async fn metrics_text(State(served): State<Served>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS)], served.metrics.render())
}

async fn livez(State(served): State<Served>, RawQuery(query): RawQuery) -> Response {
    answer(&served.health.live(), query.as_deref())
}

async fn readyz(State(served): State<Served>, RawQuery(query): RawQuery) -> Response {
    answer(&served.health.ready(), query.as_deref())
}

/// As Kubernetes' own servers answer: `ok` or what is not, and with `?verbose` everything.
fn answer(checks: &[(&'static str, Result<(), String>)], query: Option<&str>) -> Response {
    let failed = checks.iter().any(|(_, result)| result.is_err());
    let verbose =
        query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose=")));
    let mut text = String::new();
    for (name, result) in checks {
        match result {
            Ok(()) if verbose => text.extend(["[+]", name, " ok\n"]),
            Ok(()) => {}
            Err(reason) => text.extend(["[-]", name, ": ", reason, "\n"]),
        }
    }
    if !failed {
        text.push_str("ok\n");
    }
    let status = if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")], text).into_response()
}
