//! One request and its answer, bounded in size and in silence, with failures told apart.

use std::error::Error as StdError;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, DATE};
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Error as LegacyError;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::{AuthError, Body};
use tokio::time::{Instant, timeout};

use crate::config::describe;
use crate::refusal::Refused;
use crate::retry::{Attempts, Retry};
use crate::{Cluster, Error};

/// The media type of plain documents.
pub(crate) const JSON: &str = "application/json";
/// The most that is read of an answer that reports a failure.
const ERROR_BODY: usize = 1024 * 1024;

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
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    pub(crate) resource: &'a str,
    pub(crate) verb: &'static str,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str, resource: &'a str, verb: &'static str) -> Self {
        Self { method: Method::GET, path, accept: JSON, content_type: JSON, body: Bytes::new(), resource, verb }
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Cluster {
    /// Sends a request once, and reports a refusal of it in the request's words.
    pub(crate) async fn send(&self, request: Request<'_>, room: Room) -> Result<Answer, Error> {
        self.exchange(&request, room).await?.map_err(|refused| refused.into_error(&request))
    }

    /// Sends a request once: the answer, or the API server's refusal.
    pub(crate) async fn exchange(&self, request: &Request<'_>, room: Room) -> Result<Result<Answer, Refused>, Error> {
        let (headers, body) = match self.open(request).await? {
            Ok(answer) => answer,
            Err(refused) => return Ok(Err(refused)),
        };
        let body = self.read(body, room).await?;
        let body = body.ok_or_else(|| Error::TooLarge { resource: request.resource.to_owned(), limit: room.limit })?;
        Ok(Ok(Answer { headers, body }))
    }

    /// Sends a request once: the answer, its body yet to be read, or the API server's refusal.
    pub(crate) async fn open(&self, request: &Request<'_>) -> Result<Result<(HeaderMap, Body), Refused>, Error> {
        let wanted = http::Request::builder()
            .method(request.method.clone())
            .uri(request.path)
            .header(ACCEPT, request.accept)
            .header(CONTENT_TYPE, request.content_type)
            .body(Body::from(request.body.clone()))
            .map_err(|source| Error::decode(request.resource, source))?;
        let answer = timeout(self.stall_timeout, self.client.send(wanted)).await;
        let answer = answer.map_err(|_| self.stalled())?.map_err(|error| self.lost(error))?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(Ok((head.headers, body)));
        }
        let room = Room { expected: 1024, limit: ERROR_BODY };
        let body = self.read(body, room).await?.unwrap_or_default();
        Ok(Err(Refused::new(head.status, &head.headers, &body)))
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

    pub(crate) fn lost(&self, error: kube::Error) -> Error {
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

    pub(crate) fn stalled(&self) -> Error {
        let seconds = self.stall_timeout.as_secs();
        Error::Unreachable { url: self.url.clone(), source: format!("nothing came for {seconds} s").into(), sent: true }
    }
}

/// The API server's clock when it answered, in whole seconds.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// Whether a request failed before any byte of it was sent: the connection did not come about.
fn never_sent(error: &(dyn StdError + 'static)) -> bool {
    let is_connect = |error: &LegacyError| error.is_connect();
    error.downcast_ref().is_some_and(is_connect) || error.source().is_some_and(never_sent)
}
