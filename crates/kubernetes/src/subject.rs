//! What somebody else may do.

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};

use crate::access::Decision;
use crate::refusal::printable;
use crate::request::{DOCUMENT, Request};
use crate::{Cluster, Error};

const PATH: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const RESOURCE: &str = "subjectaccessreviews.authorization.k8s.io";

/// Something that somebody may be allowed to do. Empty text stands for what is left out, as of [`crate::Access`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubjectAccess {
    /// The user's name.
    pub user: String,
    /// The user's groups. The API server takes these, and knows no others.
    pub groups: Vec<String>,
    /// The verb.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Cluster {
    /// Asks the API server what somebody may do.
    pub async fn may_subject(&self, question: &SubjectAccess) -> Result<Decision, Error> {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let attributes = ResourceAttributes {
            verb: Some(question.verb.clone()),
            group: Some(question.group.clone()),
            resource: Some(question.resource.clone()),
            subresource: given(&question.subresource),
            namespace: given(&question.namespace),
            name: given(&question.name),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: given(&question.user),
            groups: Some(question.groups.clone()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let body = serde_json::to_vec(&review).map_err(|source| Error::decode(RESOURCE, source))?.into();
        let request = Request { method: Method::POST, body, ..Request::get(PATH, RESOURCE, "create") };
        // A review is not stored, so that asking again does nothing twice.
        let answer = self.send_patiently(&request, DOCUMENT, self.retry).await?;
        let answer: SubjectAccessReview =
            serde_json::from_slice(&answer.body).map_err(|source| Error::decode(RESOURCE, source))?;
        let status = answer.status.unwrap_or_default();
        let reason = printable(&status.reason.or(status.evaluation_error).unwrap_or_default());
        Ok(Decision { allowed: status.allowed, reason })
    }
}

impl Cluster {
    /// Who we are to the API server. Servers of before 1.28 do not say.
    pub async fn whoami(&self) -> Result<String, Error> {
        const WHOAMI: &str = "selfsubjectreviews.authentication.k8s.io";
        let body = serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let body = body.to_string().into_bytes().into();
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let request = Request { method: Method::POST, body, ..Request::get(path, WHOAMI, "create") };
        let answer = self.send_patiently(&request, DOCUMENT, self.retry).await?;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(|source| Error::decode(WHOAMI, source))?;
        let name = answer.pointer("/status/userInfo/username").and_then(serde_json::Value::as_str);
        name.map(printable).ok_or_else(|| Error::decode(WHOAMI, "there is no name in it"))
    }
}
