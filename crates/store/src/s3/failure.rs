//! What the SDK's errors mean.

use std::error::Error;
use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::bucket::Bucket;
use crate::{Key, StoreError};

/// The longest text of a server that goes into an error.
const MAX_TEXT: usize = 300;

/// A kind of request: in words, and the permission that it needs.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) operation: &'static str,
    pub(super) permission: &'static str,
}

pub(super) const READ: Request = Request { operation: "read", permission: "s3:GetObject (and s3:ListBucket)" };
pub(super) const WRITE: Request = Request { operation: "write", permission: "s3:PutObject" };
pub(super) const LIST: Request = Request { operation: "list", permission: "s3:ListBucket" };
pub(super) const DELETE: Request = Request { operation: "remove", permission: "s3:DeleteObject" };
pub(super) const ABORT: Request = Request { operation: "abort an upload of", permission: "s3:AbortMultipartUpload" };
pub(super) const LIST_UPLOADS: Request =
    Request { operation: "list the uploads of", permission: "s3:ListBucketMultipartUploads" };

/// A request's failure: what the store says of it, and what the protocol said.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    /// A repetition may succeed.
    pub(super) transient: bool,
    /// The server may have done what it was asked, or may still do it.
    pub(super) uncertain: bool,
}

impl Failure {
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The condition of a write or of a read does not hold.
    pub(super) fn precondition(&self) -> bool {
        self.status == Some(412) || self.is("PreconditionFailed")
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl Bucket {
    /// What an error of the SDK means. `key` is what the request was about, if not the whole bucket.
    pub(super) fn failure<E>(&self, request: Request, key: Option<&Key>, error: SdkError<E>) -> Failure
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).map(tame);
        let never_sent = matches!(error, SdkError::ConstructionFailure(_)) || never_sent(&error);
        let broken =
            matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
        let server_failed = matches!(status, Some(500 | 502 | 503 | 504)) || code.as_deref() == Some("InternalError");
        let again = status == Some(429)
            || code.as_deref().is_some_and(|code| {
                matches!(code, "ConditionalRequestConflict" | "RequestTimeout" | "SlowDown" | "Throttling")
            });
        let error = match error {
            SdkError::ServiceError(failed) => {
                let message = failed.err().message().map_or_else(|| "no message".to_owned(), tame);
                self.service_error(request, key, Answer { status, code: code.clone(), message })
            }
            error => self.transport_error(request, key, error, never_sent),
        };
        Failure {
            error,
            status,
            code,
            transient: broken || server_failed || again,
            uncertain: !never_sent && (broken || server_failed),
        }
    }

    /// An error that no answer of the server came with, or none that can be read.
    fn transport_error<E>(
        &self,
        request: Request,
        key: Option<&Key>,
        error: SdkError<E>,
        never_sent: bool,
    ) -> StoreError
    where
        E: Error + Send + Sync + 'static,
    {
        let timed_out = match &error {
            SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(failed) => failed.is_timeout(),
            _ => false,
        };
        let endpoint = self.endpoint.clone();
        if about_credentials(&error) {
            let source = error.into_source().ok();
            return StoreError::BadCredentials { endpoint, reason: "none could be obtained".to_owned(), source };
        }
        if timed_out && !never_sent {
            return StoreError::Timeout { operation: request.operation, resource: self.resource(key) };
        }
        let message = causes(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        if matches!(error, SdkError::ConstructionFailure(_)) {
            let (operation, resource, message) = (request.operation, self.resource(key), tame(&message));
            return StoreError::Other { operation, resource, status: None, code: None, message };
        }
        StoreError::Unreachable { endpoint, source: error.into_source().unwrap_or_else(|_| tame(&message).into()) }
    }

    fn resource(&self, key: Option<&Key>) -> String {
        key.map_or_else(|| format!("s3://{}", self.name), |key| self.url(key))
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>, and what others add.
    fn service_error(&self, request: Request, key: Option<&Key>, answer: Answer) -> StoreError {
        let Answer { status, code, message } = answer;
        let resource = self.resource(key);
        let source = || Some(message.clone().into());
        let endpoint = || self.endpoint.clone();
        match (code.as_deref().unwrap_or_default(), status, key) {
            ("NoSuchBucket", ..) => StoreError::NoSuchBucket { bucket: self.name.clone(), endpoint: endpoint() },
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "InvalidSecurity"
                | "NotSignedUp"
                | "TokenRefreshRequired"
                | "RequestTimeTooSkewed"
                | "XAdminUserNotFound"
                | "XMinioInvalidIAMCredentials",
                ..,
            ) => StoreError::BadCredentials { endpoint: endpoint(), reason: message, source: None },
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", ..) => {
                StoreError::BadOption { option: "region", reason: format!("'{}' lies elsewhere: {message}", self.name) }
            }
            ("ObjectLocked", _, Some(key)) => StoreError::Locked { key: key.clone(), reason: message },
            (_, Some(400 | 403), Some(key)) if says_locked(&message) => {
                StoreError::Locked { key: key.clone(), reason: message }
            }
            ("PreconditionFailed", _, Some(key)) | (_, Some(412), Some(key)) => {
                StoreError::AlreadyExists { key: key.clone() }
            }
            ("NoSuchKey", _, Some(key)) => StoreError::NotFound { key: key.clone() },
            ("EntityTooLarge", _, Some(key)) => StoreError::TooLarge { key: key.clone(), limit: super::MAX_OBJECT },
            (
                "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch",
                _,
                Some(key),
            ) => StoreError::Corrupt { key: key.clone(), reason: format!("damaged on its way: {message}") },
            ("QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded", ..) | (_, Some(507), _) => {
                StoreError::NoSpace { resource, source: source() }
            }
            ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", ..) | (_, Some(401 | 403), _) => {
                let Request { operation, permission } = request;
                StoreError::AccessDenied { operation, resource, permission, source: source() }
            }
            _ => StoreError::Other { operation: request.operation, resource, status, code, message },
        }
    }
}

/// What a server said.
struct Answer {
    status: Option<u16>,
    code: Option<String>,
    message: String,
}

/// The words by which servers other than Amazon's say that an object is held.
fn says_locked(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["object lock", "object is locked", "worm protected", "retention", "legal hold"].iter().any(|w| message.contains(w))
}

/// A server's text without control characters, and not too long.
fn tame(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether the request cannot have reached the server, since there was no connection.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let refused = matches!(
            io,
            Some(
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        );
        // hyper-util and the SDK tell the phase in words only.
        let text = cause.to_string();
        let phases =
            ["dns error", "tcp connect error", "tcp open error", "HTTP connect timeout", "invalid peer certificate"];
        refused || phases.iter().any(|phase| text.starts_with(phase))
    })
}

fn about_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.to_string().contains("credentials"))
}

pub(super) fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
