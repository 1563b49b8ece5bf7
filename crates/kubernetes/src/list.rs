//! Listing one resource, page by page.

use std::sync::Arc;

use bytes::Bytes;
use lifeboat_model::ResourceType;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::gate::{Gate, Ticket};
use crate::request::{Request, Room};
use crate::retry::Attempts;
use crate::sizer::Sizer;
use crate::{Cluster, Error, ListEvent, Page};

/// Bounds on lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOptions {
    /// The most objects a page may have.
    pub page_limit: u32,
    /// The bytes that a page is to have at most, about: the number of objects asked for follows their size. A page of
    /// more than four times as much is thrown away and asked for in pieces.
    pub page_bytes: usize,
    /// The bytes of a page at which a list fails. Only a single object can make a page that large.
    pub max_page_bytes: usize,
    /// Requests under way at a time.
    pub requests: usize,
    /// The bytes of pages that wait for the consumer, or are on their way; exceeded by at most one page.
    pub buffer_bytes: usize,
    /// How often a list may begin again when its snapshot has expired.
    pub max_restarts: u32,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            page_limit: 500,
            page_bytes: 4 * 1024 * 1024,
            max_page_bytes: 256 * 1024 * 1024,
            requests: 4,
            buffer_bytes: 24 * 1024 * 1024,
            max_restarts: 3,
        }
    }
}

/// An event on its way to the consumer, with the room that it takes.
pub(crate) type Queued = (ListEvent, Option<Ticket>);

/// One list among several, which the consumer takes in order of their `index`.
pub(crate) struct List {
    pub(crate) cluster: Cluster,
    pub(crate) gate: Arc<Gate>,
    pub(crate) index: usize,
    pub(crate) kind: ResourceType,
    /// The namespace that is listed; without one, all.
    pub(crate) namespace: Option<String>,
    pub(crate) options: ListOptions,
    pub(crate) queue: UnboundedSender<Queued>,
}

/// The state of a list that outlives a restart.
struct Progress {
    resource: String,
    attempts: Attempts,
    sizer: Sizer,
}

impl List {
    /// Lists to the end and says how it ended. A consumer that is gone ends it too.
    pub(crate) async fn run(self) {
        let ListOptions { page_limit, page_bytes, max_page_bytes, max_restarts, .. } = self.options;
        let mut progress = Progress {
            resource: self.kind.group_resource().to_string(),
            attempts: Attempts::new(self.cluster.retry),
            sizer: Sizer::new(page_limit, page_bytes, max_page_bytes),
        };
        for restart in 0.. {
            let event = match self.pages(&mut progress).await {
                Ok(event) => event,
                Err(Error::Expired { message, .. }) if restart < max_restarts => {
                    tracing::info!(resource = progress.resource, message, "the list has expired and begins again");
                    ListEvent::Restarted { reason: message }
                }
                Err(error) => ListEvent::Failed(error),
            };
            let ended = !matches!(event, ListEvent::Restarted { .. });
            if self.queue.send((event, None)).is_err() || ended {
                return;
            }
        }
    }

    /// Lists from the beginning to the end of one snapshot.
    async fn pages(&self, progress: &mut Progress) -> Result<ListEvent, Error> {
        let mut token = String::new();
        let mut items = 0;
        loop {
            let (page, ticket) = self.page(progress, &token).await?;
            items += page.items.len() as u64;
            let next = page.continue_token.clone();
            let resource_version = page.resource_version.clone();
            if !next.is_empty() && next == token {
                return Err(Error::decode(&progress.resource, "the list does not get on"));
            }
            let consumer_gone = self.queue.send((ListEvent::Page(page), Some(ticket))).is_err();
            if next.is_empty() || consumer_gone {
                return Ok(ListEvent::Finished { resource_version, items });
            }
            token = next;
        }
    }

    /// One page, tried until it comes or the patience is spent. Waits hold neither a slot nor room.
    async fn page(&self, progress: &mut Progress, token: &str) -> Result<(Page, Ticket), Error> {
        loop {
            let admission = self.gate.admit(self.index, progress.sizer.expected()).await;
            let began = Instant::now();
            match self.request(progress, token).await {
                Ok(page) => {
                    progress.attempts.succeeded();
                    progress.sizer.observe(page.items.len(), page.bytes.len());
                    let ticket = admission.page(self.index, page.bytes.len());
                    return Ok((page, ticket));
                }
                Err(Error::TooLarge { .. }) if progress.sizer.shrink() => {}
                Err(error) => {
                    drop(admission);
                    progress.attempts.pause(error, began).await?;
                }
            }
        }
    }

    async fn request(&self, progress: &Progress, token: &str) -> Result<Page, Error> {
        let path = path(&self.kind, self.namespace.as_deref(), progress.sizer.limit(), token);
        let room = Room { expected: progress.sizer.expected(), limit: progress.sizer.ceiling() };
        let answer = self.cluster.send(Request::get(&path, &progress.resource, "list"), room).await?;
        // Less than a millisecond for a page: not worth a thread, each of which would keep memory of its own.
        Page::parse(Bytes::from(answer.body), &progress.resource, &self.kind.kind)
    }
}

/// The path that lists a resource in a namespace or in all of them. Without a resource version the list is the most
/// recent one, and every page after the first shows the same snapshot.
fn path(kind: &ResourceType, namespace: Option<&str>, limit: u32, token: &str) -> String {
    let root = if kind.group.is_empty() { "api" } else { "apis" };
    let encoded = |namespace| utf8_percent_encode(namespace, NON_ALPHANUMERIC);
    let namespace = namespace.filter(|_| kind.namespaced);
    let within = namespace.map_or_else(String::new, |namespace| format!("namespaces/{}/", encoded(namespace)));
    let path = format!("/{root}/{}/{within}{}?limit={limit}", kind.api_version(), kind.resource);
    if token.is_empty() { path } else { format!("{path}&continue={}", utf8_percent_encode(token, NON_ALPHANUMERIC)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_part_of_the_path_where_objects_live_in_one() {
        let kind = |group: &str, resource: &str, namespaced| ResourceType {
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            kind: "Thing".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced,
        };
        assert_eq!(path(&kind("", "pods", true), None, 8, ""), "/api/v1/pods?limit=8");
        assert_eq!(
            path(&kind("apps", "x", true), Some("a"), 8, "t="),
            "/apis/apps/v1/namespaces/a/x?limit=8&continue=t%3D"
        );
        assert_eq!(path(&kind("", "nodes", false), Some("a"), 8, ""), "/api/v1/nodes?limit=8");
        assert_eq!(
            path(&kind("", "pods", true), Some("../x?"), 8, ""),
            "/api/v1/namespaces/%2E%2E%2Fx%3F/pods?limit=8"
        );
    }
}
