//! Servers that take messages.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};

use crate::{Addresses, Answer, Bounds, Client, Error, token, url};

/// A server that takes messages. Its URL and its token are read from their files for each.
#[derive(Debug, Clone, Copy)]
pub struct Webhook<'a> {
    /// The file with its URL.
    pub url_file: &'a Path,
    /// The file with a token.
    pub token_file: Option<&'a Path>,
    /// The authorities to trust for it instead of the system's.
    pub ca_file: Option<&'a Path>,
}

impl Webhook<'_> {
    /// Finds out whether messages could be sent at all.
    ///
    /// # Errors
    /// When a file cannot be used as it stands.
    pub fn check(&self) -> Result<(), Error> {
        self.prepare("", None).map(drop)
    }

    /// Makes one request: a `POST` of that JSON, or a `GET` without. `suffix` is put behind the URL's path.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(&self, suffix: &str, json: Option<Bytes>, time: Duration) -> Result<Answer, Error> {
        let (client, request) = self.prepare(suffix, json)?;
        client.send(request, Bounds { time, body: 0 }).await
    }

    fn prepare(&self, suffix: &str, json: Option<Bytes>) -> Result<(Client, Request<Bytes>), Error> {
        let is_post = json.is_some();
        let mut request = Request::new(json.unwrap_or_default());
        *request.uri_mut() = url(self.url_file, suffix)?;
        if is_post {
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(file) = self.token_file {
            request.headers_mut().insert(AUTHORIZATION, token(file)?);
        }
        Ok((Client::new(self.ca_file, Addresses::Any)?, request))
    }
}

/// Text in Slack's form. What is quoted must not be able to make links or call people.
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>
pub fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
