//! One message to a target. Nothing that it returns or logs has the URL or the token in it.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use lifeboat_http::{Addresses, Answer, Bounds, Client};

use super::Target;
use super::outbox::Parcel;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] lifeboat_http::Error),
    /// The target said no.
    #[error("the target answered with status {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
}

impl ClientError {
    /// Whether the same request may be taken later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unanswered(error) => error.is_transient(),
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
            Self::Unanswered(_) => None,
        }
    }
}

/// What a target needs, read from its files.
struct Prepared {
    uri: Uri,
    authorization: Option<HeaderValue>,
    client: Client,
}

/// Finds out whether messages could be sent at all.
pub(super) fn check(target: &Target) -> Result<(), ClientError> {
    prepare(target, "").map(drop)
}

/// Makes one request. A redirect is not followed: it would take the message, and maybe the token, elsewhere.
pub(super) async fn send(target: &Target, parcel: &Parcel, patience: Duration) -> Result<(), ClientError> {
    let Prepared { uri, authorization, client } = prepare(target, parcel.suffix)?;
    let mut request = Request::new(parcel.json.clone().unwrap_or_default());
    *request.uri_mut() = uri;
    if parcel.json.is_some() {
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let Answer { status, headers, .. } = client.send(request, Bounds { time: patience, body: 0 }).await?;
    judge(status, &headers)
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), ClientError> {
    if status.is_success() {
        return Ok(());
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(ClientError::Status { status, retry_after: seconds.map(Duration::from_secs) })
}

fn prepare(target: &Target, suffix: &str) -> Result<Prepared, ClientError> {
    Ok(Prepared {
        uri: lifeboat_http::url(&target.url_file, suffix)?,
        authorization: target.token_file.as_deref().map(lifeboat_http::token).transpose()?,
        client: Client::new(target.ca_file.as_deref(), Addresses::Any)?,
    })
}
