//! One object, by its path.

use std::fmt;

use jiff::Timestamp;
use lifeboat_model::ResourceType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::refusal::Subject;
use crate::request::{Request, Room, date};
use crate::retry::Attempts;
use crate::{Cluster, Error};

/// Room for one object. etcd takes no request beyond 1.5 MiB unless told to (`--max-request-bytes`), and objects that
/// are kept compactly there are larger as JSON.
pub(crate) const OBJECT: Room = Room { expected: 4 * 1024, limit: 64 * 1024 * 1024 };

/// What stands for itself in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the API server has an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectPath<'a> {
    /// Its resource, at the version to ask for.
    pub resource: &'a ResourceType,
    /// Its namespace; `None` for objects of the whole cluster.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
}

/// As kubectl would ask for it: `deployments.apps prod/web`.
impl fmt::Display for ObjectPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.resource.group_resource())?;
        if let Some(namespace) = self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(self.name)
    }
}

impl ObjectPath<'_> {
    /// The path of the collection that has it.
    pub(crate) fn collection(&self) -> String {
        let root = if self.resource.group.is_empty() { "/api" } else { "/apis" };
        let mut path = format!("{root}/{}", self.resource.api_version());
        if let Some(namespace) = self.namespace {
            path.push_str("/namespaces/");
            path.extend(utf8_percent_encode(namespace, SEGMENT));
        }
        path.push('/');
        path.push_str(&self.resource.resource);
        path
    }

    /// The object's own path.
    pub(crate) fn item(&self) -> String {
        let mut path = self.collection();
        path.push('/');
        path.extend(utf8_percent_encode(self.name, SEGMENT));
        path
    }
}

/// An object as it was read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Vec<u8>,
    /// When, by the API server's clock, where the answer says it.
    pub(crate) at: Option<Timestamp>,
}

impl Cluster {
    /// Reads an object, again after passing faults: the API server's bytes, or `None` where there is no such object.
    /// A resource that is not served is an [`Error::NotServed`].
    pub async fn get(&self, path: ObjectPath<'_>) -> Result<Option<Vec<u8>>, Error> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let began = Instant::now();
            match self.look(path).await {
                Ok(found) => return Ok(found.map(|found| found.bytes)),
                Err(error) => attempts.pause(error, began).await?,
            }
        }
    }

    /// Reads an object, with a single request.
    pub(crate) async fn look(&self, path: ObjectPath<'_>) -> Result<Option<Found>, Error> {
        let (item, resource) = (path.item(), path.to_string());
        let request = Request::get(&item, &resource, "get");
        match self.exchange(&request, OBJECT).await? {
            Ok(answer) => Ok(Some(Found { at: date(&answer.headers), bytes: answer.body })),
            Err(refused) => match refused.of_object(Subject { path, verb: "get", bytes: 0 }) {
                Error::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }
}
