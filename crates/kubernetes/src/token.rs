//! Tokens of service accounts: asking for one, and asking whether one is still good.

use http::Method;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use serde_json::json;

use crate::object::OBJECT;
use crate::refusal::{Subject, printable};
use crate::request::{DOCUMENT, Request};
use crate::{Cluster, Error, ObjectPath};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const REVIEW: &str = "tokenreviews.authentication.k8s.io";

/// A bearer token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token that was found.
    pub fn new(token: String) -> Self {
        Self(token)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// A pod that a token is bound to: it dies with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundPod<'a> {
    /// Its name; its namespace is the service account's.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// What the API server thinks of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenVerdict {
    /// It is somebody's.
    Good {
        /// Whose: `system:serviceaccount:shop:web`.
        user: String,
    },
    /// It is nobody's, and why.
    Refused {
        /// The API server's words.
        reason: String,
    },
}

impl Cluster {
    /// Makes a token of a service account that lives for `seconds` (600 at least, by the API server's rule). Nothing is
    /// stored in the cluster, so that asking again after a fault does no harm.
    pub async fn request_token(
        &self,
        account: ObjectPath<'_>,
        pod: Option<BoundPod<'_>>,
        seconds: u32,
    ) -> Result<Token, Error> {
        let bound = pod.map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}));
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [], "boundObjectRef": bound, "expirationSeconds": seconds},
        });
        let (url, what) = (account.item()? + "/token", account.to_string());
        let body = body.to_string().into_bytes();
        let subject = Subject { path: account, verb: "create token of", bytes: body.len() };
        let request =
            Request { method: Method::POST, body: body.into(), ..Request::get(&url, &what, "create token of") };
        let answer = self.exchange(&request, OBJECT).await?.map_err(|refused| refused.of_object(subject))?;
        // The parser's words would quote the token.
        let answer: TokenRequest =
            serde_json::from_slice(&answer.body).map_err(|_| Error::decode(&what, "not a TokenRequest"))?;
        let token = answer.status.and_then(|status| status.token).filter(|token| !token.is_empty());
        token.map(Token).ok_or_else(|| Error::decode(&what, "there is no token in it"))
    }

    /// Asks one API server whether a token is good. Each keeps what it found good for ten seconds.
    pub async fn review_token(&self, token: &Token) -> Result<TokenVerdict, Error> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token.0},
        });
        let body = body.to_string().into_bytes().into();
        let request = Request { method: Method::POST, body, ..Request::get(REVIEWS, REVIEW, "create") };
        let answer = self.send_patiently(&request, DOCUMENT, self.retry).await?;
        let answer: TokenReview =
            serde_json::from_slice(&answer.body).map_err(|_| Error::decode(REVIEW, "not a TokenReview"))?;
        let status = answer.status.ok_or_else(|| Error::decode(REVIEW, "there is no answer in it"))?;
        if status.authenticated == Some(true) {
            let user = status.user.and_then(|user| user.username).unwrap_or_default();
            return Ok(TokenVerdict::Good { user: printable(&user) });
        }
        Ok(TokenVerdict::Refused { reason: printable(&status.error.unwrap_or_default()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", Token::new("secret".to_owned())), "Token");
    }
}
