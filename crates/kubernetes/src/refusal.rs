//! Answers that are not successes, and what they mean.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::error::FieldCause;
use crate::request::Request;
use crate::{Error, ObjectPath};

/// The most that is kept of a server's message, in characters.
const MESSAGE: usize = 1024;
/// The most causes that are kept.
const CAUSES: usize = 64;

/// `Status` of `k8s.io/apimachinery/pkg/apis/meta/v1`, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    name: String,
    /// The resource that is spoken of, in spite of the name.
    kind: String,
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    field: String,
    reason: String,
    message: String,
}

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    retry_after: Option<Duration>,
    reason: String,
    message: String,
    details: Details,
}

/// What was refused, for the words of the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) path: ObjectPath<'a>,
    pub(crate) verb: &'static str,
    /// The size of the request's body.
    pub(crate) bytes: usize,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        // Proxies and the aggregator answer in plain text; only the API server itself sends a Status.
        if let Ok(answer) = serde_json::from_slice::<Status>(body) {
            let words = || status.canonical_reason().unwrap_or("unknown status").to_owned();
            let reason = if answer.reason.is_empty() { words() } else { printable(&answer.reason) };
            let message = printable(&answer.message);
            return Self { status, retry_after, reason, message, details: answer.details.unwrap_or_default() };
        }
        let reason = status.canonical_reason().unwrap_or("unknown status").to_owned();
        let message = printable(String::from_utf8_lossy(body).trim());
        Self { status, retry_after, reason, message, details: Details::default() }
    }

    /// What it means to a request for a document or a list.
    pub(crate) fn into_error(self, request: &Request<'_>) -> Error {
        self.general(request.resource.to_owned(), request.verb)
    }

    fn general(self, resource: String, verb: &'static str) -> Error {
        let Self { status, retry_after, reason, message, .. } = self;
        match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized { message },
            StatusCode::FORBIDDEN => Error::Forbidden { resource, verb, message },
            StatusCode::NOT_FOUND => Error::NotFound { resource, message },
            StatusCode::GONE => Error::Expired { resource, message },
            StatusCode::TOO_MANY_REQUESTS => Error::Throttled { resource, retry_after, message },
            _ => Error::Server { resource, status: status.as_u16(), reason, message },
        }
    }

    /// What it means to a request for one object.
    pub(crate) fn of_object(self, subject: Subject<'_>) -> Error {
        let object = subject.path.to_string();
        // Webhooks choose the status of a refusal themselves.
        if let Some(webhook) = self.denying_webhook() {
            return Error::Denied { object, webhook: Some(webhook), message: self.message };
        }
        match self.status {
            StatusCode::FORBIDDEN => self.forbidden(subject, object),
            StatusCode::NOT_FOUND => self.not_found(subject, object),
            StatusCode::CONFLICT if self.reason == "AlreadyExists" => {
                Error::AlreadyExists { object, terminating: self.message.starts_with("object is being deleted") }
            }
            // A quota, or what allots addresses and ports, is written on the way, and the race for it was lost.
            StatusCode::CONFLICT if self.is_about_another(subject) => {
                Error::Throttled { resource: object, retry_after: self.retry_after, message: self.message }
            }
            StatusCode::CONFLICT => Error::Conflict { object, message: self.message },
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => self.invalid(object),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Error::ObjectTooLarge { object, bytes: subject.bytes, message: self.message }
            }
            StatusCode::INTERNAL_SERVER_ERROR => self.internal(subject, object),
            _ => self.general(object, subject.verb),
        }
    }

    /// The webhook that refused. Source: `ToStatusErr` of `k8s.io/apiserver/pkg/admission/plugin/webhook/errors`.
    fn denying_webhook(&self) -> Option<String> {
        let (webhook, rest) = self.message.strip_prefix("admission webhook \"")?.split_once('"')?;
        rest.starts_with(" denied the request").then(|| webhook.to_owned())
    }

    /// The authorizer's words are "... is forbidden: User "ann" cannot create resource ..." (`ForbiddenStatusError` of
    /// `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`); everything else of this status is of admission, or
    /// of rules against giving oneself more rights.
    fn forbidden(self, subject: Subject<'_>, object: String) -> Error {
        if let Some(namespace) = subject.path.namespace
            && self.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        {
            return Error::NamespaceTerminating { object, namespace: namespace.to_owned() };
        }
        if self.message.contains("orbidden: User \"") && self.message.contains(" cannot ") {
            return self.general(object, subject.verb);
        }
        Error::Denied { object, webhook: None, message: self.message }
    }

    fn not_found(self, subject: Subject<'_>, object: String) -> Error {
        let path = subject.path;
        if self.details.name.is_empty() {
            let resource = format!("{} at {}", path.resource.group_resource(), path.resource.version);
            return Error::NotServed { resource, message: self.message };
        }
        match path.namespace {
            Some(namespace) if self.details.kind == "namespaces" && path.resource.resource != "namespaces" => {
                Error::NoNamespace { object, namespace: namespace.to_owned() }
            }
            _ => self.general(object, subject.verb),
        }
    }

    /// `kind` is the resource in most answers, and the kind in some.
    fn is_about_another(&self, subject: Subject<'_>) -> bool {
        let Details { kind, name, .. } = &self.details;
        let ours = subject.path.resource;
        let is_ours = [&ours.resource, &ours.kind, &ours.group_resource().to_string()].contains(&kind);
        !kind.is_empty() && !name.is_empty() && !is_ours
    }

    fn invalid(self, object: String) -> Error {
        let Self { message, details, .. } = self;
        if message.contains("ValidatingAdmissionPolicy '") {
            return Error::Denied { object, webhook: None, message };
        }
        // An update that names another UID is a conflict, and a patch that does is not valid; both mean the same.
        if !details.causes.is_empty() && details.causes.iter().all(|cause| cause.field == "metadata.uid") {
            return Error::Conflict { object, message };
        }
        let causes = details.causes.into_iter().take(CAUSES).map(|cause| FieldCause {
            field: printable(&cause.field),
            reason: printable(&cause.reason),
            message: printable(&cause.message),
        });
        Error::Invalid { object, message, causes: causes.collect() }
    }

    fn internal(self, subject: Subject<'_>, object: String) -> Error {
        let Subject { verb, bytes, .. } = subject;
        if let Some(webhook) = self.failing_webhook() {
            return Error::WebhookFailed { object, webhook, message: self.message };
        }
        // The limits of etcd (`--max-request-bytes`) and of its client in the API server.
        let too_large = ["etcdserver: request is too large", "trying to send message larger than max"];
        if too_large.iter().any(|words| self.message.contains(words)) {
            return Error::ObjectTooLarge { object, bytes, message: self.message };
        }
        self.general(object, verb)
    }

    /// The webhook that could not be called: of admission, or one that converts between a resource's versions.
    fn failing_webhook(&self) -> Option<String> {
        if let Some((_, rest)) = self.message.split_once("failed calling webhook \"") {
            return rest.split_once('"').map(|(webhook, _)| webhook.to_owned());
        }
        let (_, rest) = self.message.split_once("conversion webhook for ")?;
        rest.split_once(" failed: ").map(|(what, _)| format!("conversion of {what}"))
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
        Refused::new(StatusCode::from_u16(status).unwrap(), headers, body.as_bytes()).into_error(&request)
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

    fn of_config_map(status: u16, body: &str) -> Error {
        let resource = lifeboat_model::ResourceType {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "configmaps".to_owned(),
            kind: "ConfigMap".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        };
        let path = ObjectPath { resource: &resource, namespace: Some("prod"), name: "web" };
        let refused = Refused::new(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
        refused.of_object(Subject { path, verb: "create", bytes: 7 })
    }

    /// What real servers answer is in the integration tests; here is what they cannot be made to.
    #[test]
    fn a_lost_race_for_another_object_passes() {
        let of = |kind: &str, name: &str| {
            let body =
                format!(r#"{{"kind":"Status","reason":"Conflict","details":{{"kind":"{kind}","name":"{name}"}}}}"#);
            of_config_map(409, &body)
        };
        for (kind, name) in [("resourcequotas", "limits"), ("servicenodeportallocations", "x")] {
            assert!(of(kind, name).is_transient(), "{kind}");
        }
        for (kind, name) in [("configmaps", "web"), ("ConfigMap", "web"), ("", "")] {
            assert!(matches!(of(kind, name), Error::Conflict { .. }), "{kind}");
        }
        assert!(matches!(of_config_map(409, "from a proxy"), Error::Conflict { .. }));
    }

    #[test]
    fn webhooks_may_refuse_with_any_status_and_without_a_word() {
        for status in [400, 403, 404, 409, 422, 429, 500, 503] {
            let message = r#"admission webhook \"a.example.com\" denied the request without explanation"#;
            let error = of_config_map(status, &format!(r#"{{"kind":"Status","message":"{message}"}}"#));
            assert!(
                matches!(&error, Error::Denied { webhook: Some(name), .. } if name == "a.example.com"),
                "{status}: {error:?}"
            );
        }
        let boast = r#"{"message":"a webhook said: admission webhook \"a\" denied the request"}"#;
        assert!(matches!(of_config_map(409, boast), Error::Conflict { .. }));
    }

    #[test]
    fn plain_refusals_of_proxies_are_understood() {
        let error = of_config_map(413, "<html>413 Request Entity Too Large</html>");
        assert!(matches!(error, Error::ObjectTooLarge { bytes: 7, .. }), "{error:?}");
        assert!(matches!(of_config_map(422, ""), Error::Invalid { causes, .. } if causes.is_empty()));
        assert!(of_config_map(502, "<html>").is_transient());
        assert!(of_config_map(502, "<html>").may_be_done());
        assert!(!of_config_map(429, "").may_be_done());
        assert!(!of_config_map(501, "").is_transient());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_answered_its_words_are_bounded_and_tame(
            status in 300_u16..600,
            body in ".{0,4000}",
            message in ".{0,4000}",
            kind in "[a-z]{0,3}|configmaps|namespaces",
        ) {
            let details = serde_json::json!({"name": message, "kind": kind,
                "causes": [{"field": message, "message": message, "reason": kind}]});
            let whole = serde_json::json!({"kind": "Status", "message": message, "reason": message, "details": details});
            for body in [body, whole.to_string()] {
                let error = of_config_map(status, &body);
                let words = format!("{error} {error:?}");
                proptest::prop_assert!(!words.contains(char::is_control), "{words:?}");
                proptest::prop_assert!(error.to_string().chars().count() <= 3 * MESSAGE, "{words}");
            }
        }
    }
}
