//! What this identity may do.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use lifeboat_model::ResourceType;

use crate::refusal::printable;
use crate::request::{DOCUMENT, Request};
use crate::{Cluster, Error};

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const RESOURCE: &str = "selfsubjectaccessreviews.authorization.k8s.io";
/// Questions under way at a time.
const REQUESTS: usize = 8;

/// Something that an identity may be allowed to do. Empty text stands for what kubectl leaves out: the core group, no
/// subresource, all namespaces, all names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// The verb, such as `create`.
    pub verb: &'static str,
    /// The API group.
    pub group: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

/// Whether an access is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is.
    pub allowed: bool,
    /// Why, where the API server says it.
    pub reason: String,
}

impl Cluster {
    /// Asks the API server what this identity may do. The answers come in the order of the questions.
    pub async fn may(&self, questions: &[Access]) -> Result<Vec<Decision>, Error> {
        let ask = |question: Access| async move { self.ask(&question).await };
        stream::iter(questions.iter().cloned()).map(ask).buffered(REQUESTS).try_collect().await
    }

    /// Asks the API server, for each resource, whether this identity may list it in all namespaces. The answers come
    /// in the order of `types`.
    pub async fn access_review(&self, types: &[ResourceType]) -> Result<Vec<(ResourceType, bool)>, Error> {
        let list = |group: &str, resource: &str| Access {
            verb: "list",
            group: group.to_owned(),
            resource: resource.to_owned(),
            ..Access::default()
        };
        // One question serves those who may list everything. Not all authorizers know the asterisk; a no means little.
        if self.ask(&list("*", "*")).await?.allowed {
            return Ok(types.iter().map(|kind| (kind.clone(), true)).collect());
        }
        let questions: Vec<_> = types.iter().map(|kind| list(&kind.group, &kind.resource)).collect();
        let decisions = self.may(&questions).await?;
        Ok(types.iter().cloned().zip(decisions.into_iter().map(|decision| decision.allowed)).collect())
    }

    async fn ask(&self, question: &Access) -> Result<Decision, Error> {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let attributes = ResourceAttributes {
            verb: Some(question.verb.to_owned()),
            group: Some(question.group.clone()),
            resource: Some(question.resource.clone()),
            subresource: given(&question.subresource),
            namespace: given(&question.namespace),
            name: given(&question.name),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let body = serde_json::to_vec(&review).map_err(|source| Error::decode(RESOURCE, source))?.into();
        let request = Request { method: Method::POST, body, ..Request::get(PATH, RESOURCE, "create") };
        // A review is not stored, so that asking again does nothing twice.
        let answer = self.send_patiently(&request, DOCUMENT, self.retry).await?;
        let answer: SelfSubjectAccessReview =
            serde_json::from_slice(&answer.body).map_err(|source| Error::decode(RESOURCE, source))?;
        let status = answer.status.unwrap_or_default();
        let reason = printable(&status.reason.or(status.evaluation_error).unwrap_or_default());
        Ok(Decision { allowed: status.allowed, reason })
    }
}
