//! Writes that are tried again, and never done twice.

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use crate::object::OBJECT;
use crate::refusal::Subject;
use crate::request::{Answer, Request};
use crate::retry::Attempts;
use crate::settle::Evidence;
use crate::{Cluster, Error, ObjectPath};

/// A write.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) url: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    pub(crate) path: ObjectPath<'a>,
    pub(crate) verb: &'static str,
}

impl Write<'_> {
    /// Nobody knows whether it was done.
    fn uncertain(&self, source: Error) -> Error {
        Error::Uncertain { object: self.path.to_string(), verb: self.verb, source: Box::new(source) }
    }
}

/// Says what came of a write, from the object as it was found, or from its absence; `None` where it was not done.
pub(crate) type Settle<'a, T> = dyn Fn(Option<&Evidence>) -> Result<Option<T>, Error> + Sync + 'a;

/// A write under way.
struct Attempt<'a> {
    cluster: &'a Cluster,
    write: &'a Write<'a>,
    began: Instant,
    /// Whether it may have been done without our knowing.
    doubtful: bool,
    /// Whether that came up after the object was looked at last.
    unseen: bool,
}

impl Cluster {
    /// Sends a write that may be done more than once, or in a dry run never, again after passing faults.
    pub(crate) async fn repeat(&self, write: &Write<'_>, dry_run: bool) -> Result<Answer, Error> {
        let mut attempts = Attempts::new(self.retry);
        let mut doubtful = false;
        loop {
            let began = Instant::now();
            let error = match self.send_write(write).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            doubtful |= error.may_be_done() && !dry_run;
            if let Err(error) = attempts.pause(error, began).await {
                return Err(if doubtful && error.is_transient() { write.uncertain(error) } else { error });
            }
        }
    }

    /// Sends a write that is to be done once. It is sent again after answers which say that it was not done; while its
    /// outcome is unknown, the object is read first. What even that cannot tell ends as [`Error::Uncertain`].
    pub(crate) async fn settle<T>(
        &self,
        write: &Write<'_>,
        done: impl Fn(Answer) -> T,
        settle: &Settle<'_, T>,
    ) -> Result<T, Error> {
        let mut attempts = Attempts::new(self.retry);
        let mut attempt = Attempt { cluster: self, write, began: Instant::now(), doubtful: false, unseen: false };
        loop {
            let began = Instant::now();
            let error = match attempt.once(&done, settle).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            if let Err(source) = attempts.pause(error, began).await {
                return attempt.end(source, settle).await;
            }
        }
    }

    async fn send_write(&self, write: &Write<'_>) -> Result<Answer, Error> {
        let Write { path, verb, .. } = *write;
        let resource = path.to_string();
        let request = Request {
            method: write.method.clone(),
            content_type: write.content_type,
            body: write.body.clone(),
            ..Request::get(&write.url, &resource, verb)
        };
        let subject = Subject { path, verb, bytes: write.body.len() };
        self.exchange(&request, OBJECT).await?.map_err(|refused| refused.of_object(subject))
    }
}

impl Attempt<'_> {
    async fn once<T>(&mut self, done: impl Fn(Answer) -> T, settle: &Settle<'_, T>) -> Result<T, Error> {
        if self.doubtful
            && let Some(result) = self.look(settle).await?
        {
            return Ok(result);
        }
        let error = match self.cluster.send_write(self.write).await {
            Ok(answer) => return Ok(done(answer)),
            Err(error) => error,
        };
        if error.may_be_done() {
            self.doubtful = true;
            self.unseen = true;
        } else if self.doubtful && !error.is_transient() {
            // It may be refused because the attempt before was done after all: a name or an address is taken now.
            if let Some(result) = self.look(settle).await? {
                return Ok(result);
            }
            self.doubtful = false;
        }
        Err(error)
    }

    /// Reads the object: what came of the write, or `None` where it was not done.
    async fn look<T>(&mut self, settle: &Settle<'_, T>) -> Result<Option<T>, Error> {
        self.unseen = false;
        let object = self.write.path.to_string();
        let evidence = match self.cluster.look(self.write.path).await? {
            Some(found) => {
                let at = found.at.ok_or_else(|| Error::decode(&object, "the answer has no date"))?;
                Some(Evidence { bytes: found.bytes, at, elapsed: self.began.elapsed() })
            }
            None => None,
        };
        settle(evidence.as_ref())
    }

    /// There will be no further attempt. That the object does not show the write does not say that it will not yet.
    async fn end<T>(mut self, error: Error, settle: &Settle<'_, T>) -> Result<T, Error> {
        if !self.doubtful {
            return Err(error);
        }
        if self.unseen
            && let Ok(Some(result)) = self.look(settle).await
        {
            return Ok(result);
        }
        Err(self.write.uncertain(error))
    }
}
