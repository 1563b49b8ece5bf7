//! What a container wrote.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::refusal::Subject;
use crate::request::{Request, Room};
use crate::{Cluster, Error, ObjectPath};

/// What to read of a container's log.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions<'a> {
    /// The container.
    pub container: &'a str,
    /// Of the instance before the last restart.
    pub previous: bool,
    /// The most that is read, in bytes, from the beginning.
    pub limit: u32,
}

impl Cluster {
    /// Reads a container's log through the API server, which asks the kubelet: each line with its time.
    pub async fn logs(&self, pod: ObjectPath<'_>, options: LogOptions<'_>) -> Result<Vec<u8>, Error> {
        let LogOptions { container, previous, limit } = options;
        let container = utf8_percent_encode(container, NON_ALPHANUMERIC);
        let query = format!("/log?container={container}&previous={previous}&timestamps=true&limitBytes={limit}");
        let (url, what) = (pod.item()? + &query, pod.to_string());
        let request = Request { accept: "*/*", ..Request::get(&url, &what, "get log of") };
        let subject = Subject { path: pod, verb: "get log of", bytes: 0 };
        // The kubelet counts what it reads, and a server in between may be of another opinion.
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(64 * 1024);
        let room = Room { expected: 16 * 1024, limit };
        Ok(self.exchange(&request, room).await?.map_err(|refused| refused.of_object(subject))?.body)
    }
}
