//! One request and its answer, bounded in size and in silence, with failures told apart.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Error as LegacyError;
use kube::client::{AuthError, Body};
use kube::core::Status;
use tokio::time::{Instant, timeout};

use crate::config::describe;
use crate::retry::{Attempts, Retry};
use crate::{Cluster, Error};

/// The media type of a plain answer.
const JSON: &str = "application/json";
/// The most that is read of an answer that reports a failure.
const ERROR_BODY: usize = 64 * 1024;
/// The most that is kept of a server's message.
const MESSAGE: usize = 1024;

/// The sizes of an answer's body, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// What to set aside at first.
    pub(crate) expected: usize,
    /// What to give up at.
    pub(crate) limit: usize,
}

/// Room for a single document, such as discovery of a cluster with thousands of CRDs.
pub(crate) const DOCUMENT: Room = Room { expected: 16 * 1024, limit: 64 * 1024 * 1024 };

/// A request, with the words in which a failure of it is reported.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    pub(crate) body: Vec<u8>,
    pub(crate) resource: &'a str,
    pub(crate) verb: &'static str,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str, resource: &'a str, verb: &'static str) -> Self {
        Self { method: Method::GET, path, accept: JSON, body: Vec::new(), resource, verb }
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Cluster {
    /// Sends a request once.
    pub(crate) async fn send(&self, request: Request<'_>, room: Room) -> Result<Answer, Error> {
        let wanted = http::Request::builder()
            .method(request.method.clone())
            .uri(request.path)
            .header(ACCEPT, request.accept)
            .header(CONTENT_TYPE, JSON)
            .body(Body::from(request.body.clone()))
            .map_err(|source| Error::decode(request.resource, source))?;
        let answer = timeout(self.stall_timeout, self.client.send(wanted)).await;
        let answer = answer.map_err(|_| self.stalled())?.map_err(|error| self.lost(error))?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            let body = self
                .read(body, room)
                .await?
                .ok_or_else(|| Error::TooLarge { resource: request.resource.to_owned(), limit: room.limit })?;
            return Ok(Answer { headers: head.headers, body });
        }
        let room = Room { expected: 1024, limit: ERROR_BODY };
        let body = self.read(body, room).await?.unwrap_or_default();
        Err(refusal(&request, head.status, &head.headers, &body))
    }

    /// Sends a request that changes nothing, again after passing faults.
    pub(crate) async fn send_patiently(
        &self,
        request: &Request<'_>,
        room: Room,
        retry: Retry,
    ) -> Result<Answer, Error> {
        let mut attempts = Attempts::new(retry);
        loop {
            let began = Instant::now();
            match self.send(request.clone(), room).await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.pause(error, began).await?,
            }
        }
    }

    /// Reads a body to its end, or `None` when it is larger than there is room for.
    async fn read(&self, mut body: Body, room: Room) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::with_capacity(room.expected.min(room.limit));
        loop {
            let frame = timeout(self.stall_timeout, body.frame()).await.map_err(|_| self.stalled())?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|error| self.lost(error))?.into_data() else { continue };
            if data.len() > room.limit - bytes.len() {
                return Ok(None);
            }
            bytes.extend_from_slice(&data);
        }
        bytes.shrink_to_fit();
        Ok(Some(bytes))
    }

    fn lost(&self, error: kube::Error) -> Error {
        // A token that could not be renewed comes wrapped, as any failure of a layer above the connection.
        let source = match error {
            kube::Error::Service(source) => source,
            kube::Error::HyperError(source) => source.into(),
            error => error.into(),
        };
        match source.downcast::<AuthError>() {
            Ok(error) => Error::Unauthorized { message: describe(&error) },
            Err(source) => Error::Unreachable { url: self.url.clone(), sent: !never_sent(source.as_ref()), source },
        }
    }

    fn stalled(&self) -> Error {
        let seconds = self.stall_timeout.as_secs();
        Error::Unreachable { url: self.url.clone(), source: format!("nothing came for {seconds} s").into(), sent: true }
    }
}

/// Whether a request failed before any byte of it was sent: the connection did not come about.
fn never_sent(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.filter_map(|error| error.downcast_ref::<LegacyError>()).any(LegacyError::is_connect)
}

/// The error that an answer other than a success stands for.
fn refusal(request: &Request<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    // Proxies and the aggregator answer in plain text; only the API server itself sends a Status.
    let (reason, message) = if let Ok(status) = serde_json::from_slice::<Status>(body) {
        (printable(&status.reason), printable(&status.message))
    } else {
        let phrase = status.canonical_reason().unwrap_or("unknown status");
        (phrase.to_owned(), printable(String::from_utf8_lossy(body).trim()))
    };
    let resource = request.resource.to_owned();
    match status {
        StatusCode::UNAUTHORIZED => Error::Unauthorized { message },
        StatusCode::FORBIDDEN => Error::Forbidden { resource, verb: request.verb, message },
        StatusCode::NOT_FOUND => Error::NotFound { resource, message },
        StatusCode::GONE => Error::Expired { resource, message },
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Error::Throttled { resource, retry_after: seconds.map(Duration::from_secs), message }
        }
        _ => Error::Server { resource, status: status.as_u16(), reason, message },
    }
}

/// Foreign words on one line, without control characters, and not at any length.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, headers: &HeaderMap, body: &str) -> Error {
        let request = Request::get("/apis/apps/v1/deployments", "deployments.apps", "list");
        refusal(&request, StatusCode::from_u16(status).unwrap(), headers, body.as_bytes())
    }

    #[test]
    fn failures_are_told_apart_by_what_to_do() {
        let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps is forbidden: User \"ann\" cannot list","reason":"Forbidden","code":403}"#;
        let none = HeaderMap::new();
        let error = refused(403, &none, status);
        assert_eq!(
            error.to_string(),
            "not allowed to list deployments.apps: deployments.apps is forbidden: User \"ann\" cannot list"
        );
        assert!(matches!(refused(401, &none, ""), Error::Unauthorized { .. }));
        assert!(
            matches!(refused(404, &none, "404 page not found\n"), Error::NotFound { message, .. } if message == "404 page not found")
        );
        assert!(matches!(refused(410, &none, ""), Error::Expired { .. }));
        assert!(matches!(refused(405, &none, ""), Error::Server { status: 405, .. }));
        let error = refused(503, &none, "service\u{1b}[31m unavailable");
        assert_eq!(
            error.to_string(),
            "the API server answered 503 Service Unavailable for deployments.apps: service [31m unavailable"
        );
        assert!(error.is_transient());
    }

    #[test]
    fn retry_after_is_taken_where_it_is_a_number() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let wait = Some(Duration::from_secs(7));
        assert!(matches!(refused(429, &headers, ""), Error::Throttled { retry_after, .. } if retry_after == wait));
        headers.insert(RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT".parse().unwrap());
        assert!(matches!(refused(429, &headers, ""), Error::Throttled { retry_after: None, .. }));
    }
}
