//! What this identity may list.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use lifeboat_model::{GroupResource, ResourceType};

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
        let _ = questions;
        Err(Error::Interrupted { resource: String::new() })
    }

    /// Asks the API server, for each resource, whether this identity may list it in all namespaces. The answers come
    /// in the order of `types`.
    pub async fn access_review(&self, types: &[ResourceType]) -> Result<Vec<(ResourceType, bool)>, Error> {
        // One question serves those who may list everything. Not all authorizers know the asterisk; a no means little.
        let everything = GroupResource { group: "*".to_owned(), resource: "*".to_owned() };
        if self.may_list(everything).await? {
            return Ok(types.iter().map(|kind| (kind.clone(), true)).collect());
        }
        let answers = stream::iter(types.iter().cloned()).map(async |kind| {
            let allowed = self.may_list(kind.group_resource()).await?;
            Ok((kind, allowed))
        });
        answers.buffered(REQUESTS).try_collect().await
    }

    async fn may_list(&self, resource: GroupResource) -> Result<bool, Error> {
        let attributes = ResourceAttributes {
            group: Some(resource.group),
            resource: Some(resource.resource),
            verb: Some("list".to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
        let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let body = serde_json::to_vec(&question).map_err(|source| Error::decode(RESOURCE, source))?;
        let request = Request { method: Method::POST, body, ..Request::get(PATH, RESOURCE, "create") };
        let answer = self.send(request, DOCUMENT).await?;
        let answer: SelfSubjectAccessReview =
            serde_json::from_slice(&answer.body).map_err(|source| Error::decode(RESOURCE, source))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
