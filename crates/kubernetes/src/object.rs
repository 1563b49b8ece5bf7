//! One object, by its path.

use std::fmt;

use jiff::Timestamp;
use lifeboat_model::ResourceType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::refusal::{Subject, printable};
use crate::request::{Request, Room, date};
use crate::retry::Attempts;
use crate::{Cluster, Error};

/// Room for one object. etcd takes no request beyond 1.5 MiB unless told to (`--max-request-bytes`), and objects that
/// are kept compactly there are larger as JSON.
pub(crate) const OBJECT: Room = Room { expected: 4 * 1024, limit: 64 * 1024 * 1024 };

/// What stands for itself in a segment of a path.
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    pub(crate) fn collection(&self) -> Result<String, Error> {
        let ResourceType { group, version, resource, .. } = self.resource;
        let mut path = String::new();
        if group.is_empty() {
            path.push_str("/api");
        } else {
            path.push_str("/apis");
            self.enter(&mut path, group)?;
        }
        self.enter(&mut path, version)?;
        if let Some(namespace) = self.namespace {
            path.push_str("/namespaces");
            self.enter(&mut path, namespace)?;
        }
        self.enter(&mut path, resource)?;
        Ok(path)
    }

    /// The object's own path.
    pub(crate) fn item(&self) -> Result<String, Error> {
        let mut path = self.collection()?;
        self.enter(&mut path, self.name)?;
        Ok(path)
    }

    /// Goes one segment deeper. With an empty one or one of dots the path would be of something else, such as of all
    /// objects. Source: `IsValidPathSegmentName` of `k8s.io/apimachinery/pkg/api/validation/path`.
    fn enter(&self, path: &mut String, segment: &str) -> Result<(), Error> {
        if ["", ".", ".."].contains(&segment) || segment.contains(['/', '%']) {
            let message = format!("'{}' cannot be part of a path", printable(segment));
            return Err(Error::Invalid { object: printable(&self.to_string()), message, causes: Vec::new() });
        }
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
        Ok(())
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
        let (item, resource) = (path.item()?, path.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, resource: &str) -> ResourceType {
        ResourceType {
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            kind: String::new(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        }
    }

    fn item(group: &str, resource: &str, namespace: Option<&str>, name: &str) -> Result<String, String> {
        let path = ObjectPath { resource: &kind(group, resource), namespace, name };
        path.item().map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_leads_to_the_object_and_to_nothing_else() {
        let web = item("apps", "deployments", Some("prod"), "web").unwrap();
        assert_eq!(web, "/apis/apps/v1/namespaces/prod/deployments/web");
        let role = item("rbac.authorization.k8s.io", "clusterroles", None, "system:node?a=b#c").unwrap();
        assert_eq!(role, "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode%3Fa%3Db%23c");
        assert_eq!(item("", "nodes", None, "a..b").unwrap(), "/api/v1/nodes/a..b");
        for name in ["", ".", "..", "a/b", "%2e%2e"] {
            assert!(item("", "pods", Some("prod"), name).is_err(), "{name}");
            assert!(item("", "pods", Some(name), "web").is_err(), "{name}");
            assert!(item("", name, Some("prod"), "web").is_err(), "{name}");
        }
        let error = item("", "pods", Some("prod"), "../../x\u{1b}[2J").unwrap_err();
        assert_eq!(error, "pods prod/../../x [2J is not valid: '../../x [2J' cannot be part of a path");
    }
}
