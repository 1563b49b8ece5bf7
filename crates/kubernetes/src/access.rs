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

impl Cluster {
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
