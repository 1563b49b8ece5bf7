//! Writing objects: each write is tried again only where that cannot do it twice.

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::attempt::Write;
use crate::refusal::printable;
use crate::request::{Answer, JSON};
use crate::settle::{self, Evidence, Part, Sent, Wanted};
use crate::{Cluster, Error, ObjectPath};

/// The most warnings that are kept of one answer.
const WARNINGS: usize = 64;

/// What the API server does with fields that the resource does not have, and with those given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// It refuses the object.
    #[default]
    Strict,
    /// It drops the fields and says so in [`Written::warnings`].
    Warn,
    /// It drops the fields silently.
    Ignore,
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Only ask what would come of it: everything but storing is done, admission included.
    pub dry_run: bool,
    /// Who writes, as `managedFields` have it; at most 128 characters. A write whose answer was lost is known by it, so
    /// it is to be one that nobody else uses.
    pub field_manager: &'a str,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
}

impl WriteOptions<'_> {
    pub(crate) fn query(&self) -> String {
        let validation = match self.field_validation {
            FieldValidation::Strict => "Strict",
            FieldValidation::Warn => "Warn",
            FieldValidation::Ignore => "Ignore",
        };
        let manager = utf8_percent_encode(self.field_manager, NON_ALPHANUMERIC);
        let dry_run = if self.dry_run { "&dryRun=All" } else { "" };
        format!("?fieldManager={manager}&fieldValidation={validation}{dry_run}")
    }
}

/// What the API server made of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The object as it is now, or, in a dry run, would be: the API server's bytes.
    pub object: Vec<u8>,
    /// What the API server warns of: dropped fields, deprecated versions, `PodSecurity` levels. Empty when the answer
    /// was lost and the object was read instead.
    pub warnings: Vec<String>,
}

impl From<Answer> for Written {
    fn from(answer: Answer) -> Self {
        Self { warnings: warnings(&answer.headers), object: answer.body }
    }
}

/// The warnings of an answer, each `299 - "text"` (RFC 7234, 5.5).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all("warning").iter().filter_map(|value| {
        let (_, quoted) = value.to_str().ok()?.split_once('"')?;
        let mut text = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => return Some(printable(&text)),
                '\\' => text.push(characters.next()?),
                character => text.push(character),
            }
        }
    });
    texts.take(WARNINGS).collect()
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Copy)]
pub struct DeleteOptions<'a> {
    /// The object to delete, and no later one of the same name.
    pub uid: &'a str,
    /// Delete it only as it is at this version.
    pub resource_version: Option<&'a str>,
    /// What becomes of what it owns; without it, what the resource does by default.
    pub propagation: Option<Propagation>,
    /// How long it may take to end; without it, as long as the object says.
    pub grace_seconds: Option<u32>,
    /// Only ask whether it would be done.
    pub dry_run: bool,
}

impl DeleteOptions<'_> {
    /// As the API has them; null stands for what is not given.
    fn body(&self) -> Vec<u8> {
        let propagation = self.propagation.map(|propagation| match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        });
        let body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": self.uid, "resourceVersion": self.resource_version},
            "propagationPolicy": propagation,
            "gracePeriodSeconds": self.grace_seconds,
            "dryRun": self.dry_run.then_some(["All"]),
        });
        body.to_string().into_bytes()
    }
}

/// What came of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The object is not there any more.
    Gone,
    /// It is marked for deletion, and goes when its finalizers have run or its time to end is over.
    Pending,
}

impl Cluster {
    /// Creates an object. `body` has to bear the path's name.
    ///
    /// Where the outcome is unknown, as after a lost connection, the object is read: it counts as ours if it was made
    /// since we began and by our field manager, and otherwise exists already.
    pub async fn create(&self, path: ObjectPath<'_>, body: Bytes, options: WriteOptions<'_>) -> Result<Written, Error> {
        let sent = Sent::parse(&body, path)?;
        if sent.name != path.name {
            let message = format!("its metadata.name is '{}'", printable(&sent.name));
            return Err(Error::Invalid { object: path.to_string(), message, causes: Vec::new() });
        }
        let url = path.collection()? + &options.query();
        let write = Write { method: Method::POST, url, content_type: JSON, body, path, verb: "create" };
        if options.dry_run {
            return self.repeat(&write, options.dry_run).await.map(Written::from);
        }
        let settle = |evidence: Option<&Evidence>| settle::create(evidence, options.field_manager);
        self.settle(&write, Written::from, &settle).await
    }

    /// Replaces an object. `body` has to bear the `resourceVersion` that is to be replaced: then an
    /// [`Error::Conflict`] says that the object was changed since it was read, and that it is to be read again.
    ///
    /// Where the outcome is unknown, the object is read: the write was done if the object is at another version, was
    /// changed by our field manager since we began, and has all that was sent.
    pub async fn replace(
        &self,
        path: ObjectPath<'_>,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        self.replace_part(path, Part::Main, body, options).await
    }

    /// Replaces an object's `status`, through its subresource. The `spec` of `body` is not written; labels and
    /// annotations are by most kinds. Otherwise as [`Cluster::replace`].
    pub async fn replace_status(
        &self,
        path: ObjectPath<'_>,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        self.replace_part(path, Part::Status, body, options).await
    }

    async fn replace_part(
        &self,
        path: ObjectPath<'_>,
        part: Part,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        let replaced = Sent::parse(&body, path)?.resource_version;
        let url = path.item()? + part.suffix() + &options.query();
        let write = Write { method: Method::PUT, url, content_type: JSON, body, path, verb: "update" };
        // Without a version the last one to write wins, and writing the same again changes nothing.
        if options.dry_run || replaced.is_empty() {
            return self.repeat(&write, options.dry_run).await.map(Written::from);
        }
        let wanted = Wanted { body: &write.body, part, replaced: &replaced, manager: options.field_manager };
        let settle = |evidence: Option<&Evidence>| settle::replace(evidence, wanted);
        self.settle(&write, Written::from, &settle).await
    }

    /// Changes an object by a merge patch (RFC 7386). One with `metadata.uid` or `metadata.resourceVersion` is done
    /// only to that object, or that version of it, and otherwise an [`Error::Conflict`].
    ///
    /// Where the outcome is unknown, the patch is sent again: it comes to the same. One that bears a version may meet
    /// itself, so that the object is to be read after a conflict.
    pub async fn merge_patch(
        &self,
        path: ObjectPath<'_>,
        change: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Written, Error> {
        let url = path.item()? + &options.query();
        let content_type = "application/merge-patch+json";
        let write = Write { method: Method::PATCH, url, content_type, body: change, path, verb: "patch" };
        self.repeat(&write, options.dry_run).await.map(Written::from)
    }

    /// Deletes an object. [`Error::NotFound`] says that it was not there, and [`Error::Conflict`] that there is
    /// another one of the same name, or that it is not at the version given.
    pub async fn delete(&self, path: ObjectPath<'_>, options: DeleteOptions<'_>) -> Result<Deletion, Error> {
        let body = options.body().into();
        let write = Write { method: Method::DELETE, url: path.item()?, content_type: JSON, body, path, verb: "delete" };
        if options.dry_run {
            return self.repeat(&write, options.dry_run).await.map(|answer| settle::deletion(&answer.body));
        }
        let settle = |evidence: Option<&Evidence>| settle::delete(evidence, options.uid);
        self.settle(&write, |answer| settle::deletion(&answer.body), &settle).await
    }
}
