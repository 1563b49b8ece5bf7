//! One message to a target. Nothing that it returns or logs has the URL or the token in it.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use lifeboat_http::{Answer, Webhook};

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

/// Finds out whether messages could be sent at all.
pub(super) fn check(target: &Target) -> Result<(), ClientError> {
    Ok(webhook(target).check()?)
}

/// Makes one request. A redirect is not followed: it would take the message, and maybe the token, elsewhere.
pub(super) async fn send(target: &Target, parcel: &Parcel, patience: Duration) -> Result<(), ClientError> {
    let Answer { status, headers, .. } = webhook(target).call(parcel.suffix, parcel.json.clone(), patience).await?;
    if status.is_success() {
        return Ok(());
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Err(ClientError::Status { status, retry_after: seconds.map(Duration::from_secs) })
}

fn webhook(target: &Target) -> Webhook<'_> {
    Webhook { url_file: &target.url_file, token_file: target.token_file.as_deref(), ca_file: target.ca_file.as_deref() }
}
