//! One watch: a stream of what becomes of an object.

use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::object::OBJECT;
use crate::refusal::Subject;
use crate::request::Request;
use crate::{Cluster, Error};

/// What became of an object.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is so now.
    Is(Value),
    /// It is not there any more.
    Gone,
}

/// A watch of one object.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    cluster: &'a Cluster,
    subject: Subject<'a>,
    body: Body,
    /// What has come and is not yet a whole line.
    rest: Vec<u8>,
    until: Instant,
}

/// `WatchEvent` of `k8s.io/apimachinery/pkg/apis/meta/v1`.
#[derive(Deserialize)]
struct WatchEvent {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

impl<'a> Watch<'a> {
    /// Begins to watch; whatever comes of it, it ends after `within`.
    pub(crate) async fn open(
        cluster: &'a Cluster,
        url: &str,
        subject: Subject<'a>,
        within: Duration,
    ) -> Result<Self, Error> {
        let resource = subject.path.to_string();
        let answer = cluster.open(&Request::get(url, &resource, subject.verb)).await?;
        let (_, body) = answer.map_err(|refused| refused.of_object(subject))?;
        Ok(Self { cluster, subject, body, rest: Vec::new(), until: Instant::now() + within })
    }

    /// The next event, or `None` when the watch has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            let event: WatchEvent = serde_json::from_slice(&line).map_err(|source| self.decode(source))?;
            match event.kind.as_str() {
                "ADDED" | "MODIFIED" => return Ok(Some(Event::Is(event.object))),
                "DELETED" => return Ok(Some(Event::Gone)),
                "BOOKMARK" => {}
                // What we watched from is too old, or the API server is in trouble: begin again.
                "ERROR" => {
                    tracing::debug!(object = %self.subject.path, "the watch ended with an error");
                    return Ok(None);
                }
                _ => return Err(self.decode("an event of an unknown type")),
            }
        }
    }

    async fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.rest.iter().skip(searched).position(|byte| *byte == b'\n') {
                let tail = self.rest.split_off(searched + at + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, tail)));
            }
            searched = self.rest.len();
            let frame = match timeout_at(self.until, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|error| self.cluster.lost(error))?,
                Ok(None) | Err(_) => return Ok(None),
            };
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > OBJECT.limit - self.rest.len() {
                return Err(Error::TooLarge { resource: self.subject.path.to_string(), limit: OBJECT.limit });
            }
            self.rest.extend_from_slice(&data);
        }
    }

    fn decode(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::decode(&self.subject.path.to_string(), source)
    }
}
